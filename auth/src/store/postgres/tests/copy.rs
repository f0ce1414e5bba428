//! Backups, also from one back end to the other.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Cluster, PostgresStore, connect, put, value};
use crate::store::{
    Batch, Change, Entry, MAX_VALUE_BYTES, Range, RedbStore, Revision, Store, StoreError,
};

/// A directory for backups, inside that of a server.
fn directory(cluster: &Cluster) -> PathBuf {
    let directory = cluster.directory().join("backups");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

async fn everything(store: &dyn Store) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut range = Range::all();
    loop {
        let page = store.range(range.clone()).await.unwrap();
        entries.extend(page.entries);
        let Some(next) = page.next else {
            return entries;
        };
        range = range.after(next);
    }
}

/// Any bytes, more than a page of entries and more than a page of bytes, a lease.
async fn fill(store: &dyn Store) {
    for chunk in 0..3 {
        let batch = (0..700).fold(Batch::new(), |batch, number| {
            batch.put(
                format!("k/{chunk}/{number}"),
                vec![number as u8; number % 90],
            )
        });
        store.commit(batch).await.unwrap();
    }
    for number in 0..6_u8 {
        let batch = Batch::new().put(vec![0xff, number, 0], vec![number; MAX_VALUE_BYTES]);
        store.commit(batch).await.unwrap();
    }
    let ttl = std::time::Duration::from_secs(60);
    store.lease("job", "holder", ttl).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_to_the_other_back_end_and_back() {
    let cluster = Cluster::start();
    let directory = directory(&cluster);
    let file = |name: &str| directory.join(name);
    let embedded = RedbStore::open(file("first.redb")).await.unwrap();
    fill(&embedded).await;
    let contents = everything(&embedded).await;
    let last = embedded.backup(&file("first.backup")).await.unwrap();

    let restored = PostgresStore::restore(&file("first.backup"), &cluster.url()).await;
    let restored = restored.unwrap();
    let shared = connect(&cluster).await;
    assert!(everything(&*shared).await == contents);
    assert!(restored > last);
    let next = shared.commit(put("after", "")).await.unwrap();
    assert!(next > restored, "{next} after {restored}");
    shared.commit(Batch::new().delete("after")).await.unwrap();

    let saved = shared.backup(&file("second.backup")).await.unwrap();
    assert!(saved > next);
    let restored = RedbStore::restore(&file("second.backup"), &file("second.redb")).await;
    assert!(restored.unwrap() > saved);
    let embedded = RedbStore::open(file("second.redb")).await.unwrap();
    assert!(everything(&embedded).await == contents);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_one_moment_while_writers_write() {
    let cluster = Cluster::start();
    let directory = directory(&cluster);
    let store = connect(&cluster).await;
    fill(&*store).await;
    let writer = Arc::clone(&store);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while stopped.try_recv().is_err() {
            number += 1;
            let batch = Batch::new()
                .put("a", number.to_string())
                .put("z", number.to_string());
            writer.commit(batch).await.unwrap();
        }
    });
    for round in 0..3 {
        let path = directory.join(format!("{round}.backup"));
        let last = store.backup(&path).await.unwrap();
        let copy = directory.join(format!("{round}.redb"));
        RedbStore::restore(&path, &copy).await.unwrap();
        let copy = RedbStore::open(copy).await.unwrap();
        let newest = everything(&copy).await;
        let newest = newest.iter().map(|entry| entry.revision).max();
        assert!(newest <= Some(last));
        let of = async |key: &[u8]| copy.get(key).await.unwrap();
        assert_eq!(of(b"a").await, of(b"z").await);
    }
    stop.send(()).unwrap();
    writing.await.unwrap();
}

#[tokio::test]
async fn backup_and_restore_overwrite_nothing() {
    let cluster = Cluster::start();
    let path = directory(&cluster).join("backup");
    let store = connect(&cluster).await;
    store.commit(put("k", "v")).await.unwrap();
    store.backup(&path).await.unwrap();
    let error = store.backup(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
    // Also where everything was deleted, and for who is not empty any more.
    store.commit(Batch::new().delete("k")).await.unwrap();
    let error = PostgresStore::restore(&path, &cluster.url()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, StoreError::NotEmpty { .. }), "{error:?}");
    assert_eq!(value(&store, "k").await, None);
}

#[tokio::test]
async fn a_gateway_that_was_there_before_the_restore_reads_again() {
    let cluster = Cluster::start();
    let path = directory(&cluster).join("backup");
    let embedded = RedbStore::open(directory(&cluster).join("store.redb"))
        .await
        .unwrap();
    embedded.commit(put("k", "v")).await.unwrap();
    embedded.backup(&path).await.unwrap();
    let store = connect(&cluster).await;
    let mut watch = store.watch(b"k").await.unwrap();
    PostgresStore::restore(&path, &cluster.url()).await.unwrap();
    assert_eq!(watch.next().await, Some(Change::Lagged));
    assert_eq!(value(&store, "k").await.as_deref(), Some("v"));
    assert!(store.commit(put("k", "w")).await.unwrap() > Revision::from(1 << 40));
}

#[tokio::test]
async fn what_is_no_backup_is_refused_and_leaves_nothing() {
    let cluster = Cluster::start();
    let path = directory(&cluster).join("backup");
    let error = PostgresStore::restore(&path, &cluster.url())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    for content in [&b""[..], b"notes", &[0; 8192], &[0xff; 100_000]] {
        std::fs::write(&path, content).unwrap();
        let error = PostgresStore::restore(&path, &cluster.url())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    let store = connect(&cluster).await;
    assert!(everything(&*store).await.is_empty());
}
