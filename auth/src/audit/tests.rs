//! The trail as a whole: appended to, searched, exported, erased from, over stores that fail.

pub(crate) mod contend;
mod kill;
mod tamper;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;

use super::row::hash_of;
use super::*;
use crate::store::{ManualClock, MemoryStore, Page, Range, Revision, StoreError, Versioned, Watch};

const MASTER: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";
/// 2026-04-15T12:00:00Z.
const START: Duration = Duration::from_secs(1_776_254_400);

pub(crate) fn master() -> MasterKey {
    MasterKey::parse(MASTER).unwrap()
}

fn clock() -> ManualClock {
    ManualClock::at(UNIX_EPOCH + START)
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

async fn open(store: &Arc<dyn Store>) -> Chain {
    try_open(store).await.unwrap()
}

async fn try_open(store: &Arc<dyn Store>) -> Result<Chain, AuditError> {
    let clock = Arc::new(clock());
    Chain::open(Arc::clone(store), &master(), clock, Chain::DEFAULT).await
}

/// An event by the user `u<number mod 3>`.
fn event(number: u64) -> Event {
    let name = if number.is_multiple_of(2) {
        "tunnel.connected"
    } else {
        "tunnel.disconnected"
    };
    let user = number % 3;
    Event::new(name, Actor::user(format!("u{user}")))
        .on("tunnel", format!("t{}", number % 5))
        .named(format!("User Number {user}"))
        .from("192.0.2.7".parse().unwrap())
        .user_agent("curl/8.0")
        .with("number", number)
}

async fn fill(chain: &Chain, count: u64) {
    let mut appends = JoinSet::new();
    for number in 1..=count {
        let chain = chain.clone();
        appends.spawn(async move { chain.append(event(number)).await.unwrap() });
    }
    let ids: BTreeSet<_> = appends.join_all().await.into_iter().collect();
    assert_eq!(ids.len() as u64, count);
}

/// Every key and value there is, one after another.
async fn raw(store: &dyn Store) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut range = Range::all();
    loop {
        let page = store.range(range.clone()).await.unwrap();
        for entry in page.entries {
            raw.extend_from_slice(&entry.key);
            raw.extend_from_slice(&entry.value);
        }
        let Some(next) = page.next else { return raw };
        range = range.after(next);
    }
}

