//! Connections to upstreams: kept, found stale, given up.

use crate::support::{Gateway, Http2, Origin, within};

const GET: &str = "GET /get HTTP/1.1\r\nHost: app.test\r\n\r\n";
const POST: &str = "POST /post HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbody";

#[tokio::test]
async fn requests_of_many_clients_share_one_upstream_connection() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for _ in 0..5 {
        let mut client = gateway.connect().await;
        for _ in 0..3 {
            client.get("app.test", "/").await.echoed();
            client.send(POST).await;
            client.response().await.echoed();
            let chunked = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
            client.send(format!("{chunked}3\r\nabc\r\n0\r\n\r\n")).await;
            client.response().await.echoed();
        }
        let mut http2 = Http2::connect(&gateway, "app.test").await;
        assert_eq!(http2.get("https://app.test/").await.head.status, 200);
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_upstream_that_closes_after_each_response_costs_no_get() {
    let origin = Origin::serve(|mut wire| async move {
        if wire.try_head().await.is_ok() {
            // No word of closing before.
            wire.answer("ok").await;
        }
    })
    .await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    for _ in 0..200 {
        assert_eq!(client.get("app.test", "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_post_is_not_sent_over_a_connection_that_is_known_to_be_closed() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    for _ in 0..5 {
        upstream.request().await;
        upstream.answer("ok").await;
        assert_eq!(client.response().await.status, 200);
        upstream.shutdown().await;
        // The gateway has seen the end when it ends its own side.
        upstream.ended().await;
        client.send(POST).await;
        upstream = origin.accept().await;
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_not_sent_twice() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.answer("ok").await;
    client.response().await;
    client.send(POST).await;
    let (head, body) = upstream.request().await;
    assert_eq!(
        (head.line.as_str(), body.as_slice()),
        ("POST /post HTTP/1.1", &b"body"[..])
    );
    drop(upstream);
    assert_eq!(client.response().await.status, 502);
    // The next connection carries the next request, not the same one again.
    client.send(GET).await;
    let (head, _) = origin.accept().await.request().await;
    assert_eq!(head.line, "GET /get HTTP/1.1");
}

#[tokio::test]
async fn one_dead_upstream_of_two_fails_no_request() {
    let origin = Origin::echo().await;
    let dead = Origin::bind().await.url();
    let both = format!("{dead}\", \"{}", origin.url());
    let gateway = Gateway::proxy(&both, "").await;
    let mut client = gateway.connect().await;
    for _ in 0..10 {
        client.get("app.test", "/").await.echoed();
        client.send(POST).await;
        let response = client.response().await;
        assert!(
            response.text().ends_with("\r\n\r\nbody"),
            "{}",
            response.text()
        );
    }
}

#[tokio::test]
async fn several_upstreams_take_turns() {
    let (one, two) = (Origin::echo().await, Origin::echo().await);
    let both = format!("{}\", \"{}", one.url(), two.url());
    let gateway = Gateway::proxy(&both, "host = \"upstream\"").await;
    let mut client = gateway.connect().await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let head = client.get("app.test", "/").await.echoed();
        seen.push(head.one("host").unwrap().to_owned());
    }
    let turns = [one.address(), two.address()].map(|address| address.to_string());
    assert_eq!(seen, [turns.clone(), turns.clone(), turns].concat());
}

#[tokio::test]
async fn a_second_response_on_a_kept_connection_reaches_nobody() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut first = gateway.connect().await;
    first.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        .await;
    assert_eq!(first.response().await.text(), "ok");
    let mut second = gateway.connect().await;
    second.send(GET).await;
    let mut fresh = origin.accept().await;
    fresh.request().await;
    fresh.answer("good").await;
    assert_eq!(second.response().await.text(), "good");
}

#[tokio::test]
async fn a_connection_with_an_unread_response_is_closed_when_its_client_goes() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart")
        .await;
    assert_eq!(client.head().await.status(), 200);
    drop(client);
    upstream.ended().await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_does_not_spoil_the_next_request() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\nstart")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    assert_eq!(upstream.exactly(5).await.unwrap(), b"start");
    upstream
        .send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (401, "no"));
    let mut next = gateway.connect().await;
    next.send(GET).await;
    let mut fresh = origin.accept().await;
    assert_eq!(fresh.request().await.0.line, "GET /get HTTP/1.1");
}

#[tokio::test]
async fn parallel_requests_get_connections_of_their_own() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let (mut one, mut two) = (gateway.connect().await, gateway.connect().await);
    one.send(GET).await;
    let mut first = origin.accept().await;
    first.request().await;
    two.send(GET).await;
    let mut second = origin.accept().await;
    second.request().await;
    // Answered the other way round.
    second.answer("two").await;
    assert_eq!(two.response().await.text(), "two");
    first.answer("one").await;
    assert_eq!(one.response().await.text(), "one");
    // Both are kept now; which of them is used is the gateway's business.
    two.send(GET).await;
    let used = within(async {
        tokio::select! {
            (head, _) = first.request() => head,
            (head, _) = second.request() => head,
        }
    });
    assert_eq!(used.await.line, "GET /get HTTP/1.1");
    assert_eq!(origin.accepted(), 2);
}
