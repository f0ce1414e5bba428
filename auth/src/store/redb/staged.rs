//! A file in the making, under the name `*.new`.
//!
//! It gets its real name when it is complete and on disk, so a crash leaves the whole file or none,
//! and two processes that make the same file at once do not spoil each other's.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// An empty, locked file beside the one it is to become. Dropped before
/// [`publish`](Self::publish), it is removed.
pub(super) struct Staged {
    /// Where it goes.
    path: PathBuf,
    name: PathBuf,
    file: fs::File,
    published: bool,
}

impl Staged {
    /// A file that is to become `path`. [`StoreError::Exists`] if there is one already.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let name = PathBuf::from(name);
        let failed = |error| StoreError::io(path, "create it", error);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(failed)?;
        lock(&file, path, FlockOperation::NonBlockingLockExclusive)?;
        // Asked only now: until the file was locked, somebody could give it its name.
        if path.try_exists().map_err(failed)? {
            return Err(StoreError::Exists {
                path: path.to_owned(),
            });
        }
        // What a crash left here was never complete.
        file.set_len(0).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            name,
            file,
            published: false,
        })
    }

    /// Where it goes.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be filled.
    pub(super) fn file(&self) -> Result<fs::File, StoreError> {
        let file = self.file.try_clone();
        file.map_err(|error| StoreError::io(&self.path, "create it", error))
    }

    /// Gives the file its name, for good.
    pub(super) fn publish(mut self) -> Result<(), StoreError> {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // A rename would overwrite.
        fs::hard_link(&self.name, &self.path)
            .and_then(|()| fs::remove_file(&self.name))
            .and_then(|()| fs::File::open(directory)?.sync_all())
            .map_err(|error| StoreError::io(&self.path, "create it", error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // What stays is cleared by the next attempt.
            let _ = fs::remove_file(&self.name);
        }
    }
}

/// Takes the lock that the library takes too.
pub(super) fn lock(file: &fs::File, path: &Path, how: FlockOperation) -> Result<(), StoreError> {
    flock(file, how).map_err(|error| match io::Error::from(error) {
        error if error.kind() == io::ErrorKind::WouldBlock => StoreError::Locked {
            path: path.to_owned(),
        },
        error => StoreError::io(path, "lock it", error),
    })
}
