//! When an upstream, a client or a limit ends a request early, the other side can tell.

use std::time::Duration;

use http::Request;

use crate::support::{Gateway, Http2, Origin, Wire, eventually, whole, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// The first bytes of two responses that say that more will come.
const BEGUN: [&str; 2] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n",
];

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_a_bad_gateway() {
    let dead = Origin::bind().await.url();
    let gateway = Gateway::proxy(&dead, "").await;
    let mut client = gateway.connect().await;
    let response = client.get("app.test", "/").await;
    assert_eq!(response.status, 502);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    // What is behind the gateway is not the client's business.
    let port = dead.rsplit(':').next().unwrap();
    assert!(!response.text().contains(port), "{}", response.text());
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    assert_eq!(http2.get("https://app.test/").await.head.status, 502);
    assert_eq!(
        gateway.metric("portunus_request_failures_total{reason=\"connect\"}"),
        2
    );
    // The client's connection is as good as before.
    assert_eq!(client.get("app.test", "/").await.status, 502);
}

#[tokio::test]
async fn an_upstream_that_dies_before_its_head_is_a_bad_gateway() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    for dying_words in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "not HTTP at all\r\n\r\n",
    ] {
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(dying_words).await;
        drop(upstream);
        assert_eq!(client.response().await.status, 502, "{dying_words:?}");
    }
}

#[tokio::test]
async fn a_body_cut_upstream_is_cut_for_http1_clients() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for begun in BEGUN {
        for mut client in [
            gateway.connect().await,
            gateway.connect_tls("app.test").await,
        ] {
            client.send(GET).await;
            let mut upstream = origin.accept().await;
            upstream.request().await;
            upstream.send(begun).await;
            let head = client.head().await;
            assert_eq!(head.status(), 200);
            drop(upstream);
            let cut = client.body(&head).await.expect_err("a whole body");
            assert_eq!(cut.got, b"start");
        }
    }
}

#[tokio::test]
async fn a_body_cut_upstream_resets_the_stream_of_http2_clients_and_no_other() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    for begun in BEGUN {
        let request = Request::get("https://app.test/").body(()).unwrap();
        let sent = client.send(request).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(begun).await;
        let response = within(sent).await.unwrap();
        assert_eq!(response.status(), 200);
        drop(upstream);
        let error = whole(response).await.expect_err("a whole body");
        assert!(error.is_reset() && error.is_remote(), "{error}");
    }
    // The connection is not hurt.
    let request = Request::get("https://app.test/").body(()).unwrap();
    let sent = client.send(request).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.answer("whole").await;
    let response = whole(within(sent).await.unwrap()).await.unwrap();
    assert_eq!(response.body, b"whole");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "response_timeout = \"200ms\"").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    assert_eq!(client.response().await.status, 504);
    // Nobody waits for its answer any more.
    upstream.ended().await;
}

#[tokio::test]
async fn an_upload_that_keeps_moving_is_no_upstream_timeout() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "response_timeout = \"200ms\"").await;
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 20\r\n\r\n")
        .await;
    // In all longer than the upstream may take, each step shorter. The upstream can only answer
    // when it has everything.
    let mut steps = tokio::time::interval(Duration::from_millis(25));
    for _ in 0..20 {
        steps.tick().await;
        client.send("x").await;
    }
    let response = client.response().await;
    assert_eq!(response.status, 200, "{}", response.text());
}

