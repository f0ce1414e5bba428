//! What an operator decides about the server.

use std::net::IpAddr;

use super::{
    credential::Credentials,
    limits::Limits,
    policy::PeerPolicy,
    ports::{PortMode, PortRange},
};

/// An address relay sockets are bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RelayAddress {
    /// What is bound.
    pub bind: IpAddr,
    /// What peers see and clients are told; differs behind a 1:1 NAT.
    pub external: IpAddr,
}

impl RelayAddress {
    /// An address that peers see as it is.
    pub fn new(address: IpAddr) -> Self {
        Self {
            bind: address,
            external: address,
        }
    }
}

/// The settings of a server. They may be exchanged while it runs, except for the relay addresses,
/// their ports and the port mode.
#[derive(Clone, Debug)]
pub struct Config {
    pub credentials: Credentials,
    /// Where allocations get their addresses. Several of one family are used in turn.
    pub relays: Vec<RelayAddress>,
    pub ports: PortRange,
    pub port_mode: PortMode,
    pub limits: Limits,
    pub peers: PeerPolicy,
    /// Seconds a nonce is good for. RFC 8489 §9.2 wants at most an hour.
    pub nonce_lifetime: u32,
    /// Seconds an allocation lives if the client does not ask for longer (RFC 8656 §3.2).
    pub default_lifetime: u32,
    /// The longest lifetime in seconds a client may ask for.
    pub max_lifetime: u32,
    /// Clients may take their allocation along to another address (RFC 8016). It stays with its
    /// shard, so this needs a server of one.
    pub mobility: bool,
    /// No new allocations: clients are sent to another server with 300 if `alternates` has one
    /// of their address family, otherwise refused with 508.
    pub draining: bool,
    pub alternates: Vec<std::net::SocketAddr>,
}

impl Config {
    /// The defaults, with these credentials and relay addresses.
    pub fn new(credentials: Credentials, relays: Vec<RelayAddress>) -> Self {
        Self {
            credentials,
            relays,
            ports: PortRange::default(),
            port_mode: PortMode::default(),
            limits: Limits::default(),
            peers: PeerPolicy::default(),
            nonce_lifetime: 3600,
            default_lifetime: 600,
            max_lifetime: 3600,
            mobility: false,
            draining: false,
            alternates: Vec::new(),
        }
    }
}
