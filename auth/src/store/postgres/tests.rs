//! Against a real server, started for each test.

mod cluster;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use self::cluster::Cluster;
use super::PostgresStore;
use crate::store::ManualClock;
use crate::store::suite::{Fixture, conformance};

conformance!(fixture);

async fn fixture() -> Fixture {
    let cluster = Cluster::start();
    let clock = ManualClock::at(UNIX_EPOCH);
    let url = cluster.url();
    let store = PostgresStore::connect_with_clock(&url, Arc::new(clock.clone())).await;
    Fixture {
        store: Arc::new(store.unwrap()),
        clock,
        _keep: Box::new(cluster),
    }
}
