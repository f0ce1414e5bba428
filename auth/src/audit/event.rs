//! What is to be recorded, before it has a number and a place.
//!
//! An [`Event`] is built by its caller; [`Draft`] is one that may be written. What comes from the
//! network, a user agent or a display name, is cut to its limit. What the program itself says has to
//! be right, and is metadata only: a payload that carries a body, a credential or a session
//! description is refused.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::canonical::{canonical, is_exact};
use super::error::AuditError;
use super::personal::{Hidden, Personal};
use crate::apikey::ApiKey;

/// Longest name of an event or of a kind of resource, in bytes.
const MAX_NAME: usize = 64;
/// Longest id of an actor or a resource, in bytes.
const MAX_ID: usize = 256;
/// Largest payload, in bytes of canonical JSON.
const MAX_PAYLOAD: usize = 16 * 1024;
/// Longest text in a payload, in bytes: enough for a host or a path, too little for a document.
const MAX_TEXT: usize = 1024;
/// Objects and arrays within each other.
const MAX_DEPTH: usize = 8;
/// Event names that only this module writes.
pub(super) const RESERVED: &str = "audit.";
/// Members of a payload that would hold more than metadata.
const CONTENT: [&str; 14] = [
    "authorization",
    "body",
    "candidate",
    "client_secret",
    "cookie",
    "credential",
    "password",
    "private_key",
    "refresh_token",
    "sdp",
    "secret",
    "set-cookie",
    "access_token",
    "token",
];

/// Something that happened, with who did it and to what.
#[derive(Clone, Debug)]
pub struct Event {
    name: String,
    actor: Actor,
    resource: Option<Resource>,
    personal: Personal,
    payload: Map<String, Value>,
}

impl Event {
    /// The event `name`, as in `user.deleted` (a-z, 0-9, `_` and `.`; at most 64), by `actor`.
    pub fn new(name: impl Into<String>, actor: Actor) -> Self {
        Self {
            name: name.into(),
            actor,
            resource: None,
            personal: Personal::default(),
            payload: Map::new(),
        }
    }

    /// What it was done to.
    #[must_use]
    pub fn on(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.resource = Some(Resource {
            kind: kind.into(),
            id: id.into(),
        });
        self
    }

    /// The actor's name as people know it. Can be erased; longer than 512 bytes is cut.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.personal.name = Some(name.into());
        self
    }

    /// Where the request came from. Can be erased.
    #[must_use]
    pub fn from(mut self, ip: IpAddr) -> Self {
        self.personal.ip = Some(ip);
        self
    }

    /// The client's `User-Agent`. Can be erased; longer than 512 bytes is cut.
    #[must_use]
    pub fn user_agent(mut self, agent: impl Into<String>) -> Self {
        self.personal.user_agent = Some(agent.into());
        self
    }

    /// A detail: metadata, never content. A person's data does not belong here, it is not erased.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.payload.insert(name.into(), value.into());
        self
    }
}

/// Who did it. The id is one that says nothing of the person by itself; it is never erased.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    pub kind: ActorKind,
    pub id: String,
}

impl Actor {
    /// An actor of this kind.
    pub fn new(kind: ActorKind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
        }
    }

    /// The user with this id.
    pub fn user(id: impl Into<String>) -> Self {
        Self::new(ActorKind::User, id)
    }

    /// The gateway itself.
    pub fn system() -> Self {
        Self::new(ActorKind::System, "")
    }
}

/// What an actor is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    User,
    /// An API key that acts for itself.
    Key,
    /// A tunnel's agent.
    Agent,
    /// The gateway itself.
    System,
    /// Nobody who was known yet, as at a failed log-in.
    Anonymous,
}

/// What something was done to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    pub kind: String,
    pub id: String,
}

/// An event that may be written, its personal columns hidden already.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) event: String,
    pub(super) actor: Actor,
    pub(super) resource: Option<Resource>,
    pub(super) payload: Map<String, Value>,
    pub(super) hidden: Option<Hidden>,
}

impl Draft {
    pub(super) fn new(event: Event) -> Result<Self, AuditError> {
        if event.name.starts_with(RESERVED) {
            return Err(refusal("name", "'audit.' is the audit trail's own"));
        }
        Self::own(event)
    }

