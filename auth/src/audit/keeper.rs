//! The key of a chain and its signed tail.
//!
//! Both are made together, when the chain begins, so one without the other means that somebody
//! removed something.

use std::sync::Arc;

use super::checkpoint::{Checkpoint, Purpose};
use super::error::AuditError;
use super::moment;
use super::place::Place;
use super::reader::Reader;
use super::row::{GENESIS, Id, Row};
use super::verify::Reason;
use crate::seal::{MasterKey, SealError};
use crate::signing::{PublicKey, SigningKey};
use crate::store::{Batch, Clock, Revision, Store};

#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) store: Arc<dyn Store>,
    pub(super) place: Place,
    clock: Arc<dyn Clock>,
    key: SigningKey,
}

/// Where a chain ends, and the commit that says so.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) count: u64,
    pub(super) head: String,
    pub(super) revision: Revision,
}

impl Keeper {
    /// Takes the chain's key from the store, or makes one for a chain that nothing is there of.
    pub(super) async fn open_or_begin(
        store: Arc<dyn Store>,
        master: &MasterKey,
        clock: Arc<dyn Clock>,
        name: &str,
    ) -> Result<Self, AuditError> {
        let place = Place::of(name)?;
        let opened = open_key(&*store, master, &place).await;
        let key = match opened {
            Err(AuditError::Absent(_)) => begin(&*store, master, &*clock, &place).await?,
            opened => opened?,
        };
        Ok(Self {
            store,
            place,
            clock,
            key,
        })
    }

    pub(super) fn reader(&self) -> Reader {
        let store = Arc::clone(&self.store);
        Reader::of(store, self.place.clone(), self.key.public().clone())
    }

    /// The tail as it is in the store, if it is signed.
    pub(super) async fn tail(&self) -> Result<Tail, AuditError> {
        let read = read_tail(&*self.store, &self.place, self.key.public()).await?;
        read.map_err(|reason| self.broken(reason))
    }

    /// The tail, if also the row is there that it says is the last.
    pub(super) async fn checked_tail(&self) -> Result<Tail, AuditError> {
        let tail = self.tail().await?;
        if tail.count == 0 {
            return Ok(tail);
        }
        let row = self.store.get(&self.place.row(Id(tail.count))).await?;
        let row = row.ok_or_else(|| self.broken(Reason::RowMissing))?;
        let (_, hash) = Row::decode(&row.value).map_err(|reason| self.broken(reason))?;
        if hash != tail.head {
            return Err(self.broken(Reason::HeadDiffers));
        }
        Ok(tail)
    }

    pub(super) fn sign(&self, purpose: Purpose, count: u64, head: &str) -> Checkpoint {
        let time = self.time();
        Checkpoint::sign(&self.key, purpose, self.place.chain(), (count, head), time)
    }

    pub(super) fn time(&self) -> String {
        moment::text(self.clock.now())
    }

    pub(super) fn broken(&self, reason: Reason) -> AuditError {
        broken(&self.place, reason)
    }
}

/// The chain's key; [`AuditError::Absent`] if nothing at all is there of the chain.
pub(super) async fn open_key(
    store: &dyn Store,
    master: &MasterKey,
    place: &Place,
) -> Result<SigningKey, AuditError> {
    let record = place.signing_key();
    if let Some(blob) = store.get(&record).await? {
        return SigningKey::open(master, &record, &blob.value)
            .map_err(|source| key_error(place, source));
    }
    let rest = [place.rows(), place.checkpoints(), place.tail()];
    for prefix in rest {
        let page = store
            .range(crate::store::Range::prefix(prefix).limit(1))
            .await?;
        if !page.entries.is_empty() {
            return Err(broken(place, Reason::KeyMissing));
        }
    }
    Err(AuditError::Absent(place.chain().to_owned()))
}

/// The tail in the store, or what is wrong with it.
pub(super) async fn read_tail(
    store: &dyn Store,
    place: &Place,
    key: &PublicKey,
) -> Result<Result<Tail, Reason>, AuditError> {
    let Some(found) = store.get(&place.tail()).await? else {
        return Ok(Err(Reason::TailMissing));
    };
    let parsed = std::str::from_utf8(&found.value).ok();
    let parsed = parsed.and_then(|text| text.parse::<Checkpoint>().ok());
    let signed =
        parsed.filter(|tail| tail.chain() == place.chain() && tail.is_signed(key, Purpose::Tail));
    Ok(signed.ok_or(Reason::TailForged).map(|tail| Tail {
        count: tail.count(),
        head: tail.head().to_owned(),
        revision: found.revision,
    }))
}

async fn begin(
    store: &dyn Store,
    master: &MasterKey,
    clock: &dyn Clock,
    place: &Place,
) -> Result<SigningKey, AuditError> {
    let record = place.signing_key();
    let key = SigningKey::generate().map_err(|source| key_error(place, source))?;
    let blob = key
        .seal(master, &record)
        .map_err(|source| key_error(place, source))?;
    let time = moment::text(clock.now());
    let tail = Checkpoint::sign(&key, Purpose::Tail, place.chain(), (0, GENESIS), time);
    let batch = Batch::new()
        .if_absent(record.clone())
        .if_absent(place.tail())
        .put(record, blob)
        .put(place.tail(), tail.to_string());
    match store.commit(batch).await {
        Ok(_) => Ok(key),
        // Another process began it at the same moment.
        Err(error) if error.is_conflict() => open_key(store, master, place).await,
        Err(error) => Err(error.into()),
    }
}

fn key_error(place: &Place, source: SealError) -> AuditError {
    AuditError::Key {
        chain: place.chain().to_owned(),
        source,
    }
}

fn broken(place: &Place, reason: Reason) -> AuditError {
    AuditError::Broken {
        chain: place.chain().to_owned(),
        reason,
    }
}
