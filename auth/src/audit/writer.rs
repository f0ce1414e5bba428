//! The task that appends: one commit for all rows that wait.
//!
//! A commit holds only if the tail is still the one it was built on. When another process came
//! first, the rows are built anew on its tail. A tail that ends before one that this process has
//! seen was put back by somebody; nothing is appended to it.

use std::ops::ControlFlow;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use super::checkpoint::{Checkpoint, Purpose};
use super::erase::ERASE;
use super::error::AuditError;
use super::event::Draft;
use super::keeper::{Keeper, Tail};
use super::row::{Id, Row};
use super::verify::Reason;
use crate::store::{Batch, Revision, StoreError};

/// How many rows, or checkpoints, may wait before their callers do.
pub(super) const QUEUE: usize = 1024;
/// A checkpoint is written with every row whose number is a multiple of this.
pub const CHECKPOINT_EVERY: u64 = 1000;
/// The most rows of one commit: far from what a batch may have, and a few megabytes at most.
const MAX_GROUP: usize = 256;
/// How often a commit is tried while others come first.
const MAX_ATTEMPTS: u32 = 100;

/// What the task is asked for.
#[derive(Debug)]
pub(super) enum Job {
    Append {
        draft: Box<Draft>,
        answer: oneshot::Sender<Result<Id, AuditError>>,
    },
    /// Rows that belong to a batch.
    Commit {
        drafts: Vec<Draft>,
        batch: Batch,
        answer: oneshot::Sender<Result<(Id, Revision), AuditError>>,
    },
    Checkpoint(oneshot::Sender<Result<Checkpoint, AuditError>>),
}

#[derive(Debug)]
pub(super) struct Writer {
    keeper: Keeper,
    /// The furthest tail this process has seen.
    tail: Tail,
}

impl Writer {
    pub(super) async fn begin(keeper: Keeper) -> Result<Self, AuditError> {
        let tail = keeper.checked_tail().await?;
        Ok(Self { keeper, tail })
    }

