//! Where records stand in the store.
//!
//! Everything below `identity/` is what the directory holds in memory, and it watches that prefix.
//! What it does not need stands elsewhere: indexes below `index/`, what is written often below
//! `used/`, secrets below `identity-secret/`, work that has to be finished below `identity-task/`.
//! Numbers are 16 hexadecimal digits, so that keys order as they do.

use bytes::Bytes;

use crate::key::KeyId;
use crate::session::SessionId;
use crate::tunnel::TunnelId;
use crate::user::{Provider, UserId};

/// What the directory watches.
pub(crate) const WATCHED: &[u8] = b"identity/";
pub(crate) const USERS: &str = "identity/user/";
pub(crate) const KEYS: &str = "identity/key/";
pub(crate) const SESSIONS: &str = "identity/session/";
pub(crate) const TUNNELS: &str = "identity/tunnel/";
/// Deletions of users that were begun.
pub(crate) const DELETIONS: &str = "identity-task/delete-user/";
/// The secret CSRF tokens are made with, sealed.
pub(crate) const CSRF: &str = "identity-secret/csrf";
/// The set-up token, sealed.
pub(crate) const SETUP: &str = "identity-secret/setup";

pub(crate) fn user(id: UserId) -> Bytes {
    numbered(USERS, id.0)
}

pub(crate) fn key(id: KeyId) -> Bytes {
    numbered(KEYS, id.0)
}

pub(crate) fn session(id: SessionId) -> Bytes {
    numbered(SESSIONS, id.0)
}

pub(crate) fn tunnel(id: TunnelId) -> Bytes {
    numbered(TUNNELS, id.0)
}

pub(crate) fn counter(kind: &str) -> Bytes {
    format!("index/next/{kind}").into()
}

pub(crate) fn subject(provider: Provider, subject: &str) -> Bytes {
    format!("index/subject/{provider}/{subject}").into()
}

pub(crate) fn tunnel_name(name: &str) -> Bytes {
    format!("index/tunnel-name/{name}").into()
}

/// The one key that speaks for a tunnel.
pub(crate) fn tunnel_key(id: TunnelId) -> Bytes {
    numbered("index/tunnel-key/", id.0)
}

/// How many tunnels a user has; who changes that number writes this.
pub(crate) fn tunnel_count(owner: UserId) -> Bytes {
    numbered("index/tunnel-count/", owner.0)
}

pub(crate) fn keys_of(owner: UserId) -> String {
    format!("index/key-of/{:016x}/", owner.0)
}

pub(crate) fn sessions_of(owner: UserId) -> String {
    format!("index/session-of/{:016x}/", owner.0)
}

pub(crate) fn tunnels_of(owner: UserId) -> String {
    format!("index/tunnel-of/{:016x}/", owner.0)
}

pub(crate) fn key_used(id: KeyId) -> Bytes {
    numbered("used/key/", id.0)
}

pub(crate) fn password(id: UserId) -> Bytes {
    numbered("identity-secret/password/", id.0)
}

pub(crate) fn deletion(id: UserId) -> Bytes {
    numbered(DELETIONS, id.0)
}

/// The key of number `id` below `prefix`.
pub(crate) fn numbered(prefix: &str, id: u64) -> Bytes {
    format!("{prefix}{id:016x}").into()
}

/// The number at the end of a key below `prefix`.
pub(crate) fn number(prefix: &str, key: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()?;
    let hexadecimal = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    hexadecimal.then(|| u64::from_str_radix(digits, 16).ok())?
}
