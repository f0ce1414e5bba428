//! How much a client may have, and how fast.
//!
//! [`Limits`] are the numbers. [`Bucket`] counts bytes against a rate, [`Users`] what each user has
//! among all shards, and [`Strangers`] how often somebody unproven gets an answer, in memory of a
//! fixed size.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What bounds a client, a user and the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Live allocations of one user, among all shards; one more is refused with 486.
    pub allocations_per_user: u32,
    /// Live allocations of the server, among all shards; one more is refused with 486.
    pub allocations: u32,
    /// Peer addresses a client may permit at a time; more are refused with 508.
    pub permissions: u16,
    /// Channels a client may have at a time; more are refused with 508.
    pub channels: u16,
    /// Payload bytes a second of one allocation, both directions together. What is more is dropped.
    pub allocation_rate: Option<NonZeroU64>,
    /// Payload bytes a second of all allocations of one user.
    pub user_rate: Option<NonZeroU64>,
    /// Answers a second to requests without valid credentials, for each IPv4 address or IPv6 /64.
    /// What is more is not answered. None is for load tests.
    pub stranger_rate: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A browser makes one for each TURN URL and network interface.
            allocations_per_user: 24,
            allocations: 16_384,
            permissions: 64,
            channels: 64,
            allocation_rate: None,
            user_rate: None,
            stranger_rate: NonZeroU32::new(10),
        }
    }
}

/// How long a rate may be exceeded, as a share of a second's worth: bursts of video key frames.
const BURST: Duration = Duration::from_secs(1);

/// Bytes against a rate. Keeps one instant: when the bytes so far will have been paid for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    paid: Option<Instant>,
}

impl Bucket {
    /// Counts `bytes` if they are within `rate` bytes a second.
    pub(crate) fn admit(&mut self, bytes: usize, rate: Option<NonZeroU64>, now: Instant) -> bool {
        let Some(rate) = rate else { return true };
        let start = self.paid.map_or(now, |paid| paid.max(now));
        let admitted = start - now <= BURST;
        if admitted {
            self.paid = Some(start + Duration::from_nanos(price(bytes, rate)));
        }
        admitted
    }
}

/// Nanoseconds that `bytes` take at `rate`.
fn price(bytes: usize, rate: NonZeroU64) -> u64 {
    (bytes as u64).saturating_mul(1_000_000_000) / rate
}

/// What one user has among all shards.
#[derive(Debug)]
pub(crate) struct User {
    name: Box<str>,
    /// As [`Bucket::paid`], in nanoseconds since `epoch`.
    paid: AtomicU64,
    epoch: Instant,
}

