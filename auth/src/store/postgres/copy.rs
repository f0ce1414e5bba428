//! Backups, in the file format of the embedded store, so that they also move a store to it or from it.

use std::path::Path;
use std::sync::Arc;

use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::database::{Database, Fault, REQUEST, Session, within};
use super::{LAST, PageQuery, from_database, read_page, to_database};
use crate::store::redb::blocking;
use crate::store::redb::copy::{NewBackup, OldBackup};
use crate::store::{Page, Range, Revision, StoreError};

/// Everything in it sees the same commit. Between requests, a file is written or read.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = '60s'";
/// Nobody else commits until it is over.
const FILL: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL idle_in_transaction_session_timeout = '60s'";
const IS_EMPTY: &str = "SELECT counter.revision = 0 AND NOT EXISTS (SELECT FROM portunus.records)
    FROM portunus.counter FOR UPDATE";
const INSERT: &str = "INSERT INTO portunus.records (key, revision, value)
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])";
const BEGIN_AT: &str = "UPDATE portunus.counter SET revision = $1, pruned = $1";

/// Writes everything, as of this moment, to the new file `to`.
pub(super) async fn backup(database: &Database, to: &Path) -> Result<Revision, StoreError> {
    let explain = |fault: Fault| database.explain(&fault);
    let session = database.session().await?;
    let revision = within(REQUEST, begin_snapshot(&session)).await;
    let revision = revision.map_err(explain)?;
    let path = to.to_owned();
    let create = move || NewBackup::create(&path, revision);
    let mut file = blocking(to.to_owned(), create).await?;
    let mut range = Range::all();
    loop {
        let page = within(REQUEST, read(&session, &range)).await;
        let page = page.map_err(explain)?;
        let append = move || file.append(&page.entries).map(|()| file);
        file = blocking(to.to_owned(), append).await?;
        let Some(next) = page.next else { break };
        range = range.after(next);
    }
    within(REQUEST, session.batch_execute("COMMIT"))
        .await
        .map_err(explain)?;
    session.give_back();
    blocking(to.to_owned(), move || file.publish()).await?;
    Ok(revision)
}

async fn begin_snapshot(session: &Session) -> Result<Revision, Error> {
    session.batch_execute(SNAPSHOT).await?;
    let row = session.query_one(LAST, &[]).await?;
    Ok(from_database(row.try_get(0)?))
}

async fn read(session: &Session, range: &Range) -> Result<Page, Error> {
    let query = PageQuery::new(range);
    let statement = session.prepare_cached(&query.text).await?;
    let rows = session.query(&statement, &query.parameters()).await?;
    read_page(range, &rows)
}

/// Fills an empty database with what is in `backup`.
pub(super) async fn restore(backup: &Path, database: &Database) -> Result<Revision, StoreError> {
    let explain = |fault: Fault| database.explain(&fault);
    let path = backup.to_owned();
    let open = move || -> Result<_, StoreError> {
        let backup = OldBackup::open(&path)?;
        let revision = backup.restored_revision()?;
        Ok((Arc::new(backup), revision))
    };
    let (file, revision) = blocking(backup.to_owned(), open).await?;

    let session = database.session().await?;
    let is_empty = within(REQUEST, begin_to_fill(&session)).await;
    if !is_empty.map_err(explain)? {
        return Err(StoreError::NotEmpty {
            place: database.place().to_owned(),
        });
    }
    let mut range = Range::all();
    loop {
        let (from, asked) = (Arc::clone(&file), range.clone());
        let page = blocking(backup.to_owned(), move || from.page(&asked)).await?;
        let inserted = within(REQUEST, insert(&session, &page)).await;
        inserted.map_err(explain)?;
        let Some(next) = page.next else { break };
        range = range.after(next);
    }
    let ended = within(REQUEST, finish(&session, revision)).await;
    ended.map_err(explain)?;
    session.give_back();
    Ok(revision)
}

async fn begin_to_fill(session: &Session) -> Result<bool, Error> {
    session.batch_execute(FILL).await?;
    session.query_one(IS_EMPTY, &[]).await?.try_get(0)
}

async fn insert(session: &Session, page: &Page) -> Result<(), Error> {
    let keys: Vec<&[u8]> = page.entries.iter().map(|entry| &*entry.key).collect();
    let revisions = page.entries.iter().map(|entry| to_database(entry.revision));
    let revisions: Vec<i64> = revisions.collect();
    let values: Vec<&[u8]> = page.entries.iter().map(|entry| &*entry.value).collect();
    let statement = session.prepare_cached(INSERT).await?;
    let parameters: [&(dyn ToSql + Sync); 3] = [&keys, &revisions, &values];
    session.execute(&statement, &parameters).await.map(drop)
}

async fn finish(session: &Session, revision: Revision) -> Result<(), Error> {
    session.execute(BEGIN_AT, &[&to_database(revision)]).await?;
    session.batch_execute("COMMIT").await
}
