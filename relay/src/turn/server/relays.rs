//! The relay sockets, and whose datagram one of them has received.
//!
//! In goes a relay and the peer a datagram came from, out comes the allocation it is for. A relay
//! has one tenant, or in shared mode several, which are told apart by the peer: one peer endpoint
//! is claimed by at most one of them.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use slab::Slab;

use crate::turn::{allocation::Family, command::RelayId, config::RelayAddress, ports::PortRange};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Peer endpoints one allocation may claim of a shared port.
const CLAIMS: usize = 256;

#[derive(Debug)]
pub(super) struct Relays {
    addresses: Vec<RelayAddress>,
    sockets: Slab<Relay>,
    by_external: Map<SocketAddr, RelayId>,
}

#[derive(Debug)]
pub(super) struct Relay {
    /// Which of the relay addresses.
    pub(super) address: usize,
    pub(super) port: u16,
    pub(super) external: SocketAddr,
    pub(super) open: bool,
    tenants: Tenants,
}

#[derive(Debug)]
enum Tenants {
    One(usize),
    Many {
        members: Vec<usize>,
        claims: Map<SocketAddr, usize>,
    },
}

impl Relays {
    pub(super) fn new(addresses: &[RelayAddress]) -> Self {
        Self {
            addresses: addresses.to_vec(),
            sockets: Slab::new(),
            by_external: Map::default(),
        }
    }

    /// The relay addresses of a family, by index, beginning with the `start`-th.
    pub(super) fn of_family(&self, family: Family, start: usize) -> impl Iterator<Item = usize> {
        let of_family = move |index: &usize| Family::of(self.addresses[*index].external) == family;
        let count = self.addresses.len();
        (0..count)
            .map(move |index| (index + start) % count)
            .filter(of_family)
    }

    /// What is to be bound for a port of an address.
    pub(super) fn bind_address(&self, address: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses[address].bind, port)
    }

    fn external_address(&self, address: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses[address].external, port)
    }

    /// A new relay, not open yet.
    pub(super) fn add(
        &mut self,
        address: usize,
        port: u16,
        tenant: usize,
        shared: bool,
    ) -> RelayId {
        let external = self.external_address(address, port);
        let tenants = if shared {
            Tenants::Many {
                members: vec![tenant],
                claims: Map::default(),
            }
        } else {
            Tenants::One(tenant)
        };
        let key = self.sockets.insert(Relay {
            address,
            port,
            external,
            open: false,
            tenants,
        });
        let relay = RelayId(u32::try_from(key).unwrap_or(u32::MAX));
        self.by_external.insert(external, relay);
        relay
    }

    /// One more tenant of a shared port, if it is there already.
    pub(super) fn join(&mut self, address: usize, port: u16, tenant: usize) -> Option<RelayId> {
        let external = self.external_address(address, port);
        let relay = *self.by_external.get(&external)?;
        if let Tenants::Many { members, .. } = &mut self.sockets[index(relay)].tenants {
            members.push(tenant);
        }
        Some(relay)
    }

    pub(super) fn get(&self, relay: RelayId) -> Option<&Relay> {
        self.sockets.get(index(relay))
    }

    pub(super) fn get_mut(&mut self, relay: RelayId) -> Option<&mut Relay> {
        self.sockets.get_mut(index(relay))
    }

    /// Takes a tenant out, and the relay away with the last one. Returns the relay that is gone.
    pub(super) fn leave(&mut self, relay: RelayId, tenant: usize) -> Option<Relay> {
        let socket = self.sockets.get_mut(index(relay))?;
        if let Tenants::Many { members, claims } = &mut socket.tenants {
            members.retain(|member| *member != tenant);
            claims.retain(|_, member| *member != tenant);
            if !members.is_empty() {
                return None;
            }
        }
        self.remove(relay)
    }

    pub(super) fn remove(&mut self, relay: RelayId) -> Option<Relay> {
        let socket = self.sockets.try_remove(index(relay))?;
        self.by_external.remove(&socket.external);
        Some(socket)
    }

    /// Takes a peer's endpoint for a tenant. False if another one has it, or this one has too many.
    pub(super) fn claim(&mut self, relay: RelayId, peer: SocketAddr, tenant: usize) -> bool {
        let Some(socket) = self.sockets.get_mut(index(relay)) else {
            return false;
        };
        let Tenants::Many { claims, .. } = &mut socket.tenants else {
            return true;
        };
        if let Some(owner) = claims.get(&peer) {
            return *owner == tenant;
        }
        if claims.values().filter(|owner| **owner == tenant).count() >= CLAIMS {
            return false;
        }
        claims.insert(peer, tenant);
        true
    }

    /// Gives up a tenant's claims that `keep` does not hold for.
    pub(super) fn retain_claims(
        &mut self,
        relay: RelayId,
        tenant: usize,
        keep: impl Fn(IpAddr) -> bool,
    ) {
        let socket = self.sockets.get_mut(index(relay));
        if let Some(Tenants::Many { claims, .. }) = socket.map(|socket| &mut socket.tenants) {
            claims.retain(|peer, owner| *owner != tenant || keep(peer.ip()));
        }
    }

    /// The relay that peers know by this address.
    pub(super) fn by_external(&self, address: SocketAddr) -> Option<RelayId> {
        self.by_external.get(&address).copied()
    }

    /// Where a datagram for one of our relay addresses has to be sent, if `peer` is one: behind a
    /// 1:1 NAT the address that peers see may not be reachable from inside.
    pub(super) fn inside(&self, peer: SocketAddr, ports: PortRange) -> Option<SocketAddr> {
        let address = self
            .addresses
            .iter()
            .find(|address| address.external == peer.ip())?;
        ports
            .contains(peer.port())
            .then(|| SocketAddr::new(address.bind, peer.port()))
    }

    /// The address that clients know a sender by: the external one of our own relay sockets.
    pub(super) fn outside(&self, from: SocketAddr, ports: PortRange) -> SocketAddr {
        let address = self
            .addresses
            .iter()
            .find(|address| address.bind == from.ip());
        match address {
            Some(address) if ports.contains(from.port()) => {
                SocketAddr::new(address.external, from.port())
            }
            _ => from,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RelayId, &Relay)> {
        let sockets = self.sockets.iter();
        sockets.map(|(key, relay)| (RelayId(u32::try_from(key).unwrap_or(u32::MAX)), relay))
    }
}

impl Relay {
    /// Who a datagram from this peer is for. Of a shared port's tenants the one that has claimed
    /// the peer, or else the only one that `permits` it.
    pub(super) fn tenant(
        &self,
        peer: SocketAddr,
        permits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match &self.tenants {
            Tenants::One(tenant) => Some(*tenant),
            Tenants::Many { members, claims } => claims.get(&peer).copied().or_else(|| {
                let mut permitting = members.iter().copied().filter(|member| permits(*member));
                permitting.next().filter(|_| permitting.next().is_none())
            }),
        }
    }

    pub(super) fn tenants(&self) -> &[usize] {
        match &self.tenants {
            Tenants::One(tenant) => std::slice::from_ref(tenant),
            Tenants::Many { members, .. } => members,
        }
    }

    /// Panics if somebody has a claim without being a tenant.
    pub(super) fn check_invariants(&self) {
        assert!(!self.tenants().is_empty());
        if let Tenants::Many { members, claims } = &self.tenants {
            assert!(claims.values().all(|owner| members.contains(owner)));
        }
    }
}

fn index(relay: RelayId) -> usize {
    usize::try_from(relay.0).unwrap_or(usize::MAX)
}
