//! How many commits per second a store takes, from one writer and from many.
//!
//! `cargo run --release --package auth --example store-commits -- DIRECTORY-OR-URL [SECONDS]`. The
//! directory decides which disk the embedded store is measured on. The URL is that of a PostgreSQL
//! database, `postgres://…`, in which the keys that were written stay.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth::store::{Batch, PostgresStore, RedbStore, Store};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().ok_or("which directory, or which URL?")?;
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let length = Duration::from_secs(seconds);
    if target.contains("://") {
        return measure_all(Arc::new(PostgresStore::connect(&target).await?), length).await;
    }
    let path = PathBuf::from(target).join("store-commits.redb");
    measure_all(Arc::new(RedbStore::open(&path).await?), length).await?;
    Ok(std::fs::remove_file(path)?)
}

async fn measure_all(store: Arc<dyn Store>, length: Duration) -> Result<(), Box<dyn Error>> {
    for writers in [1, 8, 64, 256] {
        let (commits, longest) = measure(&store, writers, length).await?;
        let rate = commits as f64 / length.as_secs_f64();
        println!("{writers:>3} writers: {rate:>7.0} commits/s, the longest took {longest:?}");
    }
    Ok(())
}

/// Commits of 200 bytes each, until `length` is over: how many, and how long the slowest took.
async fn measure(
    store: &Arc<dyn Store>,
    writers: usize,
    length: Duration,
) -> Result<(usize, Duration), Box<dyn Error>> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let (mut commits, mut longest) = (0, Duration::ZERO);
            while start.elapsed() < length {
                let key = format!("{writer}/{}", commits % 1000);
                let before = Instant::now();
                store.commit(Batch::new().put(key, vec![7; 200])).await?;
                longest = longest.max(before.elapsed());
                commits += 1;
            }
            Ok::<_, auth::store::StoreError>((commits, longest))
        });
    }
    let mut total = (0, Duration::ZERO);
    for outcome in tasks.join_all().await {
        let (commits, longest) = outcome?;
        total = (total.0 + commits, total.1.max(longest));
    }
    Ok(total)
}
