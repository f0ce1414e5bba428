//! The composition root: every part of the gateway once, in the order they depend on each other.
//!
//! [`Gateway`] is what connections share. [`App`] is a gateway with its sockets bound, ready to
//! run: the binary gives it to pingora's `Server`, tests run it in their own runtime, any number
//! of them in one process.

use std::{
    fs::{DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use auth::{
    Secret,
    store::{Clock, SystemClock},
};
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Health},
    api::{
        self, Api,
        sign_in::{SignIn, SignInError},
    },
    config::{self, Config, HostPattern, Limits, ListenAddress},
    handler::BuildError,
    identity::{Identity, Opened},
    listen::{BindError, BoundListener, Caps},
    observe::{AccessLog, Metrics, log::LevelHandle},
    policy::access,
    reload::{Registered, Reloader, Source},
    router::Router,
    tls::{Tls, TlsError},
    tunnel::Tunnels,
    upstream::Pools,
};

/// How often certificate files are looked at.
const CERTIFICATE_WATCH: Duration = Duration::from_secs(2);
/// How long admin connections get to finish once everything else has.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often idle upstream connections past their time are closed.
const POOL_SWEEP: Duration = Duration::from_secs(15);
/// In the data directory.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";

/// What all connections share.
#[derive(Debug)]
pub struct Gateway {
    pub snapshot: ArcSwap<Snapshot>,
    pub tls: Option<Arc<Tls>>,
    pub metrics: Metrics,
    pub access_log: AccessLog,
    pub caps: Arc<Caps>,
    /// The agents that are connected, if there may be any.
    pub tunnels: Option<Arc<Tunnels>>,
    /// Users, sessions and keys, if the configuration needs any.
    pub identity: Option<Identity>,
    /// How people sign in, if the gateway has a domain.
    pub sign_in: Option<Arc<SignIn>>,
    /// Whether the process is alive and may be sent requests.
    pub health: Arc<Health>,
    /// What `access` of all routes rests on.
    pub access: Arc<access::Shared>,
    /// What the time is, for what is told to clients.
    pub clock: Arc<dyn Clock>,
    /// What answers on the gateway's own domain, if it has one.
    pub api: Option<Api>,
    /// Every connection and WebSocket; empty means drained.
    pub connections: TaskTracker,
    /// Cancelled once, when the gateway shuts down.
    pub stop: CancellationToken,
    /// Cancelled when the drain deadline has passed: whatever is left ends where it is.
    pub(crate) cut: CancellationToken,
    pub(crate) pools: Mutex<Pools>,
}

/// What a reload swaps: immutable, taken by each request as a whole.
#[derive(Debug)]
pub struct Snapshot {
    pub router: Router,
    pub limits: Limits,
    pub trusted_proxies: Vec<IpNet>,
    /// The gateway's own host, as requests name it.
    pub domain: Option<String>,
    /// Where plain HTTP is redirected to; `None` when there is no HTTPS listener, and plain HTTP
    /// serves the sites.
    pub https_port: Option<u16>,
}

/// A gateway that has bound its sockets and serves nothing yet.
#[derive(Debug)]
pub struct App {
    pub gateway: Arc<Gateway>,
    /// HTTPS first, then plain HTTP.
    listeners: Vec<Registered>,
    admin: Option<BoundListener>,
    control: Option<BoundListener>,
    reloader: Arc<Reloader>,
    /// Where what is not on the path of a request runs.
    background: Handle,
}

/// The sockets by what they speak.
#[derive(Debug, Default)]
struct Listeners {
    http: Vec<BoundListener>,
    https: Vec<BoundListener>,
    admin: Option<BoundListener>,
    control: Option<BoundListener>,
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    SignIn(#[from] SignInError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot start the access log writer: {0}")]
    AccessLog(std::io::Error),
}

impl StartError {
    /// What the operator can do about it, when there is something to say beyond the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bind(error) => Some(error.hint()),
            _ => None,
        }
    }
}

/// What a gateway needs from outside: where its configuration comes from and where logs go.
pub struct Outside {
    pub source: Source,
    pub level: Option<LevelHandle>,
    /// Opened before, because it lives on a runtime of its own.
    pub identity: Option<Opened>,
    /// That runtime. What the gateway answers on its own domain runs there as well: it writes to
    /// the store, and what has begun to write goes on when the client goes away.
    pub background: Handle,
}

