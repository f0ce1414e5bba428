//! Trying again after another change came first.

use std::time::Duration;

use super::IdentityError;

/// Tries after which it is hopeless: with the pauses between, some seconds.
const MOST: u32 = 40;
const FIRST: Duration = Duration::from_millis(1);
/// The pause doubles up to this.
const DOUBLINGS: u32 = 8;

/// Counts tries, with a pause between that grows and is random, so that those who met meet no more.
#[derive(Debug, Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// How many were in vain.
    pub(super) fn count(&self) -> u32 {
        self.0
    }

    /// Waits before the next try if `error` is worth one; gives it back if not.
    pub(super) async fn again(&mut self, error: IdentityError) -> Result<(), IdentityError> {
        if !error.is_conflict() {
            return Err(error);
        }
        self.0 += 1;
        if self.0 >= MOST {
            return Err(IdentityError::Busy);
        }
        let longest = FIRST * (1 << self.0.min(DOUBLINGS));
        tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
        Ok(())
    }
}
