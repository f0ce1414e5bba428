//! Several writers of one chain. Also run over two processes by the back end that allows it.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{event, master};
use crate::audit::{Chain, Id, Reader, Report};
use crate::store::{MemoryStore, RedbStore, Store, SystemClock};

/// Rows that each writer appends.
pub(crate) const ROWS: u64 = 1000;

/// Appends [`ROWS`] rows at once, as a process of its own would, and tells the number of each as
/// soon as it is known.
pub(crate) async fn append_all(store: Arc<dyn Store>, mut tell: impl FnMut(Id)) {
    let clock = Arc::new(SystemClock);
    let chain = Chain::open(store, &master(), clock, Chain::DEFAULT).await;
    let chain = chain.unwrap();
    let mut appends = JoinSet::new();
    for number in 0..ROWS {
        let chain = chain.clone();
        appends.spawn(async move { chain.append(event(number)).await.unwrap() });
    }
    while let Some(id) = appends.join_next().await {
        tell(id.unwrap());
    }
}

/// What verification says of a chain that others wrote.
pub(crate) async fn verify(store: Arc<dyn Store>) -> Report {
    let reader = Reader::open(store, &master(), Chain::DEFAULT).await;
    reader.unwrap().verify(&[]).await.unwrap()
}

async fn two_never_fork(store: Arc<dyn Store>) {
    let append = |store: Arc<dyn Store>| async move {
        let mut ids = Vec::new();
        append_all(store, |id| ids.push(id)).await;
        ids
    };
    let one = tokio::spawn(append(Arc::clone(&store)));
    let other = tokio::spawn(append(Arc::clone(&store)));
    let mut ids = one.await.unwrap();
    ids.extend(other.await.unwrap());
    ids.sort();
    assert!(ids.iter().copied().eq((1..=2 * ROWS).map(Id)), "{ids:?}");
    let report = verify(store).await;
    assert!(report.valid, "{report:?}");
    assert_eq!(report.entries, 2 * ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_never_fork_in_memory() {
    two_never_fork(Arc::new(MemoryStore::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_never_fork_in_a_file() {
    let scratch = super::kill::Scratch::new();
    let store = RedbStore::open(scratch.store()).await.unwrap();
    two_never_fork(Arc::new(store)).await;
}
