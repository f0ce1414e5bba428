//! How often somebody may try: for passwords, and whatever else can be guessed at.
//!
//! [`Attempts`] counts failures by address (of IPv6 the first 64 bits, which is what one subscriber
//! has) and by account. After five within two minutes everything from there is refused for a while,
//! at first half a minute, doubling to a quarter of an hour. An attempt counts as failed from its
//! beginning, so that many at once are no way around; who succeeds is forgiven.
//!
//! The counts are in memory and bounded. The time is passed in.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// Failures that are free.
const FREE: u32 = 5;
/// The time they are counted in.
const WINDOW: Duration = Duration::from_secs(2 * 60);
/// How long one is refused at first.
const FIRST_BAN: Duration = Duration::from_secs(30);
const LONGEST_BAN: Duration = Duration::from_secs(15 * 60);
/// Who did nothing for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// The most addresses and accounts that are counted; beyond it the oldest are forgotten.
const MOST: usize = 50_000;

/// Counts failures, and refuses those who had too many.
#[derive(Debug, Default)]
pub struct Attempts {
    tracks: Mutex<HashMap<Who, Track>>,
    /// Accounts are counted by a hash: their names may be long, or passwords typed in the wrong place.
    hasher: RandomState,
}

/// An attempt that is allowed. Unless it is [forgiven](Attempts::succeeded) it counts as failed.
#[derive(Debug)]
#[must_use = "an attempt counts as failed unless it is said that it succeeded"]
pub struct Attempt {
    address: Option<Who>,
    account: Option<Who>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Who {
    Address(IpAddr),
    Account(u64),
}

#[derive(Clone, Copy, Debug)]
struct Track {
    failures: u32,
    since: SystemTime,
    last: SystemTime,
    bans: u32,
    banned_until: SystemTime,
}

impl Attempts {
    /// Nobody has failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an attempt from `ip` on `account` at `now`, or says how long to wait for the next.
    pub fn begin(
        &self,
        ip: Option<IpAddr>,
        account: Option<&str>,
        now: SystemTime,
    ) -> Result<Attempt, Duration> {
        let attempt = Attempt {
            address: ip.map(|ip| Who::Address(subscriber(ip))),
            account: account.map(|name| Who::Account(self.hasher.hash_one(name))),
        };
        let mut tracks = self.tracks.lock();
        make_room(&mut tracks, now);
        let whose = || attempt.address.into_iter().chain(attempt.account);
        // All are asked before one is counted: being refused is no failure of the account.
        let wait = whose()
            .filter_map(|who| tracks.get_mut(&who)?.refuse(now))
            .max();
        if let Some(wait) = wait {
            return Err(wait);
        }
        for who in whose() {
            let track = tracks.entry(who).or_insert_with(|| Track::new(now));
            track.failures += 1;
            track.last = now;
        }
        Ok(attempt)
    }

    /// Takes `attempt` back: nothing was tried, because something was busy or broken.
    pub fn undone(&self, attempt: &Attempt) {
        let mut tracks = self.tracks.lock();
        for who in attempt.address.into_iter().chain(attempt.account) {
            if let Some(track) = tracks.get_mut(&who) {
                track.failures = track.failures.saturating_sub(1);
            }
        }
    }

    /// Forgives `attempt`. The account's other failures are forgiven as well; those of the address
    /// stay, or an account of one's own would buy attempts on others.
    pub fn succeeded(&self, attempt: &Attempt) {
        let Attempt { address, account } = *attempt;
        let mut tracks = self.tracks.lock();
        if let Some(account) = account {
            tracks.remove(&account);
        }
        if let Some(track) = address.and_then(|who| tracks.get_mut(&who)) {
            track.failures = track.failures.saturating_sub(1);
        }
    }
}

impl Track {
    fn new(now: SystemTime) -> Self {
        Self {
            failures: 0,
            since: now,
            last: now,
            bans: 0,
            banned_until: now,
        }
    }

    /// How long to wait, if at all.
    fn refuse(&mut self, now: SystemTime) -> Option<Duration> {
        if let Ok(left) = self.banned_until.duration_since(now)
            && !left.is_zero()
        {
            // A clock that was set back must not make a ban longer than any is.
            return Some(left.min(LONGEST_BAN));
        }
        let age = now.duration_since(self.since);
        if !age.is_ok_and(|age| age < WINDOW) {
            self.failures = 0;
            self.since = now;
        }
        if self.failures < FREE {
            return None;
        }
        let ban = FIRST_BAN * (1 << self.bans.min(10));
        let ban = ban.min(LONGEST_BAN);
        self.bans += 1;
        self.failures = 0;
        self.since = now;
        self.last = now;
        self.banned_until = now + ban;
        Some(ban)
    }

