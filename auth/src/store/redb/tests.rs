//! What only a file can do: be locked, damaged, too new, full, killed under, copied.

mod crash;
mod damage;
mod group;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::RedbStore;
use crate::store::ManualClock;
use crate::store::suite::{Fixture, conformance};

conformance!(fixture);

async fn fixture() -> Fixture {
    let scratch = Scratch::new();
    let clock = ManualClock::at(UNIX_EPOCH);
    let store = RedbStore::open_with_clock(scratch.store(), Arc::new(clock.clone()));
    Fixture {
        store: Arc::new(store.await.unwrap()),
        clock,
        _keep: Box::new(scratch),
    }
}

/// A fresh directory, removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("portunus-store-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.path("store.redb")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(path: &Path) -> RedbStore {
    RedbStore::open(path).await.unwrap()
}
