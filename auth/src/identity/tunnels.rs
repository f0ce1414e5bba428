//! Tunnels: their names and whose they are.
//!
//! An ordinary user has one. The number a user has is a record of its own, which every creation and
//! deletion writes under the condition that nobody else has since.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::retry::Tries;
use super::trail::{Action, Target};
use super::{Context, Identity, IdentityError, Listing, Page, What};
use crate::record::{self, Record, Stored, layout};
use crate::store::{Batch, Range, Revision};
use crate::tunnel::{Tunnel, TunnelId, check_name, three_words};
use crate::user::{Role, User, UserId};

/// Three-word names that are tried before a number is added.
const NAMES_TRIED: u32 = 20;

/// How many tunnels a user has.
#[derive(Deserialize, Serialize)]
pub(super) struct Count {
    pub(super) tunnels: u64,
}

impl Record for Count {
    const VERSION: u32 = 1;
}

/// The number of the record that an index names.
#[derive(Deserialize, Serialize)]
pub(super) struct Pointer {
    pub(super) id: u64,
}

impl Record for Pointer {
    const VERSION: u32 = 1;
}

impl Identity {
    /// Makes a tunnel for `owner`, called `name` or three words.
    ///
    /// [`IdentityError::Exists`] with the tunnel an ordinary user has already,
    /// [`IdentityError::NameTaken`], [`IdentityError::InvalidName`].
    pub async fn create_tunnel(
        &self,
        owner: UserId,
        name: Option<&str>,
        context: &Context,
    ) -> Result<Stored<Tunnel>, IdentityError> {
        if let Some(name) = name {
            check_name(name)?;
        }
        let mut tries = Tries::default();
        let mut attempt = 0;
        loop {
            let chosen = name.map_or_else(|| (self.0.names)(attempt), str::to_owned);
            match self.try_create_tunnel(owner, chosen, context).await {
                Err(IdentityError::NameTaken(_)) if name.is_none() => attempt += 1,
                Err(error) => tries.again(error).await?,
                Ok(tunnel) => return Ok(tunnel),
            }
        }
    }

    async fn try_create_tunnel(
        &self,
        owner: UserId,
        name: String,
        context: &Context,
    ) -> Result<Stored<Tunnel>, IdentityError> {
        let user = self.living_user(owner).await?;
        let count_key = layout::tunnel_count(owner);
        let count = self.read::<Count>(&count_key).await?;
        let has = count.as_ref().map_or(0, |count| count.tunnels);
        if has > 0
            && user.role == Role::User
            && let Some(tunnel) = self.first_tunnel(owner).await?
        {
            return Err(IdentityError::Exists(Box::new(tunnel.record)));
        }
        if self
            .store()
            .get(&layout::tunnel_name(&name))
            .await?
            .is_some()
        {
            return Err(IdentityError::NameTaken(name));
        }
        let id = TunnelId(self.0.counters.next(&self.0.counters.tunnels).await?);
        let tunnel = Tunnel {
            id,
            owner,
            name,
            created: self.clock().now(),
            policy: Value::Null,
        };
        let batch = Batch::new().if_revision(layout::user(owner), user.revision);
        let batch = match &count {
            Some(count) => batch.if_revision(count_key.clone(), count.revision),
            None => batch.if_absent(count_key.clone()),
        };
        let tunnels = has + 1;
        let batch = batch.put(count_key, record::encode(&Count { tunnels }));
        let batch = put_new_tunnel(batch, &tunnel);
        let event = self
            .event(Action::TunnelCreate, Target::Tunnel(id), context)
            .of(owner)
            .with(tunnel.name.clone());
        let revision = self.write(batch, &[event]).await?;
        let record = tunnel;
        Ok(Stored { record, revision })
    }

    /// Gives tunnel `id` another name; its agents are told that it is another.
    pub async fn rename_tunnel(
        &self,
        id: TunnelId,
        name: &str,
        if_match: Option<Revision>,
        context: &Context,
    ) -> Result<Stored<Tunnel>, IdentityError> {
        check_name(name)?;
        let mut tries = Tries::default();
        loop {
            match self.try_rename(id, name, if_match, context).await {
                Err(error) => tries.again(error).await?,
                Ok(tunnel) => return Ok(tunnel),
            }
        }
    }

    async fn try_rename(
        &self,
        id: TunnelId,
        name: &str,
        if_match: Option<Revision>,
        context: &Context,
    ) -> Result<Stored<Tunnel>, IdentityError> {
        let Stored {
            mut record,
            revision,
        } = self.tunnel(id).await?;
        if if_match.is_some_and(|expected| expected != revision) {
            return Err(IdentityError::Changed(What::Tunnel));
        }
        if record.name == name {
            return Ok(Stored { record, revision });
        }
        let name_key = layout::tunnel_name(name);
        if self.store().get(&name_key).await?.is_some() {
            return Err(IdentityError::NameTaken(name.to_owned()));
        }
        let before = std::mem::replace(&mut record.name, name.to_owned());
        let batch = Batch::new()
            .if_revision(layout::tunnel(id), revision)
            .if_absent(name_key.clone())
            .delete(layout::tunnel_name(&before))
            .put(name_key, record::encode(&Pointer { id: id.0 }))
            .put(layout::tunnel(id), record::encode(&record));
        let event = self
            .event(Action::TunnelRename, Target::Tunnel(id), context)
            .of(record.owner)
            .with(format!("{before} to {name}"));
        let revision = self.write(batch, &[event]).await?;
        Ok(Stored { record, revision })
    }

