//! Putting records into the maps. One task does so, at the start and ever after.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Deserialize;

use super::entry::{KeyEntry, Proof, SessionEntry, TunnelEntry, UserEntry};
use super::{Directory, Revoked};
use crate::apikey::KeyHash;
use crate::key::{Key, KeyId};
use crate::record::layout::{KEYS, SESSIONS, TUNNELS, USERS, number};
use crate::record::{self, RecordError, millis, unreadable};
use crate::scope::Scopes;
use crate::session::{Session, SessionId};
use crate::store::Entry;
use crate::tunnel::{Tunnel, TunnelId};
use crate::user::{User, UserId};

/// The one that writes the maps of a [`Directory`].
#[derive(Debug)]
pub(super) struct Writer {
    directory: Directory,
    /// Under which hash a key stands, for when its record is gone.
    key_hashes: HashMap<u64, [u8; 32]>,
    scopes: Interner,
    /// Whether anybody has been told yet what is in the maps.
    pub(super) announcing: bool,
}

/// A record, decoded: what is put into the maps.
pub(super) enum Item {
    User(UserEntry),
    Key(KeyItem),
    Session(SessionEntry),
    Tunnel(TunnelEntry),
}

pub(super) struct KeyItem {
    id: KeyId,
    owner: UserId,
    hash: KeyHash,
    scopes: Box<str>,
    expires: u64,
    revoked: bool,
    tunnel: Option<TunnelId>,
}

/// Which record a key of the store names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Name {
    User(u64),
    Key(u64),
    Session(u64),
    Tunnel(u64),
}

impl Name {
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let numbered = |prefix| number(prefix, key);
        numbered(KEYS)
            .map(Self::Key)
            .or_else(|| numbered(SESSIONS).map(Self::Session))
            .or_else(|| numbered(USERS).map(Self::User))
            .or_else(|| numbered(TUNNELS).map(Self::Tunnel))
    }
}

impl Item {
    /// Reads an entry of the store; `None` is a record that is not to be in the maps.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Option<Self>, RecordError> {
        let name = Name::of(key).ok_or_else(|| unreadable(key, "it is of an unknown kind"))?;
        let item = match name {
            Name::User(_) => {
                let user = record::decode::<User>(key, value)?;
                if user.deleting {
                    return Ok(None);
                }
                Self::User(user.into())
            }
            Name::Key(_) => Self::Key(record::view::<Key, KeyView<'_>>(key, value)?.into()),
            Name::Session(_) => Self::Session(record::decode::<Session>(key, value)?.into()),
            Name::Tunnel(_) => Self::Tunnel(record::view::<Tunnel, TunnelView>(key, value)?.into()),
        };
        if item.name() != name {
            return Err(unreadable(
                key,
                "its number is another than that of its key",
            ));
        }
        Ok(Some(item))
    }

    pub(super) fn name(&self) -> Name {
        match self {
            Self::User(user) => Name::User(user.id.0),
            Self::Key(key) => Name::Key(key.id.0),
            Self::Session(session) => Name::Session(session.id.0),
            Self::Tunnel(tunnel) => Name::Tunnel(tunnel.id.0),
        }
    }
}

/// Reads the entries of a page.
pub(super) fn read_page(entries: &[Entry]) -> Result<Vec<Item>, RecordError> {
    let items = entries.iter();
    items
        .filter_map(|entry| Item::read(&entry.key, &entry.value).transpose())
        .collect()
}

impl Writer {
    pub(super) fn new(directory: Directory) -> Self {
        Self {
            directory,
            key_hashes: HashMap::new(),
            scopes: Interner::default(),
            announcing: false,
        }
    }

