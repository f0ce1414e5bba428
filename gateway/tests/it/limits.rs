//! Too many, too large, or not to be understood in one way only.

use rustls::AlertDescription;
use tokio::net::TcpSocket;

use crate::support::{
    Dir, Gateway, Http2, Origin, PLAIN_AND_TLS, TLS, Wire, eventually, proxy, within,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

async fn limited(origin: &Origin, limits: &str) -> Gateway {
    let limits = format!("[listen.limits]\n{limits}\n[[site]]");
    Gateway::start(&proxy(&origin.url(), "").replace("[[site]]", &limits)).await
}

#[tokio::test]
async fn one_connection_more_than_the_total_is_closed_at_once() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "connections = 3").await;
    let mut admitted = vec![
        gateway.connect().await,
        gateway.connect_tls("app.test").await,
        gateway.connect().await,
    ];
    for client in &mut admitted {
        client.get("app.test", "/").await.echoed();
    }
    for address in [gateway.http(), gateway.https()] {
        Wire::tcp(address).await.ended().await;
    }
    let refused = "portunus_connections_refused_total{reason=\"total\"}";
    assert_eq!(gateway.metric(refused), 2);
    // Those inside are served as before, and a place that gets free is given away.
    for client in &mut admitted {
        client.get("app.test", "/").await.echoed();
    }
    admitted.pop();
    gateway.metric_is("portunus_connections", 2).await;
    gateway.connect().await.get("app.test", "/").await.echoed();
}

#[tokio::test]
async fn one_client_cannot_take_every_place() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "connections_per_ip = 2").await;
    let _held = [gateway.connect().await, gateway.connect().await];
    gateway.connect().await.ended().await;
    let refused = "portunus_connections_refused_total{reason=\"per_ip\"}";
    assert_eq!(gateway.metric(refused), 1);
    let neighbour = TcpSocket::new_v4().unwrap();
    neighbour.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = within(neighbour.connect(gateway.http())).await.unwrap();
    Wire::new(stream).get("app.test", "/").await.echoed();
}

