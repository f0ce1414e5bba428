//! Several gateways, one database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::super::schema::{self, MIGRATIONS};
use super::{Cluster, WAITS_TO_BEGIN, connect, put, told_of, until, value};
use crate::store::{Batch, Change, Range, Revision, Store, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_commits_the_other_is_told() {
    let cluster = Cluster::start();
    let (first, second) = (connect(&cluster).await, connect(&cluster).await);
    first.commit(put("k/before", "")).await.unwrap();
    let mut watch = second.watch(b"k/").await.unwrap();
    let mut own = first.watch(b"k/").await.unwrap();
    for number in 0..20 {
        let writer = if number % 2 == 0 { &first } else { &second };
        let key = format!("k/{number}");
        let batch = Batch::new().put(key.clone(), "").put("other", "");
        let revision = writer.commit(batch).await.unwrap();
        let change = Change::Key {
            key: key.into(),
            revision,
        };
        assert_eq!(watch.next().await.as_ref(), Some(&change));
        assert_eq!(own.next().await, Some(change));
    }
}

#[tokio::test]
async fn a_change_is_seen_soon_when_no_notification_comes() {
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    let admin = cluster.admin().await;
    for round in 0..3 {
        let mut watch = store.watch(b"key/").await.unwrap();
        let silently = format!(
            "BEGIN;
             UPDATE portunus.counter SET revision = revision + 1;
             INSERT INTO portunus.changes SELECT revision, 'key/{round}' FROM portunus.counter;
             COMMIT"
        );
        admin.batch_execute(&silently).await.unwrap();
        let told = timeout(Duration::from_secs(1), watch.next()).await;
        let key = format!("key/{round}");
        assert!(matches!(told, Ok(Some(Change::Key { key: told, .. })) if told == key));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_two_gateways_lose_no_increment() {
    const TASKS: usize = 6;
    const INCREMENTS: usize = 10;
    let cluster = Cluster::start();
    let stores = [connect(&cluster).await, connect(&cluster).await];
    stores[0].commit(put("counter", "0")).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let store = Arc::clone(&stores[number % 2]);
        tasks.spawn(async move {
            let mut revisions = Vec::new();
            while revisions.len() < INCREMENTS {
                let found = store.get(b"counter").await.unwrap().unwrap();
                let number: usize = std::str::from_utf8(&found.value).unwrap().parse().unwrap();
                let batch = Batch::new()
                    .put("counter", (number + 1).to_string())
                    .if_revision("counter", found.revision);
                match store.commit(batch).await {
                    Ok(revision) => revisions.push(revision),
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
            revisions
        });
    }
    let revisions: Vec<Vec<Revision>> = tasks.join_all().await;
    let revisions: BTreeSet<_> = revisions.into_iter().flatten().collect();
    assert_eq!(revisions.len(), TASKS * INCREMENTS);
    let counted = value(&stores[1], "counter").await.unwrap();
    assert_eq!(counted, (TASKS * INCREMENTS).to_string());
}

#[tokio::test]
async fn a_lease_ends_by_the_databases_clock() {
    let cluster = Cluster::start();
    let (first, second) = (connect(&cluster).await, connect(&cluster).await);
    let lease = first.lease("job", "first", Duration::from_secs(60)).await;
    let lease = lease.unwrap();
    let refused = second.lease("job", "second", Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(StoreError::LeaseHeld { holder, .. }) if holder == "first"));

    let admin = cluster.admin().await;
    let row = admin.query_one("SELECT now()", &[]).await.unwrap();
    let now: std::time::SystemTime = row.get(0);
    assert!(second.now().await.unwrap() >= now);
    let left = lease.ends().duration_since(now).unwrap();
    assert!(left <= Duration::from_secs(60), "{left:?}");
}

/// On one thread, so that a turn is a turn.
#[tokio::test]
async fn what_waits_is_committed_together() {
    const WAITING: usize = 63;
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    let admin = cluster.admin().await;
    let lock = "BEGIN; SELECT FROM portunus.counter FOR UPDATE";
    admin.batch_execute(lock).await.unwrap();
    let mut commits = JoinSet::new();
    let mut commit = |number: usize| {
        let store = Arc::clone(&store);
        let batch = Batch::new().put(number.to_string(), "");
        commits.spawn(async move { store.commit(batch).await.unwrap() });
    };
    commit(0);
    let asking = cluster.admin().await;
    until(&asking, WAITS_TO_BEGIN).await;
    (1..=WAITING).for_each(&mut commit);
    while store.writer.waiting() < WAITING {
        yield_now().await;
    }
    admin.batch_execute("ROLLBACK").await.unwrap();

    let revisions: BTreeSet<_> = commits.join_all().await.into_iter().collect();
    assert_eq!(revisions.len(), 1 + WAITING, "each has its own revision");
    let transactions = "SELECT count(DISTINCT xmin::text)::int FROM portunus.records";
    assert_eq!(until(&admin, transactions).await, 2);
    let changes = "SELECT count(DISTINCT xmin::text)::int FROM portunus.changes";
    assert_eq!(until(&admin, changes).await, 2, "written in the same");
    let lock = "SELECT (xmin::text IN (SELECT xmin::text FROM portunus.records))::int
        FROM portunus.counter";
    assert_eq!(until(&admin, lock).await, 1, "and with the lock");
}

#[tokio::test]
async fn old_changes_are_forgotten_and_who_needs_them_reads_again() {
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    for _ in 0..3 {
        store.commit(put("k", "")).await.unwrap();
    }
    let admin = cluster.admin().await;
    let mut watch = store.watch(b"").await.unwrap();
    // As if another gateway had committed a lot, and forgotten it, since this one looked.
    let gap = "UPDATE portunus.counter SET revision = revision + 9, pruned = revision + 9";
    admin.batch_execute(gap).await.unwrap();
    assert_eq!(watch.next().await, Some(Change::Lagged));

    let many = "UPDATE portunus.counter SET revision = revision + 100000";
    admin.batch_execute(many).await.unwrap();
    let removed = "SELECT (count(*) = 0)::int FROM portunus.changes";
    until(&admin, removed).await;
    let revision = store.commit(put("k", "")).await.unwrap();
    told_of(&mut watch, "k").await;
    assert!(revision > Revision::from(100_000));
}

#[tokio::test]
async fn a_commit_waits_for_the_disk_whatever_the_servers_setting_is() {
    let cluster = Cluster::start();
    let admin = cluster.admin().await;
    for (set, found) in [("off", "on"), ("local", "local"), ("on", "on")] {
        let change = format!("ALTER DATABASE portunus SET synchronous_commit = {set}");
        admin.batch_execute(&change).await.unwrap();
        let store = connect(&cluster).await;
        let ask = "SELECT current_setting('synchronous_commit'),
            current_setting('idle_in_transaction_session_timeout')";
        let rows = store.database.rows(ask, &[]).await.unwrap();
        assert_eq!(rows[0].get::<_, &str>(0), found);
        assert_eq!(rows[0].get::<_, &str>(1), "5s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_start_together_make_the_tables_once() {
    let cluster = Cluster::start();
    let starting: JoinSet<_> = (0..6)
        .map(|_| {
            let url = cluster.url();
            async move { super::PostgresStore::connect(&url).await.unwrap() }
        })
        .collect();
    let stores = starting.join_all().await;
    for store in &stores {
        store.commit(put("k", "v")).await.unwrap();
    }
    let admin = cluster.admin().await;
    let applied = "SELECT count(*)::int FROM portunus.migrations";
    assert_eq!(until(&admin, applied).await, MIGRATIONS.len() as i32);
}

#[tokio::test]
async fn migrations_run_once_in_order_and_as_a_whole() {
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    let more = [
        MIGRATIONS,
        &[
            ("extra-1", "CREATE TABLE portunus.extra (n int)"),
            ("extra-2", "INSERT INTO portunus.extra VALUES (1)"),
        ],
    ]
    .concat();
    for _ in 0..2 {
        schema::migrate(&store.database, &more).await.unwrap();
    }
    let admin = cluster.admin().await;
    let rows = "SELECT count(*)::int FROM portunus.extra";
    assert_eq!(until(&admin, rows).await, 1);
    assert!(store.has_migration("extra-2").await.unwrap());

    let broken = "CREATE TABLE portunus.half (); SELECT 1 / 0";
    let more = [&more[..], &[("broken-1", broken)]].concat();
    let error = schema::migrate(&store.database, &more).await.unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    let half = "SELECT (to_regclass('portunus.half') IS NULL)::int";
    assert_eq!(until(&admin, half).await, 1);
    assert!(!store.has_migration("broken-1").await.unwrap());

    // And a version that does not know them refuses the database.
    let error = super::PostgresStore::connect(&cluster.url())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::NewerSchema { migration, .. } if migration == "extra-1"),
        "{error}"
    );
}

#[tokio::test]
async fn a_narrow_range_reads_no_further_than_its_end() {
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    let admin = cluster.admin().await;
    let many = "INSERT INTO portunus.records
        SELECT convert_to('z/' || n, 'UTF8'), 1, '' FROM generate_series(1, 20000) AS n;
        ANALYZE portunus.records";
    admin.batch_execute(many).await.unwrap();
    store.commit(put("a/1", "").put("a/2", "")).await.unwrap();

    let range = Range::prefix("a/");
    let query = super::super::PageQuery::new(&range);
    let explain = format!("EXPLAIN (ANALYZE, FORMAT TEXT) {}", query.text);
    let plan = admin.query(&explain, &query.parameters()).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Cond"), "{plan}");
    assert!(!plan.contains("Rows Removed by Filter"), "{plan}");
    assert_eq!(store.range(range).await.unwrap().entries.len(), 2);
}