fn holds(raw: &[u8], part: &[u8]) -> bool {
    raw.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn rows_are_numbered_in_their_order_and_hold_together() {
    let store = memory();
    let chain = open(&store).await;
    for number in 1..=5 {
        assert_eq!(chain.append(event(number)).await.unwrap(), Id(number));
    }
    let report = chain.reader().verify(&[]).await.unwrap();
    assert!(report.valid, "{report:?}");
    assert_eq!((report.entries, report.erased), (5, 0));

    let found = chain.reader().query(&Query::new()).await.unwrap();
    let newest = &found.entries[0];
    assert_eq!(newest.row.time, "2026-04-15T12:00:00.000Z");
    assert_eq!(newest.row.actor, Actor::user("u2"));
    assert_eq!(newest.row.prev, found.entries[1].hash);
    let personal = newest.personal.as_ref().unwrap();
    assert_eq!(personal.name.as_deref(), Some("User Number 2"));
    assert_eq!(found.entries[4].row.prev, "genesis");
}

#[tokio::test]
async fn a_chain_goes_on_where_the_last_process_stopped() {
    let store = memory();
    for round in 0..3 {
        let chain = open(&store).await;
        assert_eq!(chain.append(event(1)).await.unwrap(), Id(round + 1));
        chain.checkpoint().await.unwrap();
    }
    let report = open(&store).await.reader().verify(&[]).await.unwrap();
    assert!(report.valid && report.entries == 3, "{report:?}");
    assert!(report.checkpoints >= 3, "{report:?}");
}

#[tokio::test]
async fn chains_of_other_names_are_apart() {
    let store = memory();
    let main = open(&store).await;
    let other = Chain::open(Arc::clone(&store), &master(), Arc::new(clock()), "main.2").await;
    let other = other.unwrap();
    main.append(event(1)).await.unwrap();
    assert_eq!(other.append(event(1)).await.unwrap(), Id(1));
    for chain in [&main, &other] {
        assert_eq!(chain.reader().verify(&[]).await.unwrap().entries, 1);
    }
    let absent = Reader::open(store, &master(), "nobody").await;
    assert!(matches!(absent, Err(AuditError::Absent(name)) if name == "nobody"));
}

#[tokio::test]
async fn rows_that_wait_share_commits() {
    let store = memory();
    let chain = open(&store).await;
    let before = store.commit(Batch::new()).await.unwrap();
    fill(&chain, 500).await;
    let commits = store.commit(Batch::new()).await.unwrap().get() - before.get();
    assert!(commits < 250, "{commits}");
    let report = chain.reader().verify(&[]).await.unwrap();
    assert!(report.valid && report.entries == 500, "{report:?}");
}

#[tokio::test]
async fn a_checkpoint_is_written_every_so_many_rows() {
    let store = memory();
    let chain = open(&store).await;
    fill(&chain, CHECKPOINT_EVERY * 2 + 10).await;
    let report = chain.reader().verify(&[]).await.unwrap();
    assert!(report.valid, "{report:?}");
    assert_eq!(report.checkpoints, 3);
}

#[tokio::test]
async fn a_row_and_its_batch_happen_together_or_not_at_all() {
    let store = memory();
    let chain = open(&store).await;
    let make = |value: &'static str| Batch::new().if_absent("user/1").put("user/1", value);
    let id = chain.append_with(event(1), make("first")).await.unwrap();
    assert_eq!(id, Id(1));

    let refused = chain.append_with(event(2), make("second")).await;
    assert!(
        matches!(&refused, Err(AuditError::Store(StoreError::Conflict { key })) if key == "user/1"),
        "{refused:?}"
    );
    let user = store.get(b"user/1").await.unwrap().unwrap();
    assert_eq!(user.value, "first");
    assert_eq!(chain.append(event(3)).await.unwrap(), Id(2));
    assert!(chain.reader().verify(&[]).await.unwrap().valid);
}

#[tokio::test]
async fn a_batch_follows_a_tail_that_others_moved() {
    let store = memory();
    let (one, other) = (open(&store).await, open(&store).await);
    other.append(event(1)).await.unwrap();
    let batch = Batch::new().put("user/1", "");
    assert_eq!(one.append_with(event(2), batch).await.unwrap(), Id(2));
    assert!(one.reader().verify(&[]).await.unwrap().valid);
}

#[tokio::test]
async fn many_who_begin_a_chain_begin_one() {
    let store = memory();
    let mut begins = JoinSet::new();
    for _ in 0..20 {
        let store = Arc::clone(&store);
        begins.spawn(async move { open(&store).await.append(event(1)).await.unwrap() });
    }
    let ids: BTreeSet<_> = begins.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 20);
    let report = open(&store).await.reader().verify(&[]).await.unwrap();
    assert!(report.valid && report.entries == 20, "{report:?}");
}