    fn is_forgotten(&self, now: SystemTime) -> bool {
        let quiet = now.duration_since(self.last).unwrap_or_default();
        quiet > MEMORY
    }
}

/// Keeps room for two more.
fn make_room(tracks: &mut HashMap<Who, Track>, now: SystemTime) {
    if tracks.len() + 2 <= MOST {
        return;
    }
    tracks.retain(|_, track| !track.is_forgotten(now));
    if tracks.len() + 2 > MOST {
        let mut times: Vec<_> = tracks.values().map(|track| track.last).collect();
        let (_, oldest, _) = times.select_nth_unstable(MOST / 4);
        let oldest = *oldest;
        tracks.retain(|_, track| track.last > oldest);
    }
}

/// What one subscriber has: an IPv4 address, or 64 bits of IPv6.
fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn five_failures_are_free_and_bans_grow() {
        let attempts = Attempts::new();
        let from = ip("192.0.2.1");
        let mut now = 0;
        let mut bans = Vec::new();
        for _ in 0..8 {
            for _ in 0..FREE {
                drop(attempts.begin(from, None, at(now)).unwrap());
            }
            let ban = attempts.begin(from, None, at(now)).unwrap_err().as_secs();
            bans.push(ban);
            let left = attempts.begin(from, None, at(now + ban - 1)).unwrap_err();
            assert_eq!(left.as_secs(), 1);
            now += ban;
        }
        assert_eq!(bans, [30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn failures_far_apart_are_never_too_many() {
        let attempts = Attempts::new();
        for minute in 0..100 {
            drop(
                attempts
                    .begin(ip("192.0.2.1"), Some("alice"), at(minute * 60))
                    .unwrap(),
            );
        }
    }

    #[test]
    fn an_account_is_guarded_from_many_addresses() {
        let attempts = Attempts::new();
        for host in 0..FREE {
            let from = ip(&format!("192.0.2.{host}"));
            drop(attempts.begin(from, Some("alice"), at(0)).unwrap());
        }
        assert!(
            attempts
                .begin(ip("192.0.2.99"), Some("alice"), at(0))
                .is_err()
        );
        assert!(attempts.begin(ip("192.0.2.99"), Some("bob"), at(0)).is_ok());
    }

    #[test]
    fn an_address_is_64_bits_of_ipv6() {
        let attempts = Attempts::new();
        for host in 0..FREE {
            let from = ip(&format!("2001:db8:1:2::{host}"));
            drop(attempts.begin(from, None, at(0)).unwrap());
        }
        assert!(
            attempts
                .begin(ip("2001:db8:1:2:ffff::1"), None, at(0))
                .is_err()
        );
        assert!(attempts.begin(ip("2001:db8:1:3::1"), None, at(0)).is_ok());
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_one() {
        let attempts = Attempts::new();
        for _ in 0..FREE {
            drop(attempts.begin(ip("::ffff:192.0.2.1"), None, at(0)).unwrap());
        }
        assert!(attempts.begin(ip("192.0.2.1"), None, at(0)).is_err());
        assert!(attempts.begin(ip("::ffff:192.0.2.2"), None, at(0)).is_ok());
    }

    #[test]
    fn success_forgives_the_account_but_not_the_address() {
        let attempts = Attempts::new();
        let from = ip("192.0.2.1");
        for _ in 0..4 {
            drop(attempts.begin(from, Some("alice"), at(0)).unwrap());
        }
        let good = attempts.begin(from, Some("alice"), at(0)).unwrap();
        attempts.succeeded(&good);
        drop(attempts.begin(from, Some("alice"), at(0)).unwrap());
        assert!(attempts.begin(from, Some("alice"), at(0)).is_err());
        assert!(
            attempts
                .begin(ip("192.0.2.2"), Some("alice"), at(0))
                .is_ok()
        );
    }

    #[test]
    fn what_was_not_tried_does_not_count() {
        let attempts = Attempts::new();
        for _ in 0..3 * FREE {
            let attempt = attempts
                .begin(ip("192.0.2.1"), Some("alice"), at(0))
                .unwrap();
            attempts.undone(&attempt);
        }
        assert!(
            attempts
                .begin(ip("192.0.2.1"), Some("alice"), at(0))
                .is_ok()
        );
    }

    #[test]
    fn many_at_once_are_no_way_around() {
        let attempts = Attempts::new();
        let begun = (0..100).filter_map(|_| attempts.begin(None, Some("alice"), at(0)).ok());
        assert_eq!(begun.count(), FREE as usize);
    }

    #[test]
    fn who_was_quiet_is_forgotten_and_the_counts_are_bounded() {
        let attempts = Attempts::new();
        for account in 0..2 * MOST {
            let name = account.to_string();
            drop(
                attempts
                    .begin(None, Some(&name), at(account as u64 / 1000))
                    .unwrap(),
            );
            assert!(attempts.tracks.lock().len() <= MOST);
        }
        let later = at(1000) + MEMORY * 2;
        for account in 0..MOST {
            drop(
                attempts
                    .begin(None, Some(&format!("new {account}")), later)
                    .unwrap(),
            );
        }
        assert!(attempts.tracks.lock().len() <= MOST);
    }
}
