//! Finishing the deletion of a user, which may be more than one commit takes.
//!
//! The first commit marks the user: from then on nobody signs in as them, nothing new can be theirs,
//! and no request is let in. Everything of theirs then goes in batches, the mark last. What a crash
//! left unfinished, the next start finishes.

use bytes::Bytes;

use super::retry::Tries;
use super::tunnels::delete_tunnel_records;
use super::{Identity, IdentityError};
use crate::key::KeyId;
use crate::record::layout;
use crate::session::SessionId;
use crate::store::{Batch, Range, Revision};
use crate::tunnel::{Tunnel, TunnelId};
use crate::user::UserId;

/// Things deleted by one commit; each is a few operations.
const AT_ONCE: usize = 150;

impl Identity {
    /// Finishes what was begun before this start.
    pub(super) async fn finish_deletions(&self) -> Result<(), IdentityError> {
        loop {
            let ids = self.ids_below(layout::DELETIONS).await?;
            if ids.is_empty() {
                return Ok(());
            }
            for id in ids {
                self.finish_deletion(UserId(id)).await?;
            }
        }
    }

    /// Removes everything of a user that is marked.
    pub(super) async fn finish_deletion(&self, user: UserId) -> Result<(), IdentityError> {
        self.delete_owned(&layout::sessions_of(user), |batch, id| {
            batch.delete(layout::session(SessionId(id)))
        })
        .await?;
        self.delete_owned(&layout::keys_of(user), |batch, id| {
            let id = KeyId(id);
            batch.delete(layout::key(id)).delete(layout::key_used(id))
        })
        .await?;
        let mut tries = Tries::default();
        while let Err(error) = self.delete_tunnels_of(user).await {
            tries.again(error).await?;
        }
        let batch = Batch::new()
            .delete(layout::password(user))
            .delete(layout::tunnel_count(user))
            .delete(layout::user(user))
            .delete(layout::deletion(user));
        let revision = self.store().commit(batch).await?;
        self.directory().caught_up(revision).await;
        Ok(())
    }

    /// Deletes what the index below `prefix` names, and the index.
    pub(super) async fn delete_owned(
        &self,
        prefix: &str,
        delete: impl Fn(Batch, u64) -> Batch,
    ) -> Result<Option<Revision>, IdentityError> {
        let mut revision = None;
        loop {
            let ids = self.ids_below(prefix).await?;
            if ids.is_empty() {
                return Ok(revision);
            }
            let batch = ids.into_iter().fold(Batch::new(), |batch, id| {
                delete(batch, id).delete(layout::numbered(prefix, id))
            });
            revision = Some(self.store().commit(batch).await?);
        }
    }

    /// A rename that comes between is a conflict.
    async fn delete_tunnels_of(&self, user: UserId) -> Result<(), IdentityError> {
        let prefix = layout::tunnels_of(user);
        loop {
            let ids = self.ids_below(&prefix).await?;
            if ids.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            for id in ids {
                let at = layout::tunnel(TunnelId(id));
                batch = match self.read::<Tunnel>(&at).await? {
                    Some(tunnel) => {
                        let batch = batch.if_revision(at, tunnel.revision);
                        delete_tunnel_records(batch, &tunnel)
                    }
                    None => batch.delete(layout::numbered(&prefix, id)),
                };
            }
            self.store().commit(batch).await?;
        }
    }

    async fn ids_below(&self, prefix: &str) -> Result<Vec<u64>, IdentityError> {
        let range = Range::prefix(Bytes::copy_from_slice(prefix.as_bytes())).limit(AT_ONCE);
        let page = self.store().range(range).await?;
        let ids = page.entries.iter();
        Ok(ids
            .filter_map(|entry| layout::number(prefix, &entry.key))
            .collect())
    }
}
