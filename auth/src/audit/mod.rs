//! Who did what: an append-only trail that shows when somebody changed it.
//!
//! An [`Event`] goes in by [`Chain::append`], which returns once the row is durable: what may not
//! happen unseen is refused when its row cannot be written. Each row's hash covers all its columns
//! and the hash of the row before, and each commit signs the last hash and the count of rows with a
//! key that lies sealed in the store. Any number of processes may append to one chain; each commit
//! holds only if nobody came before, so the chain never forks.
//!
//! [`Reader`] verifies, searches and exports. Names, addresses and user agents stand beside the rows,
//! under a commitment in them, so [`Chain::erase`] can remove them and the chain stays whole. What
//! is detected and what is not: `docs/decisions/0006-audit.md`.

pub mod canonical;
mod checkpoint;
mod erase;
mod error;
mod event;
mod export;
mod keeper;
mod moment;
mod personal;
mod place;
mod query;
mod reader;
mod row;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod writer;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use self::checkpoint::Checkpoint;
pub use self::erase::Erasure;
pub use self::error::AuditError;
pub use self::event::{Actor, ActorKind, Event, Resource};
pub use self::export::Export;
pub use self::personal::Personal;
pub use self::query::{Found, Query};
pub use self::reader::{Entry, Reader};
pub use self::row::{Id, Row};
pub use self::verify::{Reason, Report};
pub use self::writer::CHECKPOINT_EVERY;

use self::event::Draft;
use self::keeper::Keeper;
use self::writer::{Job, QUEUE, Writer};
use crate::seal::MasterKey;
use crate::store::{Batch, Clock, Revision, Store};

/// A chain of rows that this process appends to. Clones are one chain and share one queue.
#[derive(Clone, Debug)]
pub struct Chain {
    jobs: mpsc::Sender<Job>,
    reader: Reader,
}

impl Chain {
    /// The chain people mean when they name none.
    pub const DEFAULT: &'static str = "main";

    /// Opens the chain `name` (a-z, 0-9, `-`, `_` and `.`; at most 64), or begins it, and writes a
    /// checkpoint of what it holds. Has to run on a tokio runtime, where its writer, and the store with it,
    /// stays for a moment after the last clone is dropped.
    ///
    /// [`AuditError::Broken`] if the end of the chain is not what was signed last. Such a chain can
    /// be read by [`Reader`], but not appended to: what was done to it would be covered.
    pub async fn open(
        store: Arc<dyn Store>,
        master: &MasterKey,
        clock: Arc<dyn Clock>,
        name: &str,
    ) -> Result<Self, AuditError> {
        let keeper = Keeper::open_or_begin(store, master, clock, name).await?;
        let reader = keeper.reader();
        let mut writer = Writer::begin(keeper).await?;
        writer.checkpoint().await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(queue));
        Ok(Self { jobs, reader })
    }

    /// Appends a row for `event` and returns its number once it is durable.
    ///
    /// Rows that wait at the same time share a commit. After [`AuditError::Store`], or when the
    /// future is dropped, the row may be there all the same.
    pub async fn append(&self, event: Event) -> Result<Id, AuditError> {
        self.write(Draft::new(event)?).await
    }

    /// Appends a row for `event` and does everything in `batch`, both or neither.
    ///
    /// A condition of the batch that does not hold is [`AuditError::Store`] with
    /// [`StoreError::Conflict`](crate::store::StoreError::Conflict). The row and what belongs to it
    /// take four operations and one condition of what a batch may have.
    pub async fn append_with(&self, event: Event, batch: Batch) -> Result<Id, AuditError> {
        let (id, _) = self.commit(vec![Draft::new(event)?], batch).await?;
        Ok(id)
    }

    /// Appends a row for each of `events`, one at least, and does everything in `batch`: all or
    /// nothing. Returns the commit.
    ///
    /// Otherwise like [`append_with`](Self::append_with), with three operations for each further row.
    pub async fn append_all_with(
        &self,
        events: Vec<Event>,
        batch: Batch,
    ) -> Result<Revision, AuditError> {
        let drafts: Result<Vec<_>, _> = events.into_iter().map(Draft::new).collect();
        let (_, revision) = self.commit(drafts?, batch).await?;
        Ok(revision)
    }

    /// Signs how many rows there are now, keeps that beside the rows and logs it. Everything that
    /// was given to [`append`](Self::append) before is done first.
    ///
    /// To be called from time to time and last at shutdown.
    pub async fn checkpoint(&self) -> Result<Checkpoint, AuditError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Checkpoint(answer)).await?;
        answered.await.map_err(|_| AuditError::Stopped)?
    }

    /// What reads the chain.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    async fn write(&self, draft: Draft) -> Result<Id, AuditError> {
        let (answer, answered) = oneshot::channel();
        let draft = Box::new(draft);
        self.send(Job::Append { draft, answer }).await?;
        answered.await.map_err(|_| AuditError::Stopped)?
    }

    async fn commit(&self, drafts: Vec<Draft>, batch: Batch) -> Result<(Id, Revision), AuditError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Commit {
            drafts,
            batch,
            answer,
        })
        .await?;
        answered.await.map_err(|_| AuditError::Stopped)?
    }

    async fn send(&self, job: Job) -> Result<(), AuditError> {
        self.jobs.send(job).await.map_err(|_| AuditError::Stopped)
    }
}
