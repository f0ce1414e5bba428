//! What other gateways commit, told to this one's watchers.
//!
//! The table of changes is what counts. A notification of PostgreSQL, or a commit of this process,
//! only makes the next look come at once; without any, a look comes after [`INTERVAL`]. The cursor
//! says up to which commit the watchers know everything. Looks and this process's own commits both
//! move it, so nobody is told of a commit twice, and of none after a later one.
//!
//! A connection of its own is used for it. When that is lost, another one is made and what was
//! missed is told then, as far as the table still has it; if not, watchers are told to read again.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};

use super::database::{Database, Driver, Fault, REQUEST, SESSION, within};
use super::{Revision, StoreError, Watchers, from_database, to_database};
use crate::store::MAX_PENDING_CHANGES;

/// Where commits are notified.
pub(super) const CHANNEL: &str = "portunus";

/// Between two looks when nothing calls for one. A change is seen after this at the latest.
const INTERVAL: Duration = Duration::from_millis(250);
/// Between attempts to connect: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The second parameter of [`CHANGES`]: with more changes than this, watchers read everything.
pub(super) const MOST: i64 = MAX_PENDING_CHANGES as i64;
/// Commits whose changes are kept. A gateway that was away for longer reads everything again.
const KEPT: i64 = 10_000;

/// The changes after commit `$1`, with the last commit and the last one that may lack here.
pub(super) const CHANGES: &str = "
    SELECT counter.revision, counter.pruned, later.revision, later.key
    FROM portunus.counter LEFT JOIN LATERAL (
        SELECT revision, key FROM portunus.changes WHERE revision > $1 ORDER BY revision LIMIT $2
    ) AS later ON true";

/// Says that old changes are gone, before they are, so that commits wait for this only and not for
/// the removal. Of several gateways one does it.
const FORGET: &str = "UPDATE portunus.counter SET pruned = revision - $1::bigint
    WHERE revision - pruned > 2 * $1::bigint";
/// Removes some of what is forgotten.
const REMOVE: &str = "DELETE FROM portunus.changes WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM portunus.changes
    WHERE revision <= (SELECT pruned FROM portunus.counter) LIMIT $1))";
/// So many at a time: the next look waits for it.
const REMOVED: i64 = 5000;

/// The watchers, and up to where they were told.
#[derive(Debug)]
pub(super) struct Feed {
    watchers: Watchers,
    cursor: Mutex<Revision>,
}

/// What happened after some commit.
pub(super) struct Changes {
    /// Everything up to here is known.
    pub(super) last: Revision,
    /// Up to here the table may lack changes.
    pruned: Revision,
    /// `None` if there is more than can be told.
    pub(super) keys: Option<Vec<(Bytes, Revision)>>,
}

impl Feed {
    /// A feed that begins after the commit `cursor`.
    pub(super) fn new(cursor: Revision) -> Self {
        Self {
            watchers: Watchers::default(),
            cursor: Mutex::new(cursor),
        }
    }

    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    pub(super) fn cursor(&self) -> Revision {
        *self.cursor.lock()
    }

    /// Tells what is after the cursor, of all changes after `from`.
    pub(super) fn tell(&self, from: Revision, changes: &Changes) {
        let mut cursor = self.cursor.lock();
        if changes.last < from && *cursor == from {
            // The database is an older one than before: a backup was restored under this process.
            self.watchers.announce_unknown();
            *cursor = changes.last;
        }
        if changes.last <= *cursor {
            return;
        }
        match &changes.keys {
            Some(keys) => {
                let keys = keys.iter().map(|(key, revision)| (key, *revision));
                let told = *cursor;
                self.watchers
                    .announce_all(&keys.filter(|(_, revision)| *revision > told));
            }
            None => self.watchers.announce_unknown(),
        }
        *cursor = changes.last;
    }
}

impl Changes {
    /// Reads the answer to [`CHANGES`].
    pub(super) fn read(from: Revision, rows: &[Row]) -> Result<Self, tokio_postgres::Error> {
        let (mut last, mut pruned) = (from, Revision::default());
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            last = from_database(row.try_get(0)?);
            pruned = from_database(row.try_get(1)?);
            if let Some(revision) = row.try_get(2)? {
                let key: &[u8] = row.try_get(3)?;
                keys.push((Bytes::copy_from_slice(key), from_database(revision)));
            }
        }
        let whole = pruned <= from && i64::try_from(keys.len()).is_ok_and(|count| count < MOST);
        Ok(Self {
            last,
            pruned,
            keys: whole.then_some(keys),
        })
    }
}

/// Follows the database until the task is aborted.
pub(super) async fn follow(database: Arc<Database>, feed: Arc<Feed>) {
    let mut pause = BACK_OFF.0;
    loop {
        let error = match look_on(&database, &feed, &mut pause).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if pause == BACK_OFF.0 {
            tracing::warn!(%error, "changes of the store cannot be followed; trying again");
        } else {
            tracing::debug!(%error, "changes of the store still cannot be followed");
        }
        sleep(pause).await;
        pause = BACK_OFF.1.min(pause * 2);
    }
}

