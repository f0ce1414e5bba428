//! Where the time comes from.

use std::{
    fmt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::turn::Now;

/// Says what time it is. Asked once for a batch of packets.
pub trait Clock: fmt::Debug + Send + Sync {
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            instant: Instant::now(),
            unix: since.unwrap_or_default().as_secs(),
        }
    }
}
