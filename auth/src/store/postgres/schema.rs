//! The tables, and what brings those of an older version up to date.
//!
//! Everything is in the schema `portunus`. Each migration is done in a transaction of its own, under
//! a lock, so that gateways that start together do not meet, and is noted in `migrations` by name. A
//! database in which a migration was done that this program does not know is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use super::StoreError;
use super::database::{Database, Session, within};
use crate::store::FIRST_MIGRATION;

/// A name that never changes, and what to do.
type Migration = (&'static str, &'static str);

pub(super) const MIGRATIONS: &[Migration] = &[(FIRST_MIGRATION, RECORDS)];

/// `changes` has the keys that the latest commits wrote or deleted. The one row of `counter` has the
/// last commit, and the last one whose changes may have been removed. Who commits locks it first, so
/// commits become visible in the order of their revisions.
const RECORDS: &str = "
    CREATE TABLE portunus.records (
        key bytea PRIMARY KEY,
        revision bigint NOT NULL,
        value bytea NOT NULL
    );
    CREATE TABLE portunus.changes (
        revision bigint,
        key bytea,
        PRIMARY KEY (revision, key)
    );
    CREATE TABLE portunus.counter (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        revision bigint NOT NULL,
        pruned bigint NOT NULL
    ) WITH (fillfactor = 10);
    INSERT INTO portunus.counter (revision, pruned) VALUES (0, 0);
";

const EXISTS: &str = "SELECT to_regclass('portunus.migrations') IS NOT NULL";
const APPLIED: &str = "SELECT name FROM portunus.migrations";

/// For a migration, and for somebody else's.
const MIGRATION: Duration = Duration::from_secs(300);

/// The lock of everybody who migrates: the bytes of "portunus".
const LOCK: i64 = i64::from_be_bytes(*b"portunus");

/// Does what has not been done yet of `migrations`.
pub(super) async fn migrate(
    database: &Database,
    migrations: &[Migration],
) -> Result<(), StoreError> {
    let missing = |applied: &BTreeSet<String>| {
        let missing = migrations.iter().copied();
        let missing: Vec<_> = missing
            .filter(|(name, _)| !applied.contains(*name))
            .collect();
        missing
    };
    let applied = applied(database).await?;
    if let Some(name) = applied
        .iter()
        .find(|name| migrations.iter().all(|(known, _)| known != name))
    {
        return Err(StoreError::NewerSchema {
            place: database.place().to_owned(),
            migration: name.clone(),
        });
    }
    for migration in missing(&applied) {
        tracing::info!(
            store = database.place(),
            migration = migration.0,
            "migrating the store"
        );
        let session = database.session().await?;
        match within(MIGRATION, apply(&session, migration)).await {
            Ok(()) => session.give_back(),
            Err(fault) => return Err(database.explain(&fault)),
        }
    }
    Ok(())
}

/// The migrations that were done already; asking needs no right to create anything.
async fn applied(database: &Database) -> Result<BTreeSet<String>, StoreError> {
    let exists = database.rows(EXISTS, &[]).await?;
    if !exists.first().is_some_and(|row| row.get(0)) {
        return Ok(BTreeSet::new());
    }
    let rows = database.rows(APPLIED, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn apply(
    session: &Session,
    (name, statements): Migration,
) -> Result<(), tokio_postgres::Error> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
         SET LOCAL statement_timeout = '{0}s';
         SET LOCAL lock_timeout = '{0}s';
         SELECT pg_advisory_xact_lock({LOCK})",
        MIGRATION.as_secs()
    );
    session.batch_execute(&begin).await?;
    // `IF NOT EXISTS` would need the right to create also where nothing is created.
    let exists = "SELECT to_regnamespace('portunus') IS NOT NULL";
    if !session.query_one(exists, &[]).await?.try_get(0)? {
        session.batch_execute("CREATE SCHEMA portunus").await?;
    }
    if !session.query_one(EXISTS, &[]).await?.try_get(0)? {
        let table = "CREATE TABLE portunus.migrations (
            name text PRIMARY KEY,
            applied timestamptz NOT NULL DEFAULT now()
        )";
        session.batch_execute(table).await?;
    }
    // Another gateway may have been faster; then there is nothing left to do.
    let note = "INSERT INTO portunus.migrations (name) VALUES ($1) ON CONFLICT DO NOTHING";
    if session.execute(note, &[&name]).await? == 1 {
        session.batch_execute(statements).await?;
    }
    session.batch_execute("COMMIT").await
}
