//! Which answer a request gets: protocols, redirects, hosts, paths, files beside an upstream.

use crate::support::{
    Dir, Gateway, Http2, Origin, PLAIN, PLAIN_AND_TLS, Wire, eventually, program::curl,
};

/// The site of a single-page app and its API, and a second one.
const MESH: &str = r#"
[[site]]
hosts = ["mesh.test"]
  [[site.route]]
  path  = ["/api/*", "/ws", "/health"]
  proxy = ["MESH"]
  [[site.route]]
  files    = "www"
  fallback = "/index.html"
[[site]]
hosts = ["gotify.test"]
  [[site.route]]
  proxy = ["GOTIFY"]
"#;

struct Mesh {
    gateway: Gateway,
    _gotify: Origin,
    _mesh: Origin,
}

/// The mesh server knows `/api/ok`, `/health` and `/ws`, and answers 404 to the rest.
async fn mesh() -> Mesh {
    let mesh = Origin::serve(|mut wire| async move {
        while let Ok(head) = wire.try_head().await {
            let (status, body) = match head.target() {
                "/api/ok" => ("200 OK", "api"),
                "/health" => ("200 OK", "{\"status\":\"healthy\"}"),
                "/ws" => ("426 Upgrade Required", "exactly /ws"),
                _ => ("404 Not Found", "{\"detail\":\"Not Found\"}"),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            wire.send(head + body).await;
        }
    })
    .await;
    let gotify = Origin::echo().await;
    let dir = Dir::new();
    dir.write("www/index.html", "<title>mesh</title>");
    dir.write("www/assets/app.js", "start()");
    let sites = MESH
        .replace("MESH", &mesh.url())
        .replace("GOTIFY", &gotify.url());
    Mesh {
        gateway: Gateway::start_in(dir, &format!("{PLAIN_AND_TLS}{sites}")).await,
        _mesh: mesh,
        _gotify: gotify,
    }
}

#[tokio::test]
async fn https_serves_http1_and_http2_chosen_by_alpn() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;

    let mut http1 = gateway.connect_tls("app.test").await;
    let seen = http1.get("app.test", "/a?b").await.echoed();
    assert_eq!(seen.line, "GET /a?b HTTP/1.1");

    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let response = http2.get("https://app.test/c?d").await;
    assert_eq!(response.head.status, 200);
    let seen = String::from_utf8(response.body).unwrap();
    assert!(seen.starts_with("GET /c?d HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nhost: app.test\r\n"), "{seen}");
}

#[tokio::test]
async fn curl_accepts_the_internal_certificate_over_http1_and_http2() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let root = gateway.dir.write("root.pem", gateway.root_pem());
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let port = gateway.https().port();
        let output = curl(&[
            "-q",
            "--silent",
            "--show-error",
            flag,
            "--cacert",
            root.to_str().unwrap(),
            "--resolve",
            &format!("app.test:{port}:127.0.0.1"),
            "--write-out",
            "\n%{http_version} %{http_code}",
            &format!("https://app.test:{port}/x"),
        ])
        .await;
        let text = String::from_utf8_lossy(&output.stdout);
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        assert!(text.ends_with(&format!("\n{version} 200")), "{text}");
        assert!(text.starts_with("GET /x HTTP/1.1"), "{text}");
    }
}

#[tokio::test]
async fn plain_http_redirects_to_https_keeping_path_and_query() {
    let mesh = mesh().await;
    let port = mesh.gateway.https().port();
    let mut client = mesh.gateway.connect().await;
    for target in ["/", "/a/b%20c?x=%7e&x=1&&=", "/a?", "/%61//b/../c?q=%2F"] {
        let response = client.get("mesh.test", target).await;
        assert_eq!(response.status, 308);
        let expected = format!("https://mesh.test:{port}{target}");
        assert_eq!(response.header("location"), Some(expected.as_str()));
    }
    let response = client
        .ask(&[
            "POST /form HTTP/1.1",
            "Host: mesh.test:8080",
            "Content-Length: 0",
        ])
        .await;
    assert_eq!(response.status, 308);
    let expected = format!("https://mesh.test:{port}/form");
    assert_eq!(response.header("location"), Some(expected.as_str()));
}

