//! What every store has to do. [`conformance!`] makes a module of tests from it for a back end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    Batch, Change, MAX_KEY_BYTES, MAX_OPERATIONS, MAX_PAGE_BYTES, MAX_PENDING_CHANGES,
    MAX_VALUE_BYTES, ManualClock, Page, Range, Store, StoreError, Versioned, Watch,
};

/// An empty store and the clock of its leases.
pub(super) struct Fixture {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: ManualClock,
    /// Dropped last: what the store needs as long as it is used.
    pub(super) _keep: Box<dyn Send>,
}

/// Tests of the store that the async function `$make` returns in a [`Fixture`].
macro_rules! conformance {
    ($make:path) => {
        $crate::store::suite::conformance!($make:
            an_absent_key_has_no_value, a_value_is_overwritten_and_deleted, values_are_any_bytes,
            revisions_grow, a_batch_does_its_operations_in_order, ranges_are_in_the_order_of_keys,
            ranges_come_in_pages, a_page_of_large_values_ends_early,
            conditions_hold_or_nothing_happens, a_conflict_names_the_first_key,
            of_fifty_writers_one_makes_the_key, a_counter_counts_every_increment,
            a_batch_is_never_seen_in_part, a_lease_has_one_holder,
            a_lease_ends_by_the_stores_time, a_lost_lease_is_lost,
            a_late_holder_renews_what_nobody_took, fencing_keeps_a_late_holder_out,
            of_many_who_ask_one_gets_the_lease, a_watch_tells_each_key_under_its_prefix,
            a_watch_that_does_not_look_is_told_so, a_watch_never_misses_the_last_change,
            a_watch_ends_with_the_store, what_is_too_large_is_refused,
            the_stores_own_keys_are_refused, a_store_answers_a_probe,
            a_store_knows_its_migrations,
        );
    };
    ($make:path: $($test:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $test() {
            $crate::store::suite::$test($make().await).await;
        })*
    };
}
pub(super) use conformance;

async fn value(store: &dyn Store, key: &str) -> Option<Bytes> {
    store.get(key.as_bytes()).await.unwrap().map(|v| v.value)
}

fn put(key: &str, value: &str) -> Batch {
    Batch::new().put(key.to_owned(), value.to_owned())
}

fn keys(page: &Page) -> Vec<&[u8]> {
    page.entries.iter().map(|entry| &*entry.key).collect()
}

