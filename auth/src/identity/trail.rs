//! The audit row of each change.
//!
//! A row is written in the same commit as the change, into an outbox, so there is no change without
//! its row, also if the program is killed right after. Then it goes from the outbox to the trail
//! ([`AuditSink`]); what could not be appended is tried again later and at the next start.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Context, Identity, IdentityError};
use crate::directory::By;
use crate::key::KeyId;
use crate::permit::Actor;
use crate::record::{Record, millis};
use crate::session::SessionId;
use crate::store::{Batch, Revision};
use crate::tunnel::TunnelId;
use crate::user::UserId;

/// What was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    SignIn,
    SignInFailed,
    UserCreate,
    UserUpdate,
    UserDelete,
    PasswordChange,
    KeyCreate,
    KeyRotate,
    KeyRevoke,
    SessionRevoke,
    TunnelCreate,
    TunnelRename,
    TunnelUpdate,
    TunnelDelete,
    SetUpFinish,
}

impl Action {
    /// Its name in the trail, such as `key.create`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SignIn => "session.create",
            Self::SignInFailed => "session.refuse",
            Self::UserCreate => "user.create",
            Self::UserUpdate => "user.update",
            Self::UserDelete => "user.delete",
            Self::PasswordChange => "user.password",
            Self::KeyCreate => "key.create",
            Self::KeyRotate => "key.rotate",
            Self::KeyRevoke => "key.revoke",
            Self::SessionRevoke => "session.revoke",
            Self::TunnelCreate => "tunnel.create",
            Self::TunnelRename => "tunnel.rename",
            Self::TunnelUpdate => "tunnel.update",
            Self::TunnelDelete => "tunnel.delete",
            Self::SetUpFinish => "setup.finish",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What it was done to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    User(UserId),
    Key(KeyId),
    Session(SessionId),
    Tunnel(TunnelId),
    /// Nothing that is known, such as an account that does not exist.
    None,
}

/// One audit row.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Event {
    /// Different for each event; the same when one is appended a second time after a failure.
    pub id: String,
    #[serde(with = "millis")]
    pub at: SystemTime,
    pub action: Action,
    pub target: Target,
    /// Whose the target is, or is the user.
    pub owner: Option<UserId>,
    /// Who did it; `None` is nobody known, or the shell (then `operator` is set).
    pub actor: Option<UserId>,
    /// The key it was done with.
    pub key: Option<KeyId>,
    /// The session it was done in.
    pub session: Option<SessionId>,
    pub operator: bool,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    /// More about it for people, never a secret.
    pub detail: Option<String>,
}

impl Record for Event {
    const VERSION: u32 = 1;
}

/// Where audit rows go.
#[async_trait]
pub trait AuditSink: fmt::Debug + Send + Sync {
    /// Appends `event` and returns once it is durable. After a failure, or when the program was
    /// killed, one event can come twice, with the same [`Event::id`].
    async fn append(&self, event: &Event) -> Result<(), AuditError>;
}

/// The trail takes no row.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the audit trail cannot be written: {0}")]
pub struct AuditError(pub String);

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAudit;

#[async_trait]
impl AuditSink for NoAudit {
    async fn append(&self, _: &Event) -> Result<(), AuditError> {
        Ok(())
    }
}

/// Keeps events in memory, for tests.
#[derive(Debug, Default)]
pub struct RecordedEvents(Mutex<Vec<Event>>);

impl RecordedEvents {
    /// All there were so far.
    pub fn all(&self) -> Vec<Event> {
        self.0.lock().clone()
    }
}

#[async_trait]
impl AuditSink for RecordedEvents {
    async fn append(&self, event: &Event) -> Result<(), AuditError> {
        let mut events = self.0.lock();
        if events.iter().all(|known| known.id != event.id) {
            events.push(event.clone());
        }
        Ok(())
    }
}

impl Identity {
    /// An event that happens now.
    pub(super) fn event(&self, action: Action, target: Target, context: &Context) -> Event {
        let caller = match &context.actor {
            Actor::User(caller) => Some(caller),
            Actor::Anonymous | Actor::Operator => None,
        };
        let by = caller.map(|caller| caller.by);
        Event {
            id: format!("{:032x}", fastrand::u128(..)),
            at: self.clock().now(),
            action,
            target,
            owner: None,
            actor: caller.map(|caller| caller.user.id),
            key: by.and_then(|by| match by {
                By::Key(id) => Some(id),
                By::Session(_) => None,
            }),
            session: by.and_then(|by| match by {
                By::Session(id) => Some(id),
                By::Key(_) => None,
            }),
            operator: matches!(context.actor, Actor::Operator),
            ip: context.ip,
            user_agent: context.agent(),
            detail: None,
        }
    }

    /// Commits `batch` with the rows of `events`, and returns once this process's directory has it.
    pub(super) async fn write(
        &self,
        batch: Batch,
        events: &[Event],
    ) -> Result<Revision, IdentityError> {
        let revision = self.store().commit(batch).await?;
        for event in events {
            self.audit().append(event).await?;
        }
        self.directory().caught_up(revision).await;
        Ok(revision)
    }
}

impl Event {
    pub(super) fn of(mut self, owner: UserId) -> Self {
        self.owner = Some(owner);
        self
    }

    pub(super) fn with(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