impl User {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As [`Bucket::admit`], without a lock. Two shards may both admit a last packet.
    pub(crate) fn admit(&self, bytes: usize, rate: Option<NonZeroU64>, now: Instant) -> bool {
        let Some(rate) = rate else { return true };
        let now = nanos(now.saturating_duration_since(self.epoch));
        let start = self.paid.load(Ordering::Relaxed).max(now);
        let admitted = start - now <= nanos(BURST);
        if admitted {
            self.paid
                .store(start + price(bytes, rate), Ordering::Relaxed);
        }
        admitted
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// All users with a live allocation. Exists once for all shards.
#[derive(Debug, Default)]
pub(crate) struct Users {
    users: HashMap<Box<str>, (Arc<User>, u32)>,
    total: u32,
}

/// The quota is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct QuotaReached;

impl Users {
    /// Counts one more allocation of the user.
    pub(crate) fn take(
        &mut self,
        name: &str,
        limits: &Limits,
        now: Instant,
    ) -> Result<Arc<User>, QuotaReached> {
        if self.total >= limits.allocations || limits.allocations_per_user == 0 {
            return Err(QuotaReached);
        }
        if let Some((user, count)) = self.users.get_mut(name) {
            if *count >= limits.allocations_per_user {
                return Err(QuotaReached);
            }
            *count += 1;
            self.total += 1;
            return Ok(Arc::clone(user));
        }
        let user = Arc::new(User {
            name: name.into(),
            paid: AtomicU64::new(0),
            epoch: now,
        });
        self.users.insert(name.into(), (Arc::clone(&user), 1));
        self.total += 1;
        Ok(user)
    }

    /// Gives one back.
    pub(crate) fn release(&mut self, user: &User) {
        let Some((_, count)) = self.users.get_mut(user.name()) else {
            return;
        };
        self.total = self.total.saturating_sub(1);
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.users.remove(user.name());
        }
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }
}

/// How many sources are remembered. A newcomer takes the place of another one.
const SOURCES: usize = 4096;

/// Seconds' worth of answers that may be given at once: offices and carriers share an address.
const STRANGER_BURST: u32 = 10;

/// Answers to whoever has not proven who they are. 64 KiB, however many ask.
#[derive(Debug)]
pub(crate) struct Strangers {
    hasher: foldhash::fast::RandomState,
    places: Box<[Place]>,
    epoch: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    source: u64,
    /// Milliseconds since the epoch, as [`Bucket::paid`].
    paid: u64,
}

impl Strangers {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            places: vec![Place::default(); SOURCES].into_boxed_slice(),
            epoch: now,
        }
    }

    /// Whether this source gets an answer now.
    pub(crate) fn admit(&mut self, ip: IpAddr, rate: Option<NonZeroU32>, now: Instant) -> bool {
        let Some(rate) = rate else { return true };
        let source = match ip {
            IpAddr::V4(ip) => u64::from(u32::from(ip)) | 1 << 63,
            IpAddr::V6(ip) => u64::try_from(u128::from(ip) >> 64).unwrap_or(0),
        };
        let now = u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(0);
        let index = usize::try_from(self.hasher.hash_one(source) % SOURCES as u64).unwrap_or(0);
        let place = &mut self.places[index];
        if place.source != source {
            *place = Place { source, paid: 0 };
        }
        let start = place.paid.max(now);
        let price = 1000 / u64::from(rate.get().min(1000));
        let admitted = start - now < price * u64::from(rate.get().saturating_mul(STRANGER_BURST));
        if admitted {
            place.paid = start + price;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(after: Instant, seconds: u64) -> Instant {
        after + Duration::from_secs(seconds)
    }

    #[test]
    fn a_bucket_admits_its_rate_and_a_burst() {
        let start = Instant::now();
        let rate = NonZeroU64::new(1000);
        let mut bucket = Bucket::default();
        let admitted = |bucket: &mut Bucket, now| {
            std::iter::repeat_with(|| bucket.admit(100, rate, now))
                .take_while(|admitted| *admitted)
                .count()
        };
        assert_eq!(admitted(&mut bucket, start), 11);
        assert_eq!(admitted(&mut bucket, second(start, 1)), 10);
        assert_eq!(admitted(&mut bucket, second(start, 1)), 0);
        assert!(Bucket::default().admit(usize::MAX, None, start));
    }

    #[test]
    fn a_user_has_one_bucket_and_one_quota() {
        let now = Instant::now();
        let limits = Limits {
            allocations_per_user: 2,
            allocations: 3,
            ..Limits::default()
        };
        let mut users = Users::default();
        let alice = users.take("alice", &limits, now).unwrap();
        let again = users.take("alice", &limits, now).unwrap();
        assert!(Arc::ptr_eq(&alice, &again));
        assert_eq!(users.take("alice", &limits, now).unwrap_err(), QuotaReached);
        users.take("bob", &limits, now).unwrap();
        assert_eq!(users.take("carol", &limits, now).unwrap_err(), QuotaReached);
        users.release(&alice);
        users.take("carol", &limits, now).unwrap();
        users.release(&again);
        assert!(!users.users.contains_key("alice"));
        assert_eq!(users.total(), 2);

        let rate = NonZeroU64::new(1000);
        assert!(alice.admit(1500, rate, now) && !alice.admit(1, rate, now));
        assert!(alice.admit(1, rate, second(now, 1)));
    }

    #[test]
    fn strangers_get_a_burst_and_then_their_rate() {
        let start = Instant::now();
        let mut strangers = Strangers::new(start);
        let rate = NonZeroU32::new(10);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let answers = |strangers: &mut Strangers, ip, now| {
            (0..1000).filter(|_| strangers.admit(ip, rate, now)).count()
        };
        assert_eq!(answers(&mut strangers, ip, start), 100);
        assert_eq!(answers(&mut strangers, ip, second(start, 1)), 10);
        assert_eq!(answers(&mut strangers, ip, second(start, 100)), 100);
    }

    #[test]
    fn an_ipv6_network_is_one_stranger() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        let rate = NonZeroU32::new(1);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let hosts =
            (0..100).filter(|host| strangers.admit(ip(&format!("2001:db8::{host:x}")), rate, now));
        assert_eq!(hosts.count(), 10);
        assert!(strangers.admit(ip("2001:db8:0:1::1"), rate, now));
    }

    #[test]
    fn forged_sources_take_no_memory() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        for source in 0..100_000u32 {
            strangers.admit(IpAddr::from(source.to_be_bytes()), NonZeroU32::new(10), now);
        }
        assert_eq!(strangers.places.len(), SOURCES);
    }
}