    /// The same for an event of this module.
    pub(super) fn own(event: Event) -> Result<Self, AuditError> {
        check_name("name", &event.name)?;
        check_id("actor", &event.actor.id)?;
        if let Some(resource) = &event.resource {
            check_name("kind of resource", &resource.kind)?;
            check_id("resource", &resource.id)?;
        }
        let payload = Value::Object(event.payload);
        check_payload(&payload, 0)?;
        if canonical(&payload).len() > MAX_PAYLOAD {
            return Err(refusal("payload", "it has more than 16 KiB"));
        }
        let Value::Object(payload) = payload else {
            unreachable!("made of an object above");
        };
        Ok(Self {
            event: event.name,
            actor: event.actor,
            resource: event.resource,
            payload,
            hidden: event.personal.hide()?,
        })
    }
}

fn refusal(what: &'static str, why: &'static str) -> AuditError {
    AuditError::Event { what, why }
}

fn check_name(what: &'static str, name: &str) -> Result<(), AuditError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(refusal(what, "use 1 to 64 of a-z, 0-9, '_' and '.'"));
    }
    Ok(())
}

fn check_id(what: &'static str, id: &str) -> Result<(), AuditError> {
    if id.len() > MAX_ID {
        return Err(refusal(what, "its id has more than 256 bytes"));
    }
    if is_content(id) {
        return Err(refusal(what, "its id looks like a credential"));
    }
    Ok(())
}

fn check_payload(value: &Value, depth: usize) -> Result<(), AuditError> {
    if depth > MAX_DEPTH {
        return Err(refusal("payload", "it is nested more than 8 deep"));
    }
    match value {
        Value::Number(number) if !is_exact(number) => Err(refusal(
            "payload",
            "a number beyond 2^53 has to be given as text",
        )),
        Value::String(text) if text.len() > MAX_TEXT => Err(refusal(
            "payload",
            "a text has more than 1024 bytes; record metadata, not content",
        )),
        Value::String(text) if is_content(text) => Err(refusal(
            "payload",
            "a text looks like a credential or a session description; record its id or prefix",
        )),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_payload(item, depth + 1)),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            if CONTENT.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(refusal(
                    "payload",
                    "a member is named after a credential or content; record its id or size",
                ));
            }
            check_payload(value, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// Whether this is an API key, a JWT, an `Authorization` or an SDP rather than data about one.
fn is_content(text: &str) -> bool {
    let jwt = || text.starts_with("eyJ") && text.bytes().filter(|&byte| byte == b'.').count() == 2;
    let authorization = || {
        let start = text.get(..7).unwrap_or_default();
        start.eq_ignore_ascii_case("bearer ") || start.to_ascii_lowercase().starts_with("basic ")
    };
    ApiKey::parse(text).is_ok() || jwt() || authorization() || text.starts_with("v=0\r\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        Event::new("user.deleted", Actor::user("u1"))
    }

    fn refused(event: Event) -> &'static str {
        match Draft::new(event) {
            Err(AuditError::Event { what, .. }) => what,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn metadata_is_taken() {
        let nested = (0..7).fold(json!(1), |inner, _| json!([inner]));
        let event = event()
            .on("user", "u2")
            .with("key", "ptn_0123")
            .with("bytes", u64::from(u32::MAX))
            .with("host", "a".repeat(MAX_TEXT))
            .with("nested", nested);
        assert_eq!(Draft::new(event).unwrap().payload.len(), 4);
    }

    #[test]
    fn content_and_credentials_are_refused() {
        let key = ApiKey::mint().unwrap();
        let payloads = [
            json!(key.reveal()),
            json!("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."),
            json!("Bearer abc"),
            json!("basic dTpw"),
            json!("v=0\r\no=- 1 1 IN IP4 192.0.2.1"),
            json!("x".repeat(MAX_TEXT + 1)),
            json!({"Cookie": "a=b"}),
            json!([{"sdp": null}]),
        ];
        for payload in payloads {
            assert_eq!(refused(event().with("detail", payload)), "payload");
        }
        assert_eq!(refused(event().with("password", "x")), "payload");
        assert_eq!(refused(event().on("key", key.reveal())), "resource");
    }

    #[test]
    fn what_is_too_large_or_not_exact_is_refused() {
        let deep = (0..8).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(refused(event().with("deep", deep)), "payload");
        assert_eq!(refused(event().with("n", (1_u64 << 53) + 1)), "payload");
        let many = vec!["x".repeat(MAX_TEXT); 17];
        assert_eq!(refused(event().with("many", many)), "payload");
        let actor = Actor::user("u".repeat(MAX_ID + 1));
        assert_eq!(refused(Event::new("a", actor)), "actor");
    }

    #[test]
    fn names_are_plain_and_not_the_trails_own() {
        for name in ["", "User", "a b", "a|b", "audit.erase", &"a".repeat(65)] {
            assert_eq!(refused(Event::new(name, Actor::system())), "name");
        }
        assert_eq!(refused(event().on("a/b", "c")), "kind of resource");
    }
}
