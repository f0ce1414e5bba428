//! One shard: a thread with its sockets, its clients and their relay sockets.
//!
//! In go datagrams and bytes of streams, which are given to the [`Server`]; what it says is done
//! here. Everything of a client happens on its shard's thread, so nothing is locked.

use std::{cell::RefCell, collections::HashMap, fmt, io, net::UdpSocket, rc::Rc, sync::Arc};

use super::{
    clock::Clock,
    poll::{Poller, Source},
    stream::Outbox,
    udp::{self, Inbox, Listener, Route, Run, Runs},
};
use crate::turn::{
    AllocationView, Command, Config, Event, FiveTuple, Now, Output, RelayId, Server, Stats,
    StreamError, Transport, frame_len,
};

/// Super-packets read from one socket with one system call.
const LISTENER_BATCH: usize = quinn_udp::BATCH_SIZE;
const RELAY_BATCH: usize = 8;

/// Calls for a listener before everything is sent and the next socket has its turn: the more is
/// received, the more leaves together.
const LISTENER_ROUNDS: usize = 4;

/// Binds relay sockets.
pub type BindRelay = Arc<dyn Fn(std::net::SocketAddr) -> io::Result<UdpSocket> + Send + Sync>;

/// Hears what becomes of allocations. Called on a shard's thread; must not block.
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

pub(super) struct Shard {
    server: Server,
    exits: Exits,
    poller: Poller,
    ready: Vec<Source>,
    inbox: Inbox,
    clock: Arc<dyn Clock>,
    bind: BindRelay,
    on_event: OnEvent,
}

/// Where things leave.
struct Exits {
    listeners: Vec<Listener>,
    relays: Vec<Option<UdpSocket>>,
    streams: HashMap<FiveTuple, Rc<Outbox>, foldhash::fast::RandomState>,
    runs: Runs,
    lost: u64,
}

impl Shard {
    pub(super) fn new(
        server: Server,
        listeners: Vec<Listener>,
        clock: Arc<dyn Clock>,
        bind: BindRelay,
        on_event: OnEvent,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        for (index, listener) in listeners.iter().enumerate() {
            poller.add(&listener.socket, Source::Listener(index))?;
        }
        Ok(Self {
            server,
            exits: Exits {
                listeners,
                relays: Vec::new(),
                streams: HashMap::default(),
                runs: Runs::new(),
                lost: 0,
            },
            poller,
            ready: Vec::new(),
            inbox: Inbox::new(),
            clock,
            bind,
            on_event,
        })
    }

    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Looks at every ready socket once. True if there may be more.
    pub(super) fn turn(&mut self) -> io::Result<bool> {
        self.poller.poll(&mut self.ready)?;
        let now = self.clock.now();
        let mut more = self.poller.was_full();
        for index in 0..self.ready.len() {
            more |= match self.ready[index] {
                Source::Listener(listener) => {
                    (0..LISTENER_ROUNDS).all(|_| self.listener_readable(listener, now))
                }
                Source::Relay(relay) => self.relay_readable(relay, now),
            };
        }
        self.exits.flush();
        Ok(more)
    }

    fn listener_readable(&mut self, index: usize, now: Now) -> bool {
        let listener = &self.exits.listeners[index];
        let more = self
            .inbox
            .receive(&listener.socket, &listener.offload, LISTENER_BATCH);
        for (meta, message) in self.inbox.datagrams() {
            let server = self.exits.listeners[index].asked(meta);
            let client = FiveTuple::new(meta.addr, server, Transport::Udp);
            let output = self.server.handle_client(&client, message, now);
            self.exits.dispatch(&client, &output);
            // Never for data.
            while let Some(command) = self.server.next_command() {
                let context = Context {
                    poller: &self.poller,
                    bind: &self.bind,
                    on_event: &self.on_event,
                    now,
                };
                self.exits.perform(&mut self.server, command, &context);
            }
        }
        more
    }

