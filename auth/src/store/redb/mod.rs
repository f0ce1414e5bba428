//! The embedded store: one redb file.
//!
//! `file.rs` opens the file and knows its format, `staged.rs` makes new files appear complete, `writer.rs` is the thread that commits,
//! many waiting batches with one fsync, and `copy.rs` makes and restores backups. Reads are
//! snapshots and wait for nobody; they run on tokio's blocking threads.

pub(super) mod copy;
mod file;
mod staged;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use redb::ReadTransaction;
use tokio::task::spawn_blocking;

use self::file::{File, LibraryError, META, RECORDS, REVISION};
use self::writer::Writer;
use super::range::PageBuilder;
use super::watch::Watchers;
use super::{
    Batch, Clock, Entry, Page, Range, Revision, Store, StoreError, SystemClock, Versioned, Watch,
    batch,
};

/// A store in one file, which belongs to one process at a time.
///
/// Dropping it waits for the commit that is under way, then gives the file free.
#[derive(Debug)]
pub struct RedbStore {
    file: Arc<File>,
    watchers: Arc<Watchers>,
    writer: Writer,
    clock: Arc<dyn Clock>,
}

impl RedbStore {
    /// Opens the store at `path`, or makes an empty one, readable by its owner only.
    ///
    /// A file of an older format is brought up to date. Errors: [`StoreError::Locked`],
    /// [`StoreError::Corrupt`], [`StoreError::NewerFormat`], [`StoreError::OutOfDisk`],
    /// [`StoreError::Io`].
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with_clock(path, Arc::new(SystemClock)).await
    }

    /// The same, with leases that end by `clock`.
    pub async fn open_with_clock(
        path: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        let file = blocking(path.clone(), move || File::open(path)).await?;
        let file = Arc::new(file);
        let watchers = Arc::new(Watchers::default());
        Ok(Self {
            writer: Writer::start(Arc::clone(&file), Arc::clone(&watchers))?,
            file,
            watchers,
            clock,
        })
    }

    /// Writes a copy of the store, as of this moment, to the new file `to`, while others read and
    /// write. Returns the last commit it holds. An existing file is not overwritten:
    /// [`StoreError::Exists`].
    pub async fn backup(&self, to: &Path) -> Result<Revision, StoreError> {
        let to = to.to_owned();
        self.read(move |snapshot| copy::backup(snapshot, &to)).await
    }

    /// Makes a store at `path` from the file that [`backup`](Self::backup) wrote. The backup stays as
    /// it is. Where a store is already, it refuses: [`StoreError::Exists`].
    ///
    /// Revisions go on far above those of the backup, so that none that was given out after the
    /// backup comes a second time.
    pub async fn restore(backup: &Path, path: &Path) -> Result<Revision, StoreError> {
        let (backup, path) = (backup.to_owned(), path.to_owned());
        blocking(path.clone(), move || copy::restore(&backup, &path)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        blocking(self.file.path().to_owned(), move || file.read(job)).await
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        batch::check_key(key)?;
        let key = key.to_vec();
        self.read(move |snapshot| snapshot.get(&key)).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        range.check_limits()?;
        self.read(move |snapshot| snapshot.page(&range)).await
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        batch.check_limits()?;
        self.writer.commit(batch).await
    }

    async fn watch(&self, prefix: &[u8]) -> Result<Watch, StoreError> {
        batch::check_key(prefix)?;
        Ok(self.watchers.subscribe(prefix))
    }

    async fn now(&self) -> Result<SystemTime, StoreError> {
        Ok(self.clock.now())
    }

    async fn has_migration(&self, name: &str) -> Result<bool, StoreError> {
        // Opening the file brought it to the newest format.
        Ok(file::FORMATS.contains(&name))
    }
}

/// The store as of one commit.
struct Snapshot<'a> {
    path: &'a Path,
    transaction: ReadTransaction,
}

impl Snapshot<'_> {
    /// The last commit.
    fn revision(&self) -> Result<Revision, StoreError> {
        let meta = self.table(META)?;
        let revision = meta.get(REVISION).map_err(|error| self.failed(error))?;
        Ok(revision.map_or(0, |revision| revision.value()).into())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let records = self.table(RECORDS)?;
        let found = records.get(key).map_err(|error| self.failed(error))?;
        Ok(found.map(|found| {
            let (revision, value) = found.value();
            Versioned::new(Bytes::copy_from_slice(value), revision.into())
        }))
    }

    fn page(&self, range: &Range) -> Result<Page, StoreError> {
        let records = self.table(RECORDS)?;
        let mut page = PageBuilder::new(range);
        let entries = records
            .range(range.first()..)
            .map_err(|error| self.failed(error))?;
        for entry in entries {
            let (key, found) = entry.map_err(|error| self.failed(error))?;
            let more = page.push(key.value(), || {
                let (revision, value) = found.value();
                Entry {
                    key: Bytes::copy_from_slice(key.value()),
                    value: Bytes::copy_from_slice(value),
                    revision: revision.into(),
                }
            });
            if !more {
                break;
            }
        }
        Ok(page.finish())
    }

    fn table<K: redb::Key, V: redb::Value>(
        &self,
        table: redb::TableDefinition<'_, K, V>,
    ) -> Result<redb::ReadOnlyTable<K, V>, StoreError> {
        let opened = self.transaction.open_table(table);
        opened.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl Into<LibraryError>) -> StoreError {
        file::explain(self.path, "read it", error)
    }
}

/// Runs `job` where it may block. If it panics, the file made it panic.
pub(super) async fn blocking<T: Send + 'static>(
    path: PathBuf,
    job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match spawn_blocking(job).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => Err(file::unreadable(&path)),
        Err(_) => Err(StoreError::Unreachable {
            detail: "the program is stopping".to_owned(),
        }),
    }
}
