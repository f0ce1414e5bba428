//! Stopping: what was begun is finished, what is idle goes at once, what is stuck is cut.

use http::Request;

use crate::support::{Gateway, Http2, Origin, Wire, eventually, proxy, whole, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[tokio::test]
async fn a_download_under_way_finishes_and_then_nothing_is_left() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect_tls("app.test").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        .await;
    let head = client.head().await;
    let address = gateway.https();
    gateway.begin_stop();
    // Nobody new is let in while it goes on.
    eventually(|| std::net::TcpStream::connect(address).is_err()).await;
    upstream.send("later").await;
    assert_eq!(client.body(&head).await.unwrap(), b"firstlater");
    client.ended().await;
    assert!(gateway.stop().await, "something was cut");
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_told_that_it_was_the_last() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbo")
        .await;
    let mut upstream = origin.accept().await;
    let head = upstream.head().await;
    gateway.begin_stop();
    client.send("dy").await;
    assert_eq!(upstream.body(&head).await.unwrap(), b"body");
    upstream.answer("thanks").await;
    let response = client.response().await;
    assert_eq!(response.text(), "thanks");
    assert_eq!(response.header("connection"), Some("close"));
    client.ended().await;
    assert!(gateway.stop().await, "something was cut");
}

#[tokio::test]
async fn http2_clients_get_goaway_and_their_streams_finish() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = || Request::get("https://app.test/").body(()).unwrap();
    let sent = client.send(request()).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    gateway.begin_stop();
    // The client learns that it must not begin anything more here.
    let refused = within(async {
        loop {
            match client.sender.clone().ready().await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    });
    let error = refused.await;
    assert!(error.is_go_away() && error.is_remote(), "{error}");
    upstream.answer("finished").await;
    let response = whole(within(sent).await.unwrap()).await.unwrap();
    assert_eq!(response.body, b"finished");
    drop(client.sender);
    within(client.connection).await.unwrap().unwrap();
    assert!(gateway.stop().await, "something was cut");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_a_stop() {
    let origin = Origin::echo().await;
    // Far longer than a test waits.
    let toml = proxy(&origin.url(), "").replace(
        "[[site]]",
        "[listen.limits]\ndrain_timeout = \"1h\"\nidle_timeout = \"1h\"\n\
         head_timeout = \"1h\"\n[[site]]",
    );
    let gateway = Gateway::start(&toml).await;
    let mut kept = gateway.connect().await;
    kept.get("app.test", "/").await.echoed();
    let mut kept_tls = gateway.connect_tls("app.test").await;
    kept_tls.get("app.test", "/").await.echoed();
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    assert_eq!(http2.get("https://app.test/").await.head.status, 200);
    let mut fresh = gateway.connect().await;
    let mut fresh_tls = gateway.connect_tls("app.test").await;
    let mut no_handshake = Wire::tcp(gateway.https()).await;
    gateway.metric_is("portunus_connections", 6).await;

    assert!(gateway.stop().await, "something was cut");
    for wire in [
        &mut kept,
        &mut kept_tls,
        &mut fresh,
        &mut fresh_tls,
        &mut no_handshake,
    ] {
        wire.ended().await;
    }
    within(http2.connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn half_a_request_head_does_not_hold_up_a_stop_beyond_its_deadline() {
    let origin = Origin::echo().await;
    let toml = proxy(&origin.url(), "").replace(
        "[[site]]",
        "[listen.limits]\ndrain_timeout = \"1h\"\nhead_timeout = \"300ms\"\n[[site]]",
    );
    let gateway = Gateway::start(&toml).await;
    let mut client = gateway.connect().await;
    client.get("app.test", "/").await.echoed();
    client.send("GET / HT").await;
    assert!(gateway.stop().await, "something was cut");
    client.rest().await;
}

#[tokio::test]
async fn what_is_stuck_is_cut_at_the_deadline() {
    let origin = Origin::bind().await;
    let toml = proxy(&origin.url(), "").replace(
        "[[site]]",
        "[listen.limits]\ndrain_timeout = \"200ms\"\n[[site]]",
    );
    let gateway = Gateway::start(&toml).await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let sent = http2
        .send(Request::get("https://app.test/").body(()).unwrap())
        .await;
    let mut other = origin.accept().await;
    other.request().await;
    assert!(!gateway.stop().await, "there was something to cut");
    client.ended().await;
    upstream.ended().await;
    assert!(within(sent).await.is_err());
    other.ended().await;
}
