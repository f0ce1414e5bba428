//! Files that cannot be opened, backups, and a disk that is full.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::super::file::{self, File, LibraryError, META, RECORDS};
use super::{RedbStore, Scratch, open};
use crate::store::{Batch, Change, Range, Store, StoreError};

fn put(key: &'static str, value: &'static str) -> Batch {
    Batch::new().put(key, value)
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let scratch = Scratch::new();
    let store = open(&scratch.store()).await;
    let revision = store.commit(put("k", "v")).await.unwrap();
    drop(store);

    let store = open(&scratch.store()).await;
    let found = store.get(b"k").await.unwrap().unwrap();
    assert_eq!((&*found.value, found.revision), (&b"v"[..], revision));
    assert!(store.commit(put("k", "v")).await.unwrap() > revision);
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_the_only_one() {
    let scratch = Scratch::new();
    let _store = open(&scratch.store()).await;
    let mode = fs::metadata(scratch.store()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(scratch.names(), ["store.redb"]);
}

#[tokio::test]
async fn a_second_open_says_that_the_store_is_locked() {
    let scratch = Scratch::new();
    let store = open(&scratch.store()).await;
    let error = RedbStore::open(scratch.store()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Locked { path } if *path == scratch.store()));
    assert!(
        error
            .to_string()
            .contains("another process has this store open")
    );
    drop(store);
    open(&scratch.store()).await;
}

#[tokio::test]
async fn of_many_who_make_the_store_at_once_one_has_it() {
    let scratch = Scratch::new();
    let opening = (0..8).map(|_| tokio::spawn(RedbStore::open(scratch.store())));
    let opening: Vec<_> = opening.collect();
    let mut stores = Vec::new();
    for opened in opening {
        match opened.await.unwrap() {
            Ok(store) => stores.push(store),
            Err(error) => assert!(matches!(error, StoreError::Locked { .. }), "{error}"),
        }
    }
    assert_eq!(stores.len(), 1);
    stores[0].commit(put("k", "v")).await.unwrap();
    assert_eq!(scratch.names(), ["store.redb"]);
}

#[tokio::test]
async fn a_crash_while_the_store_was_made_is_made_good() {
    let scratch = Scratch::new();
    fs::write(scratch.path("store.redb.new"), "half a file").unwrap();
    let store = open(&scratch.store()).await;
    store.commit(put("k", "v")).await.unwrap();
    assert_eq!(scratch.names(), ["store.redb"]);
}

#[tokio::test]
async fn a_directory_that_is_missing_is_named() {
    let scratch = Scratch::new();
    let path = scratch.path("missing/store.redb");
    let error = RedbStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("missing/store.redb"), "{error}");
}

#[tokio::test]
async fn what_is_not_a_store_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    for content in [&b""[..], b"\n", b"# notes\n", &[0; 8192], &[0xff; 100_000]] {
        fs::write(scratch.store(), content).unwrap();
        let error = RedbStore::open(scratch.store()).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert_eq!(fs::read(scratch.store()).unwrap(), content);
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let scratch = Scratch::new();
    drop(Database::create(scratch.store()).unwrap());
    let error = RedbStore::open(scratch.store()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, StoreError::Corrupt { .. }) && text.contains("format"),
        "{text}"
    );
}

/// Cut or with bytes changed, a file is refused, or what is whole of it is read.
#[tokio::test]
async fn damage_is_an_error_and_never_a_panic() {
    let scratch = Scratch::new();
    let store = open(&scratch.store()).await;
    for number in 0..50 {
        let batch = Batch::new().put(format!("k/{number}"), vec![number; 3000]);
        store.commit(batch).await.unwrap();
    }
    drop(store);
    let whole = fs::read(scratch.store()).unwrap();
    let random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for round in 0..60 {
        let damaged = damage(&whole, round, random.clone());
        fs::write(scratch.store(), damaged).unwrap();
        let outcome = match RedbStore::open(scratch.store()).await {
            Ok(store) => read_and_write(&store).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            refused += 1;
        }
    }
    assert!(refused >= 20, "cut files at the least: {refused}");
}

fn damage(whole: &[u8], round: usize, mut random: fastrand::Rng) -> Vec<u8> {
    for _ in 0..round {
        random.u64(..);
    }
    let mut bytes = whole.to_vec();
    match round % 3 {
        0 => bytes.truncate(random.usize(0..whole.len())),
        1 => bytes[random.usize(0..512)] ^= random.u8(1..),
        _ => {
            let at = random.usize(0..whole.len() - 4096);
            random.fill(&mut bytes[at..at + 4096]);
        }
    }
    bytes
}

async fn read_and_write(store: &RedbStore) -> Result<(), StoreError> {
    store.range(Range::all()).await?;
    store.get(b"k/7").await?;
    store.commit(put("k/7", "new")).await?;
    Ok(())
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let scratch = Scratch::new();
    drop(open(&scratch.store()).await);
    set_format(&scratch, 9);
    let error = RedbStore::open(scratch.store()).await.unwrap_err();
    let known = matches!(
        error,
        StoreError::NewerFormat {
            found: 9,
            known: 1,
            ..
        }
    );
    assert!(known, "{error:?}");
    assert!(error.to_string().contains("newer version of this program"));
}