    pub(super) fn put(&mut self, item: Item) -> Result<(), RecordError> {
        match item {
            Item::User(user) => self.put_user(user),
            Item::Key(key) => return self.put_key(key),
            Item::Session(session) => self.put_session(session),
            Item::Tunnel(tunnel) => self.put_tunnel(tunnel),
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, name: Name) {
        let maps = &self.directory.0;
        match name {
            Name::User(id) => {
                if maps.users.pin().remove(&id).is_some() {
                    self.announce(Revoked::User(UserId(id)), UserId(id));
                }
            }
            Name::Key(id) => {
                let hash = self.key_hashes.remove(&id);
                let owner = hash.and_then(|hash| {
                    let keys = maps.keys.pin();
                    keys.remove(&hash).map(|key| key.owner)
                });
                if let Some(owner) = owner {
                    self.announce(Revoked::Key(KeyId(id)), owner);
                }
            }
            Name::Session(id) => {
                let session = maps.session_ids.pin().remove(&id).cloned();
                if let Some(session) = session {
                    maps.sessions.pin().remove(&session.hash.0);
                    self.announce(Revoked::Session(SessionId(id)), session.user);
                }
            }
            Name::Tunnel(id) => {
                let tunnel = maps.tunnels.pin().remove(&id).cloned();
                if let Some(tunnel) = tunnel {
                    self.free_name(&tunnel);
                    self.announce(Revoked::Tunnel(TunnelId(id)), tunnel.owner);
                }
            }
        }
    }

    /// Removes what is not in `seen`, which has the names of all there is.
    pub(super) fn keep_only(&mut self, seen: &std::collections::HashSet<Name>) {
        let maps = &self.directory.0;
        let ids = |ids: Vec<u64>, name: fn(u64) -> Name| ids.into_iter().map(name);
        let users = maps.users.pin().keys().copied().collect();
        let sessions = maps.session_ids.pin().keys().copied().collect();
        let tunnels = maps.tunnels.pin().keys().copied().collect();
        let keys = self.key_hashes.keys().copied().collect();
        let gone: Vec<_> = ids(users, Name::User)
            .chain(ids(sessions, Name::Session))
            .chain(ids(tunnels, Name::Tunnel))
            .chain(ids(keys, Name::Key))
            .filter(|name| !seen.contains(name))
            .collect();
        for name in gone {
            self.remove(name);
        }
    }

    /// Tells everybody to look again.
    pub(super) fn announce_everything(&self) {
        // Nobody may be listening.
        let _ = self.directory.0.revoked.send(Revoked::Everything);
        self.directory.0.waiting.ring_all();
    }

    fn announce(&self, revoked: Revoked, owner: UserId) {
        if self.announcing {
            // Nobody may be listening.
            let _ = self.directory.0.revoked.send(revoked);
            self.directory.0.waiting.ring(owner);
        }
    }

    fn put_user(&mut self, user: UserEntry) {
        let id = user.id;
        let entry = Arc::new(user);
        let before = self.directory.user(id);
        self.directory
            .0
            .users
            .pin()
            .insert(id.0, Arc::clone(&entry));
        let less = before.is_some_and(|before| {
            before.role != entry.role || (entry.disabled && !before.disabled)
        });
        if less {
            self.announce(Revoked::User(id), id);
        }
    }

    fn put_key(&mut self, item: KeyItem) -> Result<(), RecordError> {
        let KeyItem {
            id,
            owner,
            hash,
            scopes,
            expires,
            revoked,
            tunnel,
        } = item;
        let hash = *hash.as_bytes();
        let entry = KeyEntry {
            id,
            owner,
            tunnel,
            expires,
            revoked,
            scopes: self.scopes.get(id, &scopes)?,
            noted: AtomicU64::new(0),
        };
        self.key_hashes.insert(id.0, hash);
        let was_good = {
            let keys = self.directory.0.keys.pin();
            keys.insert(hash, entry)
                .is_some_and(|before| !before.revoked)
        };
        if was_good && revoked {
            self.announce(Revoked::Key(id), owner);
        } else if self.announcing {
            // It may end earlier than those who wait for its end know.
            self.directory.0.waiting.ring(owner);
        }
        Ok(())
    }

    fn put_session(&mut self, session: SessionEntry) {
        let maps = &self.directory.0;
        if let Some(known) = self.directory.session(session.id) {
            // All else about a session stays as it was made.
            known.was_written(session.last_seen.into_inner());
            return;
        }
        let session = Arc::new(session);
        maps.sessions
            .pin()
            .insert(session.hash.0, Arc::clone(&session));
        maps.session_ids.pin().insert(session.id.0, session);
    }

    fn put_tunnel(&mut self, tunnel: TunnelEntry) {
        let maps = &self.directory.0;
        let tunnel = Arc::new(tunnel);
        let before = self.directory.tunnel(tunnel.id);
        if before.as_ref().is_some_and(|before| *before == tunnel) {
            return;
        }
        maps.tunnels.pin().insert(tunnel.id.0, Arc::clone(&tunnel));
        if let Some(before) = &before {
            self.free_name(before);
        }
        maps.tunnel_names
            .pin()
            .insert(tunnel.name.clone(), Arc::clone(&tunnel));
        if let Some(before) = before {
            self.announce(Revoked::Tunnel(tunnel.id), before.owner);
        }
    }

    /// Another tunnel may have taken the name already.
    fn free_name(&self, tunnel: &TunnelEntry) {
        let names = self.directory.0.tunnel_names.pin();
        if names
            .get(&tunnel.name)
            .is_some_and(|named| named.id == tunnel.id)
        {
            names.remove(&tunnel.name);
        }
    }
}

/// Few sets of scopes serve many keys.
#[derive(Debug, Default)]
struct Interner {
    known: HashMap<Box<str>, Scopes>,
    /// When there are so many, those no key has any more are cleared away.
    clear_at: usize,
}

impl Interner {
    fn get(&mut self, id: KeyId, text: &str) -> Result<Scopes, RecordError> {
        if let Some(scopes) = self.known.get(text) {
            return Ok(scopes.clone());
        }
        if self.known.len() >= self.clear_at {
            self.known.retain(|_, scopes| !scopes.is_unshared());
            self.clear_at = (self.known.len() * 2).max(1024);
        }
        let key = record::layout::key(id);
        let scopes: Scopes = text.parse().map_err(|error| unreadable(&key, error))?;
        self.known.insert(text.into(), scopes.clone());
        Ok(scopes)
    }
}

impl From<User> for UserEntry {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            provider: user.provider,
            username: user.username.into(),
            email: user.email.map(Into::into),
            role: user.role,
            disabled: user.disabled,
        }
    }
}

