//! Refresh, CreatePermission and ChannelBind requests (RFC 8656 §8, §10, §12).

use std::time::Duration;

use turn_types::attribute::{ChannelNumber, Lifetime};

use super::{
    Server,
    allocate::family,
    reply::{Answer, Refusal, code},
};
use crate::turn::{
    allocation::BindError,
    channel_data,
    codec::{Incoming, attribute},
    command::{EndReason, Now},
    credential,
};

/// Peers a CreatePermission request may name.
const PEERS: usize = 32;

impl Server {
    pub(super) fn refresh(
        &mut self,
        slot: usize,
        message: &Incoming<'_>,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let allocation = &self.allocations[slot];
        let family = family(message)?;
        if family.is_some_and(|family| allocation.legs[family as usize].is_none()) {
            return Err(Refusal::new(code::PEER_FAMILY_MISMATCH));
        }
        // Also to a request that is sent again: the answer before may have been lost.
        let ticket = message
            .raw(attribute::MOBILITY_TICKET)
            .and(allocation.ticket);
        let answer = |seconds| Answer {
            lifetime: Some(seconds),
            ticket: ticket.filter(|_| seconds > 0),
            ..Answer::default()
        };
        let asked = message
            .get::<Lifetime>()?
            .map(|lifetime| lifetime.seconds());
        if asked == Some(0) {
            let other = family.filter(|family| allocation.legs[1 - *family as usize].is_some());
            match other.and_then(|family| self.allocations[slot].legs[family as usize].take()) {
                Some(leg) => self.leave(slot, leg.relay),
                None => self.end(slot, EndReason::Deleted),
            }
            return Ok(answer(0));
        }
        let ended = allocation
            .credential_expires
            .is_some_and(|expires| !credential::is_current(expires, now.unix));
        if ended && self.config.credentials.strict_expiry {
            return Err(Refusal::new(code::UNAUTHENTICATED));
        }
        let lifetime = self.lifetime(message, allocation.credential_expires, now)?;
        let allocation = &mut self.allocations[slot];
        allocation.lifetime = lifetime;
        allocation.expires = now.instant + Duration::from_secs(lifetime.into());
        self.arm(slot);
        Ok(answer(lifetime))
    }

    /// All of the addresses are permitted or none.
    pub(super) fn create_permission(
        &mut self,
        slot: usize,
        message: &Incoming<'_>,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let mut peers = Vec::new();
        for peer in message.peers() {
            let ip = peer?.ip();
            if !self.allocations[slot].has_family(ip) {
                return Err(Refusal::new(code::PEER_FAMILY_MISMATCH));
            }
            if !self.config.peers.allows(ip) {
                return Err(Refusal::new(code::FORBIDDEN));
            }
            if peers.len() == PEERS {
                return Err(Refusal::new(code::INSUFFICIENT_CAPACITY));
            }
            peers.push(ip);
        }
        if peers.is_empty() {
            return Err(Refusal::new(code::BAD_REQUEST));
        }
        peers.sort_unstable();
        peers.dedup();
        let limits = self.config.limits;
        let allocation = &mut self.allocations[slot];
        let permissions = &mut allocation.permissions;
        let new = peers
            .iter()
            .filter(|ip| !permissions.allows(**ip, now.instant))
            .count();
        if new > permissions.room(limits.permissions.into(), now.instant) {
            return Err(Refusal::new(code::INSUFFICIENT_CAPACITY));
        }
        for ip in peers {
            let permitted = allocation.permit(ip, &limits, now.instant);
            debug_assert!(permitted.is_ok());
        }
        self.arm(slot);
        Ok(Answer::default())
    }

    pub(super) fn channel_bind(
        &mut self,
        slot: usize,
        message: &Incoming<'_>,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let bad = Refusal::new(code::BAD_REQUEST);
        let number = message.get::<ChannelNumber>()?.ok_or(bad)?.channel();
        let peer = message.peers().next().ok_or(bad)??;
        if !channel_data::NUMBERS.contains(&number) {
            return Err(bad);
        }
        let allocation = &self.allocations[slot];
        if !allocation.has_family(peer.ip()) {
            return Err(Refusal::new(code::PEER_FAMILY_MISMATCH));
        }
        if !self.config.peers.allows_peer(peer) {
            return Err(Refusal::new(code::FORBIDDEN));
        }
        let relay = allocation.leg(peer.ip()).ok_or(bad)?.relay;
        if allocation.channels.conflicts(number, peer, now.instant) {
            return Err(bad);
        }
        if !self.relays.claim(relay, peer, slot) {
            return Err(Refusal::new(code::INSUFFICIENT_CAPACITY));
        }
        let limits = self.config.limits;
        let bound = self.allocations[slot].bind(number, peer, &limits, now.instant);
        self.arm(slot);
        match bound {
            Ok(()) => Ok(Answer::default()),
            Err(BindError::Taken) => Err(bad),
            Err(BindError::Full) => Err(Refusal::new(code::INSUFFICIENT_CAPACITY)),
        }
    }

    /// Gives up peers of a shared port that are no longer permitted.
    pub(super) fn release_claims(&mut self, slot: usize, now: std::time::Instant) {
        let allocation = &self.allocations[slot];
        for leg in allocation.legs.iter().flatten() {
            self.relays.retain_claims(leg.relay, slot, |ip| {
                allocation.permissions.allows(ip, now)
                    || allocation
                        .channels
                        .iter()
                        .any(|channel| channel.peer.ip() == ip)
            });
        }
    }
}
