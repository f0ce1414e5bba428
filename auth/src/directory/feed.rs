//! The task that keeps the maps as the store is.
//!
//! It takes all changes that wait, reads each record as it is now, and then says up to which commit
//! the maps are. When the watch lost some, it reads everything again.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::Directory;
use super::load::{Item, Name, Writer, read_page};
use crate::identity::IdentityError;
use crate::record::RecordError;
use crate::record::layout::WATCHED;
use crate::store::{Batch, Change, Clock, Range, Revision, Store, StoreError, Watch};

/// Records read from the store at the same time.
const READS: usize = 32;
/// How long to wait before a store that failed is asked again; doubles up to the second.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How far the maps are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) seen: Revision,
    /// Nothing more will be seen.
    pub(super) stopped: bool,
}

/// The running task. Dropping it stops the task.
#[derive(Debug)]
pub(crate) struct Feeder {
    task: JoinHandle<()>,
}

impl Feeder {
    /// Loads a directory from `store` and keeps it fresh from then on.
    pub(crate) async fn start(
        store: &Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        idle: Duration,
    ) -> Result<(Directory, Self), IdentityError> {
        let directory = Directory::new(idle, clock);
        let watch = store.watch(WATCHED).await?;
        let mut writer = Writer::new(directory.clone());
        load(&**store, &mut writer, None).await?;
        writer.announcing = true;
        let stop = Stopping(directory.clone());
        let task = tokio::spawn(follow(Arc::downgrade(store), watch, writer, stop));
        Ok((directory, Self { task }))
    }
}

impl Feeder {
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Says that the directory is fed no longer, however the task ends.
struct Stopping(Directory);

impl Drop for Stopping {
    fn drop(&mut self) {
        let stopped = |progress: &mut Progress| progress.stopped = true;
        self.0.0.progress.send_modify(stopped);
    }
}

async fn follow(store: Weak<dyn Store>, mut watch: Watch, mut writer: Writer, stop: Stopping) {
    while let Some(first) = watch.next().await {
        let mut changes = vec![first];
        while let Some(Some(change)) = watch.next().now_or_never() {
            changes.push(change);
        }
        let mut pause = PAUSE;
        let seen = loop {
            let Some(store) = store.upgrade() else {
                return;
            };
            match apply(&*store, &changes, &mut writer).await {
                Ok(seen) => break seen,
                Err(error) => {
                    tracing::warn!(%error, "what changed in the store cannot be read; trying again");
                }
            }
            drop(store);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        stop.0.0.progress.send_modify(|progress| {
            progress.seen = progress.seen.max(seen);
        });
    }
}

/// Brings the maps up to date with `changes`; returns the commit they are then at.
async fn apply(
    store: &dyn Store,
    changes: &[Change],
    writer: &mut Writer,
) -> Result<Revision, IdentityError> {
    let mut seen = Revision::default();
    let mut names: Vec<(Name, Bytes)> = Vec::with_capacity(changes.len());
    for change in changes {
        match change {
            Change::Lagged => return reload(store, writer).await,
            Change::Key { key, revision } => {
                seen = seen.max(*revision);
                names.extend(Name::of(key).map(|name| (name, key.clone())));
            }
        }
    }
    let reads = names.into_iter().map(|(name, key)| async move {
        let found = store.get(&key).await;
        (name, key, found)
    });
    let mut reads = stream::iter(reads).buffered(READS);
    while let Some((name, key, found)) = reads.next().await {
        let item = match found? {
            Some(found) => Item::read(&key, &found.value),
            None => Ok(None),
        };
        let put = item.and_then(|item| match item {
            Some(item) => writer.put(item),
            None => {
                writer.remove(name);
                Ok(())
            }
        });
        if let Err(error) = put {
            // Whoever it was is let in no longer: nobody knows what they may do.
            tracing::error!(%error, "a record that changed is refused");
            writer.remove(name);
        }
    }
    Ok(seen)
}

/// Reads everything again, after an unknown number of changes.
async fn reload(store: &dyn Store, writer: &mut Writer) -> Result<Revision, IdentityError> {
    // A commit of nothing has a revision after all that were lost.
    let seen = store.commit(Batch::new()).await?;
    let mut names = HashSet::new();
    load(store, writer, Some(&mut names)).await?;
    writer.keep_only(&names);
    writer.announce_everything();
    Ok(seen)
}

/// Reads everything; leaves the names of all there is in `names`.
///
/// One page is read from the store while another is decoded and a third put into the maps.
async fn load(
    store: &dyn Store,
    writer: &mut Writer,
    mut names: Option<&mut HashSet<Name>>,
) -> Result<(), IdentityError> {
    let mut put = |items: Vec<Item>| {
        for item in items {
            if let Some(names) = &mut names {
                names.insert(item.name());
            }
            writer.put(item)?;
        }
        Ok::<_, IdentityError>(())
    };
    let mut range = Some(Range::prefix(WATCHED));
    let mut decoding: Option<JoinHandle<_>> = None;
    let mut decoded = Vec::new();
    while let Some(wanted) = range.take() {
        let (page, put) = tokio::join!(store.range(wanted), async {
            put(std::mem::take(&mut decoded))
        });
        put?;
        let page = page?;
        range = page.next.map(|next| Range::prefix(WATCHED).after(next));
        let next = spawn_blocking(move || read_page(&page.entries));
        if let Some(before) = decoding.replace(next) {
            decoded = finished(before).await?;
        }
    }
    put(decoded)?;
    if let Some(last) = decoding {
        put(finished(last).await?)?;
    }
    Ok(())
}

async fn finished(
    decoding: JoinHandle<Result<Vec<Item>, RecordError>>,
) -> Result<Vec<Item>, IdentityError> {
    match decoding.await {
        Ok(items) => Ok(items?),
        Err(error) => Err(StoreError::Unreachable {
            detail: error.to_string(),
        }
        .into()),
    }
}
