//! The task that commits.
//!
//! Commits of all gateways wait for one row's lock, and each costs round trips and an fsync. While
//! one is under way, batches of this process queue up; the next transaction takes all that wait,
//! checks and applies them one after the other in memory, and writes what comes out of it. That
//! takes two round trips: one locks the counter and reads what the conditions ask for and what others
//! committed meanwhile, the other writes and commits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{try_join, try_join4};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::database::{Database, Fault, REQUEST, Session, within};
use super::feed::{CHANGES, CHANNEL, Changes, Feed, MOST};
use super::{Batch, Revision, StoreError, from_database, to_database};
use crate::store::batch::Operation;

/// Batches that wait; beyond this, committers wait to be let in.
const QUEUE: usize = 1024;
/// Batches that share a transaction.
const GROUP: usize = 512;
/// A transaction takes no more batches once they weigh this, in bytes; a statement, no more values.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How often a group is tried again of which certainly nothing was written.
const RETRIES: usize = 5;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Gaps are allowed, so a batch that is refused may have its revision.
const LOCK: &str = "UPDATE portunus.counter SET revision = revision + $1 RETURNING revision - $1";
const REVISIONS: &str = "SELECT key, revision FROM portunus.records WHERE key = ANY ($1)";
const WRITE: &str = "
    WITH written AS (
        INSERT INTO portunus.records (key, revision, value)
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])
        ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, value = excluded.value
    ), deleted AS (
        DELETE FROM portunus.records WHERE key = ANY ($4)
    ), changed AS (
        INSERT INTO portunus.changes (key, revision)
        SELECT * FROM unnest($1::bytea[] || $4::bytea[], $2::bigint[] || $5::bigint[])
    )
    SELECT pg_notify($6, '')";

#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    batch: Batch,
    reply: oneshot::Sender<Outcome>,
}

type Outcome = Result<Revision, StoreError>;

impl Writer {
    /// Starts the task. It ends when the writer is dropped and what is in the queue is done.
    pub(super) fn start(database: Arc<Database>, feed: Arc<Feed>) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        tokio::spawn(run(database, feed, requests));
        Self { queue }
    }

    pub(super) async fn commit(&self, batch: Batch) -> Outcome {
        let stopped = || StoreError::Unreachable {
            detail: "the program is stopping".to_owned(),
        };
        let (reply, outcome) = oneshot::channel();
        let request = Request { batch, reply };
        self.queue.send(request).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }

    /// How many batches wait that the task has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        QUEUE - self.queue.capacity()
    }
}

async fn run(database: Arc<Database>, feed: Arc<Feed>, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.recv().await {
        let mut weight = first.batch.weight();
        let mut group = vec![first];
        while group.len() < GROUP
            && weight < GROUP_BYTES
            && let Ok(next) = requests.try_recv()
        {
            weight += next.batch.weight();
            group.push(next);
        }
        answer(&database, &feed, group).await;
    }
}

/// Commits a group and answers the committers.
async fn answer(database: &Database, feed: &Feed, group: Vec<Request>) {
    let (batches, replies): (Vec<_>, Vec<_>) = group
        .into_iter()
        .map(|request| (request.batch, request.reply))
        .unzip();
    let outcomes = match commit(database, feed, &batches).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            // If it is in the store nevertheless, the next look tells the watchers.
            tracing::error!(%error, batches = batches.len(), "the store was not written");
            vec![Err(error); batches.len()]
        }
    };
    for (reply, outcome) in replies.into_iter().zip(outcomes) {
        // Whoever asked may have gone.
        let _ = reply.send(outcome);
    }
}

async fn commit(
    database: &Database,
    feed: &Feed,
    batches: &[Batch],
) -> Result<Vec<Outcome>, StoreError> {
    let mut tries = 0;
    loop {
        let session = database.session().await?;
        let attempt = attempt(&session, feed, batches).await;
        let (fault, nothing_done) = match attempt {
            Ok(outcomes) => {
                session.give_back();
                return Ok(outcomes);
            }
            Err(Failure::Before(fault)) => {
                let passes = fault.is_collision() || fault.is_lost(&session);
                (fault, passes)
            }
            Err(Failure::During(fault)) => {
                let nothing_done = fault.is_collision();
                (fault, nothing_done)
            }
        };
        let error = database.explain(&fault);
        tries += 1;
        if !nothing_done || tries > RETRIES {
            return Err(error);
        }
        tracing::debug!(%error, "nothing of a commit was written; trying again");
    }
}

enum Failure {
    /// Before anything was sent that changes a record.
    Before(Fault),
    /// It is unknown what was done of it, unless the server said that it was nothing.
    During(Fault),
}

/// One transaction. Batches whose conditions fail leave nothing in it; any other error, all do.
async fn attempt(
    session: &Session,
    feed: &Feed,
    batches: &[Batch],
) -> Result<Vec<Outcome>, Failure> {
    let cursor = feed.cursor();
    let begun = within(REQUEST, begin(session, cursor, batches)).await;
    let (last, revisions, others) = begun.map_err(Failure::Before)?;
    let plan = Plan::new(batches, last, &revisions);
    if plan.outcomes.iter().all(Result::is_err) {
        let ended = within(REQUEST, session.batch_execute("ROLLBACK")).await;
        ended.map_err(Failure::Before)?;
        return Ok(plan.outcomes);
    }
    let written = within(REQUEST, write(session, &plan)).await;
    written.map_err(Failure::During)?;
    feed.tell(cursor, &plan.told_after(others));
    Ok(plan.outcomes)
}