    fn relay_readable(&mut self, relay: RelayId, now: Now) -> bool {
        let Some((socket, offload)) = self.exits.relay(relay) else {
            return false;
        };
        let more = self.inbox.receive(socket, offload, RELAY_BATCH);
        for (meta, payload) in self.inbox.datagrams() {
            let output = self.server.handle_peer(relay, meta.addr, payload, now);
            self.exits.forward(&output);
        }
        more
    }

    /// Handles the whole messages at the beginning of `bytes` and says how long they are.
    pub(super) fn stream_readable(
        &mut self,
        client: &FiveTuple,
        bytes: &[u8],
    ) -> Result<usize, StreamError> {
        let now = self.clock.now();
        let mut done = 0;
        while let Some(length) = frame_len(&bytes[done..])? {
            // Whoever has no allocation has no channel: this is another protocol.
            let first = bytes[done];
            if first >= 0x40 && !self.server.has_allocation(client) {
                return Err(StreamError { first });
            }
            let Some(message) = bytes.get(done..done + length) else {
                break;
            };
            let output = self.server.handle_client(client, message, now);
            self.exits.dispatch(client, &output);
            done += length;
        }
        self.perform_all(now);
        Ok(done)
    }

    pub(super) fn connect(&mut self, client: FiveTuple, outbox: Rc<Outbox>) {
        self.exits.streams.insert(client, outbox);
    }

    pub(super) fn disconnect(&mut self, client: &FiveTuple) {
        self.exits.streams.remove(client);
        self.server.client_gone(client);
        self.perform_all(self.clock.now());
    }

    pub(super) fn has_allocation(&self, client: &FiveTuple) -> bool {
        self.server.has_allocation(client)
    }

    pub(super) fn deadline(&self) -> Option<std::time::Instant> {
        self.server.poll_timeout()
    }

    pub(super) fn timeout(&mut self) {
        let now = self.clock.now();
        self.server.handle_timeout(now);
        self.perform_all(now);
    }

    pub(super) fn set_config(&mut self, config: &Config) {
        let now = self.clock.now();
        self.server.set_config(config, now);
        self.perform_all(now);
    }

    pub(super) fn kick(&mut self, which: &dyn Fn(&AllocationView<'_>) -> bool) -> usize {
        let kicked = self.server.kick(which);
        self.perform_all(self.clock.now());
        kicked
    }

    pub(super) fn for_each_allocation(&self, visit: &mut dyn FnMut(&AllocationView<'_>)) {
        self.server.allocations().for_each(|view| visit(&view));
    }

    /// The server's counters, and datagrams lost to full socket buffers and slow clients.
    pub(super) fn stats(&self) -> (Stats, u64) {
        (*self.server.stats(), self.exits.lost)
    }

    fn perform_all(&mut self, now: Now) {
        while let Some(command) = self.server.next_command() {
            let context = Context {
                poller: &self.poller,
                bind: &self.bind,
                on_event: &self.on_event,
                now,
            };
            self.exits.perform(&mut self.server, command, &context);
        }
        self.exits.flush();
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("listeners", &self.exits.listeners)
            .finish_non_exhaustive()
    }
}

/// What a command needs.
struct Context<'a> {
    poller: &'a Poller,
    bind: &'a BindRelay,
    on_event: &'a OnEvent,
    now: Now,
}

impl Exits {
    fn relay(&self, relay: RelayId) -> Option<(&UdpSocket, &quinn_udp::UdpSocketState)> {
        let socket = self.relays.get(relay.0 as usize)?.as_ref()?;
        // What it knows is of the kernel and not of a socket.
        Some((socket, &self.listeners.first()?.offload))
    }

    /// Does what the server says to a client's message.
    fn dispatch(&mut self, client: &FiveTuple, output: &Output<'_>) {
        match output {
            Output::Reply(bytes) => self.send_to_client(client, [bytes, &[]], 0),
            _ => self.forward(output),
        }
    }

