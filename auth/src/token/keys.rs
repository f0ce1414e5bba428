//! Our signing keys: sealed in the store, in memory as a snapshot, rotated once for all gateways.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use jsonwebtoken::EncodingKey;

use super::claims::LEEWAY;
use super::error::TokenError;
use super::key_set::KeySet;
use super::ring::{Ring, jwks, kid};
use crate::seal::MasterKey;
use crate::store::{Batch, Clock, Revision, Store};

/// Where the keys lie.
const RECORD: &str = "token/keys";
/// A gateway that has not heard of a rotation yet signs with the key before for so long at most.
const SLACK: Duration = Duration::from_secs(5 * 60);

/// How long keys are used.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// A key signs for so long. Thirty days unless it is set.
    pub every: Duration,
    /// No token lasts longer: a replaced key checks for so long still. One day unless it is set.
    pub longest_token: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30 * 24 * 60 * 60),
            longest_token: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Ed25519 keys that tokens are signed with.
pub struct Keys {
    store: Arc<dyn Store>,
    master: Arc<MasterKey>,
    clock: Arc<dyn Clock>,
    rotation: Rotation,
    snapshot: ArcSwap<Snapshot>,
}

/// What signing and checking need, until the record changes.
pub(super) struct Snapshot {
    pub(super) kid: String,
    pub(super) signs: EncodingKey,
    pub(super) checks: KeySet,
    jwks: Bytes,
    due: SystemTime,
}

impl Keys {
    /// Takes the keys from the store, or makes them.
    pub async fn open(
        store: Arc<dyn Store>,
        master: Arc<MasterKey>,
        clock: Arc<dyn Clock>,
        rotation: Rotation,
    ) -> Result<Self, TokenError> {
        let ring = match read(&*store, &master).await? {
            Some((ring, _)) => ring,
            None => begin(&*store, &master, &*clock).await?,
        };
        let snapshot = snapshot(&ring, rotation, clock.now())?;
        Ok(Self {
            store,
            master,
            clock,
            rotation,
            snapshot: ArcSwap::from_pointee(snapshot),
        })
    }

    /// The public keys, as a JWKS document (RFC 7517) to be served as `application/json`.
    pub fn jwks(&self) -> Bytes {
        self.snapshot.load().jwks.clone()
    }

    /// When [`rotate_if_due`](Self::rotate_if_due) has something to do next.
    pub fn due(&self) -> SystemTime {
        self.snapshot.load().due
    }

    /// Replaces the current key if it has been used long enough, and says whether it did. Of several
    /// gateways that ask at once, one does. To be called from time to time.
    pub async fn rotate_if_due(&self) -> Result<bool, TokenError> {
        self.replace(|ring, now| ring.due(self.rotation.every) <= now)
            .await
    }

    /// Replaces the current key now. Others should not be asked to follow twice within the time they
    /// keep our keys.
    pub async fn rotate(&self) -> Result<bool, TokenError> {
        self.replace(|_, _| true).await
    }

    /// Reads the keys again.
    pub async fn reload(&self) -> Result<(), TokenError> {
        let (ring, _) = self.read().await?;
        self.take(&ring)
    }

    /// Follows what other gateways do, until the store is closed. What cannot be read is logged and
    /// leaves the keys as they are.
    pub async fn follow(&self) -> Result<(), TokenError> {
        let mut watch = self.store.watch(RECORD.as_bytes()).await?;
        self.reload().await?;
        while watch.next().await.is_some() {
            if let Err(error) = self.reload().await {
                tracing::warn!(%error, "the token keys were changed and cannot be read");
            }
        }
        Ok(())
    }

    pub(super) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    pub(super) fn longest_token(&self) -> Duration {
        self.rotation.longest_token
    }

    async fn replace(
        &self,
        wanted: impl Fn(&Ring, SystemTime) -> bool + Send,
    ) -> Result<bool, TokenError> {
        let (ring, revision) = self.read().await?;
        let now = self.clock.now();
        if !wanted(&ring, now) {
            self.take(&ring)?;
            return Ok(false);
        }
        let still = self.rotation.longest_token + LEEWAY + SLACK;
        let ring = ring.rotate(now, still)?;
        let batch = Batch::new()
            .if_revision(RECORD, revision)
            .put(RECORD, seal(&self.master, &ring)?);
        match self.store.commit(batch).await {
            Ok(_) => {
                self.take(&ring)?;
                Ok(true)
            }
            // Another gateway did it.
            Err(error) if error.is_conflict() => {
                self.reload().await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self) -> Result<(Ring, Revision), TokenError> {
        let found = read(&*self.store, &self.master).await?;
        found.ok_or(TokenError::Damaged { key: RECORD })
    }

    fn take(&self, ring: &Ring) -> Result<(), TokenError> {
        let snapshot = snapshot(ring, self.rotation, self.clock.now())?;
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("kid", &self.snapshot.load().kid)
            .finish_non_exhaustive()
    }
}

async fn begin(
    store: &dyn Store,
    master: &MasterKey,
    clock: &dyn Clock,
) -> Result<Ring, TokenError> {
    let ring = Ring::begin(clock.now())?;
    let batch = Batch::new()
        .if_absent(RECORD)
        .put(RECORD, seal(master, &ring)?);
    match store.commit(batch).await {
        Ok(_) => Ok(ring),
        // Another gateway began at the same moment.
        Err(error) if error.is_conflict() => {
            let (ring, _) = read(store, master)
                .await?
                .ok_or(TokenError::Damaged { key: RECORD })?;
            Ok(ring)
        }
        Err(error) => Err(error.into()),
    }
}

async fn read(
    store: &dyn Store,
    master: &MasterKey,
) -> Result<Option<(Ring, Revision)>, TokenError> {
    let Some(found) = store.get(RECORD.as_bytes()).await? else {
        return Ok(None);
    };
    let opened = master.open(RECORD.as_bytes(), &found.value)?;
    let ring = serde_json::from_slice(&opened).map_err(|_| TokenError::Damaged { key: RECORD })?;
    Ok(Some((ring, found.revision)))
}

fn seal(master: &MasterKey, ring: &Ring) -> Result<Bytes, TokenError> {
    let json = serde_json::to_vec(ring).expect("a ring is texts and numbers");
    Ok(master.seal(RECORD.as_bytes(), &json)?)
}

fn snapshot(ring: &Ring, rotation: Rotation, now: SystemTime) -> Result<Snapshot, TokenError> {
    let (Some(current), Some(publics)) = (ring.current(), ring.publics(now)) else {
        return Err(TokenError::Damaged { key: RECORD });
    };
    let mut checks = KeySet::default();
    for public in &publics {
        checks.add_ed25519(kid(public), public);
    }
    Ok(Snapshot {
        kid: kid(current.public().as_bytes()),
        signs: EncodingKey::from_ed_der(&current.pkcs8()?),
        checks,
        jwks: jwks(&publics).into(),
        due: ring.due(rotation.every),
    })
}
