//! Connections to upstreams: kept, found stale, given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::net::TcpListener;

use crate::support::{Gateway, Http2, Origin, Wire, within};

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

#[tokio::test]
async fn a_request_is_tried_twice_at_most_however_many_connections_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::proxy(&url, "").await;
    let mut clients = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        kept.push(accept_to_reset(&listener).await);
        kept.last_mut().unwrap().request().await;
        clients.push(client);
    }
    for (client, upstream) in clients.iter_mut().zip(&mut kept) {
        upstream.answer("ok").await;
        assert_eq!(client.response().await.status, 200);
    }
    // From now on every connection is reset as soon as a request has come, and so is every new one.
    let attempts = Arc::new(AtomicUsize::new(0));
    let reset = |mut wire: Wire| {
        let attempts = Arc::clone(&attempts);
        async move {
            if wire.try_head().await.is_ok() {
                attempts.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    for wire in kept {
        tokio::spawn(reset(wire));
    }
    let accepting = async {
        loop {
            tokio::spawn(reset(accept_to_reset(&listener).await));
        }
    };
    let asking = async {
        clients[0].send(GET).await;
        assert_eq!(clients[0].response().await.status, 502);
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
        // A request that may have had an effect is tried once.
        clients[0].send(POST).await;
        assert_eq!(clients[0].response().await.status, 502);
        assert_eq!(attempts.load(Ordering::SeqCst), 3);
    };
    tokio::select! {
        () = accepting => {}
        () = asking => {}
    }
}

/// A connection that ends with a reset when it is dropped.
async fn accept_to_reset(listener: &TcpListener) -> Wire {
    let (stream, _) = listener.accept().await.unwrap();
    stream.set_zero_linger().unwrap();
    Wire::new(stream)
}

#[tokio::test]
async fn a_connection_that_spoke_http10_carries_no_further_request() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut old = origin.accept().await;
    old.request().await;
    old.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.response().await.text(), "ok");
    // It would be sent as 1.0, which has no chunks, and arrive without its body.
    client
        .send(
            "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nbody\r\n0\r\n\r\n",
        )
        .await;
    let mut new = origin.accept().await;
    let (head, body) = new.request().await;
    assert_eq!(head.line, "POST / HTTP/1.1");
    assert_eq!(body, b"body");
    new.answer("thanks").await;
    assert_eq!(client.response().await.text(), "thanks");
    old.ended().await;
}

/// Answers every request and says how long it keeps connections.
async fn announcing(keep_alive: &'static str) -> Origin {
    Origin::serve(move |mut wire| async move {
        while wire.try_head().await.is_ok() {
            let head = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {keep_alive}\r\n");
            wire.send(format!("{head}Content-Length: 2\r\n\r\nok"))
                .await;
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_is_not_used_in_the_last_second_that_its_upstream_keeps_it() {
    for keep_alive in ["timeout=3", "max=100, timeout=3"] {
        let origin = announcing(keep_alive).await;
        let gateway = Gateway::proxy(&origin.url(), "").await;
        let mut client = gateway.connect().await;
        for _ in 0..3 {
            assert_eq!(client.get("app.test", "/").await.status, 200);
        }
        assert_eq!(origin.accepted(), 1, "{keep_alive}");
        let two_seconds = Duration::from_secs(2);
        tokio::time::pause();
        tokio::time::advance(two_seconds).await;
        tokio::time::resume();
        assert_eq!(client.get("app.test", "/").await.status, 200);
        assert_eq!(origin.accepted(), 2, "{keep_alive}");
    }
}

#[tokio::test]
async fn a_connection_kept_for_a_second_only_is_not_used_again() {
    for keep_alive in ["timeout=1", "timeout=0", "timeout=1, max=100"] {
        let origin = announcing(keep_alive).await;
        let gateway = Gateway::proxy(&origin.url(), "").await;
        let mut client = gateway.connect().await;
        for round in 1..=3 {
            assert_eq!(client.get("app.test", "/").await.status, 200);
            assert_eq!(origin.accepted(), round, "{keep_alive}");
        }
    }
}
