//! The state everything rests on: ordered byte keys, versioned values.
//!
//! A [`Store`] answers [`get`](Store::get) and [`range`](Store::range), takes a [`Batch`] of puts and
//! deletes that happens as a whole or not at all ([`commit`](Store::commit)), hands out leases
//! ([`lease`](Store::lease)) and tells who asks which keys changed ([`watch`](Store::watch)).
//! A commit that was answered has reached the disk.
//!
//! [`MemoryStore`] forgets everything when it is dropped and is for tests; [`RedbStore`] is one file
//! of one process; [`PostgresStore`] is a database that many processes share.
//! All answer to one suite (`suite.rs`), which is the exact meaning of what is said here.
//!
//! Nothing on the path of a request reads the store: what requests need is held in memory as a
//! snapshot that a watch keeps fresh.

mod batch;
mod clock;
mod error;
mod lease;
mod memory;
mod postgres;
mod range;
mod redb;
#[cfg(test)]
mod suite;
mod watch;

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::batch::{Batch, MAX_KEY_BYTES, MAX_OPERATIONS, MAX_VALUE_BYTES};
pub use self::clock::{Clock, ManualClock, SystemClock};
pub use self::error::StoreError;
pub use self::lease::Lease;
pub use self::memory::MemoryStore;
pub use self::postgres::PostgresStore;
pub use self::range::{Entry, MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, Page, Range};
pub use self::redb::RedbStore;
pub use self::watch::{Change, MAX_PENDING_CHANGES, Watch};

/// What brought an empty store to the first format, in every back end.
const FIRST_MIGRATION: &str = "records-1";

/// Ordered keys with versioned values, shared as `Arc<dyn Store>`.
///
/// Keys order as bytes do. Keys that begin with a zero byte are the store's own: they can be read,
/// a batch that writes one is refused.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The value under `key`, as of the latest commit.
    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError>;

    /// A page of entries in the order of their keys, all as of one commit. The next page may see
    /// later ones.
    async fn range(&self, range: Range) -> Result<Page, StoreError>;

    /// Does everything in `batch`, or nothing of it, and returns once it is durable.
    ///
    /// Each commit has a revision greater than all before it. The error is
    /// [`StoreError::Conflict`] with the first key whose condition does not hold, and
    /// [`StoreError::TooLarge`] beyond [`MAX_KEY_BYTES`], [`MAX_VALUE_BYTES`] or [`MAX_OPERATIONS`].
    /// After any other error, or when the future is dropped, it is unknown whether the batch is in
    /// the store.
    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError>;

    /// Changes under `prefix`, beginning with the first commit after this call returns.
    async fn watch(&self, prefix: &[u8]) -> Result<Watch, StoreError>;

    /// The store's time, by which leases end.
    async fn now(&self) -> Result<SystemTime, StoreError>;

    /// Whether the store answers, soon: for health checks. The error says why it does not.
    async fn probe(&self) -> Result<(), StoreError> {
        self.get(b"").await.map(drop)
    }

    /// Whether the store's format includes the migration `name`: a deployment that needs one waits
    /// for it with this. The first of every back end is `records-1`.
    async fn has_migration(&self, name: &str) -> Result<bool, StoreError>;

    /// Takes the lease `name` for `ttl`, if nobody has it: [`StoreError::LeaseHeld`].
    ///
    /// `holder` says in that error, and to whoever looks, who has it. Asking again while one holds
    /// the lease is refused as well: two tasks with one name are still two.
    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, StoreError> {
        lease::acquire(self, name, holder, ttl).await
    }

    /// Makes `lease` end `ttl` from now. [`StoreError::LeaseLost`] if it has ended and somebody
    /// else has taken it, or it was released; a lease that ended unnoticed goes on.
    async fn renew(&self, lease: &mut Lease, ttl: Duration) -> Result<(), StoreError> {
        lease::renew(self, lease, ttl).await
    }

    /// Gives `lease` back before its time. A lease that was lost already is no error.
    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        lease::release(self, lease).await
    }
}

/// The number of a commit. Grows over the whole life of a store, also across restore.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(u64);

impl Revision {
    /// The revision as a number, to be kept or compared elsewhere.
    pub fn get(self) -> u64 {
        self.0
    }

    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl From<u64> for Revision {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value and the commit that wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned {
    pub value: Bytes,
    pub revision: Revision,
}
