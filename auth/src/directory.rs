//! Everything a request needs to know of who calls, in memory.
//!
//! [`Directory`] answers from maps that are read without a lock and never from the store. One task
//! writes them: it loads all users, keys, sessions and tunnels at the start (`load.rs`) and follows
//! the store's watch from then on (`feed.rs`), so what any gateway commits is seen by all. What ends
//! by it is told to who subscribed ([`Revocations`]) and to who waits for one caller's end
//! ([`Directory::ended`]).
//!
//! An entry is small: a million keys are kept in about 200 MB. What only lists need stays in the
//! store. Expiry needs no event: it is looked at whenever an entry is.

mod ended;
mod entry;
mod feed;
mod load;
mod revoked;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::ended::Ended;
use self::ended::Waiting;
pub(crate) use self::entry::SessionEntry;
pub use self::entry::{By, Caller, Refused, TunnelEntry, UserEntry};
use self::entry::{HashMapBy, KeyEntry, Proof};
pub(crate) use self::feed::Feeder;
use self::feed::Progress;
pub use self::revoked::{Revocations, Revoked};
use crate::apikey::KeyHash;
use crate::permit::{Actor, Resource, may};
use crate::record::millis;
use crate::scope::{Scopes, Verb};
use crate::session::{SessionId, presented_hash};
use crate::store::{Clock, Revision};
use crate::tunnel::TunnelId;
use crate::user::{Role, UserId};

/// Who calls, from memory. Clones are one directory.
#[derive(Clone)]
pub struct Directory(Arc<Maps>);

struct Maps {
    users: papaya::HashMap<u64, Arc<UserEntry>>,
    keys: HashMapBy<KeyEntry>,
    sessions: HashMapBy<Arc<SessionEntry>>,
    session_ids: papaya::HashMap<u64, Arc<SessionEntry>>,
    tunnels: papaya::HashMap<u64, Arc<TunnelEntry>>,
    tunnel_names: papaya::HashMap<Box<str>, Arc<TunnelEntry>>,
    all_scopes: Scopes,
    idle: Duration,
    clock: Arc<dyn Clock>,
    revoked: tokio::sync::broadcast::Sender<Revoked>,
    waiting: Waiting,
    progress: tokio::sync::watch::Sender<Progress>,
}

