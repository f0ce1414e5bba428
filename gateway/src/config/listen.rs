//! `[listen]`: which sockets are opened, whom they trust, and how much they take.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

/// The sockets of the gateway and the limits on what connects to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Plain HTTP. While there is an HTTPS listener these redirect to it; without one they serve
    /// the sites themselves.
    pub http: Vec<ListenAddress>,
    /// HTTPS, HTTP/2 and HTTP/1.1 by ALPN.
    pub https: Vec<ListenAddress>,
    /// Health, metrics and the admin API. `None` when set to `"off"`.
    pub admin: Option<ListenAddress>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The port written into HTTP→HTTPS redirects when clients reach HTTPS on another port than
    /// the first `https` listener's (behind a port mapping).
    pub redirect_port: Option<u16>,
    pub limits: Limits,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    /// `unix:/path/to.sock`
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[listen.limits]`: what a caller may hold or how long it may take. Always on.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections over all listeners; one more is closed at once.
    pub connections: usize,
    /// Connections from one client address (an IPv6 client is its /64).
    pub connections_per_ip: usize,
    /// From the first byte of a request to the end of its head, and for the TLS handshake.
    pub head_timeout: Duration,
    /// How long a connection without a request in flight is kept.
    pub idle_timeout: Duration,
    /// How long a client may refuse to take bytes that are ready for it.
    pub write_timeout: Duration,
    /// How long the client may pause within a request body.
    pub body_timeout: Duration,
    /// Bytes of a request head (request line and all header fields).
    pub head_size: usize,
    /// Concurrent HTTP/2 streams of one connection.
    pub streams: u32,
    /// How long shutdown waits for requests in flight.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Enough for a busy small machine; a descriptor and ~30 KiB each.
            connections: 16_384,
            // A household or office behind one NAT stays under it; a single attacker cannot
            // take every slot.
            connections_per_ip: 512,
            head_timeout: Duration::from_secs(10),
            // Longer than the 60 s many load balancers and browsers assume.
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            // Cookies of large applications reach 16 KiB; 64 KiB leaves room.
            head_size: 64 * 1024,
            streams: 128,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
