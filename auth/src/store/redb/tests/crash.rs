//! Killed at any moment, and out of room. The victim is this test binary, run once more with the
//! path of a store in its environment.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{Scratch, open};
use crate::store::{Batch, Range, Revision, Store, StoreError};

/// Tells the victim where its store is.
const STORE: &str = "PORTUNUS_TEST_STORE";
/// Keys of one batch.
const KEYS: usize = 5;
const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill() {
    let scratch = Scratch::new();
    drop(open(&scratch.store()).await);
    let mut acknowledged = BTreeMap::new();
    for round in 0..6 {
        let mut victim = victim("write_until_killed", &scratch.store(), None);
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let moment = fastrand::usize(1..60);
        let mut seen = 0;
        for line in lines {
            // What it said before it died counts as well, so this reads on to the end.
            let line = line.unwrap();
            let Some(name) = line.strip_prefix("done ") else {
                continue;
            };
            acknowledged.insert(name.to_owned(), round);
            seen += 1;
            if seen == moment {
                victim.kill().unwrap();
            }
        }
        assert!(
            !victim.wait().unwrap().success() && seen >= moment,
            "{seen} of {moment}"
        );
        check(&scratch.store(), &acknowledged).await;
    }
}

/// All that was acknowledged is there, and of each batch everything or nothing.
async fn check(path: &Path, acknowledged: &BTreeMap<String, usize>) {
    let store = open(path).await;
    let mut found: BTreeMap<String, Vec<(Revision, usize)>> = BTreeMap::new();
    let mut range = Range::prefix("b/");
    loop {
        let page = store.range(range.clone()).await.unwrap();
        for entry in page.entries {
            let key = String::from_utf8(entry.key.to_vec()).unwrap();
            let (name, _) = key.strip_prefix("b/").unwrap().split_once('/').unwrap();
            let of_batch = found.entry(name.to_owned()).or_default();
            of_batch.push((entry.revision, entry.value.len()));
        }
        let Some(next) = page.next else { break };
        range = range.after(next);
    }
    for (name, keys) in &found {
        assert_eq!(keys.len(), KEYS, "{name} is there in part");
        assert!(keys.iter().all(|key| *key == keys[0]), "{name}: {keys:?}");
    }
    for name in acknowledged.keys() {
        assert!(
            found.contains_key(name),
            "{name} was acknowledged and is gone"
        );
    }
}

/// Does nothing unless it runs in a process of its own, which another test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_until_killed() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let store = Arc::new(open(Path::new(&path)).await);
    let run = fastrand::u32(..);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0.. {
                    let name = format!("{run:08x}-{writer}-{number}");
                    store.commit(batch(&name)).await.unwrap();
                    println!("done {name}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn batch(name: &str) -> Batch {
    let size = fastrand::usize(0..5000);
    (0..KEYS).fold(Batch::new(), |batch, key| {
        batch.put(format!("b/{name}/{key}"), vec![b'x'; size])
    })
}

#[tokio::test]
async fn without_room_nothing_that_was_acknowledged_is_lost() {
    let scratch = Scratch::new();
    drop(open(&scratch.store()).await);
    let megabytes = 3;
    let victim = victim("write_until_full", &scratch.store(), Some(megabytes));
    let output = victim.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let lines = || text.lines();
    for said in ["full", "reads on", "writes on"] {
        assert!(lines().any(|line| line == said), "{said}: {text}");
    }
    let done = lines().filter_map(|line| line.strip_prefix("done "));
    let acknowledged: BTreeMap<_, _> = done.map(|name| (name.to_owned(), 0)).collect();
    assert!(!acknowledged.is_empty());
    check(&scratch.store(), &acknowledged).await;
}

/// Does nothing unless it runs in a process of its own, whose files cannot grow for a while.
#[tokio::test]
async fn write_until_full() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let store = open(Path::new(&path)).await;
    for number in 0.. {
        let name = format!("0-0-{number}");
        match store.commit(batch(&name)).await {
            Ok(_) => println!("done {name}"),
            Err(StoreError::OutOfDisk { .. }) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    println!("full");
    let page = store.range(Range::all().limit(1)).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    println!("reads on");

    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    setrlimit(Resource::Fsize, unlimited).unwrap();
    store.commit(batch("0-1-0")).await.unwrap();
    println!("done 0-1-0");
    println!("writes on");
}

/// This binary, running `test` on the store at `path`, with files of at most so many
/// megabytes.
fn victim(test: &str, path: &Path, file_limit: Option<u32>) -> Child {
    let binary = std::env::current_exe().unwrap();
    // The signal would end it before the write could fail.
    let limit = file_limit.map_or(String::new(), |megabytes| {
        format!(
            "trap '' XFSZ; ulimit -S -f {}; ",
            u64::from(megabytes) * 2048
        )
    });
    Command::new("sh")
        .arg("-c")
        .arg(format!("{limit}exec \"$0\" \"$@\""))
        .arg(binary)
        .args(["--nocapture", "--exact"])
        .arg(format!("store::redb::tests::crash::{test}"))
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
