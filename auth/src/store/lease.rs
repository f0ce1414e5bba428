//! Leases: at most one holder of a name, for a time.
//!
//! A lease is two records of the store, so every back end has it for nothing. The first names the
//! holder and is written once, when the lease is taken: the revision of that commit is the fencing
//! token, and grows because revisions do. The second says when the lease ends and is written by each
//! renewal, under the condition that the first is still the same. Releasing removes both.
//!
//! Time decides only who may try; the conditions decide who gets it. A clock that is wrong can take
//! a lease from its holder too early, but never gives it to two who both can write with
//! [`Batch::if_leased`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{Batch, Revision, Store, StoreError, Versioned};

/// A lease that is asked for longer, ends after this: a hundred years, so that adding it to a date
/// never overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A name that is held, until it ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    name: String,
    token: Revision,
    ends: SystemTime,
}

impl Lease {
    /// What is held.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: greater for each holder than for all before. Whoever acts for a holder
    /// refuses a smaller one than it has seen.
    pub fn token(&self) -> Revision {
        self.token
    }

    /// When the lease ends by the store's time, unless it is renewed.
    pub fn ends(&self) -> SystemTime {
        self.ends
    }
}

pub(super) async fn acquire<S: Store + ?Sized>(
    store: &S,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Lease, StoreError> {
    let held_by = |holder: &[u8]| StoreError::LeaseHeld {
        name: name.to_owned(),
        holder: String::from_utf8_lossy(holder).into_owned(),
    };
    let (holder_key, end_key) = (holder_key(name), end_key(name));
    let before = store.get(&holder_key).await?;
    let now = store.now().await?;
    let batch = match &before {
        None => Batch::own().if_absent(holder_key.clone()),
        Some(record) => {
            let end = store.get(&end_key).await?;
            if end.as_ref().is_some_and(|end| read_time(end) > now) {
                return Err(held_by(&record.value));
            }
            // The end as well: the holder may be renewing at this moment.
            let batch = Batch::own().if_revision(holder_key.clone(), record.revision);
            match end {
                Some(end) => batch.if_revision(end_key.clone(), end.revision),
                None => batch.if_absent(end_key.clone()),
            }
        }
    };
    let ends = end_after(now, ttl);
    let batch = batch
        .put(holder_key.clone(), holder.as_bytes().to_vec())
        .put(end_key, write_time(ends));
    match store.commit(batch).await {
        Ok(token) => Ok(Lease {
            name: name.to_owned(),
            token,
            ends,
        }),
        Err(StoreError::Conflict { .. }) => {
            let winner = store.get(&holder_key).await?;
            Err(held_by(winner.as_ref().map_or(b"", |record| &record.value)))
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn renew<S: Store + ?Sized>(
    store: &S,
    lease: &mut Lease,
    ttl: Duration,
) -> Result<(), StoreError> {
    let ends = end_after(store.now().await?, ttl);
    let batch = Batch::own()
        .if_leased(lease)
        .put(end_key(&lease.name), write_time(ends));
    store
        .commit(batch)
        .await
        .map_err(|error| lost(lease, error))?;
    lease.ends = ends;
    Ok(())
}

pub(super) async fn release<S: Store + ?Sized>(store: &S, lease: Lease) -> Result<(), StoreError> {
    let batch = Batch::own()
        .if_leased(&lease)
        .delete(holder_key(&lease.name))
        .delete(end_key(&lease.name));
    match store.commit(batch).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn holder_key(name: &str) -> Bytes {
    format!("\0lease/{name}\0holder").into()
}

fn end_key(name: &str) -> Bytes {
    format!("\0lease/{name}\0end").into()
}

fn lost(lease: &Lease, error: StoreError) -> StoreError {
    if !error.is_conflict() {
        return error;
    }
    StoreError::LeaseLost {
        name: lease.name.clone(),
    }
}

/// In whole milliseconds, as it is written: the holder must not believe in a moment more.
fn end_after(now: SystemTime, ttl: Duration) -> SystemTime {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default() + ttl.min(LONGEST);
    UNIX_EPOCH
        + Duration::from_secs(since.as_secs())
        + Duration::from_millis(since.subsec_millis().into())
}

/// Milliseconds since 1970, eight bytes, big-endian.
fn write_time(time: SystemTime) -> Bytes {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Bytes::copy_from_slice(&millis.to_be_bytes())
}

/// What [`write_time`] wrote. Anything else reads as long ago, so that the lease can be taken.
fn read_time(end: &Versioned) -> SystemTime {
    let millis = <[u8; 8]>::try_from(&*end.value).map_or(0, u64::from_be_bytes);
    UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::store::{ManualClock, MemoryStore, Page, Range, Watch};

    const TTL: Duration = Duration::from_secs(10);

    /// A store in which the lease is renewed just before the next commit.
    #[derive(Debug)]
    struct RenewedInBetween {
        store: MemoryStore,
        lease: Mutex<Option<Lease>>,
    }

    #[async_trait]
    impl Store for RenewedInBetween {
        async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
            self.store.get(key).await
        }

        async fn range(&self, range: Range) -> Result<Page, StoreError> {
            self.store.range(range).await
        }

        async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
            let lease = self.lease.lock().take();
            if let Some(mut lease) = lease {
                self.store.renew(&mut lease, TTL).await?;
            }
            self.store.commit(batch).await
        }

        async fn watch(&self, prefix: &[u8]) -> Result<Watch, StoreError> {
            self.store.watch(prefix).await
        }

        async fn now(&self) -> Result<SystemTime, StoreError> {
            self.store.now().await
        }

        async fn has_migration(&self, name: &str) -> Result<bool, StoreError> {
            self.store.has_migration(name).await
        }
    }

    #[tokio::test]
    async fn a_lease_that_is_renewed_at_the_last_moment_is_not_taken() {
        let clock = ManualClock::at(UNIX_EPOCH);
        let store = MemoryStore::new(Arc::new(clock.clone()));
        let lease = store.lease("job", "first", TTL).await.unwrap();
        clock.advance(TTL);
        let store = RenewedInBetween {
            store,
            lease: Mutex::new(Some(lease)),
        };
        let outcome = store.lease("job", "second", TTL).await;
        assert!(matches!(outcome, Err(StoreError::LeaseHeld { holder, .. }) if holder == "first"));
    }

    #[tokio::test]
    async fn a_lease_may_be_asked_for_forever() {
        let store = MemoryStore::default();
        let mut lease = store.lease("job", "first", Duration::MAX).await.unwrap();
        store.renew(&mut lease, Duration::MAX).await.unwrap();
        assert!(lease.ends() > SystemTime::now());
    }

    #[test]
    fn a_holder_believes_in_the_end_that_is_written() {
        let now = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_999_999);
        let ends = end_after(now, TTL);
        let written = Versioned::new(write_time(ends), Revision::default());
        assert_eq!(read_time(&written), ends);
    }

    #[test]
    fn an_end_that_cannot_be_read_is_long_ago() {
        for end in [&b""[..], b"soon", &[0xff; 9]] {
            let end = Versioned::new(Bytes::copy_from_slice(end), Revision::default());
            assert_eq!(read_time(&end), UNIX_EPOCH);
        }
        let last = Versioned::new(Bytes::from_static(&[0xff; 8]), Revision::default());
        assert!(read_time(&last) >= UNIX_EPOCH);
    }
}
