//! API keys: made, rotated, revoked, listed.

use std::time::{Duration, SystemTime};

use super::retry::Tries;
use super::trail::{Action, Target};
use super::tunnels::Pointer;
use super::{Context, Identity, IdentityError, Listing, Page, What};
use crate::apikey::{ApiKey, KeyHash};
use crate::key::{Key, KeyId, Lifetime, NewKey};
use crate::record::{self, Stored, layout};
use crate::store::Batch;
use crate::tunnel::TunnelId;
use crate::user::UserId;

/// The longest that two keys work side by side after a rotation.
pub const MAX_OVERLAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest name of a key, in characters.
const MAX_NAME: usize = 100;
/// The longest life of a key that has an end: ten years.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl Identity {
    /// Makes a key for `owner`. The key itself is in the answer and nowhere else.
    ///
    /// A key bound to a tunnel takes the place of the one before: that is revoked.
    pub async fn create_key(
        &self,
        owner: UserId,
        new: &NewKey,
        context: &Context,
    ) -> Result<(Stored<Key>, ApiKey), IdentityError> {
        check_key_name(&new.name)?;
        if !context.may_give(&new.scopes, new.tunnel) {
            return Err(IdentityError::BeyondOwnScopes);
        }
        let expires = self.end_of(new.lifetime, context)?;
        let mut tries = Tries::default();
        loop {
            match self.try_create_key(owner, new, expires, context).await {
                Err(error) => tries.again(error).await?,
                Ok(made) => return Ok(made),
            }
        }
    }

    async fn try_create_key(
        &self,
        owner: UserId,
        new: &NewKey,
        expires: Option<SystemTime>,
        context: &Context,
    ) -> Result<(Stored<Key>, ApiKey), IdentityError> {
        let user = self.user(owner).await?;
        let secret = ApiKey::mint()?;
        let key = Key {
            id: KeyId(self.0.counters.next(&self.0.counters.keys).await?),
            owner,
            name: new.name.clone(),
            prefix: secret.prefix().to_owned(),
            scopes: new.scopes.clone(),
            created: self.clock().now(),
            expires,
            revoked: None,
            tunnel: new.tunnel,
            successor: None,
            hash: secret.hash(),
        };
        let mut batch = Batch::new().if_revision(layout::user(owner), user.revision);
        let mut events = Vec::new();
        if let Some(tunnel) = new.tunnel {
            batch = self.bind(batch, &key, tunnel, context, &mut events).await?;
        }
        let batch = put_new_key(batch, &key);
        let event = self.event(Action::KeyCreate, Target::Key(key.id), context);
        events.push(
            event
                .of(owner)
                .with(format!("{} {}", key.prefix, key.scopes)),
        );
        let revision = self.write(batch, &events).await?;
        let record = key;
        Ok((Stored { record, revision }, secret))
    }

    /// Makes `key` the one of `tunnel`, and revokes the one that was.
    async fn bind(
        &self,
        mut batch: Batch,
        key: &Key,
        tunnel: TunnelId,
        context: &Context,
        events: &mut Vec<super::Event>,
    ) -> Result<Batch, IdentityError> {
        let found = self.tunnel(tunnel).await?;
        if found.owner != key.owner {
            return Err(IdentityError::NotFound(What::Tunnel));
        }
        let at = layout::tunnel_key(tunnel);
        batch = batch.if_revision(layout::tunnel(tunnel), found.revision);
        match self.read::<Pointer>(&at).await? {
            None => batch = batch.if_absent(at.clone()),
            Some(pointer) => {
                batch = batch.if_revision(at.clone(), pointer.revision);
                let before = self.read::<Key>(&layout::key(KeyId(pointer.id))).await?;
                if let Some(mut before) = before
                    && before.revoked.is_none()
                {
                    before.record.revoked = Some(key.created);
                    before.record.successor = Some(key.id);
                    batch = put_changed_key(batch, &before);
                    let event = self.event(Action::KeyRevoke, Target::Key(before.id), context);
                    events.push(event.of(before.owner).with(before.prefix.clone()));
                }
            }
        }
        Ok(batch.put(at, record::encode(&Pointer { id: key.id.0 })))
    }

    /// Makes a key that takes the place of key `id`, which works on for `overlap`, up to 7 days; not
    /// at all if that is zero.
    ///
    /// [`IdentityError::Rotated`] if that was done already: of rotations at the same time one makes
    /// a key.
    pub async fn rotate_key(
        &self,
        id: KeyId,
        overlap: Duration,
        context: &Context,
    ) -> Result<(Stored<Key>, ApiKey), IdentityError> {
        if overlap > MAX_OVERLAP {
            return Err(IdentityError::invalid("overlap", "it is 7 days at most"));
        }
        let mut tries = Tries::default();
        loop {
            match self.try_rotate(id, overlap, context).await {
                Err(error) => tries.again(error).await?,
                Ok(made) => return Ok(made),
            }
        }
    }

    async fn try_rotate(
        &self,
        id: KeyId,
        overlap: Duration,
        context: &Context,
    ) -> Result<(Stored<Key>, ApiKey), IdentityError> {
        let mut old = self.key(id).await?;
        let now = self.clock().now();
        if let Some(successor) = old.successor {
            return Err(IdentityError::Rotated(successor));
        }
        if !old.is_active(now) {
            return Err(IdentityError::NotActive);
        }
        if !context.may_give(&old.scopes, old.tunnel) {
            return Err(IdentityError::BeyondOwnScopes);
        }
        let user = self.user(old.owner).await?;
        let secret = ApiKey::mint()?;
        let lifetime = old
            .expires
            .map(|end| end.duration_since(old.created).unwrap_or_default());
        let key = Key {
            id: KeyId(self.0.counters.next(&self.0.counters.keys).await?),
            prefix: secret.prefix().to_owned(),
            created: now,
            expires: lifetime.map(|lifetime| now + lifetime),
            hash: secret.hash(),
            ..old.record.clone()
        };
        old.record.successor = Some(key.id);
        if overlap.is_zero() {
            old.record.revoked = Some(now);
        } else {
            let end = now + overlap;
            old.record.expires = Some(old.expires.map_or(end, |expires| expires.min(end)));
        }
        let mut batch = Batch::new().if_revision(layout::user(key.owner), user.revision);
        if let Some(tunnel) = key.tunnel {
            let at = layout::tunnel_key(tunnel);
            batch = batch
                .if_present(layout::tunnel(tunnel))
                .put(at, record::encode(&Pointer { id: key.id.0 }));
        }
        let batch = put_new_key(put_changed_key(batch, &old), &key);
        let event = self
            .event(Action::KeyRotate, Target::Key(id), context)
            .of(key.owner)
            .with(format!("{} to {} {}", old.prefix, key.id, key.prefix));
        let revision = self.write(batch, &[event]).await?;
        let record = key;
        Ok((Stored { record, revision }, secret))
    }

    /// Revokes key `id` now. That it was already is no error.
    pub async fn revoke_key(&self, id: KeyId, context: &Context) -> Result<(), IdentityError> {
        let mut tries = Tries::default();
        loop {
            let mut key = self.key(id).await?;
            if key.revoked.is_some() {
                return Ok(());
            }
            key.record.revoked = Some(self.clock().now());
            let batch = put_changed_key(Batch::new(), &key);
            let event = self.event(Action::KeyRevoke, Target::Key(id), context);
            let event = event.of(key.owner).with(key.prefix.clone());
            match self.write(batch, &[event]).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Revokes the key `presented`, which somebody found where it should not be. Whoever has a key
    /// may revoke it. `None` if it is no key of this gateway.
    pub async fn revoke_presented(
        &self,
        presented: &str,
        context: &Context,
    ) -> Result<Option<KeyId>, IdentityError> {
        let Ok(hash) = KeyHash::of_presented(presented) else {
            return Ok(None);
        };
        let Some(id) = self.directory().key_presented(&hash) else {
            return Ok(None);
        };
        self.revoke_key(id, context).await?;
        Ok(Some(id))
    }

    /// A page of the keys of `owner`, or of all.
    pub async fn keys(
        &self,
        owner: Option<UserId>,
        page: &Page,
    ) -> Result<Listing<Key>, IdentityError> {
        match owner {
            None => self.list(layout::KEYS, page, |_| true).await,
            Some(owner) => {
                let at = |id| layout::key(KeyId(id));
                self.list_indexed(&layout::keys_of(owner), page, at).await
            }
        }
    }

    /// Key `id`.
    pub async fn key(&self, id: KeyId) -> Result<Stored<Key>, IdentityError> {
        let found = self.read(&layout::key(id)).await?;
        found.ok_or(IdentityError::NotFound(What::Key))
    }

    fn end_of(
        &self,
        lifetime: Lifetime,
        context: &Context,
    ) -> Result<Option<SystemTime>, IdentityError> {
        let lifetime = match lifetime {
            Lifetime::Never if context.is_admin() => return Ok(None),
            Lifetime::Never => return Err(IdentityError::NeverNeedsAdmin),
            Lifetime::Default => self.settings().key_lifetime,
            Lifetime::For(lifetime) => lifetime,
        };
        if lifetime.is_zero() || lifetime > MAX_LIFETIME {
            let problem = "a key is good for more than nothing and at most ten years";
            return Err(IdentityError::invalid("expires", problem));
        }
        Ok(Some(self.clock().now() + lifetime))
    }
}

fn put_new_key(batch: Batch, key: &Key) -> Batch {
    let owned = layout::numbered(&layout::keys_of(key.owner), key.id.0);
    batch
        .if_absent(layout::key(key.id))
        .put(layout::key(key.id), record::encode(key))
        .put(owned, "")
}

fn put_changed_key(batch: Batch, key: &Stored<Key>) -> Batch {
    let at = layout::key(key.id);
    batch
        .if_revision(at.clone(), key.revision)
        .put(at, record::encode(&key.record))
}

fn check_key_name(name: &str) -> Result<(), IdentityError> {
    let length = name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || name.chars().any(char::is_control) {
        let problem =
            format!("it has 1 to {MAX_NAME} characters, none of them a control character");
        return Err(IdentityError::invalid("name", problem));
    }
    Ok(())
}