fn conflict_on(outcome: Result<super::Revision, StoreError>) -> Bytes {
    match outcome {
        Err(StoreError::Conflict { key }) => key,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

pub(super) async fn an_absent_key_has_no_value(f: Fixture) {
    assert_eq!(f.store.get(b"nothing").await.unwrap(), None);
    let page = f.store.range(Range::all()).await.unwrap();
    assert!(page.entries.is_empty() && page.next.is_none());
}

pub(super) async fn a_value_is_overwritten_and_deleted(f: Fixture) {
    let first = f.store.commit(put("k", "one")).await.unwrap();
    let found = f.store.get(b"k").await.unwrap().unwrap();
    assert_eq!(found, Versioned::new(Bytes::from("one"), first));

    let second = f.store.commit(put("k", "two")).await.unwrap();
    let found = f.store.get(b"k").await.unwrap().unwrap();
    assert_eq!(found, Versioned::new(Bytes::from("two"), second));

    f.store.commit(Batch::new().delete("k")).await.unwrap();
    assert_eq!(f.store.get(b"k").await.unwrap(), None);
    f.store.commit(Batch::new().delete("k")).await.unwrap();
}

pub(super) async fn values_are_any_bytes(f: Fixture) {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let key = [&[1], &all[..]].concat();
    let batch = Batch::new().put(key.clone(), all.clone()).put("empty", "");
    f.store.commit(batch).await.unwrap();
    assert_eq!(f.store.get(&key).await.unwrap().unwrap().value, all);
    assert_eq!(value(&*f.store, "empty").await.unwrap(), "");
}

pub(super) async fn revisions_grow(f: Fixture) {
    let mut last = f.store.commit(put("a", "")).await.unwrap();
    for batch in [
        put("a", ""),
        put("b", ""),
        Batch::new().delete("a"),
        put("a", ""),
    ] {
        let next = f.store.commit(batch).await.unwrap();
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    let of_b = f.store.get(b"b").await.unwrap().unwrap().revision;
    assert!(of_b < last, "another key's commit is not b's");
}

pub(super) async fn a_batch_does_its_operations_in_order(f: Fixture) {
    let batch = put("a", "1")
        .delete("a")
        .put("b", "1")
        .put("b", "2")
        .put("c", "1")
        .delete("c");
    let revision = f.store.commit(batch.put("a", "3")).await.unwrap();
    assert_eq!(value(&*f.store, "a").await.unwrap(), "3");
    assert_eq!(value(&*f.store, "b").await.unwrap(), "2");
    assert_eq!(value(&*f.store, "c").await, None);
    let page = f.store.range(Range::all()).await.unwrap();
    assert!(page.entries.iter().all(|entry| entry.revision == revision));
}

pub(super) async fn ranges_are_in_the_order_of_keys(f: Fixture) {
    let mut batch = Batch::new();
    for key in [
        &b"b/2"[..],
        b"a",
        b"b/",
        b"b0",
        b"b/\xff\xff",
        b"b",
        b"b/10",
        b"\xff",
    ] {
        batch = batch.put(key.to_vec(), key.to_vec());
    }
    f.store.commit(batch).await.unwrap();

    let page = f.store.range(Range::prefix("b/")).await.unwrap();
    assert_eq!(keys(&page), [&b"b/"[..], b"b/10", b"b/2", b"b/\xff\xff"]);
    assert!(page.entries.iter().all(|entry| entry.key == entry.value));
    let page = f.store.range(Range::between("a", "b/10")).await.unwrap();
    assert_eq!(keys(&page), [&b"a"[..], b"b", b"b/"]);
    let page = f.store.range(Range::prefix(&b"\xff"[..])).await.unwrap();
    assert_eq!(keys(&page), [b"\xff"]);
    assert_eq!(f.store.range(Range::all()).await.unwrap().entries.len(), 8);
    assert!(
        f.store
            .range(Range::between("c", "b"))
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}

pub(super) async fn ranges_come_in_pages(f: Fixture) {
    let mut batch = put("a", "").put("z", "");
    for number in 0..25 {
        batch = batch.put(format!("k/{number:02}"), "");
    }
    f.store.commit(batch).await.unwrap();

    let mut seen = Vec::new();
    let mut range = Range::prefix("k/").limit(10);
    let mut pages = 0;
    loop {
        let page = f.store.range(range.clone()).await.unwrap();
        pages += 1;
        seen.extend(page.entries.into_iter().map(|entry| entry.key));
        let Some(next) = page.next else { break };
        range = range.after(next);
    }
    let expected: Vec<_> = (0..25).map(|number| format!("k/{number:02}")).collect();
    assert_eq!(
        (seen, pages),
        (expected.into_iter().map(Bytes::from).collect(), 3)
    );

    let exact = f.store.range(Range::prefix("k/").limit(25)).await.unwrap();
    assert_eq!((exact.entries.len(), exact.next), (25, None));
    let before = Range::prefix("k/").after("a").limit(1);
    assert_eq!(keys(&f.store.range(before).await.unwrap()), [b"k/00"]);
}

pub(super) async fn a_page_of_large_values_ends_early(f: Fixture) {
    for number in 0..6 {
        let batch = Batch::new().put(format!("k/{number}"), vec![7; MAX_VALUE_BYTES]);
        f.store.commit(batch).await.unwrap();
    }
    let page = f.store.range(Range::prefix("k/")).await.unwrap();
    assert_eq!(page.entries.len(), MAX_PAGE_BYTES / MAX_VALUE_BYTES);
    let rest = Range::prefix("k/").after(page.next.unwrap());
    let rest = f.store.range(rest).await.unwrap();
    assert_eq!((rest.entries.len(), rest.next), (2, None));
}

pub(super) async fn conditions_hold_or_nothing_happens(f: Fixture) {
    let there = f.store.commit(put("there", "1")).await.unwrap();
    let older = there;
    let there = f.store.commit(put("there", "2")).await.unwrap();
    let refused = [
        put("x", "").if_absent("there"),
        put("x", "").if_present("absent"),
        put("x", "").if_revision("there", older),
        put("x", "").if_revision("absent", there),
        put("absent", "").if_present("absent"),
        Batch::new().delete("there").if_absent("there"),
    ];
    for batch in refused {
        conflict_on(f.store.commit(batch).await);
    }
    let page = f.store.range(Range::all()).await.unwrap();
    assert_eq!(keys(&page), [b"there"]);
    assert_eq!(page.entries[0].revision, there);

    let accepted = put("x", "").if_absent("absent").if_present("there");
    f.store
        .commit(accepted.if_revision("there", there))
        .await
        .unwrap();
    assert_eq!(value(&*f.store, "x").await.unwrap(), "");

    // A key that was deleted and written again is not the one that was read.
    f.store.commit(Batch::new().delete("there")).await.unwrap();
    f.store.commit(put("there", "2")).await.unwrap();
    conflict_on(
        f.store
            .commit(put("x", "").if_revision("there", there))
            .await,
    );
}

pub(super) async fn a_conflict_names_the_first_key(f: Fixture) {
    f.store.commit(put("b", "").put("c", "")).await.unwrap();
    let batch = put("x", "").if_absent("a").if_absent("c").if_absent("b");
    assert_eq!(conflict_on(f.store.commit(batch).await), "c");
}

pub(super) async fn of_fifty_writers_one_makes_the_key(f: Fixture) {
    let mut writers = JoinSet::new();
    for number in 0..50 {
        let store = Arc::clone(&f.store);
        writers.spawn(async move {
            let batch = put("one", &number.to_string()).if_absent("one");
            (number, store.commit(batch).await)
        });
    }
    let mut winners = Vec::new();
    for (number, outcome) in writers.join_all().await {
        match outcome {
            Ok(_) => winners.push(number),
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(
        value(&*f.store, "one").await.unwrap(),
        winners[0].to_string()
    );
}

pub(super) async fn a_counter_counts_every_increment(f: Fixture) {
    const TASKS: usize = 16;
    const INCREMENTS: usize = 10;
    f.store.commit(put("counter", "0")).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&f.store);
        tasks.spawn(async move {
            for _ in 0..INCREMENTS {
                while !increment(&*store).await {}
            }
        });
    }
    tasks.join_all().await;
    let counted = value(&*f.store, "counter").await.unwrap();
    assert_eq!(counted, (TASKS * INCREMENTS).to_string());
}

async fn increment(store: &dyn Store) -> bool {
    let found = store.get(b"counter").await.unwrap().unwrap();
    let number: u64 = std::str::from_utf8(&found.value).unwrap().parse().unwrap();
    let batch = put("counter", &(number + 1).to_string());
    match store
        .commit(batch.if_revision("counter", found.revision))
        .await
    {
        Ok(_) => true,
        Err(error) if error.is_conflict() => false,
        Err(error) => panic!("{error}"),
    }
}

pub(super) async fn a_batch_is_never_seen_in_part(f: Fixture) {
    let write = |store: Arc<dyn Store>| async move {
        for number in 0..40 {
            let mut batch = Batch::new();
            for key in 0..20 {
                batch = batch.put(format!("k/{key:02}"), number.to_string());
            }
            store.commit(batch).await.unwrap();
        }
    };
    let writer = tokio::spawn(write(Arc::clone(&f.store)));
    let mut looks = 0;
    while !writer.is_finished() || looks == 0 {
        let page = f.store.range(Range::prefix("k/")).await.unwrap();
        let values: BTreeSet<_> = page.entries.iter().map(|entry| &entry.value).collect();
        assert!(values.len() <= 1, "of one commit: {values:?}");
        assert!([0, 20].contains(&page.entries.len()));
        looks += 1;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

const TTL: Duration = Duration::from_secs(10);

fn holder_of<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::LeaseHeld { holder, .. }) => holder,
        other => panic!("expected that it is held, got {other:?}"),
    }
}

pub(super) async fn a_lease_has_one_holder(f: Fixture) {
    let lease = f.store.lease("job", "first", TTL).await.unwrap();
    assert_eq!(
        holder_of(f.store.lease("job", "second", TTL).await),
        "first"
    );
    assert_eq!(holder_of(f.store.lease("job", "first", TTL).await), "first");
    f.store.lease("another job", "second", TTL).await.unwrap();

    let token = lease.token();
    f.store.release(lease).await.unwrap();
    let next = f.store.lease("job", "second", TTL).await.unwrap();
    assert!(next.token() > token);
}

pub(super) async fn a_lease_ends_by_the_stores_time(f: Fixture) {
    let mut lease = f.store.lease("job", "first", TTL).await.unwrap();
    f.clock.advance(TTL - Duration::from_secs(1));
    f.store.renew(&mut lease, TTL).await.unwrap();
    f.clock.advance(TTL - Duration::from_secs(1));
    assert_eq!(
        holder_of(f.store.lease("job", "second", TTL).await),
        "first"
    );
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(lease.ends(), f.store.now().await.unwrap());
    let taken = f.store.lease("job", "second", TTL).await.unwrap();
    assert!(taken.token() > lease.token());
}

pub(super) async fn a_lost_lease_is_lost(f: Fixture) {
    let mut lost = f.store.lease("job", "first", TTL).await.unwrap();
    f.clock.advance(TTL);
    let mut taken = f.store.lease("job", "second", TTL).await.unwrap();
    let renewed = f.store.renew(&mut lost, TTL).await;
    assert!(matches!(renewed, Err(StoreError::LeaseLost { name }) if name == "job"));
    f.store.release(lost.clone()).await.unwrap();
    assert_eq!(
        holder_of(f.store.lease("job", "third", TTL).await),
        "second"
    );
    f.store.renew(&mut taken, TTL).await.unwrap();

    // Released, it stays lost even while nobody has it.
    f.store.release(taken.clone()).await.unwrap();
    let renewed = f.store.renew(&mut taken, TTL).await;
    assert!(matches!(renewed, Err(StoreError::LeaseLost { .. })));
}

pub(super) async fn a_late_holder_renews_what_nobody_took(f: Fixture) {
    let mut lease = f.store.lease("job", "first", TTL).await.unwrap();
    f.clock.advance(TTL);
    // The holder is late, but nobody was there to take it.
    f.store.renew(&mut lease, TTL).await.unwrap();
    assert_eq!(
        holder_of(f.store.lease("job", "second", TTL).await),
        "first"
    );
}

pub(super) async fn fencing_keeps_a_late_holder_out(f: Fixture) {
    let late = f.store.lease("job", "first", TTL).await.unwrap();
    f.store
        .commit(put("work", "first").if_leased(&late))
        .await
        .unwrap();
    f.clock.advance(TTL);
    let taken = f.store.lease("job", "second", TTL).await.unwrap();
    conflict_on(f.store.commit(put("work", "late").if_leased(&late)).await);
    f.store
        .commit(put("work", "second").if_leased(&taken))
        .await
        .unwrap();
    assert_eq!(value(&*f.store, "work").await.unwrap(), "second");
}

pub(super) async fn of_many_who_ask_one_gets_the_lease(f: Fixture) {
    let mut last = None;
    for _ in 0..3 {
        let mut asking = JoinSet::new();
        for number in 0..16 {
            let store = Arc::clone(&f.store);
            asking.spawn(async move { store.lease("job", &number.to_string(), TTL).await });
        }
        let outcomes = asking.join_all().await;
        let got: Vec<_> = outcomes
            .iter()
            .filter_map(|got| got.as_ref().ok())
            .collect();
        assert_eq!(got.len(), 1, "{outcomes:?}");
        assert!(last < Some(got[0].token()));
        last = Some(got[0].token());
        f.clock.advance(TTL);
    }
}

pub(super) async fn a_watch_tells_each_key_under_its_prefix(f: Fixture) {
    f.store.commit(put("k/before", "")).await.unwrap();
    let mut watch = f.store.watch(b"k/").await.unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..5 {
        let key = format!("k/{number}");
        let revision = f
            .store
            .commit(put(&key, "").put("other", ""))
            .await
            .unwrap();
        expected.insert(Bytes::from(key), revision);
    }
    let revision = f.store.commit(Batch::new().delete("k/0")).await.unwrap();
    expected.insert(Bytes::from("k/0"), revision);

    let mut seen = BTreeMap::new();
    while seen != expected {
        match watch.next().await.unwrap() {
            Change::Key { key, revision } => {
                assert!(expected.contains_key(&key), "{key:?}");
                seen.insert(key, revision);
            }
            Change::Lagged => seen = expected.clone(),
        }
    }
}

pub(super) async fn a_watch_that_does_not_look_is_told_so(f: Fixture) {
    let mut watch = f.store.watch(b"").await.unwrap();
    for chunk in 0..=MAX_PENDING_CHANGES / MAX_OPERATIONS {
        let mut batch = Batch::new();
        for number in 0..MAX_OPERATIONS {
            batch = batch.put(format!("{chunk}/{number}"), "");
        }
        f.store.commit(batch).await.unwrap();
    }
    assert_eq!(watch.next().await, Some(Change::Lagged));
}

pub(super) async fn a_watch_never_misses_the_last_change(f: Fixture) {
    const WRITES: usize = 200;
    let watch = f.store.watch(b"k").await.unwrap();
    let store = Arc::clone(&f.store);
    let reader = tokio::spawn(read_until(store, watch, WRITES.to_string()));
    for number in 1..=WRITES {
        f.store.commit(put("k", &number.to_string())).await.unwrap();
    }
    reader.await.unwrap();
}

/// Ends when what is read after a change is `last`.
async fn read_until(store: Arc<dyn Store>, mut watch: Watch, last: String) {
    loop {
        watch.next().await.unwrap();
        if value(&*store, "k").await.unwrap() == last {
            return;
        }
    }
}

pub(super) async fn a_watch_ends_with_the_store(f: Fixture) {
    let mut watch = f.store.watch(b"").await.unwrap();
    f.store.commit(put("k", "")).await.unwrap();
    drop(f.store);
    assert!(matches!(watch.next().await, Some(Change::Key { .. })));
    assert_eq!(watch.next().await, None);
}

pub(super) async fn what_is_too_large_is_refused(f: Fixture) {
    let key = vec![b'k'; MAX_KEY_BYTES];
    let longer = vec![b'k'; MAX_KEY_BYTES + 1];
    let many = |count: usize| {
        (0..count).fold(Batch::new(), |batch, number| {
            batch.delete(number.to_string())
        })
    };
    let largest = Batch::new().put(key.clone(), vec![0; MAX_VALUE_BYTES]);
    f.store
        .commit(largest.if_absent(key.clone()))
        .await
        .unwrap();
    assert_eq!(
        f.store.get(&key).await.unwrap().unwrap().value.len(),
        MAX_VALUE_BYTES
    );
    f.store.commit(many(MAX_OPERATIONS)).await.unwrap();

    let batches = [
        Batch::new().put("k", vec![0; MAX_VALUE_BYTES + 1]),
        Batch::new().put(longer.clone(), ""),
        Batch::new().delete(longer.clone()),
        put("k", "").if_absent(longer.clone()),
        many(MAX_OPERATIONS + 1),
    ];
    for batch in batches {
        let error = f.store.commit(batch).await.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
    assert!(matches!(
        f.store.get(&longer).await,
        Err(StoreError::TooLarge { .. })
    ));
    let range = f.store.range(Range::prefix(longer.clone())).await;
    assert!(matches!(range, Err(StoreError::TooLarge { .. })));
    assert!(matches!(
        f.store.watch(&longer).await,
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(value(&*f.store, "k").await, None);
}

pub(super) async fn the_stores_own_keys_are_refused(f: Fixture) {
    let lease = f.store.lease("job", "first", TTL).await.unwrap();
    for batch in [put("\0x", ""), Batch::new().delete("\0lease/job\0holder")] {
        let error = f.store.commit(batch).await.unwrap_err();
        assert!(matches!(error, StoreError::ReservedKey { .. }), "{error}");
    }
    f.store
        .commit(put("k", "").if_leased(&lease))
        .await
        .unwrap();
}

pub(super) async fn a_store_answers_a_probe(f: Fixture) {
    f.store.probe().await.unwrap();
    f.store.commit(put("k", "")).await.unwrap();
    f.store.probe().await.unwrap();
}

pub(super) async fn a_store_knows_its_migrations(f: Fixture) {
    assert!(f.store.has_migration("records-1").await.unwrap());
    for name in ["records-0", "records-", "", "\0", "'; --"] {
        assert!(!f.store.has_migration(name).await.unwrap(), "{name:?}");
    }
}
