//! The thread that commits.
//!
//! A commit costs an fsync, whatever its size. While one is under way, batches queue up; the next
//! transaction takes all that wait, checks and applies them one after the other, and answers all of
//! them after its one fsync. Alone, a batch waits for nobody.

use std::sync::Arc;
use std::thread::JoinHandle;

use redb::{Database, Durability, ReadableTable};
use tokio::sync::{mpsc, oneshot};

use super::file::{File, LibraryError, META, RECORDS, REVISION};
use super::{Batch, Revision, StoreError, Watchers};
use crate::store::batch::Operation;

/// Batches that wait; beyond this, committers wait to be let in.
const QUEUE: usize = 1024;
/// Batches that share a transaction.
const GROUP: usize = 512;
/// A transaction takes no more batches once they weigh this, in bytes.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Writer {
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Request {
    batch: Batch,
    reply: oneshot::Sender<Outcome>,
}

type Outcome = Result<Revision, StoreError>;

impl Writer {
    pub(super) fn start(file: Arc<File>, watchers: Arc<Watchers>) -> Result<Self, StoreError> {
        let path = file.path().to_owned();
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&file, &watchers, requests))
            .map_err(|error| StoreError::io(&path, "start the thread that writes it", error))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) async fn commit(&self, batch: Batch) -> Outcome {
        let stopped = || StoreError::Unreachable {
            detail: "the thread that writes it has ended".to_owned(),
        };
        let (reply, outcome) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let request = Request { batch, reply };
        queue.send(request).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }

    /// How many batches wait that the thread has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        QUEUE - self.queue.as_ref().map_or(QUEUE, mpsc::Sender::capacity)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // It panicked or not: there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn run(file: &File, watchers: &Watchers, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.blocking_recv() {
        let mut weight = first.batch.weight();
        let mut group = vec![first];
        while group.len() < GROUP
            && weight < GROUP_BYTES
            && let Ok(next) = requests.try_recv()
        {
            weight += next.batch.weight();
            group.push(next);
        }
        answer(file, watchers, group);
    }
}

/// Commits a group, tells the watchers, answers the committers.
fn answer(file: &File, watchers: &Watchers, group: Vec<Request>) {
    if file.is_broken() {
        file.reopen();
    }
    match file.write(|database| commit(database, &group)) {
        Ok(outcomes) => {
            for (request, outcome) in group.into_iter().zip(outcomes) {
                if let Ok(revision) = outcome {
                    watchers.announce(&request.batch, revision);
                }
                // Whoever asked may have gone.
                let _ = request.reply.send(outcome);
            }
        }
        Err(error) => {
            tracing::error!(%error, batches = group.len(), "the store was not written");
            file.reopen();
            watchers.announce_unknown();
            for request in group {
                let _ = request.reply.send(Err(error.clone()));
            }
        }
    }
}

/// One transaction. Batches whose conditions fail leave nothing in it; any other error, all do.
fn commit(database: &Database, group: &[Request]) -> Result<Vec<Outcome>, LibraryError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let mut outcomes = Vec::with_capacity(group.len());
    {
        let mut records = transaction.open_table(RECORDS)?;
        let mut meta = transaction.open_table(META)?;
        let mut revision = Revision(meta.get(REVISION)?.map_or(0, |last| last.value()));
        for Request { batch, .. } in group {
            let unmet = batch.unmet(|key| {
                let found = records.get(key)?;
                Ok::<_, LibraryError>(found.map(|found| Revision(found.value().0)))
            });
            if let Some(key) = unmet? {
                outcomes.push(Err(StoreError::Conflict { key }));
                continue;
            }
            revision = revision.next();
            apply(&mut records, batch, revision)?;
            outcomes.push(Ok(revision));
        }
        meta.insert(REVISION, revision.get())?;
    }
    if outcomes.iter().any(Result::is_ok) {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(outcomes)
}

fn apply(
    records: &mut redb::Table<'_, &[u8], (u64, &[u8])>,
    batch: &Batch,
    revision: Revision,
) -> Result<(), LibraryError> {
    for (key, operation) in batch.operations() {
        match operation {
            Operation::Put(value) => records.insert(&**key, (revision.get(), &**value))?,
            Operation::Delete => records.remove(&**key)?,
        };
    }
    Ok(())
}
