//! What an upstream may believe about a request, and what never leaves one connection.

use crate::support::{Gateway, Head, Http2, Origin, PLAIN, whole, within};

const FORGED: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 203.0.113.7\r\n\
    X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
    X-Forwarded-Port: 1\r\nForwarded: for=203.0.113.7;proto=https\r\nX-Real-IP: 203.0.113.7\r\n\r\n";

#[tokio::test]
async fn forged_forwarding_headers_are_replaced() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for (mut client, proto) in [
        (gateway.connect().await, "http"),
        (gateway.connect_tls("app.test").await, "https"),
    ] {
        client.send(FORGED).await;
        let seen = client.response().await.echoed();
        assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.one("x-forwarded-proto"), Some(proto));
        assert_eq!(seen.one("x-forwarded-host"), Some("app.test"));
        for gone in ["x-forwarded-port", "forwarded", "x-real-ip"] {
            assert_eq!(seen.one(gone), None, "{gone}");
        }
    }
}

#[tokio::test]
async fn http2_clients_cannot_forge_them_either() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = http::Request::get("https://app.test/")
        .header("x-forwarded-for", "203.0.113.7")
        .header("forwarded", "for=203.0.113.7")
        .header("x-forwarded-host", "evil.test")
        .header("x-request-id", "mine")
        .body(())
        .unwrap();
    let response = client.send(request).await;
    let response = whole(within(response).await.unwrap()).await.unwrap();
    let seen = Head::parse(std::str::from_utf8(&response.body).unwrap());
    assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.one("x-forwarded-host"), Some("app.test"));
    assert_eq!(seen.one("forwarded"), None);
    assert_ne!(seen.one("x-request-id"), Some("mine"));
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&format!(
        "{PLAIN}trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n\
         [[site]]\nhosts = [\"app.test\"]\n[[site.route]]\nproxy = [\"{}\"]\n",
        origin.url()
    ))
    .await;
    let mut client = gateway.connect().await;
    let seen = client
        .ask(&[
            "GET / HTTP/1.1",
            "Host: app.test",
            // What the client made up, the client, and two of our own proxies.
            "X-Forwarded-For: 198.51.100.1, 203.0.113.7",
            "X-Forwarded-For: 10.0.0.3",
            "X-Forwarded-Proto: https",
        ])
        .await
        .echoed();
    let hops = Some("203.0.113.7, 10.0.0.3, 127.0.0.1");
    assert_eq!(seen.one("x-forwarded-for"), hops);
    assert_eq!(seen.one("x-forwarded-proto"), Some("https"));
    let lines = gateway.access_log.wait_for(1).await;
    assert!(
        lines[0].contains("\"client\":\"203.0.113.7\""),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn a_trusted_proxy_that_spoke_https_is_not_redirected() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&format!(
        "{}trusted_proxies = [\"127.0.0.1\"]\n\
         [[site]]\nhosts = [\"app.test\"]\n[[site.route]]\nproxy = [\"{}\"]\n",
        crate::support::PLAIN_AND_TLS,
        origin.url()
    ))
    .await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("app.test", "/").await.status, 308);
    let lines = [
        "GET / HTTP/1.1",
        "Host: app.test",
        "X-Forwarded-Proto: https",
    ];
    assert_eq!(client.ask(&lines).await.status, 200);
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_request_stop_here() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    let seen = client
        .ask(&[
            "GET / HTTP/1.1",
            "Host: app.test",
            "Connection: keep-alive, X-Secret, x-forwarded-for",
            "Connection: X-Other",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic eA==",
            "TE: trailers, deflate;q=0.5",
            "X-Secret: 1",
            "X-Other: 2",
            "X-Kept: 3",
        ])
        .await
        .echoed();
    for gone in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "x-secret",
        "x-other",
    ] {
        assert_eq!(seen.one(gone), None, "{gone}");
    }
    assert_eq!(seen.one("te"), Some("trailers"));
    assert_eq!(seen.one("x-kept"), Some("3"));
    // Nominating it takes away the client's own, not the gateway's.
    assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_response_stop_here() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Private, close\r\nX-Private: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authenticate: Basic\r\n\
        Upgrade: h2,h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok";

    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(answer).await;
    let response = client.response().await;
    for gone in [
        "connection",
        "x-private",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "upgrade",
    ] {
        assert_eq!(response.header(gone), None, "{gone}");
    }
    assert_eq!(response.header("x-kept"), Some("1"));

    // The upstream closes; the client's connection goes on, and HTTP/2, where such headers are an
    // error, works as well.
    drop(upstream);
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let request = http::Request::get("https://app.test/").body(()).unwrap();
    let response = http2.send(request).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(answer).await;
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("upgrade"));
}

