//! Allocate requests (RFC 8656 §7.2).
//!
//! In goes a request, out comes a refusal, or commands to open relay sockets; the answer follows
//! when they are open. A socket that cannot be bound is tried again on another port.

use std::time::Duration;

use turn_types::{
    AddressFamily,
    attribute::{
        AdditionalAddressFamily, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport,
        ReservationToken,
    },
    message::ALLOCATE,
};

use super::{
    Server,
    auth::Caller,
    reply::{Answer, Refusal, code},
    shared::Reservation,
};
use crate::turn::{
    allocation::{Allocation, Channels, Family, Leg, Opening, Permissions},
    codec::{BadValue, Incoming, attribute},
    command::{Command, EndReason, Event, FiveTuple, Now, RelayId},
    entropy::below,
    limits::Bucket,
    ports::{PortMode, Wish},
};

/// UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;
/// How long a reserved port waits for its owner (RFC 8656 §7.2).
const RESERVATION: Duration = Duration::from_secs(30);
/// Ports that are tried before the client is told that there is none.
const TRIES: u8 = 8;

/// What a valid request asks for.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// IPv4 and IPv6.
    families: [bool; 2],
    /// Both are asked for, and one is enough.
    additional: bool,
    wish: Wish,
    /// Relay address and port, of a reservation.
    reserved: Option<(usize, u16)>,
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        from: &FiveTuple,
        message: &Incoming<'_>,
        caller: &Caller<'_>,
        now: Now,
    ) -> Result<Option<Answer>, Refusal> {
        if let Some(&slot) = self.by_client.get(from) {
            let allocation = &self.allocations[slot];
            if allocation.is_live(now.instant) {
                return repeated(allocation, message, caller);
            }
            self.end(slot, EndReason::Expired);
        }
        self.refuse_if_draining(from)?;
        self.shared.expire_reservations(now.instant);
        let lifetime = self.lifetime(message, caller.expires, now)?;
        let mobile = self.wants_to_move(message)?;
        let plan = self.plan(message, caller)?;
        let limits = &self.config.limits;
        let user = self
            .shared
            .users
            .lock()
            .take(&caller.user, limits, now.instant);
        let Ok(user) = user else {
            self.give_back(&plan);
            return Err(Refusal::new(code::QUOTA_REACHED));
        };
        let expires = now.instant + Duration::from_secs(lifetime.into());
        let slot = self.allocations.insert(Allocation {
            client: *from,
            username: caller.username.into(),
            user,
            key: caller.key,
            algorithm: caller.algorithm,
            transaction: message.transaction(),
            credential_expires: caller.expires,
            legs: [None; 2],
            opening: Some(Opening {
                integrity: caller.integrity,
                wish: plan.wish,
                tries: TRIES,
            }),
            family_error: None,
            token: None,
            ticket: None,
            lifetime,
            expires,
            armed: expires,
            permissions: Permissions::default(),
            channels: Channels::default(),
            bucket: Bucket::default(),
            sent: 0,
            received: 0,
        });
        self.by_client.insert(*from, slot);
        if mobile {
            self.issue_ticket(slot);
        }
        self.arm(slot);
        self.open_legs(slot, &plan, now)
    }

    fn refuse_if_draining(&self, from: &FiveTuple) -> Result<(), Refusal> {
        if !self.config.draining {
            return Ok(());
        }
        let family = from.client().is_ipv4();
        let mut alternates = self.config.alternates.iter();
        match alternates.find(|alternate| alternate.is_ipv4() == family) {
            Some(alternate) => Err(Refusal {
                alternate: Some(*alternate),
                ..Refusal::new(code::TRY_ALTERNATE)
            }),
            None => Err(Refusal::new(code::INSUFFICIENT_CAPACITY)),
        }
    }

    /// Seconds until the allocation ends: what is asked for within the settings and, if
    /// credentials are strict, the credential.
    pub(super) fn lifetime(
        &self,
        message: &Incoming<'_>,
        credential_expires: Option<u64>,
        now: Now,
    ) -> Result<u32, Refusal> {
        let config = &self.config;
        let asked = message
            .get::<Lifetime>()?
            .map(|lifetime| lifetime.seconds());
        let lifetime = asked
            .unwrap_or(0)
            .min(config.max_lifetime)
            .max(config.default_lifetime);
        let left = credential_expires
            .filter(|_| config.credentials.strict_expiry)
            .map_or(u64::MAX, |expires| expires.saturating_sub(now.unix));
        Ok(lifetime.min(u32::try_from(left).unwrap_or(u32::MAX)))
    }

    fn plan(&mut self, message: &Incoming<'_>, caller: &Caller<'_>) -> Result<Plan, Refusal> {
        let bad = Refusal::new(code::BAD_REQUEST);
        let transport = message.get::<RequestedTransport>()?.ok_or(bad)?;
        if transport.protocol() != UDP {
            return Err(Refusal::new(code::UNSUPPORTED_TRANSPORT));
        }
        let family = family(message)?;
        // Reading it has made sure that it is IPv6.
        let additional = message.get::<AdditionalAddressFamily>()?.is_some()
            || message.raw(attribute::DRAFT_ADDITIONAL_FAMILY) == Some(&[2, 0, 0, 0]);
        let even = message.get::<EvenPort>()?;
        let token = message.get::<ReservationToken>()?;
        let reserve = even.as_ref().is_some_and(EvenPort::requested);
        let contradictory = (token.is_some() && (even.is_some() || family.is_some()))
            || (additional && (family.is_some() || token.is_some() || reserve));
        if contradictory {
            return Err(bad);
        }
        if let Some(token) = token {
            return self.redeem(token.token().to_be_bytes(), caller);
        }
        let wish = match (even.is_some(), reserve) {
            (false, _) => Wish::Any,
            (true, false) => Wish::Even,
            (true, true) => Wish::EvenAndNext,
        };
        Ok(Plan {
            families: self.families(family, additional)?,
            additional,
            wish,
            reserved: None,
        })
    }

    /// Which families there will be. Without a wish it is IPv4 (RFC 8656 §7.2), and where there is
    /// no IPv4 it is IPv6: browsers do not ask for it.
    fn families(&self, asked: Option<Family>, additional: bool) -> Result<[bool; 2], Refusal> {
        let has = |family| self.relays.of_family(family, 0).next().is_some();
        let (v4, v6) = (has(Family::V4), has(Family::V6));
        let families = match asked {
            Some(Family::V4) => [v4, false],
            Some(Family::V6) => [false, v6],
            None if additional => [v4, v6],
            None => [v4, v6 && !v4],
        };
        if families == [false; 2] {
            return Err(Refusal::new(code::FAMILY_NOT_SUPPORTED));
        }
        Ok(families)
    }

    /// The port that was reserved for this user.
    fn redeem(&self, token: [u8; 8], caller: &Caller<'_>) -> Result<Plan, Refusal> {
        let mut reservations = self.shared.reservations.lock();
        let place = reservations
            .iter()
            .position(|kept| kept.token == token && *kept.user == *caller.user)
            .ok_or(Refusal::new(code::INSUFFICIENT_CAPACITY))?;
        let kept = reservations.swap_remove(place);
        let is_v4 = self.relays.bind_address(kept.address, kept.port).is_ipv4();
        Ok(Plan {
            families: [is_v4, !is_v4],
            additional: false,
            wish: Wish::Any,
            reserved: Some((kept.address, kept.port)),
        })
    }

    fn give_back(&self, plan: &Plan) {
        if let Some((address, port)) = plan.reserved {
            self.shared.release(address, port);
        }
    }

    fn open_legs(&mut self, slot: usize, plan: &Plan, now: Now) -> Result<Option<Answer>, Refusal> {
        for family in [Family::V4, Family::V6] {
            if !plan.families[family as usize] {
                continue;
            }
            match plan.reserved {
                Some((address, port)) => self.open_port(slot, family, address, port),
                None => self.open_leg(slot, family, plan.wish, now),
            }
        }
        let allocation = &mut self.allocations[slot];
        if allocation.legs.iter().all(Option::is_none) {
            self.commands
                .push_back(Command::Event(Event::PortsExhausted));
            self.end(slot, EndReason::NoSocket);
            return Err(Refusal::new(code::INSUFFICIENT_CAPACITY));
        }
        if plan.additional {
            allocation.family_error = [Family::V4, Family::V6]
                .into_iter()
                .find(|family| allocation.legs[*family as usize].is_none())
                .map(|family| (family, missing(plan.families[family as usize])));
        }
        Ok(self.complete(slot))
    }

    /// Takes a port of the family and has it opened, if there is one.
    fn open_leg(&mut self, slot: usize, family: Family, wish: Wish, now: Now) {
        let start = below(&mut *self.entropy, 1 << 16);
        let start = usize::try_from(start).unwrap_or(0);
        let mut found = None;
        {
            let mut ports = self.shared.ports.lock();
            for address in self.relays.of_family(family, start) {
                let entropy = &mut *self.entropy;
                let port = match self.config.port_mode {
                    PortMode::Exclusive => ports[address].take(wish, entropy),
                    PortMode::Shared => {
                        ports[address].join(wish, (self.shard, self.shared.shards), entropy)
                    }
                };
                if let Some(port) = port {
                    found = Some((address, port));
                    break;
                }
            }
        }
        let Some((address, port)) = found else { return };
        if wish == Wish::EvenAndNext {
            self.reserve(slot, address, port + 1, now);
        }
        self.open_port(slot, family, address, port);
    }

    fn reserve(&mut self, slot: usize, address: usize, port: u16, now: Now) {
        let mut token = [0; 8];
        self.entropy.fill(&mut token);
        let allocation = &mut self.allocations[slot];
        allocation.token = Some(token);
        self.shared.reservations.lock().push(Reservation {
            token,
            user: allocation.user.name().into(),
            address,
            port,
            expires: now.instant + RESERVATION,
        });
    }

    fn open_port(&mut self, slot: usize, family: Family, address: usize, port: u16) {
        let shared = self.config.port_mode == PortMode::Shared;
        let joined = self.relays.join(address, port, slot).filter(|_| shared);
        let relay = joined.unwrap_or_else(|| {
            let relay = self.relays.add(address, port, slot, shared);
            let address = self.relays.bind_address(address, port);
            self.commands
                .push_back(Command::OpenRelay { relay, address });
            relay
        });
        if let Some(socket) = self.relays.get(relay) {
            self.allocations[slot].legs[family as usize] = Some(Leg {
                relay,
                address: socket.external,
                opening: !socket.open,
            });
        }
    }

    /// The socket asked for with [`Command::OpenRelay`] is bound.
    pub fn relay_opened(&mut self, relay: RelayId, now: Now) {
        let Some(socket) = self.relays.get_mut(relay) else {
            return;
        };
        socket.open = true;
        for slot in socket.tenants().to_vec() {
            for leg in self.allocations[slot].legs.iter_mut().flatten() {
                leg.opening &= leg.relay != relay;
            }
            self.settle(slot, now);
        }
    }

    /// The socket asked for with [`Command::OpenRelay`] could not be bound.
    pub fn relay_failed(&mut self, relay: RelayId, now: Now) {
        let Some(socket) = self.relays.remove(relay) else {
            return;
        };
        for &slot in socket.tenants() {
            let allocation = &mut self.allocations[slot];
            let family = usize::from(allocation.legs[0].is_none_or(|leg| leg.relay != relay));
            allocation.legs[family] = None;
            let family = if family == 0 { Family::V4 } else { Family::V6 };
            let wish = allocation.opening.as_mut().and_then(|opening| {
                opening.tries = opening.tries.checked_sub(1)?;
                (opening.wish != Wish::EvenAndNext).then_some(opening.wish)
            });
            // Before the port is given back, so that it is another one.
            if let Some(wish) = wish {
                self.open_leg(slot, family, wish, now);
            }
            self.shared.release(socket.address, socket.port);
            let allocation = &mut self.allocations[slot];
            if allocation.legs[family as usize].is_none() {
                allocation.family_error = Some((family, code::INSUFFICIENT_CAPACITY));
            }
            self.settle(slot, now);
        }
    }

    /// Answers an Allocate request whose sockets have all been reported.
    fn settle(&mut self, slot: usize, now: Now) {
        let allocation = &self.allocations[slot];
        let Some(opening) = allocation.opening else {
            return;
        };
        let (client, key, transaction) =
            (allocation.client, allocation.key, allocation.transaction);
        let signature = Some((&key, opening.integrity));
        let length = if allocation.legs.iter().all(Option::is_none) {
            self.commands
                .push_back(Command::Event(Event::PortsExhausted));
            self.end(slot, EndReason::NoSocket);
            let refusal = Refusal::new(code::INSUFFICIENT_CAPACITY);
            self.stats.refused(refusal.code);
            self.write_refusal(&client, (ALLOCATE, transaction), &refusal, signature, now)
        } else {
            let Some(answer) = self.complete(slot) else {
                return;
            };
            answer.write(ALLOCATE, transaction, signature, &mut self.scratch[..])
        };
        self.commands.push_back(Command::Send {
            to: client,
            bytes: self.scratch[..length].into(),
        });
    }

    /// The answer, if all sockets are open.
    fn complete(&mut self, slot: usize) -> Option<Answer> {
        let allocation = &mut self.allocations[slot];
        if allocation.legs.iter().flatten().any(|leg| leg.opening) {
            return None;
        }
        allocation.opening = None;
        self.stats.allocations += 1;
        let relayed = allocation.addresses().into_iter().flatten().next()?;
        self.commands.push_back(Command::Event(Event::Allocated {
            client: allocation.client,
            user: allocation.user.name().into(),
            relayed,
        }));
        Some(answer(allocation))
    }

    /// Takes an allocation out of a relay, and closes it behind the last one.
    pub(super) fn leave(&mut self, slot: usize, relay: RelayId) {
        let Some((address, port)) = self.relays.get(relay).map(|it| (it.address, it.port)) else {
            return;
        };
        self.shared.release(address, port);
        if self.relays.leave(relay, slot).is_some() {
            self.commands.push_back(Command::CloseRelay { relay });
        }
    }
}

