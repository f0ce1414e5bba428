//! Telling who asks which keys changed.
//!
//! A writer leaves the keys of its commit in each watcher's set and goes on; it never waits. A key
//! that changes again before the watcher looked is told once, with the last revision. A watcher that
//! falls behind by [`MAX_PENDING_CHANGES`] keys loses the set and is told [`Change::Lagged`]: it
//! reads again what it cares for, and misses nothing by it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;

use super::{Batch, Revision};

/// How many changed keys are kept for a watcher that does not look.
pub const MAX_PENDING_CHANGES: usize = 4096;

/// Something changed. It says where to look, not what is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// The key was written or deleted, last by this commit.
    Key { key: Bytes, revision: Revision },
    /// More changed than was kept: read everything again.
    Lagged,
}

/// The changes under a prefix: a [`Stream`] that ends when the store is closed.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    /// Taken from the shared set, in the order of revisions.
    taken: VecDeque<Change>,
}

impl Watch {
    /// Waits for the next change. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        poll_fn(|context| self.poll_change(context)).await
    }

    fn poll_change(&mut self, context: &mut Context<'_>) -> Poll<Option<Change>> {
        if let Some(change) = self.taken.pop_front() {
            return Poll::Ready(Some(change));
        }
        let (pending, lagged) = {
            let mut state = self.shared.state.lock();
            if state.pending.is_empty() && !state.lagged {
                if state.closed {
                    return Poll::Ready(None);
                }
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            let lagged = std::mem::take(&mut state.lagged);
            (std::mem::take(&mut state.pending), lagged)
        };
        let mut pending: Vec<_> = pending.into_iter().collect();
        pending.sort_unstable_by_key(|(_, revision)| *revision);
        if lagged {
            self.taken.push_back(Change::Lagged);
        }
        let changes = pending.into_iter();
        self.taken
            .extend(changes.map(|(key, revision)| Change::Key { key, revision }));
        Poll::Ready(self.taken.pop_front())
    }
}

impl Stream for Watch {
    type Item = Change;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        self.get_mut().poll_change(context)
    }
}

/// Everybody who watches a store. Dropping it ends the watches.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    list: Mutex<Vec<Weak<Shared>>>,
}

impl Watchers {
    pub(super) fn subscribe(&self, prefix: &[u8]) -> Watch {
        self.subscribe_after(prefix, Revision::default())
    }

    /// A watch that is told of commits after `revision` only, when earlier ones may be announced
    /// later.
    pub(super) fn subscribe_after(&self, prefix: &[u8], revision: Revision) -> Watch {
        let shared = Arc::new(Shared {
            prefix: Bytes::copy_from_slice(prefix),
            state: Mutex::new(State {
                after: revision,
                ..State::default()
            }),
        });
        let mut list = self.list.lock();
        list.retain(|watcher| watcher.strong_count() > 0);
        list.push(Arc::downgrade(&shared));
        Watch {
            shared,
            taken: VecDeque::new(),
        }
    }

    /// Tells of a commit. To be called after a reader can see it and before the writer is answered.
    pub(super) fn announce(&self, batch: &Batch, revision: Revision) {
        let keys = batch.operations().iter();
        self.announce_all(&keys.map(|(key, _)| (key, revision)));
    }

    /// Tells of the commits that last changed these keys.
    pub(super) fn announce_all<'a>(
        &self,
        changes: &(impl Iterator<Item = (&'a Bytes, Revision)> + Clone),
    ) {
        for watcher in self.list.lock().iter().filter_map(Weak::upgrade) {
            watcher.announce(changes.clone());
        }
    }

    /// Tells everybody to read again, when it is unknown what was committed.
    pub(super) fn announce_unknown(&self) {
        for watcher in self.list.lock().iter().filter_map(Weak::upgrade) {
            let mut state = watcher.state.lock();
            state.lagged = true;
            // The store may be an older one now, which counts from there.
            state.after = Revision::default();
            state.wake();
        }
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for watcher in self.list.get_mut().iter().filter_map(Weak::upgrade) {
            let mut state = watcher.state.lock();
            state.closed = true;
            state.wake();
        }
    }
}

#[derive(Debug)]
struct Shared {
    prefix: Bytes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Commits up to this one are not told.
    after: Revision,
    pending: HashMap<Bytes, Revision>,
    lagged: bool,
    closed: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn announce<'a>(&self, changes: impl Iterator<Item = (&'a Bytes, Revision)>) {
        let mut state = self.state.lock();
        for (key, revision) in changes {
            if key.starts_with(&self.prefix) && revision > state.after {
                state.add(key, revision);
            }
        }
        if !state.pending.is_empty() || state.lagged {
            state.wake();
        }
    }
}

impl State {
    fn add(&mut self, key: &Bytes, revision: Revision) {
        let count = self.pending.len();
        match self.pending.entry(key.clone()) {
            Entry::Occupied(mut last) => {
                let last = last.get_mut();
                *last = revision.max(*last);
            }
            Entry::Vacant(_) if count >= MAX_PENDING_CHANGES => {
                // The watcher reads everything after `Lagged`, this key and all others included.
                self.pending = HashMap::new();
                self.lagged = true;
            }
            Entry::Vacant(slot) => {
                slot.insert(revision);
            }
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
