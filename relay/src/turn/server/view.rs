//! What an operator sees: allocations and counters.

use std::{net::SocketAddr, time::Instant};

use crate::turn::{allocation::Allocation, command::FiveTuple};

use super::Server;

/// A live allocation. Shows no credential: the user is the part of the name that is stable.
#[derive(Clone, Copy, Debug)]
pub struct AllocationView<'a> {
    pub client: &'a FiveTuple,
    pub user: &'a str,
    /// The IPv4 and the IPv6 relay address.
    pub relayed: [Option<SocketAddr>; 2],
    pub expires: Instant,
    pub permissions: usize,
    pub channels: usize,
    /// Payload bytes to peers and from them.
    pub sent: u64,
    pub received: u64,
}

impl<'a> AllocationView<'a> {
    pub(super) fn of(allocation: &'a Allocation) -> Self {
        Self {
            client: &allocation.client,
            user: allocation.user.name(),
            relayed: allocation.addresses(),
            expires: allocation.expires,
            permissions: allocation.permissions.addresses().count(),
            channels: allocation.channels.iter().count(),
            sent: allocation.sent,
            received: allocation.received,
        }
    }
}

/// What a shard has counted since it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    pub allocations: u64,
    pub bindings: u64,
    /// Messages that are not STUN or not well formed.
    pub malformed: u64,
    /// Requests without valid credentials that were answered, and those that were not because
    /// their source asked too often.
    pub strangers: u64,
    pub strangers_ignored: u64,
    /// Requests refused with 403, 486 and 508, and with anything else.
    pub forbidden: u64,
    pub quota_reached: u64,
    pub no_capacity: u64,
    pub refused: u64,
    /// Relayed to peers, including to other clients of this server.
    pub sent_packets: u64,
    pub sent_bytes: u64,
    /// Relayed to clients.
    pub received_packets: u64,
    pub received_bytes: u64,
    /// Data that was not relayed: no allocation, channel or permission for it.
    pub not_permitted: u64,
    /// Data that was not relayed because it was beyond a rate.
    pub rate_limited: u64,
}

impl Stats {
    pub(super) fn refused(&mut self, code: u16) {
        match code {
            403 => self.forbidden += 1,
            486 => self.quota_reached += 1,
            508 => self.no_capacity += 1,
            _ => self.refused += 1,
        }
    }
}

impl Server {
    /// The live allocations of this shard.
    pub fn allocations(&self) -> impl Iterator<Item = AllocationView<'_>> {
        self.allocations
            .iter()
            .map(|(_, allocation)| AllocationView::of(allocation))
    }

    /// Whether a client has a live allocation, answered or not.
    pub fn has_allocation(&self, client: &FiveTuple) -> bool {
        self.by_client.contains_key(client)
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