#[tokio::test]
async fn what_was_erased_is_gone_and_the_chain_stays_whole() {
    let store = memory();
    let chain = open(&store).await;
    fill(&chain, 30).await;
    assert!(holds(&raw(&*store).await, b"User Number 1"));

    let by = Actor::user("admin");
    let erasure = Erasure::of(Actor::user("u1"));
    assert_eq!(chain.erase(erasure.clone(), by.clone()).await.unwrap(), 10);
    let left = raw(&*store).await;
    assert!(!holds(&left, b"User Number 1") && holds(&left, b"User Number 2"));
    let report = chain.reader().verify(&[]).await.unwrap();
    assert!(report.valid, "{report:?}");
    assert_eq!((report.entries, report.erased), (31, 10));

    let query = Query::new().by(Actor::user("u1"));
    let found = chain.reader().query(&query).await.unwrap().entries;
    assert_eq!(found.len(), 10);
    for entry in found {
        assert!(entry.personal.is_none() && entry.row.personal.is_some());
    }
    assert_eq!(chain.erase(erasure, by).await.unwrap(), 0);

    // What comes after the erasure is not covered by it.
    let id = chain.append(event(1)).await.unwrap();
    let record = chain.reader().place.personal(id);
    store.commit(Batch::new().delete(record)).await.unwrap();
    let report = chain.reader().verify(&[]).await.unwrap();
    assert_eq!(report.broken_at, Some(id));
    assert_eq!(report.reason, Some(Reason::PersonalMissing));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_chain_is_found_whole_while_others_append_and_erase() {
    let store = memory();
    let chain = open(&store).await;
    fill(&chain, 20).await;
    let appending = tokio::spawn({
        let chain = open(&store).await;
        async move {
            for number in 0..600 {
                chain.append(event(number)).await.unwrap();
            }
        }
    });
    let erasing = tokio::spawn({
        let chain = chain.clone();
        async move {
            for number in 0..30 {
                let actor = Actor::user(format!("u{}", number % 3));
                let erased = chain.erase(Erasure::of(actor), Actor::system()).await;
                erased.unwrap();
                chain.checkpoint().await.unwrap();
            }
        }
    });
    let mut looks = 0;
    while !(appending.is_finished() && erasing.is_finished()) || looks == 0 {
        let report = chain.reader().verify(&[]).await.unwrap();
        assert!(report.valid, "{report:?}");
        looks += 1;
    }
    appending.await.unwrap();
    erasing.await.unwrap();
    let report = chain.reader().verify(&[]).await.unwrap();
    assert!(report.valid && report.entries == 650, "{report:?}");
}

#[tokio::test]
async fn everybodys_columns_can_be_erased_up_to_a_row() {
    let store = memory();
    let chain = open(&store).await;
    for number in 1..=9 {
        chain.append(event(number)).await.unwrap();
    }
    let erased = chain.erase(Erasure::through(Id(6)), Actor::system()).await;
    assert_eq!(erased.unwrap(), 6);
    let report = chain.reader().verify(&[]).await.unwrap();
    assert!(report.valid && report.erased == 6, "{report:?}");
}

#[tokio::test]
async fn rows_are_found_by_who_what_when_and_page_by_page() {
    let store = memory();
    let time = clock();
    let chain = Chain::open(store, &master(), Arc::new(time.clone()), "main").await;
    let chain = chain.unwrap();
    for number in 1..=60 {
        chain.append(event(number)).await.unwrap();
        time.advance(Duration::from_secs(1));
    }
    let at = |second: u64| -> SystemTime { UNIX_EPOCH + START + Duration::from_secs(second) };
    let ids = async |query: Query| {
        let found = chain.reader().query(&query).await.unwrap();
        let ids: Vec<_> = found.entries.iter().map(|entry| entry.row.id.0).collect();
        (ids, found.next)
    };

    let (of_user, next) = ids(Query::new().by(Actor::user("u0")).limit(3)).await;
    assert_eq!((of_user, next), (vec![60, 57, 54], Some(Id(54))));
    let (of_user, _) = ids(Query::new().by(Actor::user("u0")).limit(2).before(Id(54))).await;
    assert_eq!(of_user, [51, 48]);
    let (none, next) = ids(Query::new().by(Actor::new(ActorKind::Key, "u0"))).await;
    assert_eq!((none, next), (vec![], None));

    let (connected, _) = ids(Query::new().event("tunnel.connected")).await;
    assert!(connected.len() == 30 && connected.iter().all(|id| id % 2 == 0));
    assert_eq!(ids(Query::new().event("tunnel.")).await.0.len(), 60);
    assert_eq!(ids(Query::new().event("tunnel")).await.0.len(), 0);
    assert_eq!(ids(Query::new().on("t4")).await.0.len(), 12);
    let (between, _) = ids(Query::new().from(at(10)).until(at(13))).await;
    assert_eq!(between, [13, 12, 11]);
}

#[tokio::test]
async fn an_export_can_be_checked_without_this_program() {
    let store = memory();
    let chain = open(&store).await;
    fill(&chain, 1500).await;
    let erased = Erasure::through(Id(3));
    chain.erase(erased, Actor::system()).await.unwrap();
    let place = chain.reader().place.row(Id(1200));
    store.commit(Batch::new().put(place, "{}")).await.unwrap();

    let mut export = chain.reader().export(Id(1));
    let (mut lines, mut parts) = (Vec::new(), 0);
    while let Some(part) = export.next().await.unwrap() {
        let text = String::from_utf8(part.to_vec()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
        parts += 1;
    }
    assert!(parts > 1 && lines.len() == 1501, "{parts} {}", lines.len());
    let mut head = "genesis".to_owned();
    for (line, number) in lines.iter().zip(1_u64..) {
        let line: Value = serde_json::from_str(line).unwrap();
        if number == 1200 {
            assert_eq!(line["damaged"], "{}");
            continue;
        }
        let (hash, row) = (line["hash"].as_str().unwrap(), &line["row"]);
        assert_eq!(hash_of(&canonical::canonical(row)), hash);
        assert!(number == 1201 || row["prev"] == head.as_str());
        assert_eq!(row["id"], number);
        let has_columns = number > 3 && number <= 1500;
        assert_eq!(line["personal"].is_object(), has_columns, "{line}");
        head = hash.to_owned();
    }
}

#[tokio::test]
async fn the_signing_key_is_nowhere_in_the_store() {
    let store = memory();
    let chain = open(&store).await;
    fill(&chain, 10).await;
    let record = chain.reader().place.signing_key();
    let blob = store.get(&record).await.unwrap().unwrap().value;
    let seed = master().open(&record, &blob).unwrap();
    assert_eq!(seed.len(), 32);
    let raw = raw(&*store).await;
    assert!(!holds(&raw, &seed));
    let digits = super::row::hex(&seed);
    assert!(!holds(&raw, digits.as_bytes()) && !format!("{chain:?}").contains(&digits));
}

#[tokio::test]
async fn another_master_key_opens_no_chain() {
    let store = memory();
    open(&store).await;
    let other = "1d94b6f3027ac8e55b3f60d97e21c48af6830b5dc9e7a2146b8d50f3c71e9a28";
    let other = MasterKey::parse(other).unwrap();
    let opened = Chain::open(store, &other, Arc::new(clock()), "main").await;
    assert!(matches!(opened, Err(AuditError::Key { .. })), "{opened:?}");
}

const WORKS: u8 = 0;
const REFUSES: u8 = 1;
const FORGETS_TO_ANSWER: u8 = 2;

/// A store that can be told to fail.
#[derive(Debug)]
struct Faulty {
    inner: MemoryStore,
    mode: AtomicU8,
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.inner.range(range).await
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        let lost = || StoreError::Unreachable {
            detail: "the connection was lost".to_owned(),
        };
        match self.mode.load(Ordering::Relaxed) {
            REFUSES => return Err(lost()),
            FORGETS_TO_ANSWER => {
                self.inner.commit(batch).await?;
                return Err(lost());
            }
            _ => {}
        }
        self.inner.commit(batch).await
    }

    async fn watch(&self, prefix: &[u8]) -> Result<Watch, StoreError> {
        self.inner.watch(prefix).await
    }

    async fn now(&self) -> Result<SystemTime, StoreError> {
        self.inner.now().await
    }

    async fn has_migration(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.has_migration(name).await
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_is_an_error_and_what_was_is_none() {
    let faulty = Arc::new(Faulty {
        inner: MemoryStore::default(),
        mode: AtomicU8::new(WORKS),
    });
    let store: Arc<dyn Store> = Arc::clone(&faulty) as _;
    let chain = open(&store).await;
    chain.append(event(1)).await.unwrap();

    faulty.mode.store(REFUSES, Ordering::Relaxed);
    let refused = chain.append(event(2)).await;
    assert!(matches!(refused, Err(AuditError::Store(_))), "{refused:?}");

    faulty.mode.store(FORGETS_TO_ANSWER, Ordering::Relaxed);
    assert_eq!(chain.append(event(3)).await.unwrap(), Id(2));
    assert_eq!(chain.append(event(4)).await.unwrap(), Id(3));

    faulty.mode.store(WORKS, Ordering::Relaxed);
    assert_eq!(chain.append(event(5)).await.unwrap(), Id(4));
    let report = chain.reader().verify(&[]).await.unwrap();
    assert!(report.valid && report.entries == 4, "{report:?}");
}

#[test]
fn a_chain_whose_runtime_is_gone_says_so() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let chain = runtime.block_on(async { open(&memory()).await });
    drop(runtime);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(chain.append(event(1)));
    assert!(matches!(refused, Err(AuditError::Stopped)));
}

/// A value of the store, changed by whoever can write to it.
async fn overwrite(store: &dyn Store, key: Bytes, value: impl Into<Bytes>) {
    store.commit(Batch::new().put(key, value)).await.unwrap();
}
