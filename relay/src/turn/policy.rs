//! Which peers a client may reach.
//!
//! In goes a peer's address, out comes whether it is allowed. A relay stands inside the operator's
//! network and would otherwise carry strangers to everything in it, so private and special ranges
//! are denied unless they are opened, loopback and link-local always, and of the machine's own
//! addresses the relay ports are allowed and its listeners denied. An address that carries another
//! one inside (mapped, NAT64, 6to4) has to pass for both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::ports::PortRange;

/// Never opened: this host, this link, everybody, nobody, and the IPv6 spellings of IPv4, which a
/// client has no need for.
const CLOSED: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
];

/// Denied unless opened: private networks and special purposes (IANA's registries of RFC 6890).
const DENIED: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fec0::/10",
];

/// Who may be a peer. The default denies every range that is not the public internet's.
#[derive(Clone, Debug)]
pub struct PeerPolicy {
    closed: Vec<IpNet>,
    denied: Vec<IpNet>,
    allowed: Vec<IpNet>,
    listeners: Vec<SocketAddr>,
    own: Vec<IpAddr>,
    relays: Vec<IpAddr>,
    relay_ports: Option<PortRange>,
    loopback: bool,
}

impl Default for PeerPolicy {
    fn default() -> Self {
        Self {
            closed: networks(CLOSED),
            denied: networks(DENIED),
            allowed: Vec::new(),
            listeners: Vec::new(),
            own: Vec::new(),
            relays: Vec::new(),
            relay_ports: None,
            loopback: false,
        }
    }
}

impl PeerPolicy {
    /// Opens networks that are denied by default. Loopback, link-local and multicast stay closed.
    #[must_use]
    pub fn allow(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.allowed.extend(networks);
        self
    }

    /// Denies networks, also those that are opened.
    #[must_use]
    pub fn deny(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.closed.extend(networks);
        self
    }

    /// The process's listening sockets, which no client may reach through the relay. A wildcard
    /// counts for all addresses of `own`, the machine's addresses (also those it is known by
    /// outside).
    #[must_use]
    pub fn protect(
        mut self,
        listeners: impl IntoIterator<Item = SocketAddr>,
        own: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        self.listeners.extend(listeners);
        self.own.extend(own);
        self
    }

