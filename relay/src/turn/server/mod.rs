//! The server: tables of allocations and relay sockets, and the way of a datagram through them.
//!
//! [`handle_client`](Server::handle_client) is the table of contents. Requests go through
//! [`auth`], one of [`allocate`] and [`manage`], and [`reply`]; data takes the short way through
//! [`forward`]. [`relays`] is the table of sockets.

mod allocate;
mod auth;
mod forward;
mod invariants;
mod manage;
mod mobility;
mod relays;
mod reply;
mod shared;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use slab::Slab;
use stun_types::message::{BINDING, MessageClass};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};

use self::{
    auth::Caller,
    relays::Relays,
    reply::{Answer, Refusal, code},
};
pub use self::{
    shared::Shared,
    view::{AllocationView, Stats},
};
use super::{
    allocation::{Allocation, Ticket},
    codec::{Incoming, Reply},
    command::{Command, EndReason, Event, FiveTuple, Now, Output, RelayId, canonical},
    config::Config,
    entropy::Entropy,
    limits::Strangers,
};

/// Long enough for every answer: a REALM of 763 bytes is the longest attribute.
const SCRATCH: usize = 1280;

/// One shard of a STUN and TURN server.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    shared: Arc<Shared>,
    shard: usize,
    allocations: Slab<Allocation>,
    by_client: HashMap<FiveTuple, usize, foldhash::fast::RandomState>,
    by_ticket: HashMap<Ticket, usize, foldhash::fast::RandomState>,
    relays: Relays,
    deadlines: BTreeSet<(Instant, usize)>,
    commands: VecDeque<Command>,
    strangers: Strangers,
    entropy: Box<dyn Entropy>,
    /// Of the next Data indication.
    transaction: u64,
    stats: Stats,
    scratch: Box<[u8; SCRATCH]>,
}

impl Server {
    /// Shard number `shard` of those `shared` was made for.
    pub fn new(
        config: &Config,
        shared: Arc<Shared>,
        shard: usize,
        mut entropy: Box<dyn Entropy>,
        now: Now,
    ) -> Self {
        let mut transaction = [0; 8];
        entropy.fill(&mut transaction);
        Self {
            relays: Relays::new(&config.relays),
            config: Arc::new(with_relays(config)),
            shared,
            shard,
            allocations: Slab::new(),
            by_client: HashMap::default(),
            by_ticket: HashMap::default(),
            deadlines: BTreeSet::new(),
            commands: VecDeque::new(),
            strangers: Strangers::new(now.instant),
            entropy,
            transaction: u64::from_be_bytes(transaction),
            stats: Stats::default(),
            scratch: Box::new([0; SCRATCH]),
        }
    }

