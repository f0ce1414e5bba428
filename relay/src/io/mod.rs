//! The TURN server on sockets: one thread for each shard, each with its own listening sockets.
//!
//! In go bound sockets and connections, settings, and a way to bind relay sockets. What comes out
//! is a running server that is asked and told things through a [`Relay`]. With `SO_REUSEPORT` the
//! kernel gives a client to one of the shards, and everything of that client stays there.
//!
//! UDP goes through `quinn-udp`: batches and joined datagrams in, segmented super-packets out,
//! without `unsafe` of our own.

mod clock;
mod poll;
mod shard;
mod stream;
mod udp;

use std::{
    cell::RefCell,
    fmt, io,
    net::{TcpListener, UdpSocket},
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, oneshot},
    task::LocalSet,
    time::{Instant, sleep_until},
};

pub use self::{
    clock::{Clock, SystemClock},
    shard::{BindRelay, OnEvent},
    stream::Stream,
};
use self::{
    shard::{Local, Shard},
    udp::Listener,
};
use crate::turn::{
    AllocationView, Config, FiveTuple, Server, Shared, Stats, SystemEntropy, Transport,
};

/// What one shard listens on. IPv6 sockets are for IPv6 only (`IPV6_V6ONLY`).
#[derive(Debug, Default)]
pub struct ShardSockets {
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
}

/// Everything a server needs from outside.
pub struct Parts {
    pub config: Config,
    /// One for each shard, at least one, each with a UDP socket.
    pub shards: Vec<ShardSockets>,
    pub bind: BindRelay,
    pub clock: Arc<dyn Clock>,
    pub on_event: OnEvent,
}

/// A running server. It ends when this is dropped.
pub struct Relay {
    shards: Vec<mpsc::UnboundedSender<Request>>,
    threads: Vec<JoinHandle<()>>,
}

