//! Changing the configuration of a running gateway.
//!
//! The new configuration is proven first: read, certificates loaded, routes built, new sockets
//! bound. Only then is it swapped in, which cannot fail. Whatever goes wrong before, the gateway
//! goes on as it was and says why. Routes that did not change keep their connections; listeners
//! that are gone stop accepting and let their connections finish.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{Gateway, Outside, Snapshot, hosts},
    config::{Config, ListenAddress, Loaded, Problems},
    handler::BuildError,
    http::connection,
    listen::{Accepted, Acceptor, BindError, BoundListener, Refusal, accept_loop},
    router::Router,
    tls::TlsError,
};

/// How long a reload waits for a socket to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the configuration anew.
pub type Source = Box<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>;

/// Runs listeners and reloads. One reload at a time.
pub struct Reloader {
    gateway: Arc<Gateway>,
    outside: Outside,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Config,
    running: HashMap<(ListenAddress, bool), Running>,
    /// The runtime that serves; set before the first listener starts.
    runtime: Option<Handle>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    port: Option<u16>,
    /// Disconnected when the socket is closed.
    closed: Receiver<()>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Config(#[from] Problems),
    #[error("{0}\nhint: {hint}", hint = .0.hint())]
    Bind(#[from] BindError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{0} cannot change while the gateway runs; restart it")]
    NeedsRestart(&'static str),
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reloader {
    pub(crate) fn new(gateway: Arc<Gateway>, config: Config, outside: Outside) -> Self {
        Self {
            gateway,
            outside,
            state: Mutex::new(State {
                config,
                running: HashMap::new(),
                runtime: None,
            }),
        }
    }

    /// Starts accepting on sockets that are bound. Must be called within the runtime that serves;
    /// listeners of later reloads run there too, wherever the reload was asked for.
    pub(crate) fn serve(&self, listeners: Vec<BoundListener>, https: bool) {
        let mut state = self.state.lock();
        state.runtime = Some(Handle::current());
        state.start(&self.gateway, listeners, https);
    }

    /// Reads, proves and swaps in the configuration. Blocks for as long as reading files and
    /// signing certificates takes, so call it where blocking is allowed (`spawn_blocking`).
    pub fn reload(&self) -> Result<(), ReloadError> {
        let result = self.try_reload();
        let metrics = &self.gateway.metrics;
        let label = if result.is_ok() { "ok" } else { "failed" };
        metrics.reloads.with_label_values(&[label]).inc();
        match &result {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => tracing::error!(%error, "reload failed; the running configuration stays"),
        }
        result
    }

    fn try_reload(&self) -> Result<(), ReloadError> {
        let mut state = self.state.lock();
        let runtime = state.runtime.clone();
        let _runtime = runtime.as_ref().map(Handle::enter);
        let loaded = (self.outside.source)()?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let config = loaded.config;
        self.refuse_restarts(&state.config, &config)?;

        // Prove.
        let tls = match &self.gateway.tls {
            Some(tls) if !config.listen.https.is_empty() => Some((
                tls,
                tls.prepare(&config.tls, &hosts(&config), &config.data_dir)?,
            )),
            _ => None,
        };
        let http = state.bind_new(&config.listen.http, false)?;
        let https = state.bind_new(&config.listen.https, true)?;
        let previous = self.gateway.snapshot.load_full();
        let mut pools = self.gateway.pools.lock();
        let metrics = &self.gateway.metrics;
        let router = Router::build(&config.sites, Some(&previous.router), &mut pools, metrics)?;
        let port = state.https_port(&config, &https);
        let next = Arc::new(Snapshot {
            router,
            ..Snapshot::without_routes(&config, port)
        });

        // Swap.
        if let Some((tls, prepared)) = tls {
            tls.commit(prepared);
        }
        self.gateway.snapshot.store(Arc::clone(&next));
        previous.router.retire_for(&next.router);
        drop(previous);
        pools.release_unused();
        drop(pools);
        if let Some(level) = &self.outside.level {
            level.set(&config.log.level);
        }
        self.gateway.access_log.set_form(config.log.access);
        state.start(&self.gateway, http, false);
        state.start(&self.gateway, https, true);
        state.stop_gone(&config);
        state.config = config;
        Ok(())
    }

    fn refuse_restarts(&self, old: &Config, new: &Config) -> Result<(), ReloadError> {
        if old.listen.admin != new.listen.admin {
            return Err(ReloadError::NeedsRestart("listen.admin"));
        }
        if old.data_dir != new.data_dir {
            return Err(ReloadError::NeedsRestart("data_dir"));
        }
        let moved = |from: &[ListenAddress], to: &[ListenAddress]| {
            to.iter().any(|address| from.contains(address))
        };
        if moved(&old.listen.http, &new.listen.https) || moved(&old.listen.https, &new.listen.http)
        {
            return Err(ReloadError::NeedsRestart(
                "what is spoken on an address (listen.http, listen.https)",
            ));
        }
        if self.gateway.tls.is_none() && !new.listen.https.is_empty() {
            return Err(ReloadError::NeedsRestart(
                "listen.https (the first listener)",
            ));
        }
        Ok(())
    }
}

impl State {
    fn bind_new(
        &self,
        wanted: &[ListenAddress],
        https: bool,
    ) -> Result<Vec<BoundListener>, BindError> {
        wanted
            .iter()
            .filter(|address| !self.running.contains_key(&((*address).clone(), https)))
            .map(BoundListener::bind)
            .collect()
    }

    fn https_port(&self, config: &Config, new: &[BoundListener]) -> Option<u16> {
        config.listen.https.iter().find_map(|address| {
            let running = self.running.get(&(address.clone(), true));
            match running {
                Some(running) => running.port,
                None => new
                    .iter()
                    .find(|listener| listener.configured == *address)
                    .and_then(BoundListener::port),
            }
        })
    }

    fn start(&mut self, gateway: &Arc<Gateway>, listeners: Vec<BoundListener>, https: bool) {
        for listener in listeners {
            let stop = gateway.stop.child_token();
            let key = (listener.configured.clone(), https);
            let port = listener.port();
            let door = Arc::new(Door {
                gateway: Arc::clone(gateway),
                https,
                stop: stop.clone(),
            });
            let caps = Arc::clone(&gateway.caps);
            let address = listener.local.clone();
            let accepting = accept_loop(listener, caps, door, stop.clone());
            let (open, closed) = channel();
            tokio::spawn(async move {
                if let Err(error) = accepting.await {
                    tracing::error!(%address, %error, "listener failed");
                }
                drop(open);
            });
            let running = Running { stop, port, closed };
            self.running.insert(key, running);
        }
    }

    /// Stops the listeners that are not wanted any more and waits until their sockets are closed,
    /// so that a later reload finds the addresses free.
    fn stop_gone(&mut self, config: &Config) {
        let listen = &config.listen;
        let gone = self.running.extract_if(|(address, https), _| {
            let wanted = if *https { &listen.https } else { &listen.http };
            !wanted.contains(address)
        });
        let gone: Vec<_> = gone.map(|(_, running)| running).collect();
        for running in &gone {
            running.stop.cancel();
        }
        for running in gone {
            // Closing takes no longer than the accept loop needs to notice.
            let _ = running.closed.recv_timeout(CLOSE_TIMEOUT);
        }
    }
}

/// Takes over the connections of one listener.
struct Door {
    gateway: Arc<Gateway>,
    https: bool,
    stop: CancellationToken,
}

impl Acceptor for Door {
    fn accepted(&self, connection: Accepted) {
        let gateway = Arc::clone(&self.gateway);
        let (https, stop) = (self.https, self.stop.clone());
        let counted = Counted::new(Arc::clone(&gateway));
        self.gateway.connections.spawn(async move {
            let _counted = counted;
            connection::serve(gateway, connection, https, stop).await;
        });
    }

    fn refused(&self, refusal: Refusal) {
        let refused = &self.gateway.metrics.refused;
        refused.with_label_values(&[refusal.label()]).inc();
    }

    fn caps(&self, peer: Option<IpAddr>) -> (usize, usize) {
        let snapshot = self.gateway.snapshot.load();
        let limits = &snapshot.limits;
        // A trusted proxy brings the connections of many clients.
        match peer {
            Some(peer)
                if snapshot
                    .trusted_proxies
                    .iter()
                    .any(|net| net.contains(&peer)) =>
            {
                (limits.connections, usize::MAX)
            }
            _ => (limits.connections, limits.connections_per_ip),
        }
    }
}

/// Counts a connection while it lives, and a panic if that is how it ends.
struct Counted(Arc<Gateway>);

impl Counted {
    fn new(gateway: Arc<Gateway>) -> Self {
        gateway.metrics.connections.inc();
        Self(gateway)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
        if std::thread::panicking() {
            self.0.metrics.panics.inc();
        }
    }
}