#[tokio::test]
async fn an_unknown_host_gets_no_site() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut plain = gateway.connect().await;
    let mut tls = gateway.connect_tls("app.test").await;
    for host in [
        "other.test",
        "app.test.evil.test",
        "sub.app.test",
        "127.0.0.1",
        ".",
    ] {
        let expected = if host == "." { (400, 400) } else { (404, 421) };
        let answers = (
            plain.get(host, "/").await.status,
            tls.get(host, "/").await.status,
        );
        assert_eq!(answers, expected, "{host}");
    }
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    assert_eq!(http2.get("https://other.test/").await.head.status, 421);
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for lines in [
        &["GET / HTTP/1.1"][..],
        &["GET / HTTP/1.0"],
        &["GET / HTTP/1.1", "Host:"],
        &["GET / HTTP/1.1", "Host: app.test", "Host: app.test"],
        &["GET / HTTP/1.1", "Host: app.test", "Host: evil.test"],
        &["GET http://evil.test/ HTTP/1.1", "Host: app.test"],
        &["GET http://app.test/ HTTP/1.1", "Host: evil.test"],
        &["GET / HTTP/1.1", "Host: user@app.test"],
        &["GET / HTTP/1.1", "Host: app.test, evil.test"],
        &["GET / HTTP/1.1", "Host: app.test/x"],
    ] {
        for mut client in [
            gateway.connect().await,
            gateway.connect_tls("app.test").await,
        ] {
            assert_eq!(client.ask(lines).await.status, 400, "{lines:?}");
        }
    }
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for lines in [
        &["Content-Length: 1", "Content-Length: 2"][..],
        &["Content-Length: +1"],
        &["Content-Length: 1, 2"],
        &["Content-Length: -1"],
        &["Content-Length: 0x1"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding: chunked, gzip"],
        &["Transfer-Encoding: xchunked"],
        &["Transfer-Encoding : chunked"],
        &["X: a", " folded: b"],
        &["X\u{0}: a"],
        &["X: a\u{0}b"],
        &["X: a\rb: c"],
    ] {
        let mut client = gateway.connect().await;
        let request = [&["POST / HTTP/1.1", "Host: app.test"], lines].concat();
        client
            .send(format!("{}\r\n\r\nx", request.join("\r\n")))
            .await;
        let response = client.response().await;
        assert_eq!(response.status, 400, "{lines:?}");
        // What follows cannot be told apart from this request any more.
        client.ended().await;
    }
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn methods_that_have_no_meaning_here_are_refused() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    let trace = client.ask(&["TRACE / HTTP/1.1", "Host: app.test"]).await;
    assert_eq!(trace.status, 501);
    let mut client = gateway.connect().await;
    let connect = client
        .ask(&["CONNECT app.test:443 HTTP/1.1", "Host: app.test:443"])
        .await;
    assert_eq!(connect.status, 501);
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_out_of_the_directory() {
    let dir = Dir::new();
    dir.write("www/index.html", "the app");
    dir.write("www/sub/page.html", "a page");
    dir.write("www/.env", "SECRET=1");
    dir.write("secret", "SECRET=2");
    std::os::unix::fs::symlink(dir.join("secret"), dir.join("www/link")).unwrap();
    let site = "[[site]]\nhosts = [\"app.test\"]\nhttp = \"serve\"\n[[site.route]]\n\
        files = \"www\"\nfallback = \"/index.html\"\n";
    let gateway = Gateway::start_in(dir, &format!("{PLAIN_AND_TLS}{site}")).await;
    for target in [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/.%2e/secret",
        "/sub/../../secret",
        "/sub/..%2f..%2fsecret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/..\\secret",
        "/..%5csecret",
        "/%252e%252e/secret",
        "/%252e%252e%252fsecret",
        "/....//secret",
        "/sub/....//....//secret",
        "/%c0%ae%c0%ae/secret",
        "/%e0%80%ae%e0%80%ae/secret",
        "/..%00/secret",
        "/..;/secret",
        "//../secret",
        "/./.././secret",
        "/sub/../..//secret",
        "/link",
        "/link/",
        "/.env",
        "/%2eenv",
        "/sub/../.env",
        "/sub/%2e%2e/.env",
        "/proc/self/environ",
        "/../../../../../../../../etc/passwd",
        "http://app.test/../secret",
        "file:///etc/passwd",
        "/secret?/../secret",
    ] {
        let mut client = gateway.connect().await;
        let response = client.get("app.test", target).await;
        let text = response.text();
        assert!(
            !text.contains("SECRET") && !text.contains("root:"),
            "{target}: {text}"
        );
        assert!(
            matches!(response.status, 400 | 404) || text == "the app",
            "{target}: {} {text}",
            response.status
        );
    }
    let mut client = gateway.connect().await;
    assert_eq!(
        client.get("app.test", "/sub/../sub/page.html").await.text(),
        "a page"
    );
}

#[tokio::test]
async fn an_unknown_server_name_is_refused_without_a_certificate() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for name in ["other.test", "sub.app.test"] {
        let error = gateway.try_tls(name).await.expect_err(name);
        let alert = error.get_ref().and_then(|error| error.downcast_ref());
        match alert {
            Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)) => {}
            _ => panic!("{name}: {error}"),
        }
    }
    let refused = "portunus_tls_handshake_failures_total{reason=\"unknown_name\"}";
    gateway.metric_is(refused, 2).await;
}

#[tokio::test]
async fn a_client_without_a_server_name_gets_the_certificate_of_the_address() {
    let site = "[[site]]\nhosts = [\"127.0.0.1\"]\n[[site.route]]\nrespond = { body = \"hi\" }\n";
    let gateway = Gateway::start(&format!("{TLS}{site}")).await;
    let mut client = gateway.connect_tls("127.0.0.1").await;
    let host = gateway.https().to_string();
    assert_eq!(client.get(&host, "/").await.text(), "hi");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "head_size = \"8KiB\"").await;
    let head = |size: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n\r\n",
            "x".repeat(size)
        )
    };
    for mut client in [
        gateway.connect().await,
        gateway.connect_tls("app.test").await,
    ] {
        client.send(head(7 * 1024)).await;
        client.response().await.echoed();
        client.send(head(8 * 1024)).await;
        assert_eq!(client.response().await.status, 431);
        client.ended().await;
    }
    // One that never ends is refused as well, long before memory is.
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n").await;
    for _ in 0..10_000 {
        if client.try_send("X: 0123456789\r\n").await.is_err() {
            break;
        }
    }
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    gateway.metric_is("portunus_connections", 0).await;
}

