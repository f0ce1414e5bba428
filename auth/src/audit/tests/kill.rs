//! Killed at any moment: every row that was answered is there, and the chain is whole.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{event, master};
use crate::audit::Chain;
use crate::store::{RedbStore, SystemClock};

/// Tells the victim where its store is.
const STORE: &str = "PORTUNUS_TEST_AUDIT";

/// A fresh directory, removed with the value.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        let name = format!("portunus-audit-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(path: &Path) -> Chain {
    let store = RedbStore::open(path).await.unwrap();
    let clock = Arc::new(SystemClock);
    let chain = Chain::open(Arc::new(store), &master(), clock, Chain::DEFAULT).await;
    chain.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_survives_a_kill() {
    let scratch = Scratch::new();
    let mut last = 0;
    for _ in 0..4 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "--exact"])
            .arg("audit::tests::kill::record_until_killed")
            .env(STORE, scratch.store())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let moment = fastrand::usize(1..80);
        let mut seen = 0;
        for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(id) = line.strip_prefix("done ") else {
                continue;
            };
            last = last.max(id.parse().unwrap());
            seen += 1;
            if seen == moment {
                victim.kill().unwrap();
            }
        }
        assert!(!victim.wait().unwrap().success() && seen >= moment);
        let store = Arc::new(RedbStore::open(scratch.store()).await.unwrap());
        let report = super::contend::verify(store).await;
        assert!(report.valid && report.entries >= last, "{last}: {report:?}");
    }
}

/// Does nothing unless it runs in a process of its own, which another test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_until_killed() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let chain = open(Path::new(&path)).await;
    let mut writers = JoinSet::<()>::new();
    for number in 0..8 {
        let chain = chain.clone();
        writers.spawn(async move {
            loop {
                let id = chain.append(event(number)).await.unwrap();
                println!("done {id}");
            }
        });
    }
    writers.join_all().await;
}
