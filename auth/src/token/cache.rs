//! Somebody else's keys, kept fresh without asking for them too often.
//!
//! Nothing is fetched here. [`KeyCache::begin`] says whether it is time to, at most once at a time;
//! who is told so fetches and gives the result to [`Fetch::succeeded`]. A [`Fetch`] that is dropped
//! has failed, and the next attempts come later and later. A token with an unknown `kid` may be a
//! reason to fetch, but whoever sends made-up kids cannot cause more than one request per interval.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;

use super::key_set::KeySet;

/// How often keys are fetched, and how long they are used.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// Keys of this age are fetched again.
    pub every: Duration,
    /// The least time between two attempts, whatever asks for them.
    pub at_most: Duration,
    /// Keys of this age are not used any more, if fetching fails for so long.
    pub keep: Duration,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60 * 60),
            at_most: Duration::from_secs(30),
            keep: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Why keys might be fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Time has passed, or nothing is there yet.
    Age,
    /// A token named a key that is not among them.
    UnknownKey,
}

/// The keys that were fetched last, and when. Readers never wait.
#[derive(Debug)]
pub struct KeyCache {
    refresh: Refresh,
    keys: ArcSwapOption<Kept>,
    /// Milliseconds since 1970 of the last attempt; 0 is never.
    tried: AtomicU64,
    failures: AtomicU32,
    fetching: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    keys: Arc<KeySet>,
    since: u64,
}

impl KeyCache {
    /// A cache that holds nothing yet.
    pub fn new(refresh: Refresh) -> Self {
        Self {
            refresh,
            keys: ArcSwapOption::empty(),
            tried: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            fetching: AtomicBool::new(false),
        }
    }

    /// The keys, unless they are too old to be used.
    pub fn keys(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        let kept = self.keys.load();
        let kept = kept.as_ref()?;
        let fresh = elapsed(kept.since, now) < self.refresh.keep;
        fresh.then(|| Arc::clone(&kept.keys))
    }

    /// Whether the caller is the one to fetch the keys now.
    pub fn begin(&self, cause: Cause, now: SystemTime) -> Option<Fetch<'_>> {
        let tried = self.tried.load(Ordering::Acquire);
        if !self.is_due(cause, tried, now) || self.fetching.swap(true, Ordering::AcqRel) {
            return None;
        }
        // Somebody may have fetched between the two looks.
        let tried = self.tried.load(Ordering::Acquire);
        if !self.is_due(cause, tried, now) {
            self.fetching.store(false, Ordering::Release);
            return None;
        }
        self.tried.store(millis(now).max(1), Ordering::Release);
        Some(Fetch {
            cache: self,
            failed: true,
        })
    }

    fn is_due(&self, cause: Cause, tried: u64, now: SystemTime) -> bool {
        if tried == 0 {
            return true;
        }
        let failures = self.failures.load(Ordering::Acquire);
        let pause = self.refresh.at_most * 2_u32.saturating_pow(failures.min(16));
        let pause = pause.min(self.refresh.every.max(self.refresh.at_most));
        let rested = elapsed(tried, now) >= pause;
        let kept = self.keys.load();
        let aged = kept
            .as_ref()
            .is_none_or(|kept| elapsed(kept.since, now) >= self.refresh.every);
        rested && (aged || cause == Cause::UnknownKey)
    }
}

/// The right to fetch. Dropped without a result, it counts as a failure.
#[derive(Debug)]
pub struct Fetch<'a> {
    cache: &'a KeyCache,
    failed: bool,
}

impl Fetch<'_> {
    /// Takes the keys into use, as of `now`.
    pub fn succeeded(mut self, keys: KeySet, now: SystemTime) {
        self.failed = false;
        self.cache.failures.store(0, Ordering::Release);
        self.cache.keys.store(Some(Arc::new(Kept {
            keys: Arc::new(keys),
            since: millis(now),
        })));
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.cache.failures.fetch_add(1, Ordering::AcqRel);
        }
        self.cache.fetching.store(false, Ordering::Release);
    }
}

/// How long ago `since` was. A clock that was put back makes it long ago, or nothing would be
/// fetched until it has caught up.
fn elapsed(since: u64, now: SystemTime) -> Duration {
    millis(now)
        .checked_sub(since)
        .map_or(Duration::MAX, Duration::from_millis)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
