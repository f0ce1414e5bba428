//! Sessions: listed, revoked, kept alive; and the tokens that guard their forms.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::retry::Tries;
use super::trail::{Action, Target};
use super::{Context, Identity, IdentityError, Listing, Page, Parts, What};
use crate::permit::Actor;
use crate::record::{self, Stored, layout};
use crate::seal::SealError;
use crate::session::{Session, SessionId, SessionToken};
use crate::store::Batch;
use crate::user::UserId;

impl Identity {
    /// A session for `user`; the one the actor has is replaced.
    pub(super) async fn new_session(
        &self,
        batch: Batch,
        user: UserId,
        context: &Context,
    ) -> Result<(Batch, SessionToken, SessionId), IdentityError> {
        let counters = &self.0.counters;
        let id = SessionId(counters.next(&counters.sessions).await?);
        let token = SessionToken::mint()?;
        let now = self.clock().now();
        let session = Session {
            id,
            user,
            created: now,
            last_seen: now,
            expires: now + self.settings().session_absolute,
            ip: context.ip,
            user_agent: context.agent(),
            hash: token.hash(),
        };
        let owned = layout::numbered(&layout::sessions_of(user), id.0);
        let mut batch = batch
            .put(layout::session(id), record::encode(&session))
            .put(owned, "");
        if let Actor::User(caller) = &context.actor
            && let Some(before) = caller.session()
        {
            batch = delete_session(batch, before, caller.user.id);
        }
        Ok((batch, token, id))
    }

    /// A page of the sessions of `user`, or of all. Some may have ended by their time.
    pub async fn sessions(
        &self,
        user: Option<UserId>,
        page: &Page,
    ) -> Result<Listing<Session>, IdentityError> {
        match user {
            None => self.list(layout::SESSIONS, page, |_| true).await,
            Some(user) => {
                let at = |id| layout::session(SessionId(id));
                self.list_indexed(&layout::sessions_of(user), page, at)
                    .await
            }
        }
    }

    /// Session `id`.
    pub async fn session(&self, id: SessionId) -> Result<Stored<Session>, IdentityError> {
        let found = self.read(&layout::session(id)).await?;
        found.ok_or(IdentityError::NotFound(What::Session))
    }

    /// Ends session `id` now. [`IdentityError::NotFound`] if it has ended.
    pub async fn revoke_session(
        &self,
        id: SessionId,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let mut tries = Tries::default();
        loop {
            let session = self.session(id).await?;
            let batch = Batch::new().if_present(layout::session(id));
            let batch = delete_session(batch, id, session.user);
            let event = self.event(Action::SessionRevoke, Target::Session(id), context);
            match self.write(batch, &[event.of(session.user)]).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Ends all sessions of `user` now.
    pub async fn revoke_all(&self, user: UserId, context: &Context) -> Result<(), IdentityError> {
        let event = self.event(Action::SessionRevoke, Target::User(user), context);
        let event = event.of(user).with("all");
        self.write(Batch::new(), &[event]).await?;
        self.end_sessions_of(user).await
    }

    /// Ends all sessions of `user`, for a reason that has its own audit row.
    pub(super) async fn end_sessions_of(&self, user: UserId) -> Result<(), IdentityError> {
        let delete = |batch: Batch, id| batch.delete(layout::session(SessionId(id)));
        let done = self
            .delete_owned(&layout::sessions_of(user), delete)
            .await?;
        if let Some(revision) = done {
            self.directory().caught_up(revision).await;
        }
        Ok(())
    }

    /// What forms of session `id` carry, so that no other site can send them.
    pub fn csrf_token(&self, id: SessionId) -> String {
        record::hex(self.0.csrf.token(id).as_ref())
    }

    /// Whether `presented` is the token of session `id`.
    pub fn check_csrf(&self, id: SessionId, presented: &str) -> bool {
        let token = self.csrf_token(id);
        verify_slices_are_equal(token.as_bytes(), presented.as_bytes()).is_ok()
    }
}

pub(super) fn delete_session(batch: Batch, id: SessionId, user: UserId) -> Batch {
    batch
        .delete(layout::session(id))
        .delete(layout::numbered(&layout::sessions_of(user), id.0))
}

/// The secret CSRF tokens are made with: one for all gateways on a store, sealed in it.
pub(super) struct CsrfKey(hmac::Key);

impl CsrfKey {
    pub(super) async fn load(parts: &Parts) -> Result<Self, IdentityError> {
        let at = layout::CSRF;
        loop {
            if let Some(found) = parts.store.get(at.as_bytes()).await? {
                let secret = parts.seal.open(at.as_bytes(), &found.value)?;
                return Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
            }
            let mut secret = [0; 32];
            let random = SystemRandom::new().fill(&mut secret);
            random.map_err(|_| SealError::Failed)?;
            let sealed = parts.seal.seal(at.as_bytes(), &secret)?;
            let batch = Batch::new().if_absent(at).put(at, sealed);
            match parts.store.commit(batch).await {
                Ok(_) => {}
                // Another gateway made one; that is read.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn token(&self, id: SessionId) -> hmac::Tag {
        hmac::sign(&self.0, format!("csrf session {id}").as_bytes())
    }
}