    /// Works until nobody can ask any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut held = None;
        loop {
            let job = match held.take() {
                Some(job) => job,
                None => match queue.recv().await {
                    Some(job) => job,
                    None => return,
                },
            };
            match job {
                Job::Commit {
                    drafts,
                    batch,
                    answer,
                } => {
                    let written = self.write(&drafts, Some(&batch)).await;
                    let _ = answer.send(written);
                }
                Job::Append { draft, answer } => {
                    let mut group = vec![*draft];
                    let mut answers = vec![answer];
                    held = gather(&mut queue, &mut group, &mut answers);
                    let written = self.write(&group, None).await;
                    tell(answers, &written.map(|(first, _)| first));
                }
                Job::Checkpoint(answer) => {
                    let _ = answer.send(self.checkpoint().await);
                }
            }
        }
    }

    /// Signs where the chain ends now.
    pub(super) async fn checkpoint(&mut self) -> Result<Checkpoint, AuditError> {
        self.refresh().await?;
        let Tail { count, head, .. } = &self.tail;
        let checkpoint = self.keeper.sign(Purpose::Checkpoint, *count, head);
        let record = self.keeper.place.checkpoint(*count);
        let batch = Batch::new().put(record, checkpoint.to_string());
        self.keeper.store.commit(batch).await?;
        log(&checkpoint);
        Ok(checkpoint)
    }

    /// Appends rows for `group`; returns the number of the first, and the commit.
    async fn write(
        &mut self,
        group: &[Draft],
        with: Option<&Batch>,
    ) -> Result<(Id, Revision), AuditError> {
        for attempt in 0..MAX_ATTEMPTS {
            let built = self.build(group, with);
            match self.keeper.store.commit(built.batch.clone()).await {
                Ok(revision) => {
                    self.tail = Tail {
                        revision,
                        ..built.tail
                    };
                    built.checkpoint.iter().for_each(log);
                    return Ok((built.id, revision));
                }
                Err(error) => match self.after(error, &built).await? {
                    ControlFlow::Break(revision) => {
                        built.checkpoint.iter().for_each(log);
                        return Ok((built.id, revision));
                    }
                    ControlFlow::Continue(()) => pause(attempt).await,
                },
            }
        }
        Err(AuditError::Busy(self.keeper.place.chain().to_owned()))
    }

    fn build(&self, group: &[Draft], with: Option<&Batch>) -> Built {
        let place = &self.keeper.place;
        let time = self.keeper.time();
        let mut batch = with.cloned().unwrap_or_default();
        batch = batch.if_revision(place.tail(), self.tail.revision);
        let (mut count, mut head) = (self.tail.count, self.tail.head.clone());
        let mut first = None;
        for draft in group {
            count += 1;
            let id = Id(count);
            let row = Row::new(draft, place.chain(), id, &head, &time);
            let (value, hash) = row.encode();
            first.get_or_insert_with(|| (id, value.clone()));
            batch = batch.put(place.row(id), value);
            if let Some(hidden) = &draft.hidden {
                batch = batch.put(place.personal(id), hidden.record.clone());
            }
            if draft.event == ERASE {
                batch = batch.put(place.erasure(id), Bytes::new());
            }
            head = hash;
        }
        let tail = self.keeper.sign(Purpose::Tail, count, &head);
        batch = batch.put(place.tail(), tail.to_string());
        let crosses = self.tail.count / CHECKPOINT_EVERY != count / CHECKPOINT_EVERY;
        let checkpoint = crosses.then(|| self.keeper.sign(Purpose::Checkpoint, count, &head));
        if let Some(checkpoint) = &checkpoint {
            batch = batch.put(place.checkpoint(count), checkpoint.to_string());
        }
        let (id, value) = first.unwrap_or_default();
        Built {
            batch,
            id,
            value,
            tail: Tail {
                count,
                head,
                revision: Revision::default(),
            },
            checkpoint,
        }
    }

    /// What a failed commit means: it happened all the same, or may be tried again, or neither.
    async fn after(
        &mut self,
        error: StoreError,
        built: &Built,
    ) -> Result<ControlFlow<Revision>, AuditError> {
        let place = &self.keeper.place;
        match error {
            StoreError::Conflict { key } if key == place.tail() => {
                self.refresh().await?;
                Ok(ControlFlow::Continue(()))
            }
            refused @ (StoreError::Conflict { .. }
            | StoreError::TooLarge { .. }
            | StoreError::ReservedKey { .. }) => Err(refused.into()),
            // Whether it happened is unknown, unless the store can still be asked.
            unknown => {
                let row = self.keeper.store.get(&place.row(built.id)).await;
                let Ok(Some(row)) = row else {
                    return Err(unknown.into());
                };
                if row.value != built.value {
                    return Err(unknown.into());
                }
                // Others may have appended since: the tail is what the store says, not what was built.
                self.refresh().await?;
                Ok(ControlFlow::Break(row.revision))
            }
        }
    }

    /// Reads the tail that others may have moved on.
    async fn refresh(&mut self) -> Result<(), AuditError> {
        let tail = self.keeper.tail().await?;
        let put_back = tail.count < self.tail.count
            || tail.count == self.tail.count && tail.head != self.tail.head;
        if put_back {
            return Err(self.keeper.broken(Reason::PutBack));
        }
        self.tail = tail;
        Ok(())
    }
}

/// A commit to be tried.
struct Built {
    batch: Batch,
    /// The first row of it, and its value.
    id: Id,
    value: Bytes,
    /// Where the chain ends with it; its revision is known once it happened.
    tail: Tail,
    checkpoint: Option<Checkpoint>,
}

/// Takes the rows that wait already. Returns the job at which it stopped, if it is another kind.
fn gather(
    queue: &mut mpsc::Receiver<Job>,
    group: &mut Vec<Draft>,
    answers: &mut Vec<oneshot::Sender<Result<Id, AuditError>>>,
) -> Option<Job> {
    while group.len() < MAX_GROUP {
        match queue.try_recv() {
            Ok(Job::Append { draft, answer }) => {
                group.push(*draft);
                answers.push(answer);
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}

fn tell(answers: Vec<oneshot::Sender<Result<Id, AuditError>>>, written: &Result<Id, AuditError>) {
    for (answer, place) in answers.into_iter().zip(0..) {
        let written = written.clone().map(|first| Id(first.0 + place));
        // Whoever does not wait any more does not want to know.
        let _ = answer.send(written);
    }
}

fn log(checkpoint: &Checkpoint) {
    info!(%checkpoint, "audit checkpoint");
}

/// Lets others finish before the next attempt: a few milliseconds, not the same for all.
async fn pause(attempt: u32) {
    let mut random = [0];
    // Without random bytes everybody waits for the same time, which still is a pause.
    let _ = SystemRandom::new().fill(&mut random);
    let limit = 1_u64 << attempt.min(6);
    let wait = u64::from(random[0]) * limit / u64::from(u8::MAX);
    tokio::time::sleep(Duration::from_millis(wait)).await;
}
