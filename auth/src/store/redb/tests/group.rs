//! Many commits, one transaction.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinSet, yield_now};

use super::{RedbStore, Scratch, open};
use crate::store::{Batch, Range, Store};

/// On one thread, so that a turn is a turn.
#[tokio::test]
async fn what_waits_is_committed_together() {
    const WAITING: usize = 63;
    let scratch = Scratch::new();
    let store = Arc::new(open(&scratch.store()).await);

    // The writer takes the first commit and has to wait with it.
    let (release, holder) = hold_writer(&store).await;
    let first = tokio::spawn(commit(Arc::clone(&store), 0));
    // First spawned, first run: after one turn it is in the queue.
    yield_now().await;
    while store.writer.waiting() > 0 {
        yield_now().await;
    }
    let mut waiting: JoinSet<_> = (1..=WAITING)
        .map(|number| commit(Arc::clone(&store), number))
        .collect();
    while store.writer.waiting() < WAITING {
        yield_now().await;
    }
    release.send(()).unwrap();
    holder.join().unwrap();

    first.await.unwrap();
    waiting.join_next().await.unwrap().unwrap();
    let page = store.range(Range::all()).await.unwrap();
    assert_eq!(
        page.entries.len(),
        1 + WAITING,
        "with the first, all are there"
    );
    let mut revisions: Vec<_> = page.entries.iter().map(|entry| entry.revision).collect();
    revisions.sort();
    revisions.dedup();
    assert_eq!(
        revisions.len(),
        1 + WAITING,
        "each commit has its own revision"
    );
    waiting.join_all().await;
}

async fn commit(store: Arc<RedbStore>, number: usize) {
    let batch = Batch::new().put(number.to_string(), "");
    store.commit(batch).await.unwrap();
}

/// Keeps the writer from beginning a transaction until it is told to let go.
async fn hold_writer(store: &RedbStore) -> (oneshot::Sender<()>, std::thread::JoinHandle<()>) {
    let file = Arc::clone(&store.file);
    let (held, is_held) = oneshot::channel();
    let (release, released) = oneshot::channel();
    let holder = std::thread::spawn(move || {
        let hold = |database: &redb::Database| {
            let transaction = database.begin_write()?;
            held.send(()).unwrap();
            released.blocking_recv().unwrap();
            Ok(transaction.abort()?)
        };
        file.write(hold).unwrap();
    });
    is_held.await.unwrap();
    (release, holder)
}
