//! A store in memory, for tests and for trying things out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::batch::{self, Operation};
use super::range::PageBuilder;
use super::watch::Watchers;
use super::{
    Batch, Clock, Entry, FIRST_MIGRATION, Page, Range, Revision, Store, StoreError, SystemClock,
    Versioned, Watch,
};

/// Keeps everything in memory; dropping it forgets everything.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    watchers: Watchers,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Bytes, Versioned>,
    revision: Revision,
}

impl MemoryStore {
    /// An empty store whose leases end by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            watchers: Watchers::default(),
            clock,
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        batch::check_key(key)?;
        Ok(self.state.lock().records.get(key).cloned())
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        range.check_limits()?;
        let mut page = PageBuilder::new(&range);
        let state = self.state.lock();
        let from = (Bound::Included(range.first()), Bound::Unbounded);
        for (key, versioned) in state.records.range::<[u8], _>(from) {
            let more = page.push(key, || Entry {
                key: key.clone(),
                value: versioned.value.clone(),
                revision: versioned.revision,
            });
            if !more {
                break;
            }
        }
        Ok(page.finish())
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        batch.check_limits()?;
        let revision = self.state.lock().apply(&batch)?;
        self.watchers.announce(&batch, revision);
        Ok(revision)
    }

    async fn watch(&self, prefix: &[u8]) -> Result<Watch, StoreError> {
        batch::check_key(prefix)?;
        Ok(self.watchers.subscribe(prefix))
    }

    async fn now(&self) -> Result<SystemTime, StoreError> {
        Ok(self.clock.now())
    }

    async fn has_migration(&self, name: &str) -> Result<bool, StoreError> {
        Ok(name == FIRST_MIGRATION)
    }
}

impl State {
    fn apply(&mut self, batch: &Batch) -> Result<Revision, StoreError> {
        let revision_of = |key: &[u8]| self.records.get(key).map(|found| found.revision);
        if let Some(key) = batch.unmet(|key| Ok::<_, StoreError>(revision_of(key)))? {
            return Err(StoreError::Conflict { key });
        }
        let revision = self.revision.next();
        self.revision = revision;
        for (key, operation) in batch.operations() {
            match operation {
                Operation::Put(value) => {
                    let versioned = Versioned::new(value.clone(), revision);
                    self.records.insert(key.clone(), versioned);
                }
                Operation::Delete => {
                    self.records.remove(key);
                }
            }
        }
        Ok(revision)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::store::ManualClock;
    use crate::store::suite::{Fixture, conformance};

    async fn fixture() -> Fixture {
        let clock = ManualClock::at(UNIX_EPOCH);
        Fixture {
            store: Arc::new(MemoryStore::new(Arc::new(clock.clone()))),
            clock,
            _keep: Box::new(()),
        }
    }

    conformance!(fixture);
}
