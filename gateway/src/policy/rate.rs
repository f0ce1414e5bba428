//! `limits = { rate = "10/1m" }`: how often one client may ask for a route.

use std::{net::IpAddr, time::Duration};

use pingora_limits::rate::Rate;

use crate::{config, http::Failure, listen::caps::client_of};

/// Counts the requests of each client in windows of fixed length.
///
/// The counts live in a sketch of fixed size (64 KiB a route), so that no number of clients
/// makes it grow. Two clients may share all their counters and be refused early; with ten
/// thousand clients in a window that hits about one in a hundred of them.
pub struct RateLimit {
    requests: isize,
    window: Duration,
    seen: Rate,
}

impl RateLimit {
    pub fn new(config: config::Rate) -> Self {
        Self {
            requests: isize::try_from(config.requests).unwrap_or(isize::MAX),
            window: config.window,
            seen: Rate::new(config.window),
        }
    }

    /// Counts a request. Clients without an address (Unix sockets) count as one.
    pub fn admit(&self, client: Option<IpAddr>) -> Result<(), Failure> {
        if self.seen.observe(&client.map(client_of), 1) > self.requests {
            return Err(Failure::TooManyRequests {
                retry_after: self.window,
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RateLimit({}/{:?})", self.requests, self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_the_rate_is_refused_and_other_clients_are_not() {
        let limit = RateLimit::new(config::Rate {
            requests: 3,
            window: Duration::from_secs(3600),
        });
        let client = |text: &str| text.parse::<IpAddr>().ok();
        for _ in 0..3 {
            assert!(limit.admit(client("192.0.2.1")).is_ok());
        }
        assert!(limit.admit(client("192.0.2.1")).is_err());
        assert!(limit.admit(client("192.0.2.2")).is_ok());
        for host in 1..=3 {
            assert!(limit.admit(client(&format!("2001:db8::{host}"))).is_ok());
        }
        assert!(limit.admit(client("2001:db8::4")).is_err());
        assert!(limit.admit(None).is_ok());
    }
}