/// Connects and looks for changes until the connection is lost.
async fn look_on(
    database: &Database,
    feed: &Feed,
    pause: &mut Duration,
) -> Result<Infallible, StoreError> {
    let explain = |fault: Fault| database.explain(&fault);
    let (client, driver) = database.connect().await?;
    let hint = Arc::new(Notify::new());
    tokio::spawn(drive(driver, Arc::clone(&hint)));
    let prepared = within(REQUEST, Listener::prepare(client)).await;
    let mut listener = prepared.map_err(explain)?;
    loop {
        let looked = within(REQUEST, listener.look(feed)).await;
        looked.map_err(explain)?;
        if *pause != BACK_OFF.0 {
            tracing::info!("changes of the store are followed again");
            *pause = BACK_OFF.0;
        }
        // Whether there was a hint or not, the next look is due.
        let _ = timeout(INTERVAL, hint.notified()).await;
    }
}

/// Carries the connection's bytes until it ends; any notification is a hint.
async fn drive(mut driver: Driver, hint: Arc<Notify>) {
    while let Some(Ok(message)) = poll_fn(|context| driver.poll_message(context)).await {
        if matches!(message, AsyncMessage::Notification(_)) {
            hint.notify_one();
        }
    }
    hint.notify_one();
}

struct Listener {
    client: Client,
    changes: Statement,
    /// Whether there may be something that is forgotten and not removed yet.
    removing: bool,
}

impl Listener {
    async fn prepare(client: Client) -> Result<Self, tokio_postgres::Error> {
        client.batch_execute(SESSION).await?;
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Ok(Self {
            changes: client.prepare(CHANGES).await?,
            client,
            removing: false,
        })
    }

    async fn look(&mut self, feed: &Feed) -> Result<(), tokio_postgres::Error> {
        let from = feed.cursor();
        let parameters: [&(dyn ToSql + Sync); 2] = [&to_database(from), &MOST];
        let rows = self.client.query(&self.changes, &parameters).await?;
        let changes = Changes::read(from, &rows)?;
        feed.tell(from, &changes);
        if self.removing {
            self.removing = self.client.execute(REMOVE, &[&REMOVED]).await? > 0;
        } else if to_database(changes.last) - to_database(changes.pruned) > 2 * KEPT {
            self.removing = self.client.execute(FORGET, &[&KEPT]).await? > 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::store::{Change, Watch};

    fn changes(last: u64, keys: &[(&'static str, u64)]) -> Changes {
        let keys = keys.iter();
        Changes {
            last: last.into(),
            pruned: Revision::default(),
            keys: Some(
                keys.map(|(key, revision)| (Bytes::from(*key), (*revision).into()))
                    .collect(),
            ),
        }
    }

    /// What is told already.
    fn told(watch: &mut Watch) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let next = pin!(watch.next()).poll(&mut Context::from_waker(Waker::noop()));
            match next {
                Poll::Ready(Some(Change::Lagged)) => told.push("lagged".to_owned()),
                Poll::Ready(Some(Change::Key { key, revision })) => {
                    told.push(format!("{}@{revision}", key.escape_ascii()));
                }
                Poll::Ready(None) | Poll::Pending => return told,
            }
        }
    }

    #[test]
    fn a_commit_is_told_once_whoever_sees_it_first() {
        let feed = Feed::new(5.into());
        let mut watch = feed.watchers().subscribe(b"");
        feed.tell(5.into(), &changes(7, &[("a", 6), ("b", 7)]));
        assert_eq!(told(&mut watch), ["a@6", "b@7"]);
        feed.tell(5.into(), &changes(8, &[("a", 6), ("b", 7), ("c", 8)]));
        assert_eq!(told(&mut watch), ["c@8"]);
        feed.tell(5.into(), &changes(6, &[("a", 6)]));
        assert!(told(&mut watch).is_empty());
    }

    #[test]
    fn a_store_that_went_back_in_time_is_read_again() {
        let feed = Feed::new(5.into());
        let mut watch = feed.watchers().subscribe(b"");
        feed.tell(5.into(), &changes(3, &[]));
        assert_eq!(told(&mut watch), ["lagged"]);
        assert_eq!(feed.cursor(), 3.into());
        feed.tell(3.into(), &changes(4, &[("a", 4)]));
        assert_eq!(told(&mut watch), ["a@4"]);
    }

    #[test]
    fn a_watch_is_not_told_what_was_before_it() {
        let feed = Feed::new(5.into());
        let mut watch = feed.watchers().subscribe_after(b"", 7.into());
        feed.tell(5.into(), &changes(8, &[("a", 6), ("b", 7), ("c", 8)]));
        assert_eq!(told(&mut watch), ["c@8"]);
        // In an older store those come again.
        feed.tell(8.into(), &changes(6, &[]));
        feed.tell(6.into(), &changes(7, &[("d", 7)]));
        assert_eq!(told(&mut watch), ["lagged", "d@7"]);
    }

    #[test]
    fn what_cannot_be_told_is_to_be_read_again() {
        let feed = Feed::new(5.into());
        let mut watch = feed.watchers().subscribe(b"");
        let mut gap = changes(9, &[]);
        gap.keys = None;
        feed.tell(5.into(), &gap);
        assert_eq!(told(&mut watch), ["lagged"]);
        assert_eq!(feed.cursor(), 9.into());
    }
}
