//! The admin listener.

use crate::support::{Gateway, Origin, Wire, eventually};

const TOML: &str = r#"
data_dir = "state"
[listen]
http = ["127.0.0.1:0"]
https = []
admin = "127.0.0.1:0"
[[site]]
hosts = ["app.test"]
  [[site.route]]
  name = "api \"quoted\""
  path = ["/api/*"]
  proxy = ["ORIGIN"]
  [[site.route]]
  respond = { body = "one" }
"#;

async fn start(origin: &Origin) -> (Gateway, Wire) {
    let gateway = Gateway::start(&TOML.replace("ORIGIN", &origin.url())).await;
    let admin = Wire::tcp(gateway.admin()).await;
    (gateway, admin)
}

#[tokio::test]
async fn health_is_that_of_the_gateway_not_of_an_upstream() {
    let dead = Origin::bind().await;
    let (_gateway, mut admin) = start(&dead).await;
    drop(dead);
    let health = admin.get("localhost", "/health").await;
    assert_eq!(health.status, 200);
    let version = env!("CARGO_PKG_VERSION");
    let alive = format!(r#"{{"status":"ok","db":"up","version":"{version}","gitSha":""#);
    assert!(health.text().starts_with(&alive), "{}", health.text());
    let body: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert!(body["uptime"].is_u64());
    assert_eq!(health.header("content-type"), Some("application/json"));
    assert_eq!(health.header("cache-control"), Some("no-store"));
    let ready = admin.get("localhost", "/health/ready").await;
    let body: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!((ready.status, &body["status"]), (200, &"ready".into()));
    assert!(body["version"].is_string());
}

#[tokio::test]
async fn a_draining_gateway_is_healthy_but_not_ready() {
    let origin = Origin::bind().await;
    let (gateway, mut admin) = start(&origin).await;
    let mut client = gateway.connect().await;
    client
        .send("GET /api/ HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    gateway.begin_stop();
    let ready = admin.get("localhost", "/health/ready").await;
    let body: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!((ready.status, &body["status"]), (503, &"not_ready".into()));
    assert_eq!(body["reason"], "shutting_down");
    // New probes are let in as long as something is left.
    let mut probe = Wire::tcp(gateway.admin()).await;
    assert_eq!(probe.get("127.0.0.1", "/health").await.status, 200);
    upstream.answer("done").await;
    client.response().await;
    assert!(gateway.stop().await, "something was cut");
    admin.ended().await;
}

#[tokio::test]
async fn metrics_are_in_the_text_format_and_count() {
    let origin = Origin::echo().await;
    let (gateway, mut admin) = start(&origin).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        client.get("app.test", "/api/x").await.echoed();
    }
    assert_eq!(client.get("other.test", "/").await.status, 404);
    let counted = "portunus_requests_total{class=\"4xx\",route=\"\",site=\"\"} 1";
    eventually(|| gateway.metrics().contains(counted)).await;
    let metrics = admin.get("localhost", "/metrics").await;
    assert_eq!(metrics.status, 200);
    let format = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(metrics.header("content-type"), Some(format));
    let text = metrics.text();
    for line in [
        "portunus_requests_total{class=\"2xx\",route=\"api \\\"quoted\\\"\",site=\"app.test\"} 3",
        "portunus_requests_total{class=\"5xx\",route=\"/*\",site=\"app.test\"} 0",
        counted,
        "portunus_request_failures_total{reason=\"unknown_host\"} 1",
        "portunus_panics_total 0",
        "portunus_connections 1",
    ] {
        assert!(
            text.lines().any(|it| it == line),
            "{line} is not in\n{text}"
        );
    }
    check_exposition(text);
}

/// Every sample belongs to a family that was announced before it, and reads as name, labels and
/// number.
fn check_exposition(text: &str) {
    let mut family = String::new();
    let mut samples = 0;
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(matches!(keyword, "HELP" | "TYPE"), "{line}");
            assert!(words.next().is_some_and(|rest| !rest.is_empty()), "{line}");
            name.clone_into(&mut family);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        let suffix = name.strip_prefix(family.as_str());
        assert!(
            matches!(suffix, Some("" | "_bucket" | "_sum" | "_count")),
            "{family}: {line}"
        );
        assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
        samples += 1;
    }
    assert!(samples > 20, "{text}");
}

