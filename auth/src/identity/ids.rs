//! Numbers for records, from counters in the store.
//!
//! Numbers are taken some at a time, so that many creations at once do not meet at the counter; those
//! left over when the program ends are never given.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::IdentityError;
use super::retry::Tries;
use crate::record::{self, Record, layout};
use crate::store::{Batch, Store};

/// Numbers that are taken at a time.
const BLOCK: u64 = 16;

#[derive(Debug)]
pub(super) struct Counters {
    store: Arc<dyn Store>,
    pub(super) users: Counter,
    pub(super) keys: Counter,
    pub(super) sessions: Counter,
    pub(super) tunnels: Counter,
}

#[derive(Debug)]
pub(super) struct Counter {
    kind: &'static str,
    taken: Mutex<Range<u64>>,
}

#[derive(Deserialize, Serialize)]
struct Next {
    next: u64,
}

impl Record for Next {
    const VERSION: u32 = 1;
}

impl Counters {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let counter = |kind| Counter {
            kind,
            taken: Mutex::new(0..0),
        };
        Self {
            store,
            users: counter("user"),
            keys: counter("key"),
            sessions: counter("session"),
            tunnels: counter("tunnel"),
        }
    }

    /// A number nobody was given before.
    pub(super) async fn next(&self, counter: &Counter) -> Result<u64, IdentityError> {
        let mut taken = counter.taken.lock().await;
        if let Some(id) = taken.next() {
            return Ok(id);
        }
        let mut tries = Tries::default();
        loop {
            match self.take(counter.kind).await {
                Ok(block) => *taken = block,
                Err(error) => {
                    tries.again(error).await?;
                    continue;
                }
            }
            if let Some(id) = taken.next() {
                return Ok(id);
            }
        }
    }

    async fn take(&self, kind: &str) -> Result<Range<u64>, IdentityError> {
        let key = layout::counter(kind);
        let (batch, next) = match self.store.get(&key).await? {
            None => (Batch::new().if_absent(key.clone()), 1),
            Some(found) => (
                Batch::new().if_revision(key.clone(), found.revision),
                record::decode::<Next>(&key, &found.value)?.next,
            ),
        };
        let end = next + BLOCK;
        let value = record::encode(&Next { next: end });
        self.store.commit(batch.put(key, value)).await?;
        Ok(next..end)
    }
}
