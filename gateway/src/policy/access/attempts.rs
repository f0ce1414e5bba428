//! How often one client may be wrong.

use std::{net::IpAddr, time::Duration};

use pingora_limits::rate::Rate;

use crate::{http::Failure, listen::caps::client_of};

/// Somebody who mistypes is wrong a few times, a program with an old key a few times a second.
const FAILURES: isize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// Counts failed attempts of each client, over all routes. As large for many clients as for one,
/// and read without a lock (see [`RateLimit`](crate::policy::RateLimit)).
pub(super) struct Attempts(Rate);

impl Attempts {
    pub(super) fn new() -> Self {
        Self(Rate::new(WINDOW))
    }

    /// Refuses a client that was wrong too often, before its credentials cost anything.
    pub(super) fn admit(&self, client: Option<IpAddr>) -> Result<(), Failure> {
        if self.0.observe(&client.map(client_of), 0) >= FAILURES {
            return Err(Failure::TooManyRequests {
                retry_after: WINDOW,
            });
        }
        Ok(())
    }

    /// Notes that the client was wrong, and refuses it if that was once too often.
    pub(super) fn failed(&self, client: Option<IpAddr>) -> Result<(), Failure> {
        let admitted = self.admit(client);
        self.0.observe(&client.map(client_of), 1);
        admitted
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_wrong_too_often_is_refused() {
        let attempts = Attempts::new();
        let client = |text: &str| text.parse::<IpAddr>().ok();
        for _ in 0..FAILURES {
            assert!(attempts.admit(client("192.0.2.1")).is_ok());
            assert!(attempts.failed(client("192.0.2.1")).is_ok());
        }
        assert!(attempts.admit(client("192.0.2.1")).is_err());
        assert!(attempts.failed(client("192.0.2.1")).is_err());
        assert!(attempts.admit(client("192.0.2.2")).is_ok());
    }
}