#[tokio::test]
async fn an_http2_head_that_is_too_large_is_refused() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = http::Request::get("https://app.test/")
        .header("x", "x".repeat(100 * 1024))
        .body(())
        .unwrap();
    let sent = client.send(request).await;
    match within(sent).await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.is_remote() || error.is_io(), "{error}"),
    }
    let mut client = Http2::connect(&gateway, "app.test").await;
    assert_eq!(client.get("https://app.test/").await.head.status, 200);
}

/// One HTTP/2 frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Kind and payload of each whole frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, next)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push((*kind, payload));
        bytes = next;
    }
    frames
}

#[tokio::test]
async fn a_client_that_resets_stream_after_stream_loses_its_connection() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
    // GET https://app.test/, in HPACK's static table but for the authority.
    const GET: &[u8] = b"\x82\x87\x84\x41\x08app.test";
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut config = gateway.client_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = Wire::tls(gateway.https(), config, "app.test").await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(SETTINGS, 0, 0, b""));
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(HEADERS, 0b101, stream, GET));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    // It may be closed before everything is sent.
    drop(client.try_send(flood).await);
    let answer = client.rest().await;
    let goaway = frames(&answer)
        .into_iter()
        .rfind(|(kind, _)| *kind == GOAWAY);
    let (_, payload) = goaway.expect("a GOAWAY");
    assert_eq!(payload[4..8], ENHANCE_YOUR_CALM);
    gateway.metric_is("portunus_connections", 0).await;
    gateway.metric_is("portunus_requests_in_flight", 0).await;
}

/// Bytes that look like a request up to some point.
fn mangled(rng: &mut fastrand::Rng) -> Vec<u8> {
    const PIECES: [&[u8]; 16] = [
        b"GET / HTTP/1.1\r\n",
        b"POST /a%2fb?c HTTP/1.1\r\n",
        b"Host: app.test\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\x12\x04\0\0\0\0\0",
        b"\0\0\0\x01\x05\0\0\0\x01",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"ffffffffffffffff\r\n",
        b": \r\n",
    ];
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..10) {
        match rng.u8(..4) {
            0 => bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(20)),
            _ => bytes.extend_from_slice(rng.choice(PIECES).unwrap()),
        }
    }
    if rng.bool() {
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
    }
    bytes
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let origin = Origin::echo().await;
    let limits = "head_timeout = \"2s\"\nbody_timeout = \"2s\"\nidle_timeout = \"2s\"";
    let gateway = limited(&origin, limits).await;
    let mut rng = fastrand::Rng::with_seed(17);
    let mut bystander = gateway.connect_tls("app.test").await;
    let config = gateway.client_config();
    for round in 0..300 {
        let bytes = mangled(&mut rng);
        let mut client = match round % 4 {
            0 | 1 => gateway.connect().await,
            2 => Wire::tcp(gateway.https()).await,
            _ => {
                let mut config = config.clone();
                if rng.bool() {
                    config.alpn_protocols = vec![b"h2".to_vec()];
                }
                Wire::tls(gateway.https(), config, "app.test").await
            }
        };
        // It may be closed before everything is sent.
        drop(client.try_send(&bytes).await);
        if rng.bool() {
            drop(client.try_shutdown().await);
            client.rest().await;
        }
        drop(client);
        if round % 20 == 0 {
            bystander.get("app.test", "/").await.echoed();
        }
    }
    bystander.get("app.test", "/").await.echoed();
    eventually(|| gateway.metric("portunus_connections") == 1).await;
    assert_eq!(gateway.metric("portunus_panics_total"), 0);
    let mut client = gateway.connect().await;
    client.send(GET).await;
    client.response().await.echoed();
}

const RATED: &str = "[[site]]\nhosts = [\"app.test\"]\nhttp = \"serve\"\n\
    [[site.route]]\npath = [\"/rated\"]\nrespond = { body = \"rated\" }\n\
    limits = { rate = \"2/1h\" }\n\
    [[site.route]]\nrespond = { body = \"free\" }\n";

