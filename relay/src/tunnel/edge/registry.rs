//! Names of tunnels and the sessions behind them.
//!
//! A session is admitted under a name and holds it until it ends. Every session has an epoch, and
//! a session that ends removes only itself: whoever closes late takes nothing from whoever came
//! after.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Epoch, Session};
use crate::tunnel::{carrier::Carrier, protocol::SessionId};

/// What happens when a second agent asks for a name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnConflict {
    /// The first one is ended, and does not get the name back while the second one is there.
    #[default]
    Replace,
    /// Both serve it, in turns.
    Pool,
    /// The second one is refused.
    Refuse,
}

/// Names and sessions of one gateway. Looking one up takes no lock.
#[derive(Debug, Default)]
pub struct Registry {
    names: papaya::HashMap<String, Arc<Name>>,
    /// Held by whoever changes who is behind a name.
    change: Mutex<Epoch>,
    /// Tells those who wait for an agent to come back.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Name {
    sessions: ArcSwap<Vec<Arc<Session>>>,
    /// Sessions that had to go for another one, the last of them. An agent that does not know it
    /// was replaced comes back at once, and would end the one that replaced it, and so on.
    replaced: ArcSwap<Vec<SessionId>>,
    turn: AtomicUsize,
}

/// Sessions that a name remembers as replaced, while it has one.
const REPLACED: usize = 64;

/// What came of asking for a name.
#[derive(Debug)]
pub enum Admission {
    /// The carrier belongs to the session as long as the membership lives.
    Admitted(Membership),
    /// Another agent has the name and keeps it; maybe it took it from this one.
    Taken,
    /// The session has as many carriers as it may.
    Full,
}

/// One carrier's place in a session. Dropping it removes the carrier, and with the last one the
/// session.
#[derive(Debug)]
pub struct Membership {
    registry: Arc<Registry>,
    name: String,
    session: Arc<Session>,
    carrier: Carrier,
}

impl Registry {
    /// Gives `carrier` a place under `name`: in the session `id` if it is there, else in a new one.
    pub fn admit(
        self: &Arc<Self>,
        name: &str,
        id: SessionId,
        carrier: Carrier,
        on_conflict: OnConflict,
        max_carriers: usize,
    ) -> Admission {
        let mut last = self.change.lock();
        let names = self.names.pin();
        let behind = Arc::clone(names.get_or_insert_with(name.to_owned(), Arc::default));
        let mut sessions = Vec::clone(&behind.sessions.load());
        let known = sessions
            .iter()
            .find(|session| session.id() == id && !session.is_ended());
        let session = match known {
            Some(session) if session.carriers() >= max_carriers => return Admission::Full,
            Some(session) => Arc::clone(session),
            None => {
                let others = sessions.iter().any(|session| session.carriers() > 0);
                match on_conflict {
                    OnConflict::Refuse if others => return Admission::Taken,
                    OnConflict::Replace if others && behind.has_replaced(id) => {
                        return Admission::Taken;
                    }
                    OnConflict::Pool => {}
                    OnConflict::Replace | OnConflict::Refuse => {
                        behind.remember(&sessions);
                        for session in sessions.drain(..) {
                            session.end();
                        }
                    }
                }
                *last = last.next();
                let session = Arc::new(Session::new(id, *last));
                sessions.push(Arc::clone(&session));
                session
            }
        };
        session.add(&carrier);
        behind.sessions.store(Arc::new(sessions));
        self.changed.notify_waiters();
        Admission::Admitted(Membership {
            registry: Arc::clone(self),
            name: name.to_owned(),
            session,
            carrier,
        })
    }

    /// What [`admit`](Self::admit) would say now to a session that is not there yet, so that it can be
    /// told before the connection has switched protocols.
    pub fn would_take(&self, name: &str, id: SessionId, on_conflict: OnConflict) -> bool {
        let names = self.names.pin();
        let Some(behind) = names.get(name) else {
            return true;
        };
        let sessions = behind.sessions.load();
        let mut others = sessions
            .iter()
            .filter(|session| session.id() != id && session.carriers() > 0);
        match on_conflict {
            OnConflict::Pool => true,
            OnConflict::Refuse => others.next().is_none(),
            OnConflict::Replace => !behind.has_replaced(id) || others.next().is_none(),
        }
    }

    /// A session behind `name`, each in its turn.
    pub fn session(&self, name: &str) -> Option<Arc<Session>> {
        let names = self.names.pin();
        let behind = names.get(name)?;
        let sessions = behind.sessions.load();
        let turn = match sessions.len() {
            0 => return None,
            1 => 0,
            more => behind.turn.fetch_add(1, Ordering::Relaxed) % more,
        };
        let (before, from) = sessions.split_at(turn);
        let mut inturn = from.iter().chain(before);
        inturn.find(|session| session.carriers() > 0).cloned()
    }

    /// Like [`session`](Self::session), but waits up to `patience` for an agent to come.
    pub async fn wait_for(&self, name: &str, patience: Duration) -> Option<Arc<Session>> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(session) = self.session(name) {
                    return session;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, wait).await.ok()
    }

    /// Names that have a session.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name has a session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every session of `name`.
    pub fn end(&self, name: &str) {
        if let Some(behind) = self.names.pin().get(name) {
            for session in behind.sessions.load().iter() {
                session.end();
            }
        }
    }

    fn leave(&self, name: &str, session: &Session) {
        let _change = self.change.lock();
        let names = self.names.pin();
        let Some(behind) = names.get(name) else {
            return;
        };
        if session.prune() {
            return;
        }
        session.end();
        let mut sessions = Vec::clone(&behind.sessions.load());
        sessions.retain(|other| other.epoch() != session.epoch());
        if sessions.is_empty() {
            names.remove(name);
        } else {
            behind.sessions.store(Arc::new(sessions));
        }
    }
}

impl Name {
    fn has_replaced(&self, id: SessionId) -> bool {
        self.replaced.load().contains(&id)
    }

    /// Called by one at a time.
    fn remember(&self, replaced: &[Arc<Session>]) {
        let before = self.replaced.load();
        let now = replaced
            .iter()
            .filter(|session| session.carriers() > 0)
            .map(|session| session.id());
        let all: Vec<_> = before.iter().copied().chain(now).collect();
        let last = all.len().saturating_sub(REPLACED);
        self.replaced.store(Arc::new(all[last..].to_vec()));
    }
}

impl Membership {
    /// The session that the carrier belongs to.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.carrier.cut();
        self.registry.leave(&self.name, &self.session);
    }
}
