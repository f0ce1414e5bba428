//! The identity core by what it does: over a store in memory, and over a file where it matters what
//! a crash leaves. What has to hold for several gateways is tested with several on one store.

mod deletion;
mod keys;
mod local;
mod secrets;
mod sessions;
mod sign_in;
mod tunnels;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::*;
use crate::apikey::ApiKey;
use crate::directory::Caller;
use crate::key::{Key, Lifetime, NewKey};
use crate::password::{PasswordError, Verdict};
use crate::permit::Actor;
use crate::record::Stored;
use crate::scope::Scopes;
use crate::session::SessionToken;
use crate::store::{ManualClock, MemoryStore};
use crate::user::{Provider, Role, SignIn, User, UserId};

const MASTER: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An identity over a store that others can share, a clock that stands still, and its audit rows.
pub(super) struct Fixture {
    pub(super) identity: Identity,
    pub(super) parts: Parts,
    pub(super) clock: ManualClock,
    pub(super) events: Arc<RecordedEvents>,
    pub(super) hasher: Arc<CountingHasher>,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let store = MemoryStore::new(Arc::new(clock.clone()));
        Self::over(Arc::new(store), clock, settings).await
    }

    pub(super) async fn over(
        store: Arc<dyn Store>,
        clock: ManualClock,
        settings: Settings,
    ) -> Self {
        let events = Arc::new(RecordedEvents::default());
        let hasher = Arc::new(CountingHasher::default());
        let parts = Parts {
            store,
            seal: Arc::new(MasterKey::parse(MASTER).unwrap()),
            clock: Arc::new(clock.clone()),
            passwords: Arc::clone(&hasher) as _,
            audit: Arc::clone(&events) as _,
        };
        Self {
            identity: Identity::open(parts.clone(), settings).await.unwrap(),
            parts,
            clock,
            events,
            hasher,
        }
    }

    /// Another gateway on the same store.
    pub(super) async fn neighbour(&self) -> Identity {
        let settings = self.identity.settings().clone();
        Identity::open(self.parts.clone(), settings).await.unwrap()
    }

    pub(super) fn now(&self) -> SystemTime {
        self.identity.clock().now()
    }

    pub(super) async fn user(&self, name: &str) -> (Stored<User>, SessionToken) {
        let sign_in = github(name);
        self.identity.sign_in(&sign_in, &somebody()).await.unwrap()
    }

    pub(super) async fn admin(&self, name: &str) -> (Stored<User>, SessionToken) {
        let mut sign_in = github(name);
        sign_in.admin = true;
        self.identity.sign_in(&sign_in, &somebody()).await.unwrap()
    }

    pub(super) async fn key(&self, owner: UserId) -> (Stored<Key>, ApiKey) {
        let new = new_key("laptop");
        let context = Context::operator();
        self.identity
            .create_key(owner, &new, &context)
            .await
            .unwrap()
    }

    pub(super) fn by_key(&self, key: &ApiKey) -> Result<Arc<Caller>, crate::directory::Refused> {
        self.identity.directory().by_key(key.reveal(), self.now())
    }

    pub(super) fn by_session(
        &self,
        token: &SessionToken,
    ) -> Result<Arc<Caller>, crate::directory::Refused> {
        let directory = self.identity.directory();
        directory.by_session(token.reveal(), self.now())
    }

    /// What whoever has `token` does.
    pub(super) fn as_session(&self, token: &SessionToken) -> Context {
        Context::new(Actor::User(self.by_session(token).unwrap()), None, None)
    }

    pub(super) fn as_key(&self, key: &ApiKey) -> Context {
        Context::new(Actor::User(self.by_key(key).unwrap()), None, None)
    }

    pub(super) fn actions(&self) -> Vec<&'static str> {
        let events = self.events.all();
        events.iter().map(|event| event.action.name()).collect()
    }
}

pub(super) fn github(name: &str) -> SignIn {
    SignIn {
        provider: Provider::GitHub,
        subject: format!("id of {name}"),
        username: name.to_owned(),
        display_name: Some(format!("{name} the tester")),
        email: Some(format!("{name}@example.com")),
        avatar_url: None,
        admin: false,
    }
}

pub(super) fn new_key(name: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        scopes: Scopes::least(),
        lifetime: Lifetime::Default,
        tunnel: None,
    }
}

pub(super) fn somebody() -> Context {
    from("192.0.2.1")
}

pub(super) fn from(ip: &str) -> Context {
    let ip: IpAddr = ip.parse().unwrap();
    Context::anonymous(Some(ip), Some("test/1"))
}

/// Hashes at once, and counts how often it is asked to verify.
#[derive(Debug, Default)]
pub(super) struct CountingHasher(AtomicUsize);

impl CountingHasher {
    pub(super) fn verified(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl PasswordHasher for CountingHasher {
    async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        match password.len() {
            ..10 => Err(PasswordError::TooShort),
            1025.. => Err(PasswordError::TooLong),
            _ => Ok(quick_hash(password)),
        }
    }

    async fn verify(&self, hash: Option<&str>, password: &str) -> Result<Verdict, PasswordError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(match hash {
            Some(hash) if hash == quick_hash(password) => Verdict::Right { rehashed: None },
            _ => Verdict::Wrong,
        })
    }
}

fn quick_hash(password: &str) -> String {
    let hash = crate::apikey::KeyHash::of(password);
    crate::record::hex(hash.as_bytes())
}