#[tokio::test]
async fn a_rate_holds_for_its_route_and_over_every_protocol() {
    for over_http2 in [false, true] {
        let gateway = Gateway::start(&format!("{PLAIN_AND_TLS}{RATED}")).await;
        let mut http1 = gateway.connect().await;
        let mut http2 = Http2::connect(&gateway, "app.test").await;
        for _ in 0..2 {
            if over_http2 {
                assert_eq!(http2.get("https://app.test/rated").await.body, b"rated");
            } else {
                assert_eq!(http1.get("app.test", "/rated").await.text(), "rated");
            }
        }
        // Whatever it used before, this client has had its share.
        let refused = http1.get("app.test", "/rated").await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("retry-after"), Some("3600"));
        let refused = http2.get("https://app.test/rated").await;
        assert_eq!(refused.head.status, 429);
        assert_eq!(refused.head.headers["retry-after"], "3600");
        // Both connections go on, and so does the rest of the site.
        assert_eq!(http1.get("app.test", "/").await.text(), "free");
        assert_eq!(http2.get("https://app.test/").await.body, b"free");
    }
}

#[tokio::test]
async fn a_reload_that_leaves_a_route_alone_does_not_start_its_count_anew() {
    let gateway = Gateway::start(&format!("{PLAIN_AND_TLS}{RATED}")).await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(client.get("app.test", "/rated").await.status, 200);
    }
    let changed = RATED.replace("free", "changed");
    gateway
        .reload(&format!("{PLAIN_AND_TLS}{changed}"))
        .await
        .unwrap();
    assert_eq!(client.get("app.test", "/").await.text(), "changed");
    assert_eq!(client.get("app.test", "/rated").await.status, 429);
}

#[tokio::test]
async fn a_rate_counts_clients_not_the_proxy_they_come_through() {
    let ask = async |client: &mut Wire, forwarded: &str| {
        let forwarded = format!("X-Forwarded-For: {forwarded}");
        let lines = ["GET /rated HTTP/1.1", "Host: app.test", &forwarded];
        client.ask(&lines).await.status
    };
    let trusting = format!("{PLAIN_AND_TLS}trusted_proxies = [\"127.0.0.1\"]\n{RATED}");
    // Not redirected, because the site is served over plain HTTP as well.
    let gateway = Gateway::start(&trusting).await;
    let mut proxy = gateway.connect().await;
    for client in ["203.0.113.7", "203.0.113.8"] {
        for status in [200, 200, 429] {
            assert_eq!(ask(&mut proxy, client).await, status, "{client}");
        }
    }
    // What the client itself put in front of its address changes nothing.
    assert_eq!(ask(&mut proxy, "198.51.100.1, 203.0.113.7").await, 429);
    // And nobody else is believed.
    let gateway = Gateway::start(&format!("{PLAIN_AND_TLS}{RATED}")).await;
    let mut client = gateway.connect().await;
    for (forwarded, status) in [("203.0.113.7", 200), ("203.0.113.8", 200), ("::1", 429)] {
        assert_eq!(ask(&mut client, forwarded).await, status, "{forwarded}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_hold_more_connections_than_a_client() {
    let origin = Origin::echo().await;
    let limits = "trusted_proxies = [\"127.0.0.1\"]\n\
        [listen.limits]\nconnections_per_ip = 2\n[[site]]";
    let toml = proxy(&origin.url(), "").replace("[[site]]", limits);
    let gateway = Gateway::start(&toml).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(gateway.connect().await);
        held.push(gateway.connect_tls("app.test").await);
    }
    for client in &mut held {
        client.get("app.test", "/").await.echoed();
    }
    let refused = "portunus_connections_refused_total{reason=\"per_ip\"}";
    assert_eq!(gateway.metric(refused), 0);
    // Anybody else is held to it.
    let mut neighbours = Vec::new();
    for _ in 0..3 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = within(socket.connect(gateway.http())).await.unwrap();
        neighbours.push(Wire::new(stream));
    }
    neighbours.pop().unwrap().ended().await;
    assert_eq!(gateway.metric(refused), 1);
    for client in &mut neighbours {
        client.get("app.test", "/").await.echoed();
    }
}
