//! Removing what ended long ago: sessions an hour after, keys a quarter of a year.
//!
//! Nothing depends on it but the size of the store: what has ended is refused from its end on.

use std::time::{Duration, SystemTime};

use super::used::FLUSH_EVERY;
use super::{Identity, IdentityError, Page};
use crate::key::Key;
use crate::record::layout;
use crate::session::Session;
use crate::store::Batch;

/// Rounds of the upkeep between two sweeps: an hour.
pub(super) const EVERY_ROUNDS: u64 = 60 * 60 / FLUSH_EVERY.as_secs();
/// How long a session is kept after its end: longer than it takes other gateways to write that it
/// was used.
const SESSIONS_KEPT: Duration = Duration::from_secs(60 * 60);
/// How long a key that ended is in lists.
const KEYS_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Records removed by one commit.
const AT_ONCE: usize = 250;

impl Identity {
    /// Removes sessions and keys that ended long ago; also done every hour.
    pub async fn sweep(&self) -> Result<(), IdentityError> {
        self.sweep_sessions().await?;
        self.sweep_keys().await
    }

    async fn sweep_sessions(&self) -> Result<(), IdentityError> {
        let now = self.clock().now();
        let idle = self.settings().session_idle;
        let over = |session: &Session| {
            let end = session.expires.min(session.last_seen + idle);
            is_past(end, SESSIONS_KEPT, now)
        };
        let mut page = first_page();
        loop {
            let found = self.list(layout::SESSIONS, &page, over).await?;
            let batch = found.items.iter().fold(Batch::new(), |batch, session| {
                let batch = batch.if_revision(layout::session(session.id), session.revision);
                super::sessions::delete_session(batch, session.id, session.user)
            });
            // What another gateway changes meanwhile is left to the next sweep.
            self.committed(batch).await?;
            let Some(next) = found.next else {
                return Ok(());
            };
            page.cursor = Some(next);
        }
    }

    async fn sweep_keys(&self) -> Result<(), IdentityError> {
        let now = self.clock().now();
        let over = |key: &Key| {
            let end = key.revoked.or(key.expires);
            end.is_some_and(|end| is_past(end, KEYS_KEPT, now))
        };
        let mut page = first_page();
        loop {
            let found = self.list(layout::KEYS, &page, over).await?;
            let batch = found.items.iter().fold(Batch::new(), |batch, key| {
                batch
                    .if_revision(layout::key(key.id), key.revision)
                    .delete(layout::key(key.id))
                    .delete(layout::key_used(key.id))
                    .delete(layout::numbered(&layout::keys_of(key.owner), key.id.0))
            });
            // What another gateway changes meanwhile is left to the next sweep.
            self.committed(batch).await?;
            let Some(next) = found.next else {
                return Ok(());
            };
            page.cursor = Some(next);
        }
    }
}

fn first_page() -> Page {
    Page {
        cursor: None,
        limit: AT_ONCE,
    }
}

fn is_past(end: SystemTime, kept: Duration, now: SystemTime) -> bool {
    now.duration_since(end).is_ok_and(|since| since > kept)
}
