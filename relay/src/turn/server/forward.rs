//! Data in both directions (RFC 8656 §11, §12.5 to §12.7). What runs for every packet is here:
//! no lock, no allocation, and the payload stays where it was received.

use std::{net::SocketAddr, time::Instant};

use super::Server;
use crate::turn::{
    channel_data,
    codec::{self, Incoming, attribute},
    command::{FiveTuple, Output, RelayId, canonical},
};

/// What is to become of a client's payload.
struct Outbound {
    slot: usize,
    peer: SocketAddr,
    dont_fragment: bool,
}

impl Server {
    pub(super) fn channel_data<'a>(
        &'a mut self,
        from: &FiveTuple,
        message: &'a [u8],
        now: Instant,
    ) -> Output<'a> {
        let outbound = channel_data::parse(message).and_then(|(number, payload)| {
            let slot = *self.by_client.get(from)?;
            let peer = self.allocations[slot].channels.peer(number, now)?;
            let outbound = Outbound {
                slot,
                peer,
                dont_fragment: false,
            };
            Some((outbound, payload))
        });
        match outbound {
            Some((outbound, payload)) => self.forward(&outbound, payload, now),
            None => self.drop_unpermitted(),
        }
    }

    /// A Send indication. Wrong ones are dropped without a word (RFC 8656 §11.2).
    pub(super) fn send<'a>(
        &'a mut self,
        from: &FiveTuple,
        message: &Incoming<'a>,
        now: Instant,
    ) -> Output<'a> {
        match self.outbound(from, message, now) {
            Some((outbound, payload)) => self.forward(&outbound, payload, now),
            None => self.drop_unpermitted(),
        }
    }

    fn outbound<'a>(
        &mut self,
        from: &FiveTuple,
        message: &Incoming<'a>,
        now: Instant,
    ) -> Option<(Outbound, &'a [u8])> {
        let slot = *self.by_client.get(from)?;
        let peer = canonical(message.peers().next()?.ok()?);
        let payload = message.raw(attribute::DATA)?;
        let allocation = &self.allocations[slot];
        let permitted = message.unknown().is_empty()
            && allocation.permissions.allows(peer.ip(), now)
            && self.config.peers.allows_port(peer)
            && self
                .relays
                .claim(allocation.leg(peer.ip())?.relay, peer, slot);
        let outbound = Outbound {
            slot,
            peer,
            dont_fragment: message.raw(attribute::DONT_FRAGMENT).is_some(),
        };
        permitted.then_some((outbound, payload))
    }

    fn forward<'a>(
        &'a mut self,
        outbound: &Outbound,
        payload: &'a [u8],
        now: Instant,
    ) -> Output<'a> {
        let peer = outbound.peer;
        let allocation = &mut self.allocations[outbound.slot];
        let Some(leg) = allocation
            .leg(peer.ip())
            .filter(|_| allocation.is_live(now))
        else {
            return self.drop_unpermitted();
        };
        if !allocation.admit(payload.len(), &self.config.limits, now) {
            self.stats.rate_limited += 1;
            return Output::Nothing;
        }
        allocation.sent += payload.len() as u64;
        self.stats.sent_packets += 1;
        self.stats.sent_bytes += payload.len() as u64;
        let mut to = peer;
        if let Some(inside) = self.relays.inside(peer, self.config.ports) {
            // Another client of ours, or nobody.
            if let Some(relay) = self.relays.by_external(peer) {
                return self.deliver(relay, leg.address, payload, now);
            }
            if self.shared.shards == 1 {
                return Output::Nothing;
            }
            to = inside;
        }
        Output::ToPeer {
            relay: leg.relay,
            to,
            dont_fragment: outbound.dont_fragment,
            payload,
        }
    }

    /// What a peer has sent to a relay address, to the client it is for.
    pub(super) fn deliver<'a>(
        &'a mut self,
        relay: RelayId,
        from: SocketAddr,
        payload: &'a [u8],
        now: Instant,
    ) -> Output<'a> {
        let allocations = &self.allocations;
        let permits = |slot: usize| {
            let allocation = &allocations[slot];
            allocation.is_live(now) && allocation.permissions.allows(from.ip(), now)
        };
        let tenant = self
            .relays
            .get(relay)
            .and_then(|relay| relay.tenant(from, permits))
            .filter(|slot| permits(*slot) && self.config.peers.allows_port(from));
        let Some(slot) = tenant else {
            return self.drop_unpermitted();
        };
        let allocation = &mut self.allocations[slot];
        let head = match allocation.channels.number(from, now) {
            Some(number) => u16::try_from(payload.len()).ok().map(|length| {
                channel_data::head(number, length, allocation.client.transport().is_stream())
            }),
            None => {
                self.transaction = self.transaction.wrapping_add(1);
                codec::data_head(from, payload.len(), self.transaction)
            }
        };
        let admitted = allocation.admit(payload.len(), &self.config.limits, now);
        let (Some(head), true) = (head, admitted) else {
            self.stats.rate_limited += 1;
            return Output::Nothing;
        };
        allocation.received += payload.len() as u64;
        self.stats.received_packets += 1;
        self.stats.received_bytes += payload.len() as u64;
        Output::ToClient {
            to: &self.allocations[slot].client,
            head,
            payload,
        }
    }

    fn drop_unpermitted(&mut self) -> Output<'static> {
        self.stats.not_permitted += 1;
        Output::Nothing
    }
}
