//! What is kept in memory of a user, a key, a session and a tunnel.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::key::KeyId;
use crate::record::millis;
use crate::scope::Scopes;
use crate::session::SessionId;
use crate::tunnel::TunnelId;
use crate::user::{Provider, Role, UserId};

/// A user, as far as requests need it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserEntry {
    pub id: UserId,
    pub provider: Provider,
    pub username: Box<str>,
    pub email: Option<Box<str>>,
    pub role: Role,
    pub disabled: bool,
}

/// A tunnel, as far as requests need it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TunnelEntry {
    pub id: TunnelId,
    pub owner: UserId,
    pub name: Box<str>,
}

/// Somebody who showed a good key or session.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: Arc<UserEntry>,
    pub by: By,
    /// How far the key reaches; everything for a session.
    pub scopes: Scopes,
    /// The only tunnel the key speaks for, if it is bound to one.
    pub tunnel: Option<TunnelId>,
    pub(super) proof: Proof,
}

impl Caller {
    /// A caller nothing is known of but what permissions go by.
    #[cfg(test)]
    pub(crate) fn for_tests(id: UserId, role: Role, scopes: Scopes) -> Self {
        Self {
            user: Arc::new(UserEntry {
                id,
                provider: Provider::Local,
                username: "test".into(),
                email: None,
                role,
                disabled: false,
            }),
            by: By::Key(KeyId(1)),
            scopes,
            tunnel: None,
            proof: Proof([0; 32]),
        }
    }

    /// A key that is bound to a tunnel is for no other one.
    pub fn is_for(&self, tunnel: TunnelId) -> bool {
        self.tunnel.is_none_or(|own| own == tunnel)
    }

    /// The key it called with, if it was one.
    pub fn key(&self) -> Option<KeyId> {
        match self.by {
            By::Key(id) => Some(id),
            By::Session(_) => None,
        }
    }

    /// The session it called with, if it was one.
    pub fn session(&self) -> Option<SessionId> {
        match self.by {
            By::Session(id) => Some(id),
            By::Key(_) => None,
        }
    }
}

/// What a caller showed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum By {
    Key(KeyId),
    Session(SessionId),
}

/// Why a key or session was not taken.
///
/// All but `Malformed` look the same to somebody who tries keys: nobody can tell without having the
/// right one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("this is not formed like a key or session of this gateway")]
    Malformed,
    #[error("this key or session is not known")]
    Unknown,
    #[error("this key or session has expired")]
    Expired,
    #[error("this key or session was revoked")]
    Revoked,
    #[error("the user was disabled")]
    Disabled,
}

/// The hash by which a caller is found again.
#[derive(Clone, Copy)]
pub(super) struct Proof(pub(super) [u8; 32]);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// There are a million of these.
#[derive(Debug)]
pub(super) struct KeyEntry {
    pub(super) id: KeyId,
    pub(super) owner: UserId,
    pub(super) tunnel: Option<TunnelId>,
    /// In milliseconds; the greatest number is never.
    pub(super) expires: u64,
    pub(super) revoked: bool,
    pub(super) scopes: Scopes,
    /// When its use was noted last, in milliseconds.
    pub(super) noted: AtomicU64,
}

impl KeyEntry {
    pub(super) const NEVER: u64 = u64::MAX;

    pub(super) fn expires(&self) -> Option<SystemTime> {
        (self.expires != Self::NEVER).then(|| millis::to_time(self.expires))
    }
}

/// A session. Its last use is moved in place, many times between two writes to the store.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    pub(crate) id: SessionId,
    pub(crate) user: UserId,
    pub(crate) expires: u64,
    pub(crate) last_seen: AtomicU64,
    /// The last use that is in the store or on its way there.
    pub(super) written: AtomicU64,
    pub(super) hash: Proof,
}

impl SessionEntry {
    /// When it ends, in milliseconds, if it is not used again.
    pub(super) fn ends(&self, idle: Duration) -> u64 {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let last_seen = self.last_seen.load(Ordering::Relaxed);
        self.expires.min(last_seen.saturating_add(idle))
    }

    /// Notes a use at `now`, in milliseconds. Says whether it is `step` after what was written, for
    /// one caller only.
    pub(crate) fn seen(&self, now: u64, step: u64) -> bool {
        self.last_seen.fetch_max(now, Ordering::Relaxed);
        is_step(&self.written, now, step)
    }

    /// Takes over what the store says.
    pub(super) fn was_written(&self, at: u64) {
        self.last_seen.fetch_max(at, Ordering::Relaxed);
        self.written.fetch_max(at, Ordering::Relaxed);
    }
}

/// Moves `last` on to `now` if that is `step` later; of many callers one is told so.
pub(super) fn is_step(last: &AtomicU64, now: u64, step: u64) -> bool {
    let before = last.load(Ordering::Relaxed);
    now >= before.saturating_add(step)
        && last
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

/// A map by SHA-256, which needs no hash of its own.
pub(super) type HashMapBy<V> = papaya::HashMap<[u8; 32], V, BuildHasherDefault<First8>>;

/// Takes eight bytes of what is a hash already. Nobody can choose the bytes of a SHA-256 that is in
/// the map: keys and tokens are made here.
#[derive(Default)]
pub(super) struct First8(u64);

impl Hasher for First8 {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of the array, which is always the same.
    fn write_usize(&mut self, _: usize) {}
}
