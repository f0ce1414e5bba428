//! What identity reports, as rows of the audit trail.

use async_trait::async_trait;
use auth::{
    audit::{Actor, ActorKind, Chain, Event as Row},
    identity::{AuditError, AuditSink, Event, PasswordHasher, Target},
};

/// The audit trail as identity writes to it.
#[derive(Debug)]
pub(super) struct Trail(Chain);

impl Trail {
    pub(super) fn new(chain: Chain) -> Self {
        Self(chain)
    }
}

#[async_trait]
impl AuditSink for Trail {
    async fn append(&self, event: &Event) -> Result<(), AuditError> {
        let appended = self.0.append(row(event)).await;
        appended.map_err(|error| AuditError(error.to_string()))?;
        Ok(())
    }
}

fn row(event: &Event) -> Row {
    let actor = match event.actor {
        Some(user) => Actor::user(user.to_string()),
        None if event.operator => Actor::new(ActorKind::System, "operator"),
        None => Actor::new(ActorKind::Anonymous, ""),
    };
    let mut row = Row::new(event.action.name(), actor).with("event", event.id.as_str());
    row = match event.target {
        Target::User(id) => row.on("user", id.to_string()),
        Target::Key(id) => row.on("key", id.to_string()),
        Target::Session(id) => row.on("session", id.to_string()),
        Target::Tunnel(id) => row.on("tunnel", id.to_string()),
        Target::None => row,
    };
    for (name, value) in [
        ("owner", event.owner.map(|id| id.0)),
        ("key", event.key.map(|id| id.0)),
        ("session", event.session.map(|id| id.0)),
    ] {
        if let Some(value) = value {
            row = row.with(name, value);
        }
    }
    if let Some(detail) = &event.detail {
        row = row.with("detail", detail.as_str());
    }
    if let Some(ip) = event.ip {
        row = row.from(ip);
    }
    if let Some(agent) = &event.user_agent {
        row = row.user_agent(agent.as_str());
    }
    row
}

#[derive(Debug)]
pub(super) struct NoPasswords;

#[async_trait]
impl PasswordHasher for NoPasswords {
    async fn hash(&self, _: &str) -> Result<String, String> {
        Err("there are no local accounts yet".to_owned())
    }

    async fn verify(&self, _: Option<&str>, _: &str) -> bool {
        false
    }
}
