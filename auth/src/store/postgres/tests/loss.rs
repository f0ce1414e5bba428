//! Connections that are cut and servers that are killed, at the worst moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{
    Cluster, PostgresStore, WAITS_TO_BEGIN, WAITS_TO_WRITE, connect, hold_writes, put, told_of,
    until, value,
};
use crate::store::{Batch, Change, Range, Revision, Store, StoreError};

async fn terminate(admin: &tokio_postgres::Client, process: i32) {
    let terminate = "SELECT pg_terminate_backend($1)";
    admin.execute(terminate, &[&process]).await.unwrap();
}

fn commit(
    store: &Arc<PostgresStore>,
    batch: Batch,
) -> tokio::task::JoinHandle<Result<Revision, StoreError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.commit(batch).await })
}

#[tokio::test]
async fn a_connection_cut_before_anything_was_written_is_replaced() {
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    let (holder, admin) = (cluster.admin().await, cluster.admin().await);
    let lock = "BEGIN; SELECT FROM portunus.counter FOR UPDATE";
    holder.batch_execute(lock).await.unwrap();
    let committing = commit(&store, put("k", "v").if_absent("k"));
    let process = until(&admin, WAITS_TO_BEGIN).await;
    terminate(&admin, process).await;
    let other = format!("{WAITS_TO_BEGIN} AND pid <> {process}");
    until(&admin, &other).await;
    holder.batch_execute("ROLLBACK").await.unwrap();

    let revision = committing.await.unwrap().unwrap();
    let found = store.get(b"k").await.unwrap().unwrap();
    assert_eq!(found.revision, revision);
}

