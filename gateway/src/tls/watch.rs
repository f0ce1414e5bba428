//! Keeps what is served up to date: PEM files that somebody replaces, and what time makes due.
//!
//! Polling, because it is the same on every file system and follows the symbolic links that
//! Kubernetes and certbot swap. A changed pair is loaded and proven, then a new snapshot takes the
//! place of the old one. A pair that cannot be loaded is looked at once more on the next tick (the
//! two files of a pair never change at the same instant), then reported once, and what was loaded
//! before stays in use.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{
    Tls, TlsError,
    files::{Pair, Stamp},
};
use crate::config::CertificateFiles;

/// Nothing is gained by looking more often.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

impl Tls {
    /// Looks at the files every `interval`, and renews what the internal CA has issued, until
    /// `stop` is cancelled.
    pub async fn watch(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        let mut watcher = Watcher::default();
        let mut ticks = tokio::time::interval(interval.max(SHORTEST_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let tls = Arc::clone(&self);
            // A network file system may hang, and signing takes a moment.
            let polled = tokio::task::spawn_blocking(move || {
                let notices = watcher.poll_once(&tls, SystemTime::now());
                (watcher, notices)
            });
            match polled.await {
                Ok((back, notices)) => {
                    watcher = back;
                    notices.iter().for_each(Notice::log);
                }
                Err(error) => {
                    tracing::error!(%error, "looking for changed certificates failed");
                    watcher = Watcher::default();
                }
            }
        }
    }
}

/// What the operator should hear about.
#[derive(Debug)]
pub(super) enum Notice {
    /// A changed pair is in use now.
    Loaded(CertificateFiles),
    /// A changed pair is broken; the one loaded before stays in use.
    Broken(TlsError),
    /// Nothing could be put in place of what is in use.
    Failed(TlsError),
}

impl Notice {
    fn log(&self) {
        match self {
            Self::Loaded(files) => tracing::info!(
                cert = %files.cert.display(),
                key = %files.key.display(),
                "the certificate has changed; the new one is in use"
            ),
            Self::Broken(error) => tracing::error!(
                %error,
                "a changed certificate cannot be used; the one loaded before stays in use"
            ),
            Self::Failed(error) => tracing::error!(
                %error,
                "certificates cannot be renewed; those in use stay"
            ),
        }
    }
}

/// What is remembered between two looks.
#[derive(Default)]
pub(super) struct Watcher {
    troubles: HashMap<CertificateFiles, Trouble>,
}

/// A state of two files that could not be loaded.
struct Trouble {
    stamp: Stamp,
    reported: bool,
}

impl Watcher {
    /// One look. Replaces the snapshot of `tls` if something has changed or is due at `now`.
    pub(super) fn poll_once(&mut self, tls: &Tls, now: SystemTime) -> Vec<Notice> {
        let current = tls.resolver.0.load_full();
        self.troubles
            .retain(|files, _| current.pairs.iter().any(|pair| pair.files == *files));
        let mut notices = Vec::new();
        let mut changed = false;
        let mut pairs = Vec::with_capacity(current.pairs.len());
        for pair in &current.pairs {
            let replaced = self.look(pair, &mut notices);
            changed |= replaced.is_some();
            pairs.push(replaced.unwrap_or_else(|| pair.clone()));
        }
        if changed || current.is_due(now) {
            match current.next(pairs, now) {
                Ok(next) => tls.replace(&current, next),
                Err(error) => notices.push(Notice::Failed(error)),
            }
        }
        notices
    }

    /// The pair to use from now on, if it is not the one that was.
    fn look(&mut self, pair: &Pair, notices: &mut Vec<Notice>) -> Option<Pair> {
        let files = &pair.files;
        let stamp = Stamp::of(files);
        if stamp == pair.stamp {
            self.troubles.remove(files);
            return None;
        }
        let before = self.troubles.get(files).filter(|it| it.stamp == stamp);
        if before.is_some_and(|trouble| trouble.reported) {
            return None;
        }
        match Pair::load(files) {
            Ok(new) => {
                self.troubles.remove(files);
                if !new.certificate.same_chain(&pair.certificate) {
                    notices.push(Notice::Loaded(files.clone()));
                }
                Some(new)
            }
            Err(error) => {
                let reported = before.is_some();
                if reported {
                    notices.push(Notice::Broken(error));
                }
                self.troubles
                    .insert(files.clone(), Trouble { stamp, reported });
                None
            }
        }
    }
}
