//! Backups: a snapshot written to a new file, and a store made from one.

use std::fs;
use std::io;
use std::path::Path;

use redb::{Database, ReadableTable};
use rustix::fs::FlockOperation;

use super::file::{self, LibraryError, META, RECORDS, REVISION};
use super::staged::{Staged, lock};
use super::{Revision, Snapshot, StoreError};

/// Records that are copied in one commit: those that are not on disk yet are in memory.
const CHUNK: usize = 1000;

/// How far a restored store's revisions are above those of the backup: more than any store commits
/// between a backup and its loss.
const RESTORED: u64 = 1 << 40;

pub(super) fn backup(snapshot: &Snapshot<'_>, to: &Path) -> Result<Revision, StoreError> {
    let explain = |error: LibraryError| file::explain(to, "write the backup", error);
    let meta = snapshot.table(META)?;
    let revision = meta.get(REVISION).map_err(|error| snapshot.failed(error))?;
    let revision = revision.map_or(0, |revision| revision.value());
    let records = snapshot.table(RECORDS)?;
    let mut entries = records.iter().map_err(|error| snapshot.failed(error))?;

    let staged = Staged::new(to)?;
    let copy = file::create_in(&staged, revision)?;
    let mut left = true;
    while left {
        let transaction = copy.begin_write().map_err(|error| explain(error.into()))?;
        {
            let table = transaction.open_table(RECORDS);
            let mut table = table.map_err(|error| explain(error.into()))?;
            for _ in 0..CHUNK {
                let Some(entry) = entries.next() else {
                    left = false;
                    break;
                };
                let (key, value) = entry.map_err(|error| snapshot.failed(error))?;
                let written = table.insert(key.value(), value.value());
                written.map_err(|error| explain(error.into()))?;
            }
        }
        transaction
            .commit()
            .map_err(|error| explain(error.into()))?;
    }
    staged.publish()?;
    Ok(revision.into())
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
        let revision = last.saturating_add(RESTORED);
        meta.insert(REVISION, revision)?;
        revision
    };
    transaction.commit()?;
    Ok(revision.into())
}
