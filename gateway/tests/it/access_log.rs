//! What is written about each request, and what never is.

use serde_json::Value;

use crate::support::{Gateway, Http2, Origin, PLAIN, proxy};

async fn json(gateway: &Gateway, count: usize) -> Vec<Value> {
    let lines = gateway.access_log.wait_for(count).await;
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
async fn each_request_is_one_json_object_on_one_line() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    let response = client
        .ask(&[
            "POST /a/b?c=d HTTP/1.1",
            "Host: app.test:80",
            "User-Agent: a \"b\"\tc",
            "Content-Length: 0",
        ])
        .await;
    assert_eq!(client.get("other.test", "/x").await.status, 404);
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    http2.get("https://app.test/y").await;
    let lines = json(&gateway, 3).await;

    let one = &lines[0];
    for (key, value) in [
        ("level", "info"),
        ("component", "access"),
        ("msg", "request"),
        ("method", "POST"),
        ("host", "app.test:80"),
        ("target", "/a/b?c=d"),
        ("client", "127.0.0.1"),
        ("scheme", "http"),
        ("protocol", "HTTP/1.1"),
        ("route", "app.test//*"),
        ("outcome", "complete"),
        ("user_agent", "a \"b\"\tc"),
    ] {
        assert_eq!(one[key], value, "{key}");
    }
    assert_eq!(one["status"], 200);
    assert_eq!(one["bytes"], response.body.len());
    assert!(one["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{one}");
    assert!(
        one["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')),
        "{one}"
    );
    // The same id is upstream's.
    let seen = response.echoed();
    assert_eq!(one["request_id"], seen.one("x-request-id").unwrap());

    assert_eq!(
        (&lines[1]["status"], &lines[1]["route"]),
        (&404.into(), &Value::Null)
    );
    assert_eq!(
        (&lines[2]["protocol"], &lines[2]["scheme"]),
        (&"HTTP/2.0".into(), &"https".into())
    );
}

#[tokio::test]
async fn a_request_that_did_not_end_well_says_so() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let request = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart";

    let mut client = gateway.connect().await;
    client.send(request).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(begun).await;
    client.head().await;
    drop(upstream);
    client.rest().await;
    gateway.access_log.wait_for(1).await;

    let mut client = gateway.connect().await;
    client.send(request).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(begun).await;
    client.head().await;
    drop(client);

    let lines = json(&gateway, 2).await;
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["bytes"]),
        (&"cut".into(), &5.into())
    );
    assert_eq!(
        (&lines[1]["outcome"], &lines[1]["status"]),
        (&"aborted".into(), &200.into())
    );
}

#[tokio::test]
async fn secrets_are_not_logged() {
    let origin = Origin::bind().await;
    let toml = proxy(
        &origin.url(),
        "response_headers = { set = { x-a = \"S3CRET\" } }",
    );
    for form in ["json", "combined"] {
        let gateway = Gateway::start(&format!("{toml}[log]\naccess = \"{form}\"\n")).await;
        let mut client = gateway.connect().await;
        client
            .send(
                "POST /ws?room=1&token=S3CRET&Password=S3CRET&access%5Ftoken=S3CRET&code=S3CRET \
                 HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer S3CRET\r\nCookie: id=S3CRET\r\n\
                 Proxy-Authorization: Basic S3CRET\r\nX-Api-Key: S3CRET\r\n\
                 Referer: https://app.test/x?token=S3CRET\r\nContent-Length: 6\r\n\r\nS3CRET",
            )
            .await;
        let mut upstream = origin.accept().await;
        let (head, _) = upstream.request().await;
        // The upstream gets all of them but the one for proxies.
        assert_eq!(head.one("authorization"), Some("Bearer S3CRET"));
        assert!(head.target().contains("token=S3CRET"));
        upstream
            .send("HTTP/1.1 200 OK\r\nSet-Cookie: id=S3CRET\r\nContent-Length: 6\r\n\r\nS3CRET")
            .await;
        client.response().await;
        let lines = gateway.access_log.wait_for(1).await;
        assert!(!lines[0].contains("S3CRET"), "{}", lines[0]);
        assert!(lines[0].contains("room=1"), "{}", lines[0]);
    }
}

#[tokio::test]
async fn a_client_cannot_write_lines_of_its_own() {
    let origin = Origin::echo().await;
    for form in ["json", "combined"] {
        let toml = proxy(&origin.url(), "");
        let gateway = Gateway::start(&format!("{toml}[log]\naccess = \"{form}\"\n")).await;
        let mut client = gateway.connect().await;
        let bytes = b"GET /%0a%0d\"x HTTP/1.1\r\nHost: app.test\r\n\
            User-Agent: \xff\xfe\" 200 \\\r\nReferer: \" - \"\r\n\r\n";
        client.send(bytes).await;
        client.response().await.echoed();
        client.get("app.test", "/").await.echoed();
        let lines = gateway.access_log.wait_for(2).await;
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in &lines {
            assert!(!line.contains(char::is_control), "{line:?}");
            match form {
                "json" => drop(serde_json::from_str::<Value>(line).unwrap()),
                // Three quoted fields: request, referer, agent.
                _ => assert_eq!(unescaped_quotes(line), 6, "{line}"),
            }
        }
    }
}

fn unescaped_quotes(line: &str) -> usize {
    let (mut quotes, mut escaped) = (0, false);
    for c in line.chars() {
        quotes += usize::from(c == '"' && !escaped);
        escaped = c == '\\' && !escaped;
    }
    quotes
}

#[tokio::test]
async fn the_form_of_the_log_changes_with_a_reload() {
    let toml = |form: &str| {
        let site = "[[site]]\nhosts = [\"*\"]\n[[site.route]]\nrespond = { body = \"ok\" }\n";
        format!("{PLAIN}[log]\naccess = \"{form}\"\n{site}")
    };
    let gateway = Gateway::start(&toml("json")).await;
    let mut client = gateway.connect().await;
    client.get("a", "/1").await;
    gateway.reload(&toml("combined")).await.unwrap();
    client.get("a", "/2").await;
    gateway.reload(&toml("off")).await.unwrap();
    client.get("a", "/3").await;
    gateway.reload(&toml("json")).await.unwrap();
    client.get("a", "/4").await;
    let lines = gateway.access_log.wait_for(3).await;
    assert!(
        lines[0].starts_with("{\"ts\":") && lines[0].contains("\"/1\""),
        "{lines:?}"
    );
    // As log analysers expect it: 127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET /…
    assert!(
        lines[1].contains(" +0000] \"GET /2 HTTP/1.1\" 200 2 \"-\" \"-\""),
        "{lines:?}"
    );
    let day = lines[1]
        .strip_prefix("127.0.0.1 - - [")
        .expect("no client first");
    assert_eq!(
        (&day[2..3], &day[6..7], &day[11..12]),
        ("/", "/", ":"),
        "{lines:?}"
    );
    assert!(lines[2].contains("\"/4\""), "{lines:?}");
}