    fn forward(&mut self, output: &Output<'_>) {
        match output {
            Output::Nothing | Output::Reply(_) => (),
            Output::ToClient { to, head, payload } => {
                self.send_to_client(to, [head, payload], head.padding());
            }
            Output::ToPeer {
                relay,
                to,
                dont_fragment: false,
                payload,
            } => self.enqueue(
                Route {
                    exit: Source::Relay(*relay),
                    to: *to,
                    source: None,
                },
                [payload, &[]],
                0,
            ),
            Output::ToPeer {
                relay, to, payload, ..
            } => {
                self.flush();
                let sent = self.relay(*relay).is_some_and(|(socket, _)| {
                    udp::send_unfragmented(socket, *to, payload).is_ok()
                });
                self.lost += u64::from(!sent);
            }
        }
    }

    fn send_to_client(&mut self, client: &FiveTuple, pieces: [&[u8]; 2], padding: usize) {
        if client.transport().is_stream() {
            let outbox = self.streams.get(client);
            let sent = outbox.is_some_and(|outbox| outbox.push(pieces, padding));
            self.lost += u64::from(!sent);
            return;
        }
        let server = client.server();
        let listener = self.listeners.iter().position(|it| it.answers_for(server));
        let Some(index) = listener else { return };
        let route = Route {
            exit: Source::Listener(index),
            to: client.client(),
            source: self.listeners[index].source(server),
        };
        self.enqueue(route, pieces, padding);
    }

    fn enqueue(&mut self, route: Route, pieces: [&[u8]; 2], padding: usize) {
        let Self {
            runs,
            listeners,
            relays,
            lost,
            ..
        } = self;
        runs.push(route, pieces, padding, |run| {
            *lost += send(run, listeners, relays);
        });
    }

    /// Sends what has been put together.
    fn flush(&mut self) {
        let Self {
            runs,
            listeners,
            relays,
            lost,
            ..
        } = self;
        runs.flush(|run| *lost += send(run, listeners, relays));
    }

    fn perform(&mut self, server: &mut Server, command: Command, context: &Context<'_>) {
        match command {
            Command::OpenRelay { relay, address } => match self.open(relay, address, context) {
                Ok(()) => server.relay_opened(relay, context.now),
                Err(error) => {
                    tracing::debug!(%address, %error, "no relay socket");
                    server.relay_failed(relay, context.now);
                }
            },
            Command::CloseRelay { relay } => {
                self.flush();
                if let Some(socket) = self.relays.get_mut(relay.0 as usize) {
                    *socket = None;
                }
            }
            Command::Send { to, bytes } => self.send_to_client(&to, [&bytes, &[]], 0),
            Command::Event(event) => (context.on_event)(&event),
        }
    }

    fn open(
        &mut self,
        relay: RelayId,
        address: std::net::SocketAddr,
        context: &Context<'_>,
    ) -> io::Result<()> {
        let socket = (context.bind)(address)?;
        udp::prepare_relay(&socket)?;
        context.poller.add(&socket, Source::Relay(relay))?;
        let place = relay.0 as usize;
        if self.relays.len() <= place {
            self.relays.resize_with(place + 1, || None);
        }
        self.relays[place] = Some(socket);
        Ok(())
    }
}

/// Sends a run from its socket and says how many datagrams were lost.
fn send(run: &mut Run, listeners: &[Listener], relays: &[Option<UdpSocket>]) -> u64 {
    let offload = listeners.first().map(|listener| &listener.offload);
    let exit = match run.route().map(|route| route.exit) {
        Some(Source::Listener(index)) => Some(&listeners[index].socket),
        Some(Source::Relay(relay)) => relays.get(relay.0 as usize).and_then(Option::as_ref),
        None => None,
    };
    match exit.zip(offload) {
        Some((socket, offload)) => run.send(socket, offload) as u64,
        None => run.discard() as u64,
    }
}

/// A shard that the tasks of its thread have together.
pub(super) type Local = Rc<RefCell<Shard>>;