    /// A datagram, or one message of a stream as [`frame_len`](crate::turn::frame_len) tells it.
    /// The caller sends what comes out and then does the [commands](Self::next_command).
    pub fn handle_client<'a>(
        &'a mut self,
        from: &FiveTuple,
        message: &'a [u8],
        now: Now,
    ) -> Output<'a> {
        match message.first() {
            Some(0x40..=0x7f) => self.channel_data(from, message, now.instant),
            Some(0x00..=0x3f) => self.stun(from, message, now),
            _ => Output::Nothing,
        }
    }

    /// A datagram that arrived at a relay socket.
    pub fn handle_peer<'a>(
        &'a mut self,
        relay: RelayId,
        from: SocketAddr,
        payload: &'a [u8],
        now: Now,
    ) -> Output<'a> {
        let from = self.relays.outside(canonical(from), self.config.ports);
        self.deliver(relay, from, payload, now.instant)
    }

    /// The next thing to do. Ask until there is none.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Ends what has expired.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(&(deadline, slot)) = self.deadlines.first() {
            if now.instant < deadline {
                return;
            }
            let Some(allocation) = self.allocations.get_mut(slot) else {
                self.deadlines.pop_first();
                continue;
            };
            if !allocation.is_live(now.instant) {
                self.end(slot, EndReason::Expired);
                continue;
            }
            if allocation.sweep(now.instant) {
                self.release_claims(slot, now.instant);
            }
            self.arm(slot);
        }
    }

    /// A client's connection closed: its allocation ends, unless it may move.
    pub fn client_gone(&mut self, client: &FiveTuple) {
        if let Some(&slot) = self.by_client.get(client)
            && self.allocations[slot].ticket.is_none()
        {
            self.end(slot, EndReason::Disconnected);
        }
    }

    /// Ends allocations by hand. Says how many.
    pub fn kick(&mut self, which: impl Fn(&AllocationView<'_>) -> bool) -> usize {
        let slots: Vec<_> = self
            .allocations
            .iter()
            .filter(|(_, allocation)| which(&AllocationView::of(allocation)))
            .map(|(slot, _)| slot)
            .collect();
        for slot in &slots {
            self.end(*slot, EndReason::Kicked);
        }
        slots.len()
    }

    /// New settings. Allocations live on, with the keys they were made with; permissions and
    /// channels that would no longer be given end. Relay addresses, ports and the port mode stay
    /// as they were.
    pub fn set_config(&mut self, config: &Config, now: Now) {
        let mut config = config.clone();
        config.relays.clone_from(&self.config.relays);
        config.ports = self.config.ports;
        config.port_mode = self.config.port_mode;
        self.config = Arc::new(with_relays(&config));
        let peers = &self.config.peers;
        for (_, allocation) in &mut self.allocations {
            allocation.permissions.retain(|ip| peers.allows(ip));
            allocation
                .channels
                .retain(|channel| peers.allows_peer(channel.peer));
        }
        let slots: Vec<_> = self.allocations.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.release_claims(slot, now.instant);
            self.arm(slot);
        }
    }

    fn stun<'a>(&'a mut self, from: &FiveTuple, message: &'a [u8], now: Now) -> Output<'a> {
        let Some(message) = Incoming::parse(message) else {
            self.stats.malformed += 1;
            return Output::Nothing;
        };
        match (message.class(), message.method()) {
            (MessageClass::Request, BINDING) => self.binding(from, &message, now),
            (MessageClass::Indication, SEND) => self.send(from, &message, now.instant),
            (MessageClass::Request, ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND) => {
                self.request(from, &message, now)
            }
            _ => Output::Nothing,
        }
    }

    fn binding(&mut self, from: &FiveTuple, message: &Incoming<'_>, now: Now) -> Output<'_> {
        self.stats.bindings += 1;
        let unknown = message.unknown();
        if !unknown.is_empty() {
            return self.refuse_stranger(from, message, &Refusal::unknown(unknown), now);
        }
        let scratch = &mut self.scratch[..];
        let mut reply = Reply::success(BINDING, message.transaction(), scratch);
        reply.add(&stun_types::attribute::XorMappedAddress::new(
            from.client(),
            message.transaction(),
        ));
        // Only for who sends one: 32 bytes are what forged requests are answered with.
        let length = reply.finish(None, message.has_fingerprint());
        Output::Reply(&self.scratch[..length])
    }

    fn request(&mut self, from: &FiveTuple, message: &Incoming<'_>, now: Now) -> Output<'_> {
        let caller = match self.authenticate(from, message, now) {
            Ok(caller) => caller,
            Err(refusal) => return self.refuse_stranger(from, message, &refusal, now),
        };
        let unknown = message.unknown();
        let outcome = if unknown.is_empty() {
            self.perform(from, message, &caller, now)
        } else {
            Err(Refusal::unknown(unknown))
        };
        let signature = Some((&caller.key, caller.integrity));
        let (method, transaction) = (message.method(), message.transaction());
        let length = match outcome {
            Ok(Some(answer)) => answer.write(method, transaction, signature, &mut self.scratch[..]),
            Ok(None) => return Output::Nothing,
            Err(refusal) => {
                self.stats.refused(refusal.code);
                self.write_refusal(from, (method, transaction), &refusal, signature, now)
            }
        };
        Output::Reply(&self.scratch[..length])
    }

    /// What the method says. None if the answer has to wait.
    fn perform(
        &mut self,
        from: &FiveTuple,
        message: &Incoming<'_>,
        caller: &Caller<'_>,
        now: Now,
    ) -> Result<Option<Answer>, Refusal> {
        if message.method() == ALLOCATE {
            return self.allocate(from, message, caller, now);
        }
        let slot = self.own_allocation(from, message, caller, now)?;
        match message.method() {
            REFRESH => self.refresh(slot, message, now),
            CREATE_PERMISSION => self.create_permission(slot, message, now),
            CHANNEL_BIND => self.channel_bind(slot, message, now),
            _ => Err(Refusal::new(code::BAD_REQUEST)),
        }
        .map(Some)
    }

    /// The allocation of this client, which must be the caller's (RFC 8656 §5).
    fn own_allocation(
        &mut self,
        from: &FiveTuple,
        message: &Incoming<'_>,
        caller: &Caller<'_>,
        now: Now,
    ) -> Result<usize, Refusal> {
        let slot = self.by_client.get(from).copied().filter(|slot| {
            let allocation = &self.allocations[*slot];
            allocation.is_live(now.instant) && allocation.opening.is_none()
        });
        let Some(slot) = slot else {
            return self.arrive(from, message, caller, now);
        };
        if *self.allocations[slot].username != *caller.username {
            return Err(Refusal::new(code::WRONG_CREDENTIALS));
        }
        Ok(slot)
    }

    /// Sees to it that the allocation is looked at when something of it ends.
    fn arm(&mut self, slot: usize) {
        let allocation = &mut self.allocations[slot];
        self.deadlines.remove(&(allocation.armed, slot));
        allocation.armed = allocation.next_deadline();
        self.deadlines.insert((allocation.armed, slot));
    }

    /// Removes an allocation and everything it has.
    fn end(&mut self, slot: usize, reason: EndReason) {
        let allocation = self.allocations.remove(slot);
        self.deadlines.remove(&(allocation.armed, slot));
        self.by_client.remove(&allocation.client);
        if let Some(ticket) = allocation.ticket {
            self.by_ticket.remove(&ticket);
        }
        for leg in allocation.legs.into_iter().flatten() {
            self.leave(slot, leg.relay);
        }
        self.shared.users.lock().release(&allocation.user);
        if allocation.opening.is_none() {
            self.commands.push_back(Command::Event(Event::Ended {
                client: allocation.client,
                user: allocation.user.name().into(),
                reason,
                sent: allocation.sent,
                received: allocation.received,
            }));
        }
    }
}

/// The peer policy has to know the relay addresses.
fn with_relays(config: &Config) -> Config {
    let mut config = config.clone();
    let addresses = config.relays.iter();
    let addresses = addresses
        .flat_map(|relay| [relay.external, relay.bind])
        .collect();
    config.peers = config.peers.with_relays(addresses, config.ports);
    config
}
