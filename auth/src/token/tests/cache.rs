//! When somebody else's keys are fetched, with no time but the one given.

use super::*;

const REFRESH: Refresh = Refresh {
    every: Duration::from_secs(3600),
    at_most: Duration::from_secs(30),
    keep: Duration::from_secs(86_400),
};

fn set() -> KeySet {
    KeySet::of_secret(&Secret::parse(SECRET).unwrap())
}

fn filled() -> KeyCache {
    let cache = KeyCache::new(REFRESH);
    let fetch = cache.begin(Cause::Age, at(START)).unwrap();
    fetch.succeeded(set(), at(START));
    cache
}

#[test]
fn an_empty_cache_wants_keys_at_once_and_one_fetches() {
    let cache = KeyCache::new(REFRESH);
    assert!(cache.keys(at(START)).is_none());
    let fetch = cache.begin(Cause::UnknownKey, at(START)).unwrap();
    assert!(cache.begin(Cause::Age, at(START)).is_none());
    assert!(cache.begin(Cause::Age, at(START + 999)).is_none());
    fetch.succeeded(set(), at(START));
    assert_eq!(cache.keys(at(START)).unwrap().len(), 1);
}

#[test]
fn keys_are_fetched_again_when_they_are_old() {
    let cache = filled();
    assert!(cache.begin(Cause::Age, at(START + 3599)).is_none());
    let fetch = cache.begin(Cause::Age, at(START + 3600)).unwrap();
    fetch.succeeded(set(), at(START + 3600));
    assert!(cache.begin(Cause::Age, at(START + 3601)).is_none());
}

#[test]
fn unknown_kids_cause_one_fetch_per_interval() {
    let cache = filled();
    let mut fetches = 0;
    for second in 1..=300 {
        let now = at(START + second);
        if let Some(fetch) = cache.begin(Cause::UnknownKey, now) {
            fetch.succeeded(set(), now);
            fetches += 1;
        }
    }
    assert_eq!(fetches, 10);
}

#[test]
fn failures_are_tried_again_later_and_later_and_keep_the_keys() {
    let cache = filled();
    let mut tries = Vec::new();
    for second in 3600..3600 + 4000 {
        if cache.begin(Cause::Age, at(START + second)).is_some() {
            tries.push(second - 3600);
        }
    }
    assert_eq!(tries, [0, 60, 180, 420, 900, 1860, 3780]);
    assert!(cache.keys(at(START + 86_399)).is_some());
    assert!(cache.keys(at(START + 86_400)).is_none());

    let now = at(START + 90_000);
    cache.begin(Cause::Age, now).unwrap().succeeded(set(), now);
    assert!(cache.begin(Cause::UnknownKey, at(START + 90_030)).is_some());
}

#[test]
fn a_clock_that_was_put_back_does_not_stop_fetching() {
    let cache = filled();
    let before = at(START - 1_000_000);
    let fetch = cache.begin(Cause::Age, before).unwrap();
    fetch.succeeded(set(), before);
    assert!(
        cache
            .begin(Cause::Age, before + Duration::from_secs(1))
            .is_none()
    );
}

#[test]
fn of_many_who_ask_at_once_one_fetches() {
    let cache = filled();
    let now = at(START + 4000);
    let begun = std::thread::scope(|scope| {
        let ask = || {
            cache
                .begin(Cause::Age, now)
                .map(|fetch| fetch.succeeded(set(), now))
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().count()
    });
    assert_eq!(begun, 1);
}
