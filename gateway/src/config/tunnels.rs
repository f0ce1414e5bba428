//! `[tunnels]`: public names for services behind NAT.

use std::time::Duration;

use relay::tunnel::edge::OnConflict;

use super::{
    HeaderOps, HostPattern, Matcher, Proxy, Route, RouteLimits, Site,
    route::{Handler, HostHeader},
};

/// Agents may connect, and names below `domain` lead to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnels {
    /// `tunnels.example.com`: the tunnel `happy-panda` is `happy-panda.tunnels.example.com`.
    pub domain: String,
    /// `max_request`: largest request body in bytes; 413 beyond. `None` is unlimited.
    pub max_request: Option<u64>,
    /// `wait`: how long a request waits for an agent that is not connected.
    pub wait: Duration,
    /// `on_conflict`: what happens to a second agent of one tunnel.
    pub on_conflict: OnConflict,
    /// `carriers`: connections that one agent may have.
    pub carriers: usize,
}

impl Tunnels {
    /// What the original allowed.
    pub const MAX_REQUEST: u64 = 50_000_000;
    /// An agent whose connection broke is back within it, mostly.
    pub const WAIT: Duration = Duration::from_secs(3);
    pub const CARRIERS: usize = 8;

    /// The site that the names below `domain` are.
    pub fn site(&self) -> Site {
        Site {
            name: "tunnels".into(),
            hosts: vec![HostPattern::Wildcard(self.domain.clone())],
            serve_plain: false,
            routes: vec![Route {
                name: "/*".into(),
                matcher: Matcher::default(),
                rewrite: None,
                access: None,
                deprecated: None,
                request_headers: HeaderOps::default(),
                response_headers: HeaderOps::default(),
                limits: RouteLimits::default(),
                handler: Handler::Tunnels(self.proxy()),
            }],
        }
    }

    /// How requests are passed on to an agent. Its upstream is filled in for each tunnel.
    fn proxy(&self) -> Proxy {
        Proxy {
            upstreams: Vec::new(),
            host: HostHeader::Keep,
            connect_timeout: Proxy::CONNECT_TIMEOUT.max(self.wait),
            response_timeout: Proxy::RESPONSE_TIMEOUT,
            idle_timeout: Proxy::IDLE_TIMEOUT,
            websocket_idle_timeout: Proxy::WEBSOCKET_IDLE_TIMEOUT,
            max_body: self.max_request,
        }
    }
}
