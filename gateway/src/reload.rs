//! Changing the configuration of a running gateway.
//!
//! The new configuration is proven first: read, certificates loaded, routes built, new sockets
//! bound. Only then is it swapped in, which cannot fail. Whatever goes wrong before, the gateway
//! goes on as it was and says why. Routes that did not change keep their connections; listeners
//! that are gone stop accepting and let their connections finish.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    api::sign_in::SignInError,
    app::{Gateway, Outside, Snapshot, hosts},
    config::{Config, ListenAddress, Loaded, Problems, auth::Auth},
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
    running: Vec<Running>,
    /// The runtime that serves; set before the first listener starts.
    runtime: Option<Handle>,
}

/// A socket that a reload knows of, before it is served.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) bound: BoundListener,
    pub(crate) https: bool,
    stop: CancellationToken,
    /// Dropped when the socket is closed.
    open: Sender<()>,
}

/// A listener that is served, or will be. Several may be configured alike: each port 0 is another port.
#[derive(Debug)]
struct Running {
    configured: ListenAddress,
    https: bool,
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
    #[error(transparent)]
    SignIn(#[from] SignInError),
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
                running: Vec::new(),
                runtime: None,
            }),
        }
    }

    /// Counts bound sockets among the listeners that a reload keeps or stops.
    pub(crate) fn register(&self, listeners: Vec<BoundListener>, https: bool) -> Vec<Registered> {
        self.state.lock().register(&self.gateway, listeners, https)
    }

    /// Tells reloads which runtime serves: listeners that they add run there too, wherever the
    /// reload was asked for.
    pub(crate) fn served_by(&self, runtime: Handle) {
        self.state.lock().runtime = Some(runtime);
    }

    /// Starts accepting. Must be called within the runtime.
    pub(crate) fn serve(&self, listeners: Vec<Registered>) {
        for listener in listeners {
            let Registered {
                bound,
                https,
                stop,
                open,
            } = listener;
            let door = Arc::new(Door {
                gateway: Arc::clone(&self.gateway),
                https,
                stop: stop.clone(),
            });
            let caps = Arc::clone(&self.gateway.caps);
            let address = bound.local.clone();
            tokio::spawn(async move {
                if let Err(error) = accept_loop(bound, caps, door, stop).await {
                    tracing::error!(%address, %error, "listener failed");
                }
                drop(open);
            });
        }
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
        let router = Router::build(
            &config,
            Some(&previous.router),
            &mut pools,
            metrics,
            &self.gateway.access,
        )?;
        let port = state.https_port(&config, &https);
        let next = Arc::new(Snapshot {
            router,
            ..Snapshot::without_routes(&config, port)
        });
        let ways = match &self.gateway.sign_in {
            Some(sign_in) => Some((sign_in, sign_in.prepare(&config, next.https_port)?)),
            None => None,
        };

        // Swap.
        if let Some((tls, prepared)) = tls {
            tls.commit(prepared);
        }
        if let Some((sign_in, ways)) = ways {
            sign_in.replace(ways);
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
        self.serve(state.register(&self.gateway, http, false));
        self.serve(state.register(&self.gateway, https, true));
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
        if old.tunnels != new.tunnels {
            return Err(ReloadError::NeedsRestart("tunnels"));
        }
        if old.domain != new.domain {
            return Err(ReloadError::NeedsRestart("domain"));
        }
        if old.auth.store != new.auth.store || old.auth.master_key != new.auth.master_key {
            return Err(ReloadError::NeedsRestart("store, master_key"));
        }
        // What is open may be needed no longer; the other way round it has to be opened first.
        let wanted = Auth {
            used: old.auth.used || new.auth.used,
            ..new.auth.clone()
        };
        if lasting(&old.auth) != lasting(&wanted) {
            return Err(ReloadError::NeedsRestart(
                "auth, apart from its github, gitlab and local,",
            ));
        }
        let (was, now) = (&old.listen, &new.listen);
        if moved(&was.http, &was.https, &now.https) || moved(&was.https, &was.http, &now.http) {
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

/// What of identity stays as long as the gateway runs: all but who vouches for people.
fn lasting(auth: &Auth) -> Auth {
    Auth {
        github: None,
        gitlab: None,
        local: true,
        ..auth.clone()
    }
}

/// Whether an address that spoke one protocol (`from`) is to speak the other. The gateway holds
/// it itself and would find it taken. Port 0 is another address each time.
fn moved(from: &[ListenAddress], other: &[ListenAddress], to: &[ListenAddress]) -> bool {
    to.iter()
        .filter(|address| !matches!(address, ListenAddress::Tcp(address) if address.port() == 0))
        .any(|address| from.contains(address) && !other.contains(address))
}

impl State {
    fn bind_new(
        &self,
        wanted: &[ListenAddress],
        https: bool,
    ) -> Result<Vec<BoundListener>, BindError> {
        let mut running = self.addresses(https);
        let mut bound = Vec::new();
        for address in wanted {
            match running.iter().position(|known| *known == address) {
                Some(known) => drop(running.swap_remove(known)),
                None => bound.push(BoundListener::bind(address)?),
            }
        }
        Ok(bound)
    }

    /// The addresses of the running listeners, as they were configured.
    fn addresses(&self, https: bool) -> Vec<&ListenAddress> {
        let running = self.running.iter().filter(|running| running.https == https);
        running.map(|running| &running.configured).collect()
    }

    fn https_port(&self, config: &Config, new: &[BoundListener]) -> Option<u16> {
        config.listen.https.iter().find_map(|address| {
            let mut running = self.running.iter();
            match running.find(|running| running.https && running.configured == *address) {
                Some(running) => running.port,
                None => new
                    .iter()
                    .find(|listener| listener.configured == *address)
                    .and_then(BoundListener::port),
            }
        })
    }

    fn register(
        &mut self,
        gateway: &Gateway,
        listeners: Vec<BoundListener>,
        https: bool,
    ) -> Vec<Registered> {
        let mut registered = Vec::new();
        for bound in listeners {
            let stop = gateway.stop.child_token();
            let (open, closed) = channel();
            self.running.push(Running {
                configured: bound.configured.clone(),
                https,
                stop: stop.clone(),
                port: bound.port(),
                closed,
            });
            registered.push(Registered {
                bound,
                https,
                stop,
                open,
            });
        }
        registered
    }

    /// Stops the listeners that are not wanted any more and waits until their sockets are closed,
    /// so that a later reload finds the addresses free.
    fn stop_gone(&mut self, config: &Config) {
        let listen = &config.listen;
        let (mut http, mut https) = (listen.http.clone(), listen.https.clone());
        let gone = self.running.extract_if(.., |running| {
            let wanted = if running.https { &mut https } else { &mut http };
            match wanted
                .iter()
                .position(|address| *address == running.configured)
            {
                Some(wished) => {
                    wanted.swap_remove(wished);
                    false
                }
                None => true,
            }
        });
        let gone: Vec<_> = gone.collect();
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
        let cut = self.gateway.cut.clone();
        self.gateway.connections.spawn(async move {
            let _counted = counted;
            // Boxed: both futures around it would hold it by value, and a connection that is idle
            // should be small.
            let served = Box::pin(connection::serve(gateway, connection, https, stop));
            cut.run_until_cancelled(served).await;
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
