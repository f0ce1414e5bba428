//! Backups: a snapshot written to a new file, and a store made from one.
//!
//! The file is the same whichever back end wrote it, so a backup also moves a store from one to
//! another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadOnlyDatabase, ReadableDatabase, ReadableTable};
use rustix::fs::FlockOperation;

use super::file::{self, LibraryError, META, RECORDS, REVISION};
use super::staged::{Staged, lock};
use super::{Entry, Page, Range, Revision, Snapshot, StoreError};

/// How far a restored store's revisions are above those of the backup: more than any store commits
/// between a backup and its loss.
const RESTORED: u64 = 1 << 40;

pub(super) fn backup(snapshot: &Snapshot<'_>, to: &Path) -> Result<Revision, StoreError> {
    let revision = snapshot.revision()?;
    let backup = NewBackup::create(to, revision)?;
    let mut range = Range::all();
    loop {
        let page = snapshot.page(&range)?;
        backup.append(&page.entries)?;
        let Some(next) = page.next else { break };
        range = range.after(next);
    }
    backup.publish()?;
    Ok(revision)
}

/// A backup in the making. It has its name when it is complete.
pub(in crate::store) struct NewBackup {
    staged: Staged,
    database: Database,
}

impl NewBackup {
    /// A backup at `path` of a store whose last commit is `revision`. [`StoreError::Exists`] if
    /// something is there.
    pub(in crate::store) fn create(path: &Path, revision: Revision) -> Result<Self, StoreError> {
        let staged = Staged::new(path)?;
        Ok(Self {
            database: file::create_in(&staged, revision.get())?,
            staged,
        })
    }

    /// Adds entries, and keeps none of them in memory.
    pub(in crate::store) fn append(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let append = || -> Result<(), LibraryError> {
            let transaction = self.database.begin_write()?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                for entry in entries {
                    records.insert(&*entry.key, (entry.revision.get(), &*entry.value))?;
                }
            }
            Ok(transaction.commit()?)
        };
        append().map_err(|error| file::explain(self.staged.path(), "write the backup", error))
    }

    pub(in crate::store) fn publish(self) -> Result<(), StoreError> {
        drop(self.database);
        self.staged.publish()
    }
}

/// A backup that is read.
pub(in crate::store) struct OldBackup {
    path: PathBuf,
    database: ReadOnlyDatabase,
}

impl OldBackup {
    /// Opens the backup at `path`, which stays as it is.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            database: file::open_backup(path)?,
        })
    }

    /// The commit with which a store made from the backup begins.
    pub(in crate::store) fn restored_revision(&self) -> Result<Revision, StoreError> {
        Ok(restored(self.snapshot()?.revision()?.get()).into())
    }

    pub(in crate::store) fn page(&self, range: &Range) -> Result<Page, StoreError> {
        self.snapshot()?.page(range)
    }

    fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let transaction = self.database.begin_read();
        Ok(Snapshot {
            transaction: transaction
                .map_err(|error| file::explain(&self.path, "read it", error))?,
            path: &self.path,
        })
    }
}

pub(super) fn restore(backup: &Path, path: &Path) -> Result<Revision, StoreError> {
    let mut source =
        fs::File::open(backup).map_err(|error| StoreError::io(backup, "open it", error))?;
    // Not while a store is at work in it: what was copied would be of several moments.
    lock(&source, backup, FlockOperation::NonBlockingLockShared)?;
    let staged = Staged::new(path)?;
    let mut file = staged.file()?;
    io::copy(&mut source, &mut file)
        .map_err(|error| StoreError::io(path, "copy the backup to it", error))?;
    let database = file::open_in(&staged, backup)?;
    let revision = renumber(&database).map_err(|error| file::explain(path, "write it", error))?;
    file.sync_all()
        .map_err(|error| StoreError::io(path, "write it", error))?;
    staged.publish()?;
    Ok(revision)
}

fn renumber(database: &Database) -> Result<Revision, LibraryError> {
    let transaction = database.begin_write()?;
    let revision = {
        let mut meta = transaction.open_table(META)?;
        let last = meta.get(REVISION)?.map_or(0, |revision| revision.value());
        let revision = restored(last);
        meta.insert(REVISION, revision)?;
        revision
    };
    transaction.commit()?;
    Ok(revision.into())
}

fn restored(last: u64) -> u64 {
    last.saturating_add(RESTORED)
}
