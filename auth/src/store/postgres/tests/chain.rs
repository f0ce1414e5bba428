//! Two processes that append to one audit chain. Each is this test binary, run once more with the
//! address of the database in its environment.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use super::{Cluster, PostgresStore, connect};
use crate::audit::Id;
use crate::audit::tests::contend::{ROWS, append_all, verify};

/// Tells the process where the database is.
const DATABASE: &str = "PORTUNUS_TEST_DATABASE";

#[tokio::test]
async fn two_processes_never_fork_a_chain() {
    let cluster = Cluster::start();
    let mut gateways = [Gateway::start(&cluster), Gateway::start(&cluster)];
    gateways.iter_mut().for_each(Gateway::go);
    let mut numbers = BTreeSet::new();
    for mut gateway in gateways {
        while let Some(number) = gateway.next() {
            assert!(numbers.insert(number), "{number} was given twice");
        }
        assert!(gateway.process.wait().unwrap().success());
    }
    assert!(numbers.into_iter().eq(1..=2 * ROWS));
    let report = verify(connect(&cluster).await).await;
    assert!(report.valid, "{report:?}");
    assert_eq!(report.entries, 2 * ROWS);
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_the_chain_whole() {
    let cluster = Cluster::start();
    let [mut killed, mut other] = [Gateway::start(&cluster), Gateway::start(&cluster)];
    killed.go();
    other.go();
    let mut last = 0;
    for _ in 0..fastrand::usize(1..500) {
        last = last.max(killed.next().unwrap());
    }
    killed.process.kill().unwrap();
    killed.process.wait().unwrap();
    // What it said before it died counts as well.
    while let Some(number) = killed.next() {
        last = last.max(number);
    }
    let mut others = 0;
    while let Some(number) = other.next() {
        last = last.max(number);
        others += 1;
    }
    assert!(other.process.wait().unwrap().success());
    assert_eq!(others, ROWS);
    let report = verify(connect(&cluster).await).await;
    assert!(report.valid && report.entries >= last, "{last}: {report:?}");
}

/// Another process.
struct Gateway {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Gateway {
    /// Started and connected, but not appending yet.
    fn start(cluster: &Cluster) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "--exact"])
            .arg("store::postgres::tests::chain::append_when_told")
            .env(DATABASE, cluster.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut gateway = Self { process, said };
        assert!(gateway.line("ready").is_some());
        gateway
    }

    fn go(&mut self) {
        let mut told = self.process.stdin.take().unwrap();
        writeln!(told, "go").unwrap();
    }

    /// The number of the next row it appended, or `None` after the last.
    fn next(&mut self) -> Option<u64> {
        self.line("done ").map(|number| number.parse().unwrap())
    }

    /// What follows `start` in the next line that begins with it.
    fn line(&mut self, start: &str) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The test runner's own words end without a line of their own.
            if let Some(place) = line.find(start) {
                return Some(line[place + start.len()..].trim_end().to_owned());
            }
        }
    }
}

/// Does nothing unless it runs in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_when_told() {
    let Some(url) = std::env::var_os(DATABASE) else {
        return;
    };
    let store = PostgresStore::connect(url.to_str().unwrap()).await.unwrap();
    println!("ready");
    let mut told = String::new();
    std::io::stdin().read_line(&mut told).unwrap();
    append_all(Arc::new(store), |Id(number)| println!("done {number}")).await;
}
