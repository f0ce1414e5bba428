//! The audit row of each change.
//!
//! An [`AuditSink`] writes the rows in the same commit as the change, so there is no change without
//! its row and no row without its change, also when the program is killed between the two.
//! [`Chain`](crate::audit::Chain) is the one that is used.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Context, Identity, IdentityError};
use crate::audit::{self, ActorKind, AuditError, Chain};
use crate::key::KeyId;
use crate::permit::Actor;
use crate::record::layout;
use crate::session::SessionId;
use crate::store::{Batch, Revision, Store};
use crate::tunnel::TunnelId;
use crate::user::UserId;

/// What was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
    TokenIssue,
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
            Self::TokenIssue => "token.issue",
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    User(UserId),
    Key(KeyId),
    Session(SessionId),
    Tunnel(TunnelId),
    /// Nothing that is known, such as an account that does not exist.
    None,
}

impl Target {
    fn named(self) -> Option<(&'static str, String)> {
        match self {
            Self::User(id) => Some(("user", id.to_string())),
            Self::Key(id) => Some(("key", id.to_string())),
            Self::Session(id) => Some(("session", id.to_string())),
            Self::Tunnel(id) => Some(("tunnel", id.to_string())),
            Self::None => None,
        }
    }
}

/// One audit row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    pub at: SystemTime,
    pub action: Action,
    pub target: Target,
    /// Whose the target is, or is the user.
    pub owner: Option<UserId>,
    /// Who did it; `None` is nobody known, or the shell (then `operator` is set).
    pub actor: Option<UserId>,
    /// What the actor is called.
    pub actor_name: Option<String>,
    /// The key it was done with.
    pub key: Option<KeyId>,
    /// The session it was done in.
    pub session: Option<SessionId>,
    pub operator: bool,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    /// More about it, never a secret and nothing about a person.
    pub detail: Option<String>,
}

/// Where audit rows go.
#[async_trait]
pub trait AuditSink: fmt::Debug + Send + Sync {
    /// Does everything in `batch` and appends a row for each of `events`: all or nothing. Returns
    /// once it is durable. A condition of `batch` that does not hold is [`AuditError::Store`] with
    /// [`StoreError::Conflict`](crate::store::StoreError::Conflict).
    async fn commit(
        &self,
        store: &dyn Store,
        batch: Batch,
        events: &[Event],
    ) -> Result<Revision, AuditError>;
}

/// The chain lies in the same store.
#[async_trait]
impl AuditSink for Chain {
    async fn commit(
        &self,
        store: &dyn Store,
        batch: Batch,
        events: &[Event],
    ) -> Result<Revision, AuditError> {
        if events.is_empty() {
            return Ok(store.commit(batch).await?);
        }
        let rows = events.iter().map(row).collect();
        self.append_all_with(rows, batch).await
    }
}

/// Keeps no rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAudit;

#[async_trait]
impl AuditSink for NoAudit {
    async fn commit(
        &self,
        store: &dyn Store,
        batch: Batch,
        _: &[Event],
    ) -> Result<Revision, AuditError> {
        Ok(store.commit(batch).await?)
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
    async fn commit(
        &self,
        store: &dyn Store,
        batch: Batch,
        events: &[Event],
    ) -> Result<Revision, AuditError> {
        let revision = store.commit(batch).await?;
        self.0.lock().extend_from_slice(events);
        Ok(revision)
    }
}

impl Identity {
    /// An event that happens now.
    pub(super) fn event(&self, action: Action, target: Target, context: &Context) -> Event {
        let caller = match &context.actor {
            Actor::User(caller) => Some(caller),
            Actor::Anonymous | Actor::Operator => None,
        };
        Event {
            at: self.clock().now(),
            action,
            target,
            owner: None,
            actor: caller.map(|caller| caller.user.id),
            actor_name: caller.map(|caller| caller.user.username.to_string()),
            key: caller.and_then(|caller| caller.key()),
            session: caller.and_then(|caller| caller.session()),
            operator: matches!(context.actor, Actor::Operator),
            ip: context.ip,
            user_agent: context.agent(),
            detail: None,
        }
    }

    /// Leaves the row of a token about `user` that was signed for `audience`, before anybody has it.
    /// `id` is its `jti`.
    pub async fn note_token(
        &self,
        user: UserId,
        id: &str,
        audience: &str,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let event = self
            .event(Action::TokenIssue, Target::User(user), context)
            .with(format!("{id} for {audience}"));
        self.write(Batch::new(), &[event]).await?;
        Ok(())
    }

    /// Commits `batch` with the rows of `events`, and returns once this process's directory has it.
    pub(super) async fn write(
        &self,
        batch: Batch,
        events: &[Event],
    ) -> Result<Revision, IdentityError> {
        let sink = &self.0.parts.audit;
        let is_seen = batch.touches(layout::WATCHED);
        let revision = sink.commit(&**self.store(), batch, events).await?;
        if is_seen {
            self.directory().caught_up(revision).await;
        }
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

fn row(event: &Event) -> audit::Event {
    let actor = match event.actor {
        Some(id) => audit::Actor::user(id.to_string()),
        None if event.operator => audit::Actor::new(ActorKind::System, "operator"),
        None => audit::Actor::new(ActorKind::Anonymous, ""),
    };
    let mut row = audit::Event::new(event.action.name(), actor);
    if let Some((kind, id)) = event.target.named() {
        row = row.on(kind, id);
    }
    if let Some(name) = &event.actor_name {
        row = row.named(name);
    }
    if let Some(ip) = event.ip {
        row = row.from(ip);
    }
    if let Some(agent) = &event.user_agent {
        row = row.user_agent(agent);
    }
    let details = [
        ("owner", event.owner.map(|id| id.to_string())),
        ("by_key", event.key.map(|id| id.to_string())),
        ("by_session", event.session.map(|id| id.to_string())),
        ("detail", event.detail.clone()),
    ];
    for (name, value) in details {
        if let Some(value) = value {
            row = row.with(name, value);
        }
    }
    row
}
