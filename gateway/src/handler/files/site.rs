//! The root of a server over time.
//!
//! In: the path from the configuration. Out: the directory that is there now. Names are resolved
//! below an open directory, which would go on naming the old files after a deployment has put a
//! new directory in its place (`ln -sfn`, `rm -rf dist && build`). So once in [`RECHECK`] a
//! request looks whether the path still leads to the same directory. While it leads nowhere, the
//! last one stays.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use rustix::io::Errno;

use super::{find::Names, open::Root};

/// How long a replaced root may go on being served.
pub(super) const RECHECK: Duration = Duration::from_secs(1);

/// A root directory and the names that have a meaning below it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) names: Names,
    path: PathBuf,
    root: ArcSwap<Root>,
    recheck: Duration,
    start: Instant,
    /// Nanoseconds after `start` when somebody should look at the path again.
    due: AtomicU64,
}

impl Site {
    pub(super) fn new(path: PathBuf, root: Root, names: Names, recheck: Duration) -> Self {
        let (start, due) = (Instant::now(), AtomicU64::new(nanoseconds(recheck)));
        Self {
            names,
            path,
            root: ArcSwap::from_pointee(root),
            recheck,
            start,
            due,
        }
    }

    /// Not to be kept across an await.
    pub(super) fn root(&self) -> Guard<Arc<Root>> {
        self.root.load()
    }

    /// True for one caller per interval, who is to call [`Self::follow`] where waiting is allowed.
    pub(super) fn recheck_due(&self) -> bool {
        let now = self.start.elapsed();
        let due = self.due.load(Ordering::Relaxed);
        nanoseconds(now) >= due
            && self
                .due
                .compare_exchange(
                    due,
                    nanoseconds(now + self.recheck),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Opens what the path leads to, if that is another directory than before. May wait.
    pub(super) fn follow(&self) {
        match self.newer_root() {
            Ok(None) => {}
            Ok(Some(root)) => {
                tracing::info!(root = %self.path.display(), "the files were replaced by another directory");
                self.root.store(Arc::new(root));
            }
            Err(errno) => {
                tracing::debug!(root = %self.path.display(), %errno, "the files are gone, keeping the last directory");
            }
        }
    }

    fn newer_root(&self) -> Result<Option<Root>, Errno> {
        if self.root().is_at(&self.path)? {
            return Ok(None);
        }
        Root::open(&self.path).map(Some)
    }
}

/// 64 bits hold 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
