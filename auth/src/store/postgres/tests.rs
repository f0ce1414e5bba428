//! Against a real server, started for each test.

mod chain;
mod cluster;
mod copy;
mod loss;
mod refusal;
mod sharing;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio_postgres::Client;

use self::cluster::Cluster;
use super::PostgresStore;
use crate::store::suite::{Fixture, conformance};
use crate::store::{Batch, Change, ManualClock, Store, Watch};

conformance!(fixture);

async fn fixture() -> Fixture {
    let cluster = Cluster::start();
    let clock = ManualClock::at(UNIX_EPOCH);
    let url = cluster.url();
    let store = PostgresStore::connect_with_clock(&url, Arc::new(clock.clone())).await;
    Fixture {
        store: Arc::new(store.unwrap()),
        clock,
        _keep: Box::new(cluster),
    }
}

async fn connect(cluster: &Cluster) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::connect(&cluster.url()).await.unwrap())
}

fn put(key: &'static str, value: &'static str) -> Batch {
    Batch::new().put(key, value)
}

async fn value(store: &PostgresStore, key: &str) -> Option<String> {
    let found = store.get(key.as_bytes()).await.unwrap()?;
    Some(String::from_utf8(found.value.to_vec()).unwrap())
}

/// Waits until the watch has told of `key`.
async fn told_of(watch: &mut Watch, key: &str) {
    loop {
        match watch.next().await.unwrap() {
            Change::Key { key: told, .. } if told == key => return,
            Change::Key { .. } | Change::Lagged => {}
        }
    }
}

/// Waits until the answer to `question`, a number, is not 0, and returns it.
async fn until(admin: &Client, question: &str) -> i32 {
    loop {
        let answer = admin.query_opt(question, &[]).await.unwrap();
        if let Some(answer) = answer.map(|row| row.get(0)).filter(|answer| *answer != 0) {
            return answer;
        }
    }
}

/// The process that waits for the counter's lock.
const WAITS_TO_BEGIN: &str = "SELECT pid FROM pg_stat_activity
    WHERE usename = 'portunus' AND wait_event_type = 'Lock' AND query LIKE '%RETURNING%'";
/// The process that waits in [`hold_writes`].
const WAITS_TO_WRITE: &str = "SELECT pid FROM pg_stat_activity
    WHERE usename = 'portunus' AND wait_event = 'advisory'";

/// Makes transactions wait after they wrote, with what `admin` is to do to let them go on.
async fn hold_writes(admin: &Client) -> &'static str {
    let hold = "
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END';
        CREATE TRIGGER wait AFTER INSERT ON portunus.changes EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(7)";
    admin.batch_execute(hold).await.unwrap();
    "SELECT pg_advisory_unlock(7)"
}