impl App {
    /// Builds every part and binds every socket, or says what is wrong.
    pub fn new(
        config: &Config,
        outside: Outside,
        access_out: impl std::io::Write + Send + 'static,
    ) -> Result<Self, StartError> {
        let listeners = Listeners::bind(config)?;
        let metrics = Metrics::new()?;
        let dropped = metrics.log_lines_dropped.clone();
        let access_log = AccessLog::start(config.log.access, access_out, dropped)
            .map_err(StartError::AccessLog)?;
        let tls = match listeners.https.is_empty() {
            true => None,
            false => Some(Tls::start(&config.tls, &hosts(config), &config.data_dir)?),
        };
        let identity = outside.identity.as_ref();
        let identity = identity.map(|opened| opened.identity.clone());
        let tunnels = tunnels(config, listeners.https_port(), identity.as_ref());
        let mut pools = Pools::with_tunnels(tunnels.clone());
        let clock: Arc<dyn Clock> = match &identity {
            Some(identity) => Arc::clone(identity.clock()),
            None => Arc::new(SystemClock),
        };
        let empty = Snapshot::without_routes(config, listeners.https_port());
        let sign_in = sign_in(
            config,
            empty.https_port,
            outside.identity.as_ref(),
            tunnels.as_ref(),
        )?;
        let issuing = sign_in.as_ref().and_then(|sign_in| sign_in.issuing());
        let rests = access::Rests {
            identity: identity.clone(),
            issuing: issuing.clone(),
            clock: Arc::clone(&clock),
        };
        let access = Arc::new(access::Shared::new(config, rests));
        let snapshot = Snapshot {
            router: Router::build(config, None, &mut pools, &metrics, &access)?,
            ..empty
        };
        let api = config.domain.clone().map(|domain| {
            let vouching = sign_in
                .clone()
                .map(|sign_in| sign_in as Arc<dyn api::Vouching>);
            let parts = api::Parts {
                legacy: api::Legacy::new(config.auth.legacy, &metrics.legacy_auth_hits),
                vouching,
                issuing,
                tunnels: tunnels.clone(),
                backups: outside.identity.as_ref().map(|opened| api::Backups {
                    store: opened.embedded.clone(),
                    data_dir: config.data_dir.clone(),
                }),
            };
            let state = api::State::new(domain, outside.identity.clone(), parts);
            let api = Api::new(state, outside.background.clone());
            match &sign_in {
                Some(sign_in) => api.with_sign_in(Arc::clone(sign_in)),
                None => api,
            }
        });
        let health = Health::new(
            identity
                .as_ref()
                .map(|identity| Arc::clone(identity.store())),
            config.auth.expected_migration.clone(),
            metrics.store_up.clone(),
        );
        let background = outside.background.clone();
        let gateway = Arc::new(Gateway {
            snapshot: ArcSwap::from_pointee(snapshot),
            tls,
            metrics,
            access_log,
            caps: Arc::new(Caps::default()),
            tunnels,
            identity,
            health: Arc::new(health),
            access,
            clock,
            sign_in,
            api,
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            pools: Mutex::new(pools),
        });
        let reloader = Arc::new(Reloader::new(Arc::clone(&gateway), config.clone(), outside));
        let mut registered = reloader.register(listeners.https, true);
        registered.extend(reloader.register(listeners.http, false));
        Ok(Self {
            gateway,
            listeners: registered,
            admin: listeners.admin,
            control: listeners.control,
            reloader,
            background,
        })
    }

    /// Every bound address as `(what it speaks, address)`.
    pub fn addresses(&self) -> Vec<(&'static str, ListenAddress)> {
        let named = |listener: &Registered| {
            let name = if listener.https { "https" } else { "http" };
            (name, listener.bound.local.clone())
        };
        let mut all: Vec<_> = self.listeners.iter().map(named).collect();
        all.extend(
            self.admin
                .iter()
                .map(|admin| ("admin", admin.local.clone())),
        );
        all
    }

    /// The link that makes the first account, for whoever starts a gateway that nobody can sign in
    /// to yet.
    pub async fn set_up_link(&self) -> Option<Secret> {
        self.gateway.sign_in.as_ref()?.set_up_link().await
    }

    /// A handle that reloads and stops this gateway from outside.
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// Serves until [`Gateway::stop`] is cancelled and what was begun is finished, or until the
    /// drain deadline has passed. Returns whether everything finished.
    pub async fn run(self) -> bool {
        let Self {
            gateway,
            listeners,
            admin,
            control,
            reloader,
            background: elsewhere,
        } = self;
        let background = TaskTracker::new();
        elsewhere.spawn(Arc::clone(&gateway.health).watch(gateway.stop.clone()));
        let admin_stop = CancellationToken::new();
        let admin = admin.map(|listener| (listener, admin::Door::Admin));
        let control = control.map(|listener| (listener, admin::Door::Control));
        for (listener, door) in admin.into_iter().chain(control) {
            let served = admin::serve(
                listener,
                door,
                Arc::clone(&gateway),
                Arc::clone(&reloader),
                admin_stop.clone(),
            );
            background.spawn(served);
        }
        reloader.served_by(tokio::runtime::Handle::current());
        reloader.serve(listeners);
        if let Some(tls) = &gateway.tls {
            background.spawn(Arc::clone(tls).watch(CERTIFICATE_WATCH, gateway.stop.clone()));
        }
        background.spawn(sweep_pools(Arc::clone(&gateway)));
        if let Some(sign_in) = &gateway.sign_in {
            background.spawn(Arc::clone(sign_in).sweep(gateway.stop.clone()));
        }

        gateway.stop.cancelled().await;
        gateway.connections.close();
        let deadline = gateway.snapshot.load().limits.drain_timeout;
        let drained = tokio::time::timeout(deadline, gateway.connections.wait()).await;
        if drained.is_err() {
            let left = gateway.connections.len();
            tracing::warn!(connections = left, after = ?deadline, "drain deadline passed; closing what is left");
            gateway.cut.cancel();
            gateway.connections.wait().await;
        }
        if let Some(tunnels) = &gateway.tunnels {
            tunnels.close().await;
        }
        // Until here `/health/ready` answered 503, so that load balancers saw the drain.
        admin_stop.cancel();
        background.close();
        drop(tokio::time::timeout(GOODBYE, background.wait()).await);
        drop(tokio::task::spawn_blocking(move || gateway.access_log.flush()).await);
        drained.is_ok()
    }
}