#[tokio::test]
async fn an_upgrade_that_is_no_websocket_is_not_passed_on() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    for (upgrade, method) in [("h2c", "GET"), ("TLS/1.0", "GET"), ("websocket", "POST")] {
        let seen = client
            .ask(&[
                &format!("{method} / HTTP/1.1"),
                "Host: app.test",
                "Connection: Upgrade, HTTP2-Settings",
                &format!("Upgrade: {upgrade}"),
                "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
            ])
            .await
            .echoed();
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(seen.one(gone), None, "{upgrade} {gone}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_unasked_is_a_bad_gateway() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 502);
    upstream.ended().await;
}

#[tokio::test]
async fn length_and_chunks_together_reach_the_upstream_as_one_message() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    // A server that goes by the length would take what follows for a second request.
    client
        .send(
            "POST /one HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\
             Transfer-Encoding: chunked\r\n\r\n\
             2a\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n\r\n0\r\n\r\n",
        )
        .await;
    // RFC 9112 §6.1: the chunks count, the length goes.
    let mut upstream = origin.accept().await;
    let (head, body) = upstream.request().await;
    assert_eq!(head.line, "POST /one HTTP/1.1");
    assert_eq!(head.one("content-length"), None);
    assert_eq!(head.one("transfer-encoding"), Some("chunked"));
    assert!(body.starts_with(b"GET /smuggled"), "{body:?}");
    assert_eq!(body.len(), 42);
    upstream.answer("one").await;
    assert_eq!(client.response().await.text(), "one");
    // Who sent both may mean something else by what follows.
    client.ended().await;
    // Nothing came after the one request, on this connection or on another.
    let mut next = gateway.connect().await;
    next.send("GET /two HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    assert_eq!(upstream.request().await.0.line, "GET /two HTTP/1.1");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn names_that_differ_by_an_underscore_only_do_not_get_past() {
    let origin = Origin::echo().await;
    let edits = "request_headers = { set = { x-user = \"alice\" }, remove = [\"x-admin\"] }";
    let gateway = Gateway::proxy(&origin.url(), edits).await;
    let dropped = [
        "X_Forwarded_For",
        "X-Forwarded_For",
        "x_forwarded_proto",
        "X_FORWARDED_HOST",
        "X_Forwarded_Port",
        "x_real_ip",
        "X-Real_IP",
        "x_request_id",
        // The gateway writes or removes these for this route.
        "X_User",
        "x_admin",
    ];
    let kept = ["my_own", "x_kept", "_", "forwarded_by", "x_real_ip_2"];
    let check = |seen: &Head| {
        for name in dropped {
            assert!(seen.all(name).is_empty(), "{name}: {seen:?}");
        }
        for name in kept {
            assert_eq!(seen.one(name), Some("203.0.113.7"), "{name}");
        }
        assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.one("x-user"), Some("alice"));
    };
    let mut lines = vec!["GET / HTTP/1.1".to_owned(), "Host: app.test".to_owned()];
    let names = dropped.iter().chain(&kept);
    lines.extend(names.clone().map(|name| format!("{name}: 203.0.113.7")));
    let mut http1 = gateway.connect().await;
    http1.send(format!("{}\r\n\r\n", lines.join("\r\n"))).await;
    check(&http1.response().await.echoed());

    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let mut request = http::Request::get("https://app.test/");
    for name in names {
        request = request.header(*name, "203.0.113.7");
    }
    let sent = http2.send(request.body(()).unwrap()).await;
    let response = whole(within(sent).await.unwrap()).await.unwrap();
    check(&Head::parse(std::str::from_utf8(&response.body).unwrap()));
}
