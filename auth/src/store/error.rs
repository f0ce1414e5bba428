//! What can go wrong with a store, said to the person who has to mend it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// Why a store did not do what it was asked. Cheap to clone: one failed write can fail many commits.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("another change came first: '{}' is not as this change expects it", .key.escape_ascii())]
    Conflict { key: Bytes },

    #[error("this {what} has {size} {unit}, the store takes at most {limit}")]
    TooLarge {
        what: &'static str,
        unit: &'static str,
        size: usize,
        limit: usize,
    },

    #[error("the key '{}' is the store's own: keys may not begin with a zero byte", .key.escape_ascii())]
    ReservedKey { key: Bytes },

    #[error("the lease '{name}' is held by {holder}")]
    LeaseHeld { name: String, holder: String },

    #[error("the lease '{name}' was lost: it ended and is no longer this holder's")]
    LeaseLost { name: String },

    #[error("{}: another process has this store open; only one can at a time", .path.display())]
    Locked { path: PathBuf },

    #[error("{}: damaged, or not a store of this program ({detail}); restore a backup, or move the file away to begin anew", .path.display())]
    Corrupt { path: PathBuf, detail: String },

    #[error("{}: written by a newer version of this program (format {found}; this one knows up to {known}); upgrade, or restore a backup made before", .path.display())]
    NewerFormat {
        path: PathBuf,
        found: u64,
        known: u64,
    },

    #[error("{}: no room to write: the disk, a quota or the limit of a file's size is reached", .path.display())]
    OutOfDisk { path: PathBuf },

    #[error("{} exists already and is not overwritten; move it away first", .path.display())]
    Exists { path: PathBuf },

    #[error("{}: cannot {doing}: {source}", .path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: Arc<io::Error>,
    },

    #[error("the store cannot be reached: {detail}")]
    Unreachable { detail: String },

    #[error("the store's address is not usable: {detail}")]
    Address { detail: String },

    #[error("{place} refuses: {detail}")]
    Refused { place: String, detail: String },

    #[error(
        "{place} holds a store already; a backup is restored only where nothing was ever committed"
    )]
    NotEmpty { place: String },

    #[error(
        "{place}: written by a newer version of this program (it has had the migration '{migration}', unknown to this one); upgrade, or restore a backup made before"
    )]
    NewerSchema { place: String, migration: String },
}

impl StoreError {
    /// An error of the file system, under the name people know it by.
    pub(super) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::OutOfDisk { path },
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            io::ErrorKind::InvalidData => Self::Corrupt {
                path,
                detail: "its beginning is not that of a database".to_owned(),
            },
            io::ErrorKind::UnexpectedEof => Self::Corrupt {
                path,
                detail: "it ends too early".to_owned(),
            },
            _ => Self::Io {
                path,
                doing,
                source: Arc::new(source),
            },
        }
    }

    /// Whether trying again, with what is in the store now, may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}