impl Snapshot {
    /// Everything but the routes.
    pub(crate) fn without_routes(config: &Config, bound_https_port: Option<u16>) -> Self {
        Self {
            router: Router::default(),
            limits: config.listen.limits.clone(),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            domain: config.domain.clone(),
            https_port: match config.listen.https.is_empty() {
                true => None,
                false => config
                    .listen
                    .redirect_port
                    .or(bound_https_port)
                    .or(Some(443)),
            },
        }
    }
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self, BindError> {
        let listen = &config.listen;
        let bind = |addresses: &[ListenAddress]| {
            addresses
                .iter()
                .map(BoundListener::bind)
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            http: bind(&listen.http)?,
            https: bind(&listen.https)?,
            admin: listen.admin.as_ref().map(BoundListener::bind).transpose()?,
            control: match config.domain {
                Some(_) => bind_control(&config.data_dir),
                None => None,
            },
        })
    }

    fn https_port(&self) -> Option<u16> {
        self.https.iter().find_map(BoundListener::port)
    }
}

fn sign_in(
    config: &Config,
    https_port: Option<u16>,
    opened: Option<&Opened>,
    tunnels: Option<&Arc<Tunnels>>,
) -> Result<Option<Arc<SignIn>>, SignInError> {
    let (Some(domain), Some(opened)) = (&config.domain, opened) else {
        return Ok(None);
    };
    let sign_in = SignIn::new(config, domain, https_port, opened)?;
    Ok(Some(Arc::new(sign_in.with_tunnels(tunnels.cloned()))))
}

/// The control socket. Without it everything works but the command line, so that is no reason
/// not to start.
fn bind_control(data_dir: &Path) -> Option<BoundListener> {
    let path = data_dir.join(CONTROL_SOCKET);
    if let Err(error) = create_data_dir(data_dir) {
        tracing::warn!(path = %data_dir.display(), %error, "no control socket: cannot create its directory");
        return None;
    }
    let bound = BoundListener::bind(&ListenAddress::Unix(path.clone()))
        .inspect_err(|error| tracing::warn!(%error, "no control socket: the command line cannot reach this gateway"))
        .ok()?;
    // Not for the group, unlike other sockets: the store is not for it either, and the directory may
    // have been there before with other rights.
    if let Err(error) = std::fs::set_permissions(&path, Permissions::from_mode(0o600)) {
        tracing::warn!(path = %path.display(), %error, "no control socket: it cannot be kept to its owner");
        return None;
    }
    Some(bound)
}

/// The data directory, for its owner only.
pub(crate) fn create_data_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The agents there may be.
fn tunnels(
    config: &Config,
    https_port: Option<u16>,
    identity: Option<&Identity>,
) -> Option<Arc<Tunnels>> {
    let port = config.listen.redirect_port.or(https_port);
    let config = config.tunnels.clone()?;
    Some(Arc::new(Tunnels::new(config, port, identity?.clone())))
}

/// The own domain and every host of every site: what the internal CA may issue for.
pub(crate) fn hosts(config: &Config) -> Vec<HostPattern> {
    let own = config.domain.clone().map(HostPattern::Exact);
    let sites = config.all_sites().flat_map(|site| site.into_owned().hosts);
    own.into_iter().chain(sites).collect()
}

async fn sweep_pools(gateway: Arc<Gateway>) {
    let mut every = tokio::time::interval(POOL_SWEEP);
    loop {
        tokio::select! {
            _ = every.tick() => {
                gateway.pools.lock().close_expired();
                if let Some(tunnels) = &gateway.tunnels {
                    tunnels.sweep();
                }
            }
            () = gateway.stop.cancelled() => return,
        }
    }
}

/// Where a configuration is read from, for reloads.
pub fn file_source(path: PathBuf) -> Source {
    Box::new(move || config::load(&path, &|name| std::env::var(name).ok()))
}
