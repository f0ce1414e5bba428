//! Every write to users, sessions, keys and tunnels, and the lists of them.
//!
//! [`Identity`] rests on a store, which several may share: what has to hold for all of them (one user
//! per account of a provider, one tunnel for an ordinary user, one key per tunnel) holds by
//! conditions of the commits. A method that returns has its change in the store and in this
//! process's [`Directory`].
//!
//! Whether the actor may do it the caller has asked [`permit`](crate::permit) before. The few rules
//! that need the content of the request are checked here. Each change leaves an audit row, which is
//! in the same commit as the change (`trail.rs`).

mod context;
mod deletion;
mod error;
mod ids;
mod keys;
mod listing;
mod local;
mod retry;
mod sessions;
mod sign_in;
mod sweep;
#[cfg(test)]
mod tests;
mod trail;
mod tunnels;
mod used;
mod users;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;

pub use self::context::Context;
pub use self::error::{IdentityError, What};
use self::ids::Counters;
pub use self::keys::MAX_OVERLAP;
pub use self::listing::{Listing, MAX_PAGE, Page};
pub use self::local::PasswordHasher;
pub use self::trail::{Action, AuditSink, Event, NoAudit, RecordedEvents, Target};
use self::used::Notes;
pub use self::users::{UserChanges, UserFilter};
use crate::attempts::Attempts;
use crate::directory::{Directory, Feeder};
use crate::seal::MasterKey;
use crate::store::{Clock, Store};

/// What identity rests on.
#[derive(Clone)]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub seal: Arc<MasterKey>,
    pub clock: Arc<dyn Clock>,
    pub passwords: Arc<dyn PasswordHasher>,
    pub audit: Arc<dyn AuditSink>,
}

/// What can be set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// A session nobody used for so long ends. 12 hours.
    pub session_idle: Duration,
    /// A session ends after so long, however much it is used. 7 days.
    pub session_absolute: Duration,
    /// How long a key is good for unless its owner says otherwise. 90 days.
    pub key_lifetime: Duration,
    /// Whether people can sign in with a provider; then no set-up link is made.
    pub has_provider: bool,
}

impl Default for Settings {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            session_idle: 12 * HOUR,
            session_absolute: 7 * 24 * HOUR,
            key_lifetime: 90 * 24 * HOUR,
            has_provider: false,
        }
    }
}

/// Users, sessions, keys and tunnels. Clones are one.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    parts: Parts,
    settings: Settings,
    directory: Directory,
    counters: Counters,
    csrf: sessions::CsrfKey,
    attempts: Attempts,
    notes: Notes,
    names: fn(u32) -> String,
    feeder: Feeder,
    upkeep: OnceLock<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(upkeep) = self.upkeep.get() {
            upkeep.abort();
        }
    }
}

impl Identity {
    /// Loads everything requests need, and keeps it fresh from then on.
    pub async fn open(parts: Parts, settings: Settings) -> Result<Self, IdentityError> {
        Self::open_with_names(parts, settings, tunnels::free_name).await
    }

    /// `names` makes up the name of a tunnel; the number says how many were taken.
    async fn open_with_names(
        parts: Parts,
        settings: Settings,
        names: fn(u32) -> String,
    ) -> Result<Self, IdentityError> {
        let idle = settings.session_idle;
        let clock = Arc::clone(&parts.clock);
        let (directory, feeder) = Feeder::start(&parts.store, clock, idle).await?;
        let identity = Self(Arc::new(Inner {
            csrf: sessions::CsrfKey::load(&parts).await?,
            counters: Counters::new(Arc::clone(&parts.store)),
            attempts: Attempts::new(),
            notes: Notes::default(),
            upkeep: OnceLock::new(),
            names,
            directory,
            settings,
            feeder,
            parts,
        }));
        identity.finish_deletions().await?;
        let task = tokio::spawn(used::upkeep(Arc::downgrade(&identity.0)));
        identity.0.upkeep.get_or_init(|| task.abort_handle());
        Ok(identity)
    }

    /// What requests ask.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.parts.store
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    pub fn seal(&self) -> &Arc<MasterKey> {
        &self.0.parts.seal
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Where audit rows go.
    pub fn audit(&self) -> &dyn AuditSink {
        &*self.0.parts.audit
    }

    /// Writes what waits to be written, and stops following the store: from then on the directory
    /// is as it was.
    pub async fn close(&self) -> Result<(), IdentityError> {
        if let Some(upkeep) = self.0.upkeep.get() {
            upkeep.abort();
        }
        let flushed = self.flush().await;
        self.0.feeder.stop();
        flushed
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("settings", &self.0.settings)
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}
