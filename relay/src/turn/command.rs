//! What goes into a [`Server`](super::Server) beside bytes, and what comes out.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// The time, read once for a batch of packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// For everything that lasts.
    pub instant: Instant,
    /// Seconds since 1970, for credentials and nonces that name a date.
    pub unix: u64,
}

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// On a stream, messages are told apart by their length and channel data is padded to four
    /// bytes (RFC 8656 §12.5).
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

/// One client as RFC 8656 names it: the addresses at both ends, and the protocol between them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FiveTuple {
    client: SocketAddr,
    server: SocketAddr,
    transport: Transport,
}

impl FiveTuple {
    /// `server` is the address the client asked, not a wildcard: answers leave from it.
    pub fn new(client: SocketAddr, server: SocketAddr, transport: Transport) -> Self {
        Self {
            client: canonical(client),
            server: canonical(server),
            transport,
        }
    }

    pub fn client(&self) -> SocketAddr {
        self.client
    }

    pub fn server(&self) -> SocketAddr {
        self.server
    }

    pub fn transport(&self) -> Transport {
        self.transport
    }
}

/// Only what differs between the clients of one listener, as this runs for every packet.
impl Hash for FiveTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_address(&self.client, state);
        state.write_u16(self.server.port());
    }
}

fn hash_address<H: Hasher>(address: &SocketAddr, state: &mut H) {
    match address.ip() {
        IpAddr::V4(ip) => {
            state.write_u64((u64::from(u32::from(ip)) << 16) | u64::from(address.port()));
        }
        IpAddr::V6(ip) => {
            state.write_u128(ip.into());
            state.write_u16(address.port());
        }
    }
}

/// One spelling for one address: IPv4 mapped into IPv6 is IPv4, and no scope or flow label.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A relay socket, by its place in the server's table. A number is used again only after the
/// [`Command::CloseRelay`] for it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RelayId(pub u32);

/// What to send at once.
#[derive(Debug, Eq, PartialEq)]
pub enum Output<'a> {
    Nothing,
    /// The server's own answer, back to where the datagram came from.
    Reply(&'a [u8]),
    /// `payload` to a client, with `head` before it and [`Head::padding`] zero bytes after it, as
    /// one datagram or one piece of a stream.
    ToClient {
        to: &'a FiveTuple,
        head: Head,
        payload: &'a [u8],
    },
    /// `payload` to a peer, from a relay socket.
    ToPeer {
        relay: RelayId,
        to: SocketAddr,
        /// The client asked for the DF bit on this datagram (RFC 8656 §14.8).
        dont_fragment: bool,
        payload: &'a [u8],
    },
}

/// The bytes before a payload for a client: a channel's header of four bytes, or everything of a
/// Data indication up to its data.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Head {
    pub(crate) bytes: [u8; Self::LONGEST],
    pub(crate) len: u8,
    pub(crate) padding: u8,
}

impl Head {
    /// A Data indication with an IPv6 peer.
    pub const LONGEST: usize = 20 + 24 + 4;

    /// How many zero bytes follow the payload: 0 to 3.
    pub fn padding(&self) -> usize {
        self.padding.into()
    }
}

impl std::ops::Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:02x?}, +{})", &**self, self.padding)
    }
}

/// What the owner of the sockets has to do, in this order.
#[derive(Debug, Eq, PartialEq)]
pub enum Command {
    /// Bind a UDP socket to `address` and report with
    /// [`relay_opened`](super::Server::relay_opened) or [`relay_failed`](super::Server::relay_failed).
    OpenRelay { relay: RelayId, address: SocketAddr },
    /// Close the relay socket. Its number may be used again by a later `OpenRelay`.
    CloseRelay { relay: RelayId },
    /// An answer that had to wait.
    Send { to: FiveTuple, bytes: Box<[u8]> },
    /// Something for logs and accounting. Contains no credential.
    Event(Event),
}

/// What became of an allocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    Allocated {
        client: FiveTuple,
        user: Box<str>,
        relayed: SocketAddr,
    },
    Ended {
        client: FiveTuple,
        user: Box<str>,
        reason: EndReason,
        /// Payload bytes from the client to peers, and back.
        sent: u64,
        received: u64,
    },
    /// No relay port is free. Said once for each allocation refused.
    PortsExhausted,
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EndReason {
    /// Nobody refreshed it.
    Expired,
    /// The client asked for it.
    Deleted,
    /// The client's connection closed.
    Disconnected,
    /// An operator asked for it.
    Kicked,
    /// No relay socket could be opened for it.
    NoSocket,
}