impl Directory {
    fn new(idle: Duration, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Maps {
            users: papaya::HashMap::new(),
            keys: HashMapBy::default(),
            sessions: HashMapBy::default(),
            session_ids: papaya::HashMap::new(),
            tunnels: papaya::HashMap::new(),
            tunnel_names: papaya::HashMap::new(),
            all_scopes: Scopes::all(),
            idle,
            clock,
            revoked: revoked::channel(),
            waiting: Waiting::default(),
            progress: tokio::sync::watch::Sender::new(Progress::default()),
        }))
    }

    /// Who presents the API key `presented` at `now`.
    pub fn by_key(&self, presented: &str, now: SystemTime) -> Result<Arc<Caller>, Refused> {
        let hash = KeyHash::of_presented(presented).map_err(|_| Refused::Malformed)?;
        let keys = self.0.keys.pin();
        let key = keys.get(hash.as_bytes()).ok_or(Refused::Unknown)?;
        let user = self.check_key(key, now)?;
        Ok(Arc::new(Caller {
            user,
            by: By::Key(key.id),
            scopes: key.scopes.clone(),
            tunnel: key.tunnel,
            proof: Proof(*hash.as_bytes()),
        }))
    }

    /// Who has the session whose cookie is `cookie` at `now`.
    pub fn by_session(&self, cookie: &str, now: SystemTime) -> Result<Arc<Caller>, Refused> {
        let hash = presented_hash(cookie).ok_or(Refused::Malformed)?;
        let sessions = self.0.sessions.pin();
        let session = sessions.get(hash.as_bytes()).ok_or(Refused::Unknown)?;
        let user = self.check_session(session, now)?;
        Ok(Arc::new(Caller {
            user,
            by: By::Session(session.id),
            scopes: self.0.all_scopes.clone(),
            tunnel: None,
            proof: Proof(*hash.as_bytes()),
        }))
    }

    /// The user of this number.
    pub fn user(&self, id: UserId) -> Option<Arc<UserEntry>> {
        self.0.users.pin().get(&id.0).cloned()
    }

    /// The tunnel of this name, which is in lower case.
    pub fn tunnel_named(&self, name: &str) -> Option<Arc<TunnelEntry>> {
        self.0.tunnel_names.pin().get(name).cloned()
    }

    /// The tunnel of this number.
    pub fn tunnel(&self, id: TunnelId) -> Option<Arc<TunnelEntry>> {
        self.0.tunnels.pin().get(&id.0).cloned()
    }

    /// Whether somebody can administer: an admin who is not disabled.
    pub fn has_admin(&self) -> bool {
        let users = self.0.users.pin();
        users
            .values()
            .any(|user| user.role == Role::Admin && !user.disabled)
    }

    /// What is revoked from now on.
    pub fn revocations(&self) -> Revocations {
        Revocations::new(self.0.revoked.subscribe())
    }

    /// Whether `caller` would still be let in at `now`, by the same key or session.
    pub fn still_good(&self, caller: &Caller, now: SystemTime) -> bool {
        self.good_until(caller, now).is_ok()
    }

    /// Waits until `caller` is let in no longer: revoked, disabled, deleted or expired.
    ///
    /// Costs one entry in a table while it waits, and is woken only when something of the same user
    /// changes.
    pub fn ended(&self, caller: &Arc<Caller>) -> Ended {
        Ended::new(self.clone(), Arc::clone(caller))
    }

    /// Waits until `caller` is let in no longer, or may no longer connect `tunnel`: it was deleted,
    /// has another name or another owner, or the caller's role is another.
    pub fn connection_ended(&self, caller: &Arc<Caller>, tunnel: &Arc<TunnelEntry>) -> Ended {
        Ended::of_connection(self.clone(), Arc::clone(caller), Arc::clone(tunnel))
    }

    /// Whether `caller`, with the role they have now, may connect the very tunnel that `tunnel` was.
    fn may_still_connect(&self, caller: &Caller, tunnel: &TunnelEntry) -> bool {
        let Some(user) = self.user(caller.user.id) else {
            return false;
        };
        let now = Caller {
            user,
            ..caller.clone()
        };
        let actor = Actor::User(Arc::new(now));
        let found = self.may_use_tunnel(&actor, Verb::Connect, &tunnel.name);
        found.is_some_and(|found| found.id == tunnel.id)
    }

    /// Waits until the commit `revision`, which changed a user, key, session or tunnel, is seen here.
    ///
    /// Gives up after ten seconds, or when nothing more will be seen: a store that cannot be read
    /// must not keep requests for ever.
    pub async fn caught_up(&self, revision: Revision) {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut progress = self.0.progress.subscribe();
        let seen = progress.wait_for(|progress| progress.stopped || progress.seen >= revision);
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            tracing::warn!(%revision, "what was committed is not in memory yet");
        }
    }

    /// Whether `actor` may do `verb` to the tunnel `name`; not there and not theirs are one.
    pub fn may_use_tunnel(
        &self,
        actor: &Actor,
        verb: Verb,
        name: &str,
    ) -> Option<Arc<TunnelEntry>> {
        let tunnel = self.tunnel_named(name)?;
        let resource = Resource::of(tunnel.owner, crate::scope::Kind::Tunnel, &tunnel.name);
        let bound_elsewhere = matches!(actor, Actor::User(caller) if !caller.is_for(tunnel.id));
        (!bound_elsewhere && may(actor, verb, &resource).is_ok()).then_some(tunnel)
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<Arc<SessionEntry>> {
        self.0.session_ids.pin().get(&id.0).cloned()
    }

    /// Whether the use of the key `caller` has is to be noted at `now`, in milliseconds: it was not
    /// since `step` before.
    pub(crate) fn note_key(&self, caller: &Caller, now: u64, step: u64) -> bool {
        let keys = self.0.keys.pin();
        let key = keys.get(&caller.proof.0);
        key.is_some_and(|key| entry::is_step(&key.noted, now, step))
    }

    /// The key `presented` is, whatever its state.
    pub(crate) fn key_presented(&self, hash: &KeyHash) -> Option<crate::key::KeyId> {
        Some(self.0.keys.pin().get(hash.as_bytes())?.id)
    }

    /// When `caller` will no longer be let in, if nothing happens; or why it is not now.
    fn good_until(&self, caller: &Caller, now: SystemTime) -> Result<Option<SystemTime>, Refused> {
        match caller.by {
            By::Key(_) => {
                let keys = self.0.keys.pin();
                let key = keys.get(&caller.proof.0).ok_or(Refused::Revoked)?;
                self.check_key(key, now)?;
                Ok(key.expires())
            }
            By::Session(_) => {
                let sessions = self.0.sessions.pin();
                let session = sessions.get(&caller.proof.0).ok_or(Refused::Revoked)?;
                self.check_session(session, now)?;
                Ok(Some(millis::to_time(session.ends(self.0.idle))))
            }
        }
    }

    fn check_key(&self, key: &KeyEntry, now: SystemTime) -> Result<Arc<UserEntry>, Refused> {
        if key.revoked {
            return Err(Refused::Revoked);
        }
        if millis::of(now) >= key.expires {
            return Err(Refused::Expired);
        }
        let tunnel_gone = |id: TunnelId| !self.0.tunnels.pin().contains_key(&id.0);
        if key.tunnel.is_some_and(tunnel_gone) {
            return Err(Refused::Revoked);
        }
        self.check_user(key.owner)
    }

    fn check_session(
        &self,
        session: &SessionEntry,
        now: SystemTime,
    ) -> Result<Arc<UserEntry>, Refused> {
        if millis::of(now) >= session.ends(self.0.idle) {
            return Err(Refused::Expired);
        }
        self.check_user(session.user)
    }

    fn check_user(&self, id: UserId) -> Result<Arc<UserEntry>, Refused> {
        match self.user(id) {
            None => Err(Refused::Revoked),
            Some(user) if user.disabled => Err(Refused::Disabled),
            Some(user) => Ok(user),
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("users", &self.0.users.len())
            .field("keys", &self.0.keys.len())
            .field("sessions", &self.0.sessions.len())
            .field("tunnels", &self.0.tunnels.len())
            .finish_non_exhaustive()
    }
}