/// An Allocate request for a client that has an allocation: the same answer again if it is the
/// same request (RFC 8656 §7.2), none yet if that one still waits.
fn repeated(
    allocation: &Allocation,
    message: &Incoming<'_>,
    caller: &Caller<'_>,
) -> Result<Option<Answer>, Refusal> {
    if allocation.transaction != message.transaction() || *allocation.username != *caller.username {
        return Err(Refusal::new(code::ALLOCATION_MISMATCH));
    }
    Ok(allocation.opening.is_none().then(|| answer(allocation)))
}

fn answer(allocation: &Allocation) -> Answer {
    Answer {
        relayed: allocation.addresses(),
        family_error: allocation.family_error,
        lifetime: Some(allocation.lifetime),
        token: allocation.token,
        mapped: Some(allocation.client.client()),
        ticket: allocation.ticket,
    }
}

/// Why there is no address of a family, which the server has or has not.
fn missing(supported: bool) -> u16 {
    if supported {
        code::INSUFFICIENT_CAPACITY
    } else {
        code::FAMILY_NOT_SUPPORTED
    }
}

/// REQUESTED-ADDRESS-FAMILY. One that is neither IPv4 nor IPv6 is 440 (RFC 8656 §7.2).
pub(super) fn family(message: &Incoming<'_>) -> Result<Option<Family>, Refusal> {
    match message.get::<RequestedAddressFamily>() {
        Ok(attribute) => Ok(attribute.map(|attribute| match attribute.family() {
            AddressFamily::IPV4 => Family::V4,
            AddressFamily::IPV6 => Family::V6,
        })),
        Err(BadValue) => Err(Refusal::new(code::FAMILY_NOT_SUPPORTED)),
    }
}
