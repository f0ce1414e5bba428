//! The agent's end of a tunnel: dials a gateway and copies bytes to a local service.
//!
//! [`Agent::run`] keeps the carriers of one tunnel up until it is told to stop or the gateway says
//! something that trying again does not change. What happens is told by [`Event`]s, for whoever
//! shows it to people.

mod backoff;
mod dial;
mod proxy;
mod server;
mod splice;

use std::{fmt, io, sync::Arc, time::Duration};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::backoff::Backoff;
pub use self::{
    dial::{Carriage, DialError, Granted},
    proxy::{Proxy, ProxyError},
    server::{BadServer, Roots, Server},
};
use super::{
    carrier::{self, Ended, Request, Timing},
    protocol::{Hello, SessionId},
};

/// How long a local service may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A carrier that lived this long ends the back-off.
const STEADY: Duration = Duration::from_secs(10);

/// The local service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// `host:port`
    pub address: String,
}

/// What an agent is to do.
#[derive(Clone)]
pub struct Settings {
    pub server: Server,
    pub proxy: Option<Proxy>,
    /// The API key, as a header's value that is marked sensitive; see [`bearer`].
    pub key: HeaderValue,
    /// The tunnel's name; `None` takes the one that the key is for.
    pub tunnel: Option<String>,
    pub service: Service,
    /// How many carriers are wanted; the gateway may give fewer.
    pub carriers: usize,
    pub timing: Timing,
}

/// What an agent has to tell.
#[derive(Debug)]
pub enum Event<'a> {
    /// The tunnel is up.
    Up(&'a Granted),
    /// A carrier is up, this many are now.
    Carriers(usize),
    /// The last carrier ended.
    Down(&'a Ended),
    /// A carrier was not given; it is asked for again after the pause.
    Retry(&'a DialError, Duration),
}

/// Takes events. Called from several tasks, must not block.
pub type Listener = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// One tunnel's agent.
pub struct Agent {
    settings: Settings,
    session: SessionId,
    listener: Listener,
    up: Mutex<usize>,
}

/// `Bearer KEY`. `None` if the text cannot be a key.
pub fn bearer(key: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Agent {
    /// An agent that does nothing yet.
    pub fn new(settings: Settings, listener: Listener) -> Arc<Self> {
        Arc::new(Self {
            settings,
            session: SessionId::random(),
            listener,
            up: Mutex::new(0),
        })
    }

    /// Keeps the tunnel up. Returns once `stop` was cancelled and open streams have ended, or with
    /// the reason why trying again is of no use.
    pub async fn run(self: &Arc<Self>, stop: CancellationToken) -> Result<(), DialError> {
        let mut carriers = tokio::task::JoinSet::new();
        let (more, mut wanted) = tokio::sync::mpsc::channel(1);
        carriers.spawn(Arc::clone(self).keep(stop.clone(), Some(more)));
        loop {
            tokio::select! {
                Some(given) = wanted.recv() => {
                    let count: usize = given;
                    for _ in 1..count.min(self.settings.carriers) {
                        carriers.spawn(Arc::clone(self).keep(stop.clone(), None));
                    }
                }
                ended = carriers.join_next() => match ended {
                    None | Some(Ok(Ok(()))) if carriers.is_empty() => return Ok(()),
                    Some(Ok(Err(error))) => return Err(error),
                    // A bug in one carrier's task leaves the others.
                    _ => {}
                },
            }
        }
    }

    /// Keeps one carrier up. The first one asks for others once it knows how many may be.
    async fn keep(
        self: Arc<Self>,
        stop: CancellationToken,
        mut more: Option<tokio::sync::mpsc::Sender<usize>>,
    ) -> Result<(), DialError> {
        let mut backoff = Backoff::default();
        let mut carriage = Carriage::default();
        let hello = Hello {
            tunnel: self.settings.tunnel.clone(),
            session: self.session,
            agent: concat!("portunus-agent/", env!("CARGO_PKG_VERSION")).into(),
        };
        loop {
            let Settings {
                server, proxy, key, ..
            } = &self.settings;
            let dialling = dial::dial(server, proxy.as_ref(), key, &hello, carriage);
            let dialled = tokio::select! {
                dialled = dialling => dialled,
                () = stop.cancelled() => return Ok(()),
            };
            let pause = match dialled {
                Ok(dialled) => {
                    let began = tokio::time::Instant::now();
                    self.count_up(&dialled.granted);
                    if let Some(more) = more.take() {
                        let _ = more.send(dialled.granted.carriers).await;
                    }
                    let Settings {
                        service, timing, ..
                    } = &self.settings;
                    let ended = serve(dialled.io, service, *timing, stop.clone()).await;
                    self.count_down(&ended);
                    if stop.is_cancelled() {
                        return Ok(());
                    }
                    if began.elapsed() > STEADY {
                        backoff.reset();
                    }
                    backoff.pause(None)
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    if matches!(error, DialError::NotSwitched { .. }) {
                        carriage = other(carriage);
                    }
                    let pause = backoff.pause(error.retry_after());
                    (self.listener)(Event::Retry(&error, pause));
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    fn count_up(&self, granted: &Granted) {
        let mut up = self.up.lock();
        *up += 1;
        if *up == 1 {
            (self.listener)(Event::Up(granted));
        }
        (self.listener)(Event::Carriers(*up));
    }

    fn count_down(&self, ended: &Ended) {
        let mut up = self.up.lock();
        *up -= 1;
        if *up == 0 {
            (self.listener)(Event::Down(ended));
        } else {
            (self.listener)(Event::Carriers(*up));
        }
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("server", &self.settings.server.to_string())
            .field("service", &self.settings.service)
            .finish_non_exhaustive()
    }
}

fn other(carriage: Carriage) -> Carriage {
    match carriage {
        Carriage::Raw => Carriage::WebSocket,
        Carriage::WebSocket => Carriage::Raw,
    }
}

/// Serves one carrier until it ends. Streams that are open then are reset.
pub async fn serve<I>(io: I, service: &Service, timing: Timing, drain: CancellationToken) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = TaskTracker::new();
    let ended = carrier::server(io, timing, drain, |request| {
        let address = service.address.clone();
        streams.spawn(carry(request, address));
    })
    .await;
    streams.close();
    streams.wait().await;
    ended
}

async fn carry(mut request: Request, address: String) {
    let connected = tokio::select! {
        connected = connect(&address) => connected,
        () = std::future::poll_fn(|cx| request.poll_reset(cx)) => return,
    };
    let local = match connected {
        Ok(local) => local,
        Err(reason) => {
            tracing::warn!(%reason, "cannot reach the local service");
            return request.refuse(&reason);
        }
    };
    let carried = match request.accept() {
        Ok(stream) => splice::splice(stream, local).await,
        Err(error) => Err(error),
    };
    if let Err(error) = carried {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(local)) => {
            // What is copied was gathered already; waiting for more only delays it.
            let _: io::Result<()> = local.set_nodelay(true);
            Ok(local)
        }
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer within {CONNECT:?}")),
    }
}