    /// Keeps `policy` with tunnel `id`, as it is.
    pub async fn set_tunnel_policy(
        &self,
        id: TunnelId,
        policy: Value,
        if_match: Option<Revision>,
        context: &Context,
    ) -> Result<Stored<Tunnel>, IdentityError> {
        let mut tries = Tries::default();
        loop {
            let Stored {
                mut record,
                revision,
            } = self.tunnel(id).await?;
            if if_match.is_some_and(|expected| expected != revision) {
                return Err(IdentityError::Changed(What::Tunnel));
            }
            record.policy = policy.clone();
            let batch = Batch::new()
                .if_revision(layout::tunnel(id), revision)
                .put(layout::tunnel(id), record::encode(&record));
            let event = self.event(Action::TunnelUpdate, Target::Tunnel(id), context);
            match self.write(batch, &[event.of(record.owner)]).await {
                Ok(revision) => return Ok(Stored { record, revision }),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Deletes tunnel `id`; keys bound to it work no longer.
    pub async fn delete_tunnel(
        &self,
        id: TunnelId,
        if_match: Option<Revision>,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let mut tries = Tries::default();
        loop {
            match self.try_delete_tunnel(id, if_match, context).await {
                Err(error) => tries.again(error).await?,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn try_delete_tunnel(
        &self,
        id: TunnelId,
        if_match: Option<Revision>,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let tunnel = self.tunnel(id).await?;
        if if_match.is_some_and(|expected| expected != tunnel.revision) {
            return Err(IdentityError::Changed(What::Tunnel));
        }
        let count_key = layout::tunnel_count(tunnel.owner);
        let batch = Batch::new().if_revision(layout::tunnel(id), tunnel.revision);
        let batch = match self.read::<Count>(&count_key).await? {
            None => batch,
            Some(count) => {
                let tunnels = count.tunnels.saturating_sub(1);
                batch
                    .if_revision(count_key.clone(), count.revision)
                    .put(count_key, record::encode(&Count { tunnels }))
            }
        };
        let batch = delete_tunnel_records(batch, &tunnel);
        let event = self
            .event(Action::TunnelDelete, Target::Tunnel(id), context)
            .of(tunnel.owner)
            .with(tunnel.name.clone());
        self.write(batch, &[event]).await?;
        Ok(())
    }

    /// A page of the tunnels of `owner`, or of all.
    pub async fn tunnels(
        &self,
        owner: Option<UserId>,
        page: &Page,
    ) -> Result<Listing<Tunnel>, IdentityError> {
        match owner {
            None => self.list(layout::TUNNELS, page, |_| true).await,
            Some(owner) => {
                let at = |id| layout::tunnel(TunnelId(id));
                self.list_indexed(&layout::tunnels_of(owner), page, at)
                    .await
            }
        }
    }

    /// Tunnel `id`.
    pub async fn tunnel(&self, id: TunnelId) -> Result<Stored<Tunnel>, IdentityError> {
        let found = self.read(&layout::tunnel(id)).await?;
        found.ok_or(IdentityError::NotFound(What::Tunnel))
    }

    /// A user for whom something can be made.
    pub(super) async fn living_user(&self, id: UserId) -> Result<Stored<User>, IdentityError> {
        self.user(id).await
    }

    /// The oldest tunnel of `owner`.
    pub(super) async fn first_tunnel(
        &self,
        owner: UserId,
    ) -> Result<Option<Stored<Tunnel>>, IdentityError> {
        let index = layout::tunnels_of(owner);
        let page = self
            .store()
            .range(Range::prefix(index.clone()).limit(1))
            .await?;
        let id = page
            .entries
            .first()
            .and_then(|entry| layout::number(&index, &entry.key));
        match id {
            Some(id) => self.read(&layout::tunnel(TunnelId(id))).await,
            None => Ok(None),
        }
    }
}

/// Puts a tunnel and what finds it; the name must be free.
pub(super) fn put_new_tunnel(batch: Batch, tunnel: &Tunnel) -> Batch {
    let name_key = layout::tunnel_name(&tunnel.name);
    let owned = layout::numbered(&layout::tunnels_of(tunnel.owner), tunnel.id.0);
    batch
        .if_absent(name_key.clone())
        .put(name_key, record::encode(&Pointer { id: tunnel.id.0 }))
        .put(owned, "")
        .put(layout::tunnel(tunnel.id), record::encode(tunnel))
}

pub(super) fn delete_tunnel_records(batch: Batch, tunnel: &Tunnel) -> Batch {
    batch
        .delete(layout::tunnel(tunnel.id))
        .delete(layout::tunnel_name(&tunnel.name))
        .delete(layout::tunnel_key(tunnel.id))
        .delete(layout::numbered(
            &layout::tunnels_of(tunnel.owner),
            tunnel.id.0,
        ))
}

/// Three words; after many tries that were taken, with a number.
pub(super) fn free_name(attempt: u32) -> String {
    let name = three_words();
    if attempt < NAMES_TRIED {
        return name;
    }
    format!("{name}-{}", fastrand::u32(10..1_000_000))
}