#[tokio::test]
async fn plain_http_serves_the_sites_when_there_is_no_https() {
    let origin = Origin::echo().await;
    let site = format!(
        "{PLAIN}\n[[site]]\nhosts = [\"app.test\"]\n[[site.route]]\nproxy = [\"{}\"]\n",
        origin.url()
    );
    let gateway = Gateway::start(&site).await;
    let mut client = gateway.connect().await;
    let seen = client.get("app.test", "/x").await.echoed();
    assert_eq!(seen.one("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn an_app_and_its_api_share_a_host() {
    let mesh = mesh().await;
    let mut client = mesh.gateway.connect_tls("mesh.test").await;
    for (target, status, body) in [
        ("/", 200, "<title>mesh</title>"),
        ("/room/42", 200, "<title>mesh</title>"),
        ("/assets/app.js", 200, "start()"),
        ("/api/ok", 200, "api"),
        ("/health", 200, "{\"status\":\"healthy\"}"),
        ("/ws", 426, "exactly /ws"),
        // The upstream's own 404, never the page of the app.
        ("/api/nope", 404, "{\"detail\":\"Not Found\"}"),
        ("/api/", 404, "{\"detail\":\"Not Found\"}"),
        // Other spellings of the same path take the same route.
        ("//api/nope", 404, "{\"detail\":\"Not Found\"}"),
        ("/x/../api/nope", 404, "{\"detail\":\"Not Found\"}"),
        ("/%61pi/nope", 404, "{\"detail\":\"Not Found\"}"),
        // Not below /api/.
        ("/apis", 200, "<title>mesh</title>"),
        ("/health/x", 200, "<title>mesh</title>"),
    ] {
        let response = client.get("mesh.test", target).await;
        assert_eq!(
            (response.status, response.text()),
            (status, body),
            "{target}"
        );
    }
}

#[tokio::test]
async fn the_second_site_answers_under_its_own_name() {
    let mesh = mesh().await;
    let mut client = mesh.gateway.connect_tls("gotify.test").await;
    let seen = client.get("gotify.test", "/message?token=x").await.echoed();
    assert_eq!(seen.line, "GET /message?token=x HTTP/1.1");
    assert_eq!(seen.one("host"), Some("gotify.test"));
}

#[tokio::test]
async fn a_websocket_path_arrives_without_a_query_added() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect_tls("app.test").await;
    client
        .send(
            "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let head = origin.accept().await.head().await;
    assert_eq!(head.line, "GET /ws HTTP/1.1");
    assert_eq!(
        head.one("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
}

#[tokio::test]
async fn the_query_arrives_byte_for_byte() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut http1 = gateway.connect().await;
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    for query in [
        "?b=2&a=1&b=1",
        "?x=%7e&y=~",
        "?a=&&=&c",
        "?%2f=%2F&+=%20",
        "?q=a+b&q=a%20b",
        "?",
        "?a=b?c=d",
        "?p=[1]&q={2}|\\^`'",
        "?%zz=%",
    ] {
        let target = format!("/a%20b{query}");
        let seen = http1.get("app.test", &target).await.echoed();
        assert_eq!(seen.target(), target);
        // The client of the test refuses what RFC 3986 has no place for.
        let Ok(uri) = format!("https://app.test{target}").parse::<http::Uri>() else {
            continue;
        };
        let response = http2.get(&uri.to_string()).await;
        let seen = String::from_utf8(response.body).unwrap();
        assert!(
            seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn repeated_headers_survive_both_ways_in_order() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nX-Tag: a\r\nCookie: s=1\r\nX-Tag: b\r\n\
             X-Empty:\r\nX-Tag: a\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    let head = upstream.head().await;
    assert_eq!(head.all("x-tag"), ["a", "b", "a"]);
    assert_eq!(head.one("x-empty"), Some(""));
    assert_eq!(head.one("cookie"), Some("s=1"));
    upstream
        .send(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; HttpOnly\r\n\
             Link: <x>\r\nSet-Cookie: a=3\r\nLink: <y>\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    let response = client.response().await;
    let cookies = ["a=1; Path=/", "b=2; HttpOnly", "a=3"];
    assert_eq!(response.head.all("set-cookie"), cookies);
    assert_eq!(response.head.all("link"), ["<x>", "<y>"]);
}

#[tokio::test]
async fn the_host_arrives_as_the_client_sent_it() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    for host in ["app.test", "App.Test", "app.test:8080", "app.test."] {
        let seen = client.get(host, "/").await.echoed();
        assert_eq!(seen.one("host"), Some(host));
        assert_eq!(seen.one("x-forwarded-host"), Some(host));
    }
    // The absolute form says the same; upstream gets the origin form.
    let seen = client
        .ask(&["GET http://app.test/x?y HTTP/1.1", "Host: app.test"])
        .await
        .echoed();
    assert_eq!(seen.line, "GET /x?y HTTP/1.1");
    assert_eq!(seen.one("host"), Some("app.test"));
}

#[tokio::test]
async fn a_route_can_change_host_path_and_headers_on_the_way() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(
        &origin.url(),
        "path = [\"/v1/*\"]\nhost = \"inner.test:81\"\nstrip_prefix = \"/v1\"\n\
         request_headers = { set = { x-key = \"k\" }, remove = [\"cookie\"] }\n\
         response_headers = { set = { x-frame-options = \"DENY\" }, remove = [\"x-gone\"] }",
    )
    .await;
    let mut client = gateway.connect().await;
    let response = client
        .ask(&[
            "GET /v1/a?b=%7e HTTP/1.1",
            "Host: app.test",
            "Cookie: a",
            "X-Key: mine",
        ])
        .await;
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    let seen = response.echoed();
    assert_eq!(seen.line, "GET /a?b=%7e HTTP/1.1");
    assert_eq!(seen.one("host"), Some("inner.test:81"));
    assert_eq!(seen.one("x-forwarded-host"), Some("app.test"));
    assert_eq!(seen.one("x-key"), Some("k"));
    assert_eq!(seen.one("cookie"), None);
}

#[tokio::test]
async fn a_unix_listener_and_a_unix_upstream_serve_like_tcp_ones() {
    let dir = Dir::new();
    let inner = format!(
        "{}\n[[site]]\nhosts = [\"*\"]\n[[site.route]]\nrespond = {{ body = \"inner\" }}\n",
        PLAIN.replace("127.0.0.1:0", "unix:inner.sock")
    );
    let inner = Gateway::start_in(dir, &inner).await;
    let path = inner.dir.join("inner.sock");
    let outer = Gateway::proxy(&format!("unix:{}", path.display()), "").await;
    assert_eq!(
        outer.connect().await.get("app.test", "/").await.text(),
        "inner"
    );
    assert_eq!(
        Wire::unix(&path).await.get("any", "/").await.text(),
        "inner"
    );
    // A socket is there as long as its listener.
    assert!(path.exists());
    inner.begin_stop();
    eventually(|| !path.exists()).await;
}
