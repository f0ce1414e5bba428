//! The file: opening, creating, its format, and errors that name it.
//!
//! The format's number is in the file; opening one of an older format runs the migrations that it
//! lacks, each in a commit of its own. A file without that number is not taken for an empty store.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadOnlyDatabase, ReadableDatabase, TableDefinition, TableError,
    WriteTransaction,
};

use super::staged::Staged;
use super::{Snapshot, StoreError};
use crate::store::FIRST_MIGRATION;

/// Key to revision and value.
pub(super) const RECORDS: TableDefinition<'_, &[u8], (u64, &[u8])> =
    TableDefinition::new("records");
/// Numbers about the store itself.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// In [`META`]: the revision of the last commit.
pub(super) const REVISION: &str = "revision";
/// In [`META`]: the format of everything else.
const FORMAT: &str = "format";

/// What brings a file from one format to the next: the first from format 1 to 2, and so on.
pub(super) type Migration = fn(&WriteTransaction) -> Result<(), LibraryError>;
const MIGRATIONS: &[Migration] = &[];
/// What the formats are called, from format 1 on.
pub(super) const FORMATS: &[&str] = &[FIRST_MIGRATION];
const _: () = assert!(FORMATS.len() == MIGRATIONS.len() + 1);

/// Memory for pages of the file. The library's own default is 1 GiB.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// A store's file, open and locked against other processes.
///
/// After a failed write the library refuses everything until the file is opened anew; until that
/// succeeds, the reason stands in place of the database.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    database: RwLock<Result<Database, StoreError>>,
}

impl File {
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let database = match path.try_exists() {
            Ok(true) => open(&path, MIGRATIONS)?,
            Ok(false) => match create(&path) {
                // Another process was faster.
                Err(StoreError::Exists { .. }) => open(&path, MIGRATIONS)?,
                created => created?,
            },
            Err(error) => return Err(StoreError::io(&path, "open it", error)),
        };
        Ok(Self {
            path,
            database: RwLock::new(Ok(database)),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read<T>(
        &self,
        job: impl FnOnce(&Snapshot<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Held until the job is done: a reader that outlives the database keeps the file locked.
        let database = self.database.read();
        let transaction = database.as_ref().map_err(Clone::clone)?.begin_read();
        job(&Snapshot {
            transaction: transaction.map_err(|error| explain(&self.path, "read it", error))?,
            path: &self.path,
        })
    }

    pub(super) fn write<T>(
        &self,
        job: impl FnOnce(&Database) -> Result<T, LibraryError>,
    ) -> Result<T, StoreError> {
        match &*self.database.read() {
            Ok(database) => match catch_unwind(AssertUnwindSafe(|| job(database))) {
                Ok(outcome) => outcome.map_err(|error| explain(&self.path, "write it", error)),
                Err(_) => Err(unreadable(&self.path)),
            },
            Err(error) => Err(error.clone()),
        }
    }

    /// Whether the file has to be opened anew before anything else can be done.
    pub(super) fn is_broken(&self) -> bool {
        self.database.read().is_err()
    }

    /// Opens the file anew after an error.
    pub(super) fn reopen(&self) {
        let mut database = self.database.write();
        // The lock goes with the old one, so that has to be gone first.
        *database = Err(StoreError::Locked {
            path: self.path.clone(),
        });
        *database = open(&self.path, MIGRATIONS);
    }
}

/// Makes an empty store at `path`.
fn create(path: &Path) -> Result<Database, StoreError> {
    let staged = Staged::new(path)?;
    let database = create_in(&staged, 0)?;
    staged.publish()?;
    Ok(database)
}

/// Makes an empty store whose last commit is `revision`.
pub(super) fn create_in(staged: &Staged, revision: u64) -> Result<Database, StoreError> {
    let create = |file| -> Result<Database, LibraryError> {
        let database = builder().create_with_backend(FileBackend::new(file)?)?;
        let transaction = database.begin_write()?;
        transaction.open_table(RECORDS)?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(FORMAT, newest(MIGRATIONS))?;
            meta.insert(REVISION, revision)?;
        }
        transaction.commit()?;
        Ok(database)
    };
    create(staged.file()?).map_err(|error| explain(staged.path(), "create it", error))
}

/// Opens the store that was copied from `origin`, which is to blame if it cannot be read.
pub(super) fn open_in(staged: &Staged, origin: &Path) -> Result<Database, StoreError> {
    let file = staged.file()?;
    opened(origin, MIGRATIONS, || {
        builder().create_with_backend(FileBackend::new(file)?)
    })
}

pub(super) fn open(path: &Path, migrations: &[Migration]) -> Result<Database, StoreError> {
    opened(path, migrations, || builder().open(path))
}

fn opened(
    path: &Path,
    migrations: &[Migration],
    open: impl FnOnce() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, StoreError> {
    // The library panics over some damaged files.
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let database = open().map_err(|error| explain(path, "open it", error))?;
        migrate(&database, path, migrations)?;
        Ok(database)
    }));
    tried.unwrap_or_else(|_| Err(unreadable(path)))
}

