//! Many connections at once.

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::support::{Gateway, Origin, Wire, program::h2load, proxy};

const IDLE: usize = 2_000;

/// Both ends of every connection are in this process.
fn raise_open_files(needed: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= needed,
        "this test needs `ulimit -Hn {needed}`, it is {most}"
    );
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_tls_connections_stay_and_others_are_served() {
    raise_open_files(2 * IDLE as u64 + 500);
    let origin = Origin::echo().await;
    let limits = format!(
        "[listen.limits]\nconnections_per_ip = {}\n[[site]]",
        2 * IDLE
    );
    let gateway = Gateway::start(&proxy(&origin.url(), "").replace("[[site]]", &limits)).await;
    let (address, config) = (gateway.https(), gateway.client_config());
    let mut opening = JoinSet::new();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let config = config.clone();
        // A few handshakes at a time, so that none waits for its turn beyond its deadline.
        if opening.len() == 32 {
            idle.push(opening.join_next().await.unwrap().unwrap());
        }
        opening.spawn(async move {
            let mut client = Wire::tls(address, config, "app.test").await;
            client.get("app.test", "/").await.echoed();
            client
        });
    }
    while let Some(opened) = opening.join_next().await {
        idle.push(opened.unwrap());
    }
    assert_eq!(gateway.metric("portunus_connections"), IDLE as u64);
    let mut fresh = gateway.connect_tls("app.test").await;
    fresh.get("app.test", "/").await.echoed();
    for client in &mut idle {
        client.get("app.test", "/").await.echoed();
    }
    drop(idle);
    assert!(gateway.stop().await, "something was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_gets_an_answer_to_every_request() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let output = h2load(&[
        "--requests=2000",
        "--clients=4",
        "--max-concurrent-streams=16",
        &format!("--connect-to={}", gateway.https()),
        "https://app.test/",
    ])
    .await;
    let text = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{problem}");
    assert!(
        text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{text}"
    );
    assert!(text.contains("2000 2xx"), "{text}");
    assert_eq!(gateway.metric("portunus_panics_total"), 0);
}