#[tokio::test]
async fn an_upstream_that_falls_silent_within_a_body_is_cut() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "idle_timeout = \"200ms\"").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(BEGUN[1]).await;
    let head = client.head().await;
    assert_eq!(
        client.body(&head).await.expect_err("a whole body").got,
        b"start"
    );
    upstream.ended().await;
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_a_gateway_timeout() {
    // A listener whose queue is full: the kernel drops further connection attempts.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _queued = Wire::tcp(address).await;
    let gateway = Gateway::proxy(&format!("http://{address}"), "connect_timeout = \"200ms\"").await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("app.test", "/").await.status, 504);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_never_reaches_the_upstream() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "max_body = \"1KB\"").await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut client = gateway.connect().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: app.test\r\n{expect}Content-Length: 1001\r\n\r\n"
            ))
            .await;
        // Answered before a byte of it was sent, and not asked for either.
        assert_eq!(client.head().await.status(), 413);
    }
    assert_eq!(origin.accepted(), 0);
    let mut client = gateway.connect().await;
    let body = "x".repeat(1000);
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\n{body}"
        ))
        .await;
    client.response().await.echoed();
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "max_body = \"1KB\"").await;
    let mut client = gateway.connect().await;
    let half = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}{half}{half}1\r\nx\r\n")).await;
    assert_eq!(client.response().await.status, 413);

    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let request = Request::post("https://app.test/").body(()).unwrap();
    let (response, mut body) = http2.sender.send_request(request, false).unwrap();
    body.send_data(vec![0; 1001].into(), true).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 413);

    let mut client = gateway.connect().await;
    client.send(format!("{head}{half}{half}0\r\n\r\n")).await;
    client.response().await.echoed();
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_its_whole_body_first() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "max_body = \"1KB\"").await;
    for mut client in [
        gateway.connect().await,
        gateway.connect_tls("app.test").await,
    ] {
        client
            .send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 30000000\r\n\r\n")
            .await;
        client.send(vec![b'x'; 30_000_000]).await;
        assert_eq!(client.response().await.status, 413);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nstart\r\nno chunk\r\n",
        )
        .await;
    assert_eq!(client.response().await.status, 400);
    assert_eq!(
        gateway.metric("portunus_request_failures_total{reason=\"body_broken\"}"),
        1
    );
}

#[tokio::test]
async fn a_client_that_pauses_too_long_within_its_body_is_told_so() {
    let origin = Origin::bind().await;
    let toml = crate::support::proxy(&origin.url(), "");
    let toml = toml.replace(
        "[[site]]",
        "[listen.limits]\nbody_timeout = \"200ms\"\n[[site]]",
    );
    let gateway = Gateway::start(&toml).await;
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nstart")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    assert_eq!(client.response().await.status, 408);
    // Cut, so that the upstream does not take what it has for everything.
    assert_eq!(
        upstream.exactly(100).await.expect_err("all of it").got,
        b"start"
    );
}

#[tokio::test]
async fn an_upstream_sees_at_once_that_its_client_has_gone() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let clients = async || {
        [
            gateway.connect().await,
            gateway.connect_tls("app.test").await,
        ]
    };
    // While it waits for the head,
    for mut client in clients().await {
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        drop(client);
        upstream.ended().await;
    }
    // within a response,
    for mut client in clients().await {
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(BEGUN[1]).await;
        client.head().await;
        drop(client);
        upstream.ended().await;
    }
    // and within a request, which then is not taken for whole.
    for mut client in clients().await {
        client
            .send(
                "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
            )
            .await;
        let mut upstream = origin.accept().await;
        let head = upstream.head().await;
        drop(client);
        assert_eq!(
            upstream.body(&head).await.expect_err("a whole body").got,
            b"x"
        );
    }
    gateway.metric_is("portunus_requests_in_flight", 0).await;
}

#[tokio::test]
async fn an_upstream_sees_at_once_that_its_http2_stream_was_reset() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = || Request::get("https://app.test/").body(()).unwrap();
    let before_the_head = client.send(request()).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    drop(before_the_head);
    upstream.ended().await;

    let within_the_body = client.send(request()).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(BEGUN[0]).await;
    let response = within(within_the_body).await.unwrap();
    drop(response);
    upstream.ended().await;
    eventually(|| gateway.metric("portunus_requests_in_flight") == 0).await;
}

#[tokio::test]
async fn a_browser_gets_a_page_and_a_program_a_line() {
    let dead = Origin::bind().await.url();
    let gateway = Gateway::proxy(&dead, "").await;
    let mut client = gateway.connect().await;
    let browser = client
        .ask(&["GET / HTTP/1.1", "Host: app.test", "Accept: text/html,*/*"])
        .await;
    assert_eq!(
        browser.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(browser.text().contains("<h1>502 Bad Gateway</h1>"));
    let program = client.get("app.test", "/").await;
    assert_eq!(
        program.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(program.text().starts_with("502 Bad Gateway: "));
}