type Begun = (Revision, HashMap<Bytes, Revision>, Changes);

/// Takes the lock, then reads. Every statement sees what was committed before the lock was had.
async fn begin(session: &Session, cursor: Revision, batches: &[Batch]) -> Result<Begun, Error> {
    let lock = session.prepare_cached(LOCK).await?;
    let revisions = session.prepare_cached(REVISIONS).await?;
    let changes = session.prepare_cached(CHANGES).await?;
    // Not while the lock is held.
    session.prepare_cached(WRITE).await?;

    let keys = batches.iter().flat_map(Batch::condition_keys);
    let keys: Vec<&[u8]> = keys.map(|key| &**key).collect();
    // As many as there can be.
    let count = batches.len() as i64;
    let from = to_database(cursor);
    // All are sent at once, in this order, and answered in this order.
    let ((), row, found, others) = try_join4(
        session.batch_execute(BEGIN),
        session.query_one(&lock, &[&count]),
        session.query(&revisions, &[&keys]),
        session.query(&changes, &[&from, &MOST]),
    )
    .await?;
    let last = from_database(row.try_get(0)?);
    let found = found.iter().map(|row| {
        let key: &[u8] = row.try_get(0)?;
        let revision = from_database(row.try_get(1)?);
        Ok::<_, Error>((Bytes::copy_from_slice(key), revision))
    });
    let found = found.collect::<Result<_, _>>()?;
    Ok((last, found, Changes::read(cursor, &others)?))
}

async fn write(session: &Session, plan: &Plan) -> Result<(), Error> {
    let statement = session.prepare_cached(WRITE).await?;
    let mut pieces = plan.pieces();
    let last = pieces.pop().unwrap_or_default();
    for piece in &pieces {
        session.execute(&statement, &piece.parameters()).await?;
    }
    // Sent in this order. The commit of a transaction that failed undoes it.
    let parameters = last.parameters();
    try_join(
        session.execute(&statement, &parameters),
        session.batch_execute("COMMIT"),
    )
    .await?;
    Ok(())
}

/// What comes of a group: an outcome for each batch, and what each key is at the end.
struct Plan {
    outcomes: Vec<Outcome>,
    /// `None` is a key that is deleted.
    writes: BTreeMap<Bytes, (Revision, Option<Bytes>)>,
    last: Revision,
}

impl Plan {
    /// Does the batches one after the other, the first at the revision after `last`, on records that
    /// have `revisions`.
    fn new(batches: &[Batch], last: Revision, revisions: &HashMap<Bytes, Revision>) -> Self {
        let mut plan = Self {
            outcomes: Vec::with_capacity(batches.len()),
            writes: BTreeMap::new(),
            last,
        };
        for batch in batches {
            let outcome = plan.add(batch, revisions);
            plan.outcomes.push(outcome);
        }
        plan
    }

    fn add(&mut self, batch: &Batch, revisions: &HashMap<Bytes, Revision>) -> Outcome {
        let revision_of = |key: &[u8]| match self.writes.get(key) {
            Some((revision, value)) => value.is_some().then_some(*revision),
            None => revisions.get(key).copied(),
        };
        if let Some(key) = batch.unmet(|key| Ok::<_, StoreError>(revision_of(key)))? {
            return Err(StoreError::Conflict { key });
        }
        self.last = self.last.next();
        for (key, operation) in batch.operations() {
            let value = match operation {
                Operation::Put(value) => Some(value.clone()),
                Operation::Delete => None,
            };
            self.writes.insert(key.clone(), (self.last, value));
        }
        Ok(self.last)
    }

    /// What to write, in statements of bounded size.
    fn pieces(&self) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        let mut piece = Piece::default();
        let mut weight = 0;
        for (key, (revision, value)) in &self.writes {
            if weight >= GROUP_BYTES {
                pieces.push(std::mem::take(&mut piece));
                weight = 0;
            }
            match value {
                Some(value) => {
                    weight += key.len() + value.len();
                    piece.keys.push(key);
                    piece.revisions.push(to_database(*revision));
                    piece.values.push(value);
                }
                None => {
                    piece.deleted.push(key);
                    piece.deleted_at.push(to_database(*revision));
                }
            }
        }
        pieces.push(piece);
        pieces
    }

    /// The plan's changes, after those that were found.
    fn told_after(&self, mut others: Changes) -> Changes {
        if let Some(keys) = &mut others.keys {
            let own = self.writes.iter();
            keys.extend(own.map(|(key, (revision, _))| (key.clone(), *revision)));
        }
        others.last = self.last;
        others
    }
}

/// The parameters of one [`WRITE`].
#[derive(Default)]
struct Piece<'a> {
    keys: Vec<&'a [u8]>,
    revisions: Vec<i64>,
    values: Vec<&'a [u8]>,
    deleted: Vec<&'a [u8]>,
    deleted_at: Vec<i64>,
}

impl Piece<'_> {
    fn parameters(&self) -> [&(dyn ToSql + Sync); 6] {
        [
            &self.keys,
            &self.revisions,
            &self.values,
            &self.deleted,
            &self.deleted_at,
            &CHANNEL,
        ]
    }
}
