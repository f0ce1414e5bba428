//! The shared store: a PostgreSQL database that many gateways use at once.
//!
//! `address.rs` reads the URL, `tls.rs` and `database.rs` make connections, `schema.rs` makes the
//! tables, `writer.rs` is the task that commits, many waiting batches in one transaction, `feed.rs`
//! tells watchers what other gateways committed, and `copy.rs` makes and restores backups, in the
//! format of the embedded store.
//!
//! Commits of all gateways take one row's lock, from reading what their conditions ask for until they
//! are on disk. That makes revisions visible in their order, and conditions true when they count.
//! Reads take no lock and are of one commit.

mod address;
mod copy;
mod database;
mod feed;
mod schema;
#[cfg(test)]
mod tests;
mod tls;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use self::address::Address;
use self::database::{Database, Fault};
use self::feed::Feed;
use self::schema::MIGRATIONS;
use self::writer::Writer;
use super::range::{MAX_PAGE_BYTES, PageBuilder};
use super::watch::Watchers;
use super::{
    Batch, Clock, Entry, Page, Range, Revision, Store, StoreError, Versioned, Watch, batch,
};

const GET: &str = "SELECT revision, value FROM portunus.records WHERE key = $1";
const LAST: &str = "SELECT revision FROM portunus.counter";
const NOW: &str = "SELECT clock_timestamp()";
const HAS_MIGRATION: &str = "SELECT 1 FROM portunus.migrations WHERE name = $1";

/// A store in a PostgreSQL database, shared with the other gateways that have its address.
///
/// It belongs to the runtime that connected it. Dropping it ends its watches; commits that were
/// begun are finished.
pub struct PostgresStore {
    database: Arc<Database>,
    feed: Arc<Feed>,
    writer: Writer,
    follower: JoinHandle<()>,
    /// `None`: the database's.
    clock: Option<Arc<dyn Clock>>,
}

impl PostgresStore {
    /// Connects to the database at `url`, `postgres://user:password@host/database`, and brings its
    /// tables up to date.
    ///
    /// TLS is on unless the host is this machine or the URL says `sslmode=disable`; who vouches for
    /// the server is in the file `sslrootcert`, or a public authority. Leases end by the database's
    /// clock. Errors: [`StoreError::Address`], [`StoreError::Unreachable`], [`StoreError::Refused`],
    /// [`StoreError::NewerSchema`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::start(url, None).await
    }

    /// The same, with leases that end by `clock`.
    pub async fn connect_with_clock(url: &str, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::start(url, Some(clock)).await
    }

    /// Writes a copy of the store, as of this moment, to the new file `to`, while others read and
    /// write. The file is that of [`RedbStore::backup`](super::RedbStore::backup), and can be
    /// restored to either. Returns the last commit it holds. An existing file is not overwritten:
    /// [`StoreError::Exists`].
    pub async fn backup(&self, to: &Path) -> Result<Revision, StoreError> {
        copy::backup(&self.database, to).await
    }

    /// Fills the database at `url` with what is in the file `backup`, which either back end wrote.
    /// All of it is there afterwards, or after an error nothing. Where something was ever committed,
    /// it refuses: [`StoreError::NotEmpty`].
    ///
    /// Revisions go on far above those of the backup, so that none that was given out after the
    /// backup comes a second time.
    pub async fn restore(backup: &Path, url: &str) -> Result<Revision, StoreError> {
        let database = Database::new(Address::parse(url)?).await?;
        schema::migrate(&database, MIGRATIONS).await?;
        copy::restore(backup, &database).await
    }

    async fn start(url: &str, clock: Option<Arc<dyn Clock>>) -> Result<Self, StoreError> {
        let database = Arc::new(Database::new(Address::parse(url)?).await?);
        schema::migrate(&database, MIGRATIONS).await?;
        let feed = Arc::new(Feed::new(last(&database).await?));
        Ok(Self {
            writer: Writer::start(Arc::clone(&database), Arc::clone(&feed)),
            follower: tokio::spawn(feed::follow(Arc::clone(&database), Arc::clone(&feed))),
            database,
            feed,
            clock,
        })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        batch::check_key(key)?;
        let rows = self.database.rows(GET, &[&key]).await?;
        let read = |row: &Row| {
            let value: &[u8] = row.try_get(1)?;
            let revision = from_database(row.try_get(0)?);
            Ok(Versioned::new(Bytes::copy_from_slice(value), revision))
        };
        let found = rows.first().map(read).transpose();
        found.map_err(|error| self.failed(error))
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        range.check_limits()?;
        let query = PageQuery::new(&range);
        let rows = self.database.rows(&query.text, &query.parameters()).await?;
        read_page(&range, &rows).map_err(|error| self.failed(error))
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        batch.check_limits()?;
        self.writer.commit(batch).await
    }

    async fn watch(&self, prefix: &[u8]) -> Result<Watch, StoreError> {
        batch::check_key(prefix)?;
        let last = last(&self.database).await?;
        Ok(self.feed.watchers().subscribe_after(prefix, last))
    }

    async fn now(&self) -> Result<SystemTime, StoreError> {
        if let Some(clock) = &self.clock {
            return Ok(clock.now());
        }
        let rows = self.database.rows(NOW, &[]).await?;
        first(&self.database, &rows)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.database.probe().await
    }

    async fn has_migration(&self, name: &str) -> Result<bool, StoreError> {
        // A text of PostgreSQL cannot have one.
        if name.contains('\0') {
            return Ok(false);
        }
        let rows = self.database.rows(HAS_MIGRATION, &[&name]).await?;
        Ok(!rows.is_empty())
    }
}

