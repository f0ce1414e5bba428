//! How long to wait before dialling again.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);
/// A gateway may ask for patience, but not for giving up.
const MOST_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Full jitter: anything between nothing and a bound that doubles, so that agents that lost their
/// gateway at once do not come back at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause. `asked` is what the gateway wants at least.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let bound = SHORTEST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let jitter = bound.mul_f64(fastrand::f64());
        asked.unwrap_or_default().min(MOST_PATIENCE) + jitter
    }

    /// It worked: the next pause is short again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_differ() {
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            let mut backoff = Backoff::default();
            assert!(backoff.pause(None) <= SHORTEST);
            for _ in 0..100 {
                longest = longest.max(backoff.pause(None));
            }
        }
        assert!(longest <= LONGEST && longest > LONGEST / 2, "{longest:?}");
    }

    #[test]
    fn a_gateway_that_asks_for_patience_gets_it_within_reason() {
        let mut backoff = Backoff::default();
        let asked = Duration::from_secs(7);
        assert!(backoff.pause(Some(asked)) >= asked);
        assert!(backoff.pause(Some(Duration::MAX)) <= MOST_PATIENCE + LONGEST);
    }
}