    /// For tests, whose peers are on this machine: opens 127.0.0.0/8 and ::1. Never set it in a
    /// service, everything that listens on loopback could be reached.
    #[must_use]
    pub fn allow_loopback_for_tests(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// The server says where its relay ports are: they are allowed, wherever that is.
    pub(crate) fn with_relays(mut self, relays: Vec<IpAddr>, ports: PortRange) -> Self {
        self.relays = relays;
        self.relay_ports = Some(ports);
        self
    }

    /// Whether a permission for this address makes sense: some port of it may be reached.
    pub(crate) fn allows(&self, peer: IpAddr) -> bool {
        self.relays.contains(&peer) || self.allows_address(peer)
    }

    /// Whether this peer may be reached.
    pub(crate) fn allows_peer(&self, peer: SocketAddr) -> bool {
        let (ip, port) = (peer.ip(), peer.port());
        if self.is_relay(peer) {
            return true;
        }
        port != 0 && !self.is_listener(ip, port) && self.allows_address(ip)
    }

    /// What of [`allows_peer`](Self::allows_peer) depends on the port. Enough where the address
    /// has been allowed before, and cheap: for each packet.
    pub(crate) fn allows_port(&self, peer: SocketAddr) -> bool {
        peer.port() != 0
            && (!self.is_listener(peer.ip(), peer.port()) || self.is_relay(peer))
            && (!self.relays.contains(&peer.ip())
                || self.is_relay(peer)
                || self.allows_address(peer.ip()))
    }

    fn is_relay(&self, peer: SocketAddr) -> bool {
        self.relays.contains(&peer.ip())
            && self
                .relay_ports
                .is_some_and(|ports| ports.contains(peer.port()))
    }

    fn is_listener(&self, ip: IpAddr, port: u16) -> bool {
        self.listeners.iter().any(|listener| {
            listener.port() == port
                && (listener.ip() == ip || listener.ip().is_unspecified() && self.own.contains(&ip))
        })
    }

    fn allows_address(&self, ip: IpAddr) -> bool {
        if self.loopback && ip.is_loopback() {
            return true;
        }
        let within = |networks: &[IpNet], ip| networks.iter().any(|network| network.contains(&ip));
        if within(&self.closed, ip) || (within(&self.denied, ip) && !within(&self.allowed, ip)) {
            return false;
        }
        embedded(ip).is_none_or(|inner| self.allows_address(inner.into()))
    }
}

/// The IPv4 address that a translator or tunnel would make of this one.
fn embedded(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let [a, b, c, ..] = ip.segments();
    let bits = match (a, b) {
        (0x2002, _) => (u32::from(b) << 16) | u32::from(c),
        (0x0064, 0xff9b) => low(ip),
        // Teredo: the client's address, inverted.
        (0x2001, 0) => !low(ip),
        _ => return None,
    };
    Some(bits.into())
}

fn low(ip: Ipv6Addr) -> u32 {
    u32::try_from(u128::from(ip) & u128::from(u32::MAX)).unwrap_or(0)
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_network_of_the_lists_is_one() {
        assert_eq!(networks(CLOSED).len(), CLOSED.len());
        assert_eq!(networks(DENIED).len(), DENIED.len());
    }

    #[test]
    fn the_public_internet_is_allowed_and_nothing_else() {
        let policy = PeerPolicy::default();
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "172.32.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(policy.allows(ip(public)), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:101:101::",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!policy.allows(ip(special)), "{special}");
            assert!(
                !policy.allows_peer(SocketAddr::new(ip(special), 443)),
                "{special}"
            );
        }
    }

    #[test]
    fn opened_networks_never_include_this_host_or_link() {
        let everything = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
        let policy = PeerPolicy::default().allow(everything);
        for opened in [
            "10.0.0.1",
            "192.168.1.1",
            "fd00::1",
            "2002:a00:1::",
            "64:ff9b::a00:1",
        ] {
            assert!(policy.allows(ip(opened)), "{opened}");
        }
        for closed in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::a9fe:a9fe",
            "2001:0:1::80ff:fffe",
        ] {
            assert!(!policy.allows(ip(closed)), "{closed}");
        }
    }

    #[test]
    fn an_opened_tunnel_does_not_open_what_it_leads_to() {
        let policy = PeerPolicy::default().allow(["2002::/16".parse().unwrap()]);
        assert!(policy.allows(ip("2002:101:101::")));
        assert!(!policy.allows(ip("2002:a00:1::")));
    }

    #[test]
    fn what_is_denied_by_hand_cannot_be_opened() {
        let policy = PeerPolicy::default()
            .allow(["1.0.0.0/8".parse().unwrap()])
            .deny(["1.1.0.0/16".parse().unwrap()]);
        assert!(!policy.allows(ip("1.1.1.1")) && policy.allows(ip("1.2.1.1")));
    }

    #[test]
    fn own_relay_ports_are_allowed_and_own_listeners_are_not() {
        let ports: PortRange = "49160-49200".parse().unwrap();
        let policy = PeerPolicy::default()
            .protect(
                [peer("0.0.0.0:443"), peer("8.8.8.8:9100")],
                [ip("8.8.8.8"), ip("10.0.0.5")],
            )
            .with_relays(vec![ip("8.8.8.8"), ip("10.0.0.5")], ports);
        for allowed in [
            "8.8.8.8:49160",
            "10.0.0.5:49200",
            "8.8.8.8:5000",
            "9.9.9.9:443",
        ] {
            assert!(policy.allows_peer(peer(allowed)), "{allowed}");
            assert!(policy.allows_port(peer(allowed)), "{allowed}");
        }
        for denied in [
            "8.8.8.8:443",
            "8.8.8.8:9100",
            "10.0.0.5:22",
            "10.0.0.5:443",
            "9.9.9.9:0",
        ] {
            assert!(!policy.allows_peer(peer(denied)), "{denied}");
            assert!(!policy.allows_port(peer(denied)), "{denied}");
        }
        assert!(policy.allows(ip("10.0.0.5")) && !policy.allows(ip("10.0.0.6")));
    }
}