#[tokio::test]
async fn a_reload_is_a_post_and_tells_what_is_wrong() {
    let origin = Origin::echo().await;
    let (gateway, mut admin) = start(&origin).await;
    let mut client = gateway.connect().await;
    let toml = TOML.replace("ORIGIN", &origin.url());
    let post = [
        "POST /reload HTTP/1.1",
        "Host: localhost",
        "Content-Length: 0",
    ];

    gateway
        .dir
        .write("portunus.toml", toml.replace("one", "two"));
    assert_eq!(admin.get("localhost", "/reload").await.status, 405);
    assert_eq!(client.get("app.test", "/").await.text(), "one");
    assert_eq!(admin.ask(&post).await.status, 200);
    assert_eq!(client.get("app.test", "/").await.text(), "two");

    gateway
        .dir
        .write("portunus.toml", toml.replace("respond", "respnd"));
    let refused = admin.ask(&post).await;
    assert_eq!(refused.status, 422);
    let text = refused.text();
    assert!(
        text.contains("portunus.toml:14:3: unknown key `respnd`"),
        "{text}"
    );
    assert!(text.contains("did you mean `respond`?"), "{text}");
    assert_eq!(client.get("app.test", "/").await.text(), "two");
}

#[tokio::test]
async fn nothing_is_changed_for_a_browser() {
    let origin = Origin::echo().await;
    let (gateway, mut admin) = start(&origin).await;
    let mut client = gateway.connect().await;
    let toml = TOML.replace("ORIGIN", &origin.url());
    gateway
        .dir
        .write("portunus.toml", toml.replace("one", "two"));
    for origin in ["https://evil.test", "http://localhost:9180", "null"] {
        let refused = admin
            .ask(&[
                "POST /reload HTTP/1.1",
                "Host: localhost",
                "Content-Length: 0",
                &format!("Origin: {origin}"),
            ])
            .await;
        assert_eq!(refused.status, 403, "{origin}");
    }
    // A name that somebody else made point here.
    for host in [
        "evil.test",
        "localhost.evil.test",
        "app.test",
        "localhost:x",
        "",
    ] {
        let refused = admin
            .ask(&[
                "POST /reload HTTP/1.1",
                &format!("Host: {host}"),
                "Content-Length: 0",
            ])
            .await;
        assert_eq!(refused.status, 421, "{host}");
        assert_eq!(admin.get(host, "/metrics").await.status, 421, "{host}");
    }
    assert_eq!(client.get("app.test", "/").await.text(), "one");
    for host in ["localhost", "LOCALHOST:9180", "127.0.0.1:1", "[::1]:9180"] {
        assert_eq!(admin.get(host, "/health").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn sites_are_not_served_here_nor_administration_there() {
    let origin = Origin::echo().await;
    let (gateway, mut admin) = start(&origin).await;
    assert_eq!(admin.get("localhost", "/").await.status, 404);
    assert_eq!(admin.get("localhost", "/api/x").await.status, 404);
    let mut client = gateway.connect().await;
    for path in ["/metrics", "/health", "/health/ready", "/reload"] {
        assert_eq!(client.get("app.test", path).await.text(), "one");
        assert_eq!(client.get("localhost", path).await.status, 404);
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_name() {
    let origin = Origin::echo().await;
    let toml = TOML
        .replace("ORIGIN", &origin.url())
        .replace("admin = \"127.0.0.1:0\"", "admin = \"unix:admin.sock\"");
    let gateway = Gateway::start(&toml).await;
    let path = gateway.dir.join("admin.sock");
    let mut admin = Wire::unix(&path).await;
    assert_eq!(admin.get("portunus", "/health").await.status, 200);
    // Whoever may connect is the file system's decision.
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    assert!(gateway.stop().await, "something was cut");
}