type Which = Arc<dyn Fn(&AllocationView<'_>) -> bool + Send + Sync>;
type Visit<T> = Arc<dyn Fn(&AllocationView<'_>) -> T + Send + Sync>;

/// What a shard is asked from outside its thread.
enum Request {
    Stream(Box<dyn Stream>, FiveTuple),
    SetConfig(Box<Config>),
    Kick(Which, oneshot::Sender<usize>),
    Stats(oneshot::Sender<(Stats, u64)>),
    Visit(Box<dyn FnOnce(&Shard) + Send>),
}

impl Relay {
    /// Starts a thread for each shard. Fails if a socket cannot be used.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let shared = Shared::new(&parts.config, parts.shards.len(), &mut SystemEntropy);
        let mut relay = Self {
            shards: Vec::new(),
            threads: Vec::new(),
        };
        for (number, sockets) in parts.shards.into_iter().enumerate() {
            let now = parts.clock.now();
            let shared = Arc::clone(&shared);
            let server = Server::new(&parts.config, shared, number, Box::new(SystemEntropy), now);
            let listeners = sockets.udp.into_iter().map(Listener::new);
            let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
            if listeners.is_empty() {
                return Err(io::Error::other("a relay shard needs a UDP socket"));
            }
            let (clock, bind) = (Arc::clone(&parts.clock), Arc::clone(&parts.bind));
            let on_event = Arc::clone(&parts.on_event);
            let make = move || Shard::new(server, listeners, clock, bind, on_event);
            let (requests, receiver) = mpsc::unbounded_channel();
            let (started, outcome) = std::sync::mpsc::channel();
            let run = move || run_thread(make, sockets.tcp, receiver, &started);
            let thread = thread::Builder::new().name(format!("relay-{number}"));
            relay.threads.push(thread.spawn(run)?);
            relay.shards.push(requests);
            let gone = |_| io::Error::other("a relay shard ended as it began");
            outcome.recv().map_err(gone)??;
        }
        Ok(relay)
    }

    /// Serves a client on a connection that is open already, such as one that TLS has been taken
    /// off. Returns at once.
    pub fn serve(&self, stream: impl Stream + 'static, client: FiveTuple) {
        let shards = self.shards.len().max(1);
        let shard = self
            .shards
            .get(usize::from(client.client().port()) % shards);
        self.send(shard, Request::Stream(Box::new(stream), client));
    }

    /// New settings for all shards. See [`Server::set_config`].
    pub fn set_config(&self, config: &Config) {
        for shard in &self.shards {
            self.send(Some(shard), Request::SetConfig(Box::new(config.clone())));
        }
    }

    /// Ends allocations by hand. Says how many.
    pub async fn kick(
        &self,
        which: impl Fn(&AllocationView<'_>) -> bool + Send + Sync + 'static,
    ) -> usize {
        let which: Which = Arc::new(which);
        let mut kicked = 0;
        for shard in &self.shards {
            let (sender, receiver) = oneshot::channel();
            self.send(Some(shard), Request::Kick(Arc::clone(&which), sender));
            kicked += receiver.await.unwrap_or(0);
        }
        kicked
    }

    /// The counters of each shard, and the datagrams it has lost to full socket buffers and to
    /// clients that do not read.
    pub async fn stats(&self) -> Vec<(Stats, u64)> {
        let mut stats = Vec::new();
        for shard in &self.shards {
            let (sender, receiver) = oneshot::channel();
            self.send(Some(shard), Request::Stats(sender));
            stats.extend(receiver.await);
        }
        stats
    }

    /// Something of each live allocation.
    pub async fn allocations<T: Send + 'static>(
        &self,
        visit: impl Fn(&AllocationView<'_>) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let visit: Visit<T> = Arc::new(visit);
        let mut all = Vec::new();
        for shard in &self.shards {
            let (sender, receiver) = oneshot::channel();
            let visit = Arc::clone(&visit);
            let request = Request::Visit(Box::new(move |shard: &Shard| {
                let mut found = Vec::new();
                shard.for_each_allocation(&mut |view| found.push(visit(view)));
                let _ = sender.send(found);
            }));
            self.send(Some(shard), request);
            all.extend(receiver.await.into_iter().flatten());
        }
        all
    }

    fn send(&self, shard: Option<&mpsc::UnboundedSender<Request>>, request: Request) {
        // A shard ends only with its relay.
        if shard.is_none_or(|shard| shard.send(request).is_err()) {
            tracing::error!("a relay shard is gone");
        }
    }
}

impl Drop for Relay {
    /// Waits for the threads: their sockets are closed afterwards.
    fn drop(&mut self) {
        self.shards.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relay({} shards)", self.shards.len())
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

type Started = std::sync::mpsc::Sender<io::Result<()>>;

/// The life of a shard's thread.
fn run_thread(
    make: impl FnOnce() -> io::Result<Shard>,
    tcp: Vec<TcpListener>,
    requests: mpsc::UnboundedReceiver<Request>,
    started: &Started,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let started = |outcome| {
        let _ = started.send(outcome);
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return started(Err(error)),
    };
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let begun = make().and_then(|shard| {
            let readable = shard.poller().readable()?;
            let shard = Rc::new(RefCell::new(shard));
            for listener in tcp {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::task::spawn_local(accept(listener, Rc::clone(&shard)));
            }
            Ok((readable, shard))
        });
        match begun {
            Ok((readable, shard)) => {
                started(Ok(()));
                run(shard, readable, requests).await;
            }
            Err(error) => started(Err(error)),
        }
    });
}

/// Until nobody can ask anything any more.
async fn run(
    shard: Local,
    readable: AsyncFd<poll::Handle>,
    mut requests: mpsc::UnboundedReceiver<Request>,
) {
    // Set again only when the deadline changes, which is not with every packet.
    let mut armed = None;
    let timer = sleep_until(Instant::now());
    tokio::pin!(timer);
    loop {
        let deadline = shard.borrow().deadline();
        if deadline != armed {
            armed = deadline;
            if let Some(deadline) = deadline {
                timer.as_mut().reset(deadline.into());
            }
        }
        tokio::select! {
            ready = readable.readable() => {
                let more = shard.borrow_mut().turn();
                match (ready, more) {
                    (Ok(mut ready), Ok(false)) => ready.clear_ready(),
                    (Ok(_), Ok(true)) => tokio::task::yield_now().await,
                    (Err(error), _) | (_, Err(error)) => {
                        tracing::error!(%error, "a relay shard cannot wait for its sockets");
                        return;
                    }
                }
            }
            request = requests.recv() => match request {
                Some(request) => perform(&shard, request),
                None => return,
            },
            () = &mut timer, if armed.is_some() => {
                shard.borrow_mut().timeout();
                armed = None;
            }
        }
    }
}

fn perform(shard: &Local, request: Request) {
    match request {
        Request::Stream(stream, client) => {
            tokio::task::spawn_local(stream::serve(stream, client, Rc::clone(shard)));
        }
        Request::SetConfig(config) => shard.borrow_mut().set_config(&config),
        Request::Kick(which, done) => {
            let _ = done.send(shard.borrow_mut().kick(&*which));
        }
        Request::Stats(done) => {
            let _ = done.send(shard.borrow().stats());
        }
        Request::Visit(visit) => visit(&shard.borrow()),
    }
}

/// Accepts clients on TCP.
async fn accept(listener: tokio::net::TcpListener, shard: Local) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let _ = stream.set_nodelay(true);
                let Ok(server) = stream.local_addr() else {
                    continue;
                };
                let client = FiveTuple::new(client, server, Transport::Tcp);
                tokio::task::spawn_local(stream::serve(stream, client, Rc::clone(&shard)));
            }
            Err(error) => {
                // Out of descriptors; they come back when clients go.
                tracing::warn!(%error, "no TCP client could be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
