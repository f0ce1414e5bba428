//! When keys and sessions were used last, written in batches off the path of requests.
//!
//! A request leaves a note; a task writes the notes every few seconds and at the end. Notes are kept
//! one per key or session and there is a bound on them: what would be too many is not noted, which
//! costs nothing but the time shown in a list. A session that is used is kept alive in memory at
//! once, in the store to the minute.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::{Context, Identity, IdentityError, Inner};
use crate::key::{KeyId, LastUsed};
use crate::permit::Actor;
use crate::record::{self, layout, millis};
use crate::session::{Session, SessionId};
use crate::store::Batch;

/// How often notes are written.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// A session's use is written when it is so much later than what was written last.
const SESSION_STEP_MS: u64 = 60 * 1000;
/// A key's use is noted again after so long.
const KEY_STEP_MS: u64 = 10 * 1000;
/// The most keys, and sessions, with a note at a time.
const MOST: usize = 100_000;
/// Records written by one commit.
const AT_ONCE: usize = 250;

/// Notes that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Notes {
    keys: Mutex<HashMap<KeyId, LastUsed>>,
    sessions: Mutex<HashMap<SessionId, LastUsed>>,
}

impl Identity {
    /// Notes that key `id` is used. Never waits; written some seconds later.
    pub fn used(&self, id: KeyId, context: &Context) {
        let now = self.clock().now();
        if let Actor::User(caller) = &context.actor
            && caller.key() == Some(id)
            && !self
                .directory()
                .note_key(caller, millis::of(now), KEY_STEP_MS)
        {
            return;
        }
        note(&self.0.notes.keys, id, now, context);
    }

    /// Notes that session `id` is used, which keeps it alive. Never waits.
    pub fn touch(&self, id: SessionId, context: &Context) {
        let Some(session) = self.directory().session(id) else {
            return;
        };
        let now = self.clock().now();
        if session.seen(millis::of(now), SESSION_STEP_MS) {
            note(&self.0.notes.sessions, id, now, context);
        }
    }

    /// When key `id` was used last, as far as it was written.
    pub async fn last_used(&self, id: KeyId) -> Result<Option<LastUsed>, IdentityError> {
        let found = self.read::<LastUsed>(&layout::key_used(id)).await?;
        Ok(found.map(|found| found.record))
    }

    /// Writes what was noted. What cannot be written is kept for the next time.
    pub async fn flush(&self) -> Result<(), IdentityError> {
        let keys = std::mem::take(&mut *self.0.notes.keys.lock());
        let keys: Vec<_> = keys.into_iter().collect();
        for (done, chunk) in keys.chunks(AT_ONCE).enumerate() {
            if let Err(error) = self.write_keys(chunk).await {
                put_back(&self.0.notes.keys, &keys[done * AT_ONCE..]);
                return Err(error);
            }
        }
        let sessions = std::mem::take(&mut *self.0.notes.sessions.lock());
        let sessions: Vec<_> = sessions.into_iter().collect();
        for (done, chunk) in sessions.chunks(AT_ONCE).enumerate() {
            if let Err(error) = self.write_sessions(chunk).await {
                put_back(&self.0.notes.sessions, &sessions[done * AT_ONCE..]);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn write_keys(&self, notes: &[(KeyId, LastUsed)]) -> Result<(), IdentityError> {
        let put = |batch: Batch, (id, used): &(KeyId, LastUsed)| {
            batch
                .if_present(layout::key(*id))
                .put(layout::key_used(*id), record::encode(used))
        };
        let all = notes.iter().fold(Batch::new(), put);
        if self.committed(all).await? {
            return Ok(());
        }
        // One of them was deleted; the others are written.
        for note in notes {
            self.committed(put(Batch::new(), note)).await?;
        }
        Ok(())
    }

    /// Whether the conditions of `batch` held.
    pub(super) async fn committed(&self, batch: Batch) -> Result<bool, IdentityError> {
        match self.store().commit(batch).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn write_sessions(&self, notes: &[(SessionId, LastUsed)]) -> Result<(), IdentityError> {
        let mut single = Vec::new();
        let mut batch = Batch::new();
        for (id, used) in notes {
            if let Some(change) = self.seen_session(*id, used, batch.clone()).await? {
                batch = change;
                single.push((id, used));
            }
        }
        if self.committed(batch).await? {
            return Ok(());
        }
        // Somebody changed one of them, by the same news or by ending it; the others are written.
        for (id, used) in single {
            if let Some(batch) = self.seen_session(*id, used, Batch::new()).await? {
                self.committed(batch).await?;
            }
        }
        Ok(())
    }

    /// `None` if the session has ended, or was seen later elsewhere.
    async fn seen_session(
        &self,
        id: SessionId,
        used: &LastUsed,
        batch: Batch,
    ) -> Result<Option<Batch>, IdentityError> {
        let at = layout::session(id);
        let Some(mut session) = self.read::<Session>(&at).await? else {
            return Ok(None);
        };
        if session.last_seen >= used.at {
            return Ok(None);
        }
        session.record.last_seen = used.at;
        session.record.ip = used.ip;
        session.record.user_agent.clone_from(&used.user_agent);
        let batch = batch.if_revision(at.clone(), session.revision);
        Ok(Some(batch.put(at, record::encode(&session.record))))
    }
}

/// Writes notes from time to time, and sweeps, until the identity is gone.
pub(super) async fn upkeep(identity: Weak<Inner>) {
    let mut rounds = 0_u64;
    loop {
        tokio::time::sleep(FLUSH_EVERY).await;
        let Some(identity) = identity.upgrade().map(Identity) else {
            return;
        };
        if let Err(error) = identity.flush().await {
            tracing::warn!(%error, "when keys and sessions were used cannot be written; trying again");
        }
        rounds += 1;
        if rounds.is_multiple_of(super::sweep::EVERY_ROUNDS)
            && let Err(error) = identity.sweep().await
        {
            tracing::warn!(%error, "keys and sessions that ended cannot be removed; trying again");
        }
    }
}

fn note<T: Eq + std::hash::Hash>(
    notes: &Mutex<HashMap<T, LastUsed>>,
    id: T,
    at: SystemTime,
    context: &Context,
) {
    let used = LastUsed {
        at,
        ip: context.ip,
        user_agent: context.agent(),
    };
    let mut notes = notes.lock();
    if notes.len() < MOST || notes.contains_key(&id) {
        notes.insert(id, used);
    }
}

/// Keeps notes that were not written, unless there are newer ones.
fn put_back<T: Copy + Eq + std::hash::Hash>(
    notes: &Mutex<HashMap<T, LastUsed>>,
    unwritten: &[(T, LastUsed)],
) {
    let mut notes = notes.lock();
    for (id, used) in unwritten {
        if notes.len() < MOST {
            notes.entry(*id).or_insert_with(|| used.clone());
        }
    }
}