impl PostgresStore {
    fn failed(&self, error: tokio_postgres::Error) -> StoreError {
        self.database.explain(&Fault::Library(error))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// The last commit.
async fn last(database: &Database) -> Result<Revision, StoreError> {
    let rows = database.rows(LAST, &[]).await?;
    first(database, &rows).map(from_database)
}

/// The only value of the only row.
fn first<'a, T: FromSql<'a>>(database: &Database, rows: &'a [Row]) -> Result<T, StoreError> {
    let row = rows.first().ok_or_else(|| StoreError::Refused {
        place: database.place().to_owned(),
        detail: "a row of the schema portunus is missing; restore a backup".to_owned(),
    })?;
    let value = row.try_get(0);
    value.map_err(|error| database.explain(&Fault::Library(error)))
}

/// The question for the entries of a page, and one more that says that there is a next.
struct PageQuery<'a> {
    text: String,
    lower: Vec<u8>,
    end: Option<&'a [u8]>,
    most: i64,
}

impl<'a> PageQuery<'a> {
    fn new(range: &'a Range) -> Self {
        let end = range.end();
        // Not `$3 IS NULL OR …`, with which it would read to the end of the table.
        let before_end = end.map_or("", |_| "AND key < $3");
        // Large values are cut off on the server, which need not read them to know their size.
        let text = format!(
            "SELECT key, revision, value FROM (
                SELECT *, sum(length(key) + length(value)) OVER (
                    ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                ) AS before FROM (
                    SELECT key, revision, value FROM portunus.records
                    WHERE key >= $1 {before_end} ORDER BY key LIMIT $2
                ) AS entries
            ) AS sized WHERE coalesce(before, 0) < {MAX_PAGE_BYTES} ORDER BY key"
        );
        Self {
            text,
            lower: range.lower(),
            end,
            most: range.most() as i64 + 1,
        }
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.lower, &self.most];
        if let Some(end) = &self.end {
            parameters.push(end);
        }
        parameters
    }
}

fn read_page(range: &Range, rows: &[Row]) -> Result<Page, tokio_postgres::Error> {
    let mut page = PageBuilder::new(range);
    for row in rows {
        let (key, value): (&[u8], &[u8]) = (row.try_get(0)?, row.try_get(2)?);
        let revision = from_database(row.try_get(1)?);
        let more = page.push(key, || Entry {
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
            revision,
        });
        if !more {
            break;
        }
    }
    Ok(page.finish())
}

/// PostgreSQL has no unsigned numbers. No store ever counts to the end of them.
fn to_database(revision: Revision) -> i64 {
    i64::try_from(revision.get()).unwrap_or(i64::MAX)
}

fn from_database(revision: i64) -> Revision {
    u64::try_from(revision).unwrap_or_default().into()
}