fn set_format(scratch: &Scratch, format: u64) {
    let database = Database::open(scratch.store()).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut meta = transaction.open_table(META).unwrap();
    meta.insert("format", format).unwrap();
    drop(meta);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn migrations_run_once_and_in_order() {
    let scratch = Scratch::new();
    drop(open(&scratch.store()).await);
    let steps: [file::Migration; 3] = [
        |transaction| append(transaction, b'1'),
        |transaction| append(transaction, b'2'),
        |transaction| append(transaction, b'3'),
    ];
    for known in [1, 3, 3] {
        let database = file::open(&scratch.store(), &steps[..known]).unwrap();
        drop(database);
    }
    let database = Database::open(scratch.store()).unwrap();
    let records = database.begin_read().unwrap().open_table(RECORDS).unwrap();
    let found = records.get(&b"k"[..]).unwrap().unwrap();
    assert_eq!(found.value().1, b"123");
}

fn append(transaction: &redb::WriteTransaction, letter: u8) -> Result<(), LibraryError> {
    let mut records = transaction.open_table(RECORDS)?;
    let mut value = match records.get(&b"k"[..])? {
        Some(found) => found.value().1.to_vec(),
        None => Vec::new(),
    };
    value.push(letter);
    records.insert(&b"k"[..], (1, &value[..]))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_one_moment_while_writers_write() {
    let scratch = Scratch::new();
    let store = std::sync::Arc::new(open(&scratch.store()).await);
    store.commit(pair(0)).await.unwrap();
    let writer = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move {
            for number in 1..300 {
                store.commit(pair(number)).await.unwrap();
            }
        }
    });
    for round in 0..5 {
        let to = scratch.path(&format!("backup-{round}"));
        let revision = store.backup(&to).await.unwrap();
        let copy = open(&to).await;
        let first = copy.get(b"first").await.unwrap().unwrap();
        assert_eq!(copy.get(b"second").await.unwrap().unwrap(), first);
        assert_eq!(first.revision, revision);
    }
    writer.await.unwrap();
}

fn pair(number: u32) -> Batch {
    let value = number.to_string();
    Batch::new()
        .put("first", value.clone())
        .put("second", value)
}

#[tokio::test]
async fn a_backup_is_restored_with_greater_revisions() {
    let scratch = Scratch::new();
    let store = open(&scratch.store()).await;
    let mut batch = Batch::new();
    for number in 0..1000 {
        batch = batch.put(format!("k/{number}"), number.to_string());
    }
    store.commit(batch).await.unwrap();
    store.commit(put("one more", "than a chunk")).await.unwrap();
    let backup = scratch.path("backup");
    store.backup(&backup).await.unwrap();
    let later = store.commit(put("later", "")).await.unwrap();
    let expected = store.range(Range::prefix("k/")).await.unwrap().entries;

    let restored = scratch.path("restored.redb");
    RedbStore::restore(&backup, &restored).await.unwrap();
    let restored = open(&restored).await;
    assert_eq!(
        restored.range(Range::prefix("k/")).await.unwrap().entries,
        expected
    );
    assert!(restored.get(b"one more").await.unwrap().is_some());
    assert!(restored.get(b"later").await.unwrap().is_none());
    assert!(restored.commit(put("k", "")).await.unwrap() > later);
    assert_eq!(scratch.names(), ["backup", "restored.redb", "store.redb"]);
}

#[tokio::test]
async fn backup_and_restore_overwrite_nothing() {
    let scratch = Scratch::new();
    let store = open(&scratch.store()).await;
    let backup = scratch.path("backup");
    store.backup(&backup).await.unwrap();
    for outcome in [
        store.backup(&backup).await,
        RedbStore::restore(&backup, &scratch.store()).await,
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    }
    let error = RedbStore::restore(&scratch.store(), &scratch.path("copy")).await;
    assert!(
        matches!(error, Err(StoreError::Locked { .. })),
        "a store at work: {error:?}"
    );
}

#[tokio::test]
async fn a_backup_that_is_damaged_is_not_restored() {
    let scratch = Scratch::new();
    let backup = scratch.path("backup");
    for content in [&b""[..], b"not a backup"] {
        fs::write(&backup, content).unwrap();
        let error = RedbStore::restore(&backup, &scratch.store())
            .await
            .unwrap_err();
        let blamed = matches!(&error, StoreError::Corrupt { path, .. } if *path == backup);
        assert!(blamed, "{error:?}");
    }
    assert_eq!(scratch.names(), ["backup"]);
}

#[tokio::test]
async fn a_store_that_failed_is_opened_anew() {
    let scratch = Scratch::new();
    let store = open(&scratch.store()).await;
    store.commit(put("k", "v")).await.unwrap();
    let mut watch = store.watch(b"").await.unwrap();
    let failed = store
        .file
        .write(|_| -> Result<(), _> { panic!("a library that gives up") });
    assert!(matches!(failed, Err(StoreError::Corrupt { .. })));

    // Spoilt for the moment, then mended.
    let whole = fs::read(scratch.store()).unwrap();
    fs::File::create(scratch.store())
        .unwrap()
        .write_all(b"x")
        .unwrap();
    store.file.reopen();
    assert!(store.get(b"k").await.is_err());
    store.commit(put("k", "w")).await.unwrap_err();
    assert_eq!(watch.next().await, Some(Change::Lagged));
    fs::write(scratch.store(), whole).unwrap();
    store.commit(put("k", "w")).await.unwrap();
    assert_eq!(store.get(b"k").await.unwrap().unwrap().value, "w");
}

#[test]
fn a_file_that_is_gone_is_made_anew() {
    let scratch = Scratch::new();
    drop(File::open(scratch.store()).unwrap());
    fs::remove_file(scratch.store()).unwrap();
    drop(File::open(scratch.store()).unwrap());
    assert_eq!(scratch.names(), ["store.redb"]);
}