/// Opens a backup, to be read only. One of an older format has to be restored to a file first.
pub(super) fn open_backup(path: &Path) -> Result<ReadOnlyDatabase, StoreError> {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let database = builder().open_read_only(path);
        let database = database.map_err(|error| explain(path, "open it", error))?;
        if known_format(&database, path, newest(MIGRATIONS))? < newest(MIGRATIONS) {
            return Err(StoreError::Corrupt {
                path: path.to_owned(),
                detail: "its format is an older one".to_owned(),
            });
        }
        Ok(database)
    }));
    tried.unwrap_or_else(|_| Err(unreadable(path)))
}

fn migrate(database: &Database, path: &Path, migrations: &[Migration]) -> Result<(), StoreError> {
    let found = known_format(database, path, newest(migrations))?;
    for (format, migration) in (1..).zip(migrations).filter(|(format, _)| *format >= found) {
        tracing::info!(path = %path.display(), from = format, to = format + 1, "bringing the store to a newer format");
        let step = || -> Result<(), LibraryError> {
            let transaction = database.begin_write()?;
            migration(&transaction)?;
            transaction.open_table(META)?.insert(FORMAT, format + 1)?;
            Ok(transaction.commit()?)
        };
        step().map_err(|error| explain(path, "bring it to the newer format", error))?;
    }
    Ok(())
}

/// The format of a store, if it is up to `known`.
fn known_format(
    database: &impl ReadableDatabase,
    path: &Path,
    known: u64,
) -> Result<u64, StoreError> {
    let found = format_of(database).map_err(|error| explain(path, "open it", error))?;
    match found {
        Some(found @ 1..) if found <= known => Ok(found),
        Some(found @ 1..) => Err(StoreError::NewerFormat {
            path: path.to_owned(),
            found,
            known,
        }),
        _ => Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail: "a database, but without the record of a store's format".to_owned(),
        }),
    }
}

fn newest(migrations: &[Migration]) -> u64 {
    migrations.len() as u64 + 1
}

fn format_of(database: &impl ReadableDatabase) -> Result<Option<u64>, LibraryError> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get(FORMAT)?.map(|format| format.value())),
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Any error of the library, which has one type for each thing it does.
#[derive(Debug)]
pub(super) struct LibraryError(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for LibraryError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// An error of the library, as one about the file at `path`.
pub(super) fn explain(
    path: &Path,
    doing: &'static str,
    error: impl Into<LibraryError>,
) -> StoreError {
    let path_buf = path.to_owned();
    match *error.into().0 {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked { path: path_buf },
        redb::Error::Io(error) => StoreError::io(path, doing, error),
        error @ redb::Error::PreviousIo => StoreError::io(path, doing, io::Error::other(error)),
        error => StoreError::Corrupt {
            path: path_buf,
            detail: error.to_string(),
        },
    }
}

/// The file is such that the library panicked over it.
pub(super) fn unreadable(path: &Path) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        detail: "its contents contradict each other".to_owned(),
    }
}