impl From<Session> for SessionEntry {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            user: session.user,
            expires: millis::of(session.expires),
            last_seen: AtomicU64::new(millis::of(session.last_seen)),
            written: AtomicU64::new(millis::of(session.last_seen)),
            hash: Proof(*session.hash.as_bytes()),
        }
    }
}

/// What the directory wants of a key's record.
#[derive(Deserialize)]
struct KeyView<'a> {
    id: KeyId,
    owner: UserId,
    #[serde(borrow)]
    scopes: Cow<'a, str>,
    expires: Option<u64>,
    revoked: Option<u64>,
    tunnel: Option<TunnelId>,
    #[serde(with = "crate::key::digits")]
    hash: KeyHash,
}

impl From<Key> for KeyView<'_> {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            owner: key.owner,
            scopes: key.scopes.to_string().into(),
            expires: key.expires.map(millis::of),
            revoked: key.revoked.map(millis::of),
            tunnel: key.tunnel,
            hash: key.hash,
        }
    }
}

impl From<KeyView<'_>> for KeyItem {
    fn from(view: KeyView<'_>) -> Self {
        Self {
            id: view.id,
            owner: view.owner,
            hash: view.hash,
            scopes: view.scopes.into(),
            expires: view.expires.unwrap_or(KeyEntry::NEVER),
            revoked: view.revoked.is_some(),
            tunnel: view.tunnel,
        }
    }
}

/// What the directory wants of a tunnel's record.
#[derive(Deserialize)]
struct TunnelView {
    id: TunnelId,
    owner: UserId,
    name: Box<str>,
}

impl From<Tunnel> for TunnelView {
    fn from(tunnel: Tunnel) -> Self {
        Self {
            id: tunnel.id,
            owner: tunnel.owner,
            name: tunnel.name.into(),
        }
    }
}

impl From<TunnelView> for TunnelEntry {
    fn from(view: TunnelView) -> Self {
        Self {
            id: view.id,
            owner: view.owner,
            name: view.name,
        }
    }
}
