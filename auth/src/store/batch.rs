//! What a commit does: puts and deletes, under conditions.

use bytes::Bytes;

use super::lease::{Lease, holder_key};
use super::{Revision, StoreError, Versioned};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The most puts and deletes of one batch, and the most conditions.
pub const MAX_OPERATIONS: usize = 1000;

/// The first byte of the store's own keys.
const OWN: u8 = 0;

/// Puts and deletes that happen together or not at all, if all conditions hold before the first.
///
/// They happen in the order given: of two puts to one key the second stays.
#[derive(Clone, Debug, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    conditions: Vec<(Bytes, Condition)>,
    operations: Vec<(Bytes, Operation)>,
    /// Set by this module's neighbours, which may write the store's own keys.
    own: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Condition {
    Absent,
    Present,
    At(Revision),
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put(Bytes),
    Delete,
}

impl Batch {
    /// A batch that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn own() -> Self {
        Self {
            own: true,
            ..Self::default()
        }
    }

    /// Writes `value` under `key`, whether or not something is there.
    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        let put = Operation::Put(value.into());
        self.operations.push((key.into(), put));
        self
    }

    /// Removes `key`. That nothing is there is no error.
    pub fn delete(mut self, key: impl Into<Bytes>) -> Self {
        self.operations.push((key.into(), Operation::Delete));
        self
    }

    /// Only if nothing is under `key`.
    pub fn if_absent(self, key: impl Into<Bytes>) -> Self {
        self.only(key.into(), Condition::Absent)
    }

    /// Only if something is under `key`.
    pub fn if_present(self, key: impl Into<Bytes>) -> Self {
        self.only(key.into(), Condition::Present)
    }

    /// Only if what is under `key` was written by the commit `revision`.
    pub fn if_revision(self, key: impl Into<Bytes>, revision: Revision) -> Self {
        self.only(key.into(), Condition::At(revision))
    }

    /// Only if nobody has taken `lease` over. A holder that slept through the end of its lease
    /// cannot write with this.
    pub fn if_leased(self, lease: &Lease) -> Self {
        self.only(holder_key(lease.name()), Condition::At(lease.token()))
    }

    /// Whether it writes or deletes a key that begins with `prefix`.
    pub fn touches(&self, prefix: &[u8]) -> bool {
        self.operations
            .iter()
            .any(|(key, _)| key.starts_with(prefix))
    }

    fn only(mut self, key: Bytes, condition: Condition) -> Self {
        self.conditions.push((key, condition));
        self
    }

    /// Refuses what no back end takes, before it costs anything.
    pub(super) fn check_limits(&self) -> Result<(), StoreError> {
        let most = self.operations.len().max(self.conditions.len());
        within("batch", "operations", most, MAX_OPERATIONS)?;
        for (key, _) in &self.conditions {
            within("key", "bytes", key.len(), MAX_KEY_BYTES)?;
        }
        for (key, operation) in &self.operations {
            within("key", "bytes", key.len(), MAX_KEY_BYTES)?;
            if let Operation::Put(value) = operation {
                within("value", "bytes", value.len(), MAX_VALUE_BYTES)?;
            }
            if key.first() == Some(&OWN) && !self.own {
                return Err(StoreError::ReservedKey { key: key.clone() });
            }
        }
        Ok(())
    }

    /// The first key whose condition does not hold, where `revision_of` says what the store has
    /// under a key.
    pub(super) fn unmet<E>(
        &self,
        mut revision_of: impl FnMut(&[u8]) -> Result<Option<Revision>, E>,
    ) -> Result<Option<Bytes>, E> {
        for (key, condition) in &self.conditions {
            let found = revision_of(key)?;
            let holds = match condition {
                Condition::Absent => found.is_none(),
                Condition::Present => found.is_some(),
                Condition::At(revision) => found == Some(*revision),
            };
            if !holds {
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }

    /// The keys whose revisions [`unmet`](Self::unmet) asks for.
    pub(super) fn condition_keys(&self) -> impl Iterator<Item = &Bytes> {
        self.conditions.iter().map(|(key, _)| key)
    }

    pub(super) fn operations(&self) -> &[(Bytes, Operation)] {
        &self.operations
    }

    /// About how much memory and file the batch takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        let weigh = |(key, operation): &(Bytes, Operation)| match operation {
            Operation::Put(value) => key.len() + value.len(),
            Operation::Delete => key.len(),
        };
        self.operations.iter().map(weigh).sum()
    }
}

pub(super) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    within("key", "bytes", key.len(), MAX_KEY_BYTES)
}

fn within(
    what: &'static str,
    unit: &'static str,
    size: usize,
    limit: usize,
) -> Result<(), StoreError> {
    if size <= limit {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        what,
        unit,
        size,
        limit,
    })
}

impl Versioned {
    pub(super) fn new(value: Bytes, revision: Revision) -> Self {
        Self { value, revision }
    }
}