#[tokio::test]
async fn a_connection_cut_while_it_writes_leaves_nothing_and_says_unknown() {
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    let (holder, admin) = (cluster.admin().await, cluster.admin().await);
    let mut watch = store.watch(b"").await.unwrap();
    let release = hold_writes(&holder).await;
    let committing = commit(&store, put("a", "").put("b", ""));
    let process = until(&admin, WAITS_TO_WRITE).await;
    terminate(&admin, process).await;
    let error = committing.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert_eq!(
        (value(&store, "a").await, value(&store, "b").await),
        (None, None)
    );

    holder.batch_execute(release).await.unwrap();
    let revision = store.commit(put("a", "again")).await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some("again"));
    let key = "a".into();
    assert_eq!(watch.next().await, Some(Change::Key { key, revision }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_unknown_and_not_done_twice() {
    let cluster = Cluster::start();
    let line = Line::to(&cluster);
    let url = format!(
        "postgres:///portunus?user=portunus&password=secret&host={}",
        line.directory.display()
    );
    let store = Arc::new(PostgresStore::connect(&url).await.unwrap());
    store.commit(put("warm", "")).await.unwrap();

    let (holder, admin) = (cluster.admin().await, cluster.admin().await);
    let release = hold_writes(&holder).await;
    let mut watch = store.watch(b"k").await.unwrap();
    let committing = commit(&store, put("k", "v"));
    until(&admin, WAITS_TO_WRITE).await;
    line.cut();
    let error = committing.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    holder.batch_execute(release).await.unwrap();
    told_of(&mut watch, "k").await;
    assert_eq!(value(&store, "k").await.as_deref(), Some("v"));
    let error = store
        .commit(put("k", "w").if_absent("k"))
        .await
        .unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let told = "SELECT count(*)::int FROM portunus.changes WHERE key = 'k'";
    assert_eq!(until(&admin, told).await, 1);
}

#[tokio::test]
async fn a_server_killed_before_the_commit_keeps_what_was_acknowledged() {
    let mut cluster = Cluster::start_durable();
    let store = connect(&cluster).await;
    for number in 0..10 {
        let batch = Batch::new().put(format!("done/{number}"), "");
        store.commit(batch).await.unwrap();
    }
    {
        let (holder, admin) = (cluster.admin().await, cluster.admin().await);
        hold_writes(&holder).await;
        let committing = commit(&store, put("a", "").put("b", ""));
        until(&admin, WAITS_TO_WRITE).await;
        cluster.command("kill");
        let error = committing.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    }
    cluster.command("start");
    let page = store.range(Range::all()).await.unwrap();
    let keys: Vec<_> = page.entries.iter().map(|entry| &*entry.key).collect();
    let expected: Vec<_> = (0..10).map(|number| format!("done/{number}")).collect();
    assert_eq!(
        keys,
        expected.iter().map(String::as_bytes).collect::<Vec<_>>()
    );
    store.commit(put("a", "again")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_of_the_server() {
    const KEYS: usize = 5;
    let mut cluster = Cluster::start_durable();
    let store = connect(&cluster).await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..2 {
        let (done, mut dones) = mpsc::unbounded_channel();
        let mut writers = JoinSet::new();
        for writer in 0..4 {
            let (store, done) = (Arc::clone(&store), done.clone());
            writers.spawn(async move {
                for number in 0.. {
                    let name = format!("{round}-{writer}-{number}");
                    let size = fastrand::usize(0..3000);
                    let batch = (0..KEYS).fold(Batch::new(), |batch, key| {
                        batch.put(format!("b/{name}/{key}"), vec![b'x'; size])
                    });
                    match store.commit(batch).await {
                        Ok(revision) => done.send((name, revision)).unwrap(),
                        Err(_) => break,
                    }
                }
            });
        }
        drop(done);
        let moment = fastrand::usize(5..60);
        let mut seen = 0;
        while let Some((name, revision)) = dones.recv().await {
            acknowledged.insert(name, revision);
            seen += 1;
            if seen == moment {
                cluster.command("kill");
            }
        }
        writers.join_all().await;
        assert!(seen >= moment);
        cluster.command("start");

        let mut found: BTreeMap<String, Vec<(Revision, usize)>> = BTreeMap::new();
        let mut range = Range::prefix("b/");
        loop {
            let page = store.range(range.clone()).await.unwrap();
            for entry in page.entries {
                let key = String::from_utf8(entry.key.to_vec()).unwrap();
                let name = key.split('/').nth(1).unwrap().to_owned();
                let keys = found.entry(name).or_default();
                keys.push((entry.revision, entry.value.len()));
            }
            let Some(next) = page.next else { break };
            range = range.after(next);
        }
        for (name, keys) in &found {
            assert_eq!(keys.len(), KEYS, "{name} is there in part");
            assert!(keys.iter().all(|key| *key == keys[0]), "{name}: {keys:?}");
        }
        for (name, revision) in &acknowledged {
            assert_eq!(found.get(name).map(|keys| keys[0].0), Some(*revision));
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_the_server_was_restarted() {
    let mut cluster = Cluster::start();
    let store = connect(&cluster).await;
    let mut watch = store.watch(b"k").await.unwrap();
    store.commit(put("k1", "")).await.unwrap();
    told_of(&mut watch, "k1").await;
    cluster.command("stop");
    assert!(store.probe().await.is_err());
    cluster.command("start");
    // By another gateway, perhaps before this one is connected again.
    let other = connect(&cluster).await;
    other.commit(put("k2", "")).await.unwrap();
    told_of(&mut watch, "k2").await;
    store.probe().await.unwrap();
    store.commit(put("k3", "")).await.unwrap();
    told_of(&mut watch, "k3").await;
}

#[tokio::test]
async fn the_connection_that_listens_is_replaced() {
    let cluster = Cluster::start();
    let (store, other) = (connect(&cluster).await, connect(&cluster).await);
    let mut watch = store.watch(b"k").await.unwrap();
    let admin = cluster.admin().await;
    let everybody = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'portunus'";
    admin.execute(everybody, &[]).await.unwrap();
    other.commit(put("k1", "")).await.unwrap();
    told_of(&mut watch, "k1").await;
    store.commit(put("k2", "")).await.unwrap();
    told_of(&mut watch, "k2").await;
}

/// A way to the server that can be cut on the gateway's side alone.
struct Line {
    directory: std::path::PathBuf,
    cut: watch::Sender<()>,
}

impl Line {
    fn to(cluster: &Cluster) -> Self {
        let directory = cluster.directory().join("line");
        std::fs::create_dir(&directory).unwrap();
        let listener = UnixListener::bind(directory.join(".s.PGSQL.5432")).unwrap();
        let server = cluster.directory().join(".s.PGSQL.5432");
        let (cut, cuts) = watch::channel(());
        tokio::spawn(async move {
            // What the server was sent it has; it does not learn that nobody listens.
            let mut servers = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = UnixStream::connect(&server).await.unwrap();
                let mut cuts = cuts.clone();
                cuts.borrow_and_update();
                servers.spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => None,
                        _ = cuts.changed() => Some(far),
                    }
                });
            }
        });
        Self { directory, cut }
    }

    fn cut(&self) {
        self.cut.send_replace(());
    }
}
