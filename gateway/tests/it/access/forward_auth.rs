//! Other services that decide, in the three dialects.

use tokio::sync::mpsc;

use super::{Fixture, app};
use crate::support::{Gateway, Head, Origin};

/// A service that gives every question the same answer, and what it was asked.
async fn service(answer: &'static str) -> (Origin, mpsc::UnboundedReceiver<(Head, Vec<u8>)>) {
    let (asked, questions) = mpsc::unbounded_channel();
    let service = Origin::serve(move |mut wire| {
        let asked = asked.clone();
        async move {
            while let Ok(head) = wire.try_head().await {
                let Ok(body) = wire.body(&head).await else {
                    return;
                };
                drop(asked.send((head, body)));
                if wire.try_send(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (service, questions)
}

async fn fixture(service: &Origin, dialect: &str) -> Fixture {
    let url = service.url();
    let route = format!(
        "access = {{ forward_auth = {{ url = \"{url}/check?x=1\", dialect = \"{dialect}\", \
         copy_headers = [\"Remote-User\", \"X-Team\"] }} }}"
    );
    Fixture::new(&route).await
}

const YES: &str = "HTTP/1.1 200 OK\r\nRemote-User: alice\r\nX-Other: 1\r\n\
    Set-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_header_the_service_omits_is_not_the_clients() {
    for dialect in ["nginx", "caddy", "traefik"] {
        let (service, _questions) = service(YES).await;
        let mut app = fixture(&service, dialect).await;
        let seen = app
            .get(&[
                "Remote-User: root",
                "X-Team: wheel",
                "x_team: wheel",
                "Connection: x-team, remote-user",
            ])
            .await
            .echoed();
        assert_eq!(seen.all("remote-user"), ["alice"], "{dialect}");
        assert_eq!(seen.one("x-team"), None, "{dialect}");
        assert_eq!(seen.one("x_team"), None, "{dialect}");
        assert_eq!(seen.one("x-other"), None, "{dialect}");
    }
}

#[tokio::test]
async fn nginx_is_asked_by_the_original_address() {
    let (service, mut questions) = service(YES).await;
    let mut app = fixture(&service, "nginx").await;
    let lines = [
        "POST /a/./b%2e?c=%20 HTTP/1.1",
        "Host: app.test",
        "Cookie: c=1",
        "X-Original-URL: http://app.test/public",
        "X-Forwarded-Uri: /public",
        "Content-Length: 4",
        "",
        "body",
    ];
    app.client.send(lines.join("\r\n")).await;
    assert_eq!(app.client.response().await.status, 200);
    let (head, body) = questions.recv().await.unwrap();
    assert_eq!(head.line, "GET /check?x=1 HTTP/1.1");
    let url = head.one("x-original-url").unwrap();
    assert_eq!(url, "http://app.test/a/b.?c=%20");
    assert_eq!(head.one("x-original-method"), Some("POST"));
    assert_eq!(head.one("x-forwarded-uri"), None);
    assert_eq!(head.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.one("cookie"), Some("c=1"));
    assert_eq!(head.one("content-length"), None);
    assert!(body.is_empty());
    assert_eq!(service.accepted(), 1);
}

#[tokio::test]
async fn caddy_and_traefik_are_asked_by_forwarded_headers() {
    for dialect in ["caddy", "traefik"] {
        let (service, mut questions) = service(YES).await;
        let mut app = fixture(&service, dialect).await;
        let lines = [
            "DELETE /a?b HTTP/1.1",
            "Host: app.test",
            "X-Forwarded-Method: GET",
            "X-Forwarded-Uri: /public",
            "X-Forwarded-For: 192.0.2.1",
        ];
        let answer = app.client.ask(&lines).await;
        let cookies = answer.head.all("set-cookie");
        assert_eq!(!cookies.is_empty(), dialect == "traefik");
        let (head, _) = questions.recv().await.unwrap();
        assert_eq!(head.line, "GET /check?x=1 HTTP/1.1");
        for (name, value) in [
            ("x-forwarded-method", "DELETE"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "app.test"),
            ("x-forwarded-uri", "/a?b"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            assert_eq!(head.one(name), Some(value), "{name} for {dialect}");
        }
    }
}

#[tokio::test]
async fn a_service_is_not_told_the_clients_lookalikes_of_the_gateways_headers() {
    for dialect in ["nginx", "caddy", "traefik"] {
        let (service, mut questions) = service(YES).await;
        let mut app = fixture(&service, dialect).await;
        let lookalikes = [
            "x_forwarded_uri",
            "x_forwarded-method",
            "x_original_url",
            "x-forwarded_for",
            "x_real_ip",
        ];
        let lines = lookalikes.map(|name| format!("{name}: /public"));
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.push("my_own: 1");
        assert_eq!(app.get(&lines).await.status, 200);
        let (head, _) = questions.recv().await.unwrap();
        for name in lookalikes {
            assert_eq!(head.one(name), None, "{name} for {dialect}");
        }
        assert_eq!(head.one("my_own"), Some("1"));
    }
}

#[tokio::test]
async fn a_redirect_with_cookies_reaches_the_client_except_in_nginx() {
    const LOGIN: &str = "HTTP/1.1 302 Found\r\nLocation: https://auth.test/login\r\n\
        Set-Cookie: s=1; Path=/\r\nSet-Cookie: t=2\r\nContent-Length: 5\r\n\r\nlogin";
    for dialect in ["caddy", "traefik"] {
        let (service, _questions) = service(LOGIN).await;
        let mut app = fixture(&service, dialect).await;
        let answer = app.get(&[]).await;
        assert_eq!((answer.status, answer.text()), (302, "login"));
        assert_eq!(answer.header("location"), Some("https://auth.test/login"));
        assert_eq!(answer.head.all("set-cookie"), ["s=1; Path=/", "t=2"]);
        assert_eq!(app.origin.accepted(), 0);
    }
    let (service, _questions) = service(LOGIN).await;
    let mut app = fixture(&service, "nginx").await;
    assert_eq!(app.get(&[]).await.status, 500);
    assert_eq!(app.origin.accepted(), 0);
}

#[tokio::test]
async fn refusals_reach_the_client() {
    const REFUSALS: [(&str, u16); 2] = [
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"there\"\r\nContent-Length: 0\r\n\r\n",
            401,
        ),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403),
    ];
    for (refusal, status) in REFUSALS {
        for dialect in ["nginx", "caddy", "traefik"] {
            let (service, _questions) = service(refusal).await;
            let mut app = fixture(&service, dialect).await;
            let answer = app.get(&[]).await;
            assert_eq!(answer.status, status, "{dialect}");
            if status == 401 {
                let challenge = answer.header("www-authenticate");
                assert_eq!(challenge, Some("Basic realm=\"there\""), "{dialect}");
            }
            assert_eq!(app.origin.accepted(), 0);
        }
    }
}

#[tokio::test]
async fn nobody_passes_when_the_service_is_not_there_or_says_nothing() {
    let gone = Origin::bind().await;
    let url = gone.url();
    drop(gone);
    let silent = Origin::serve(|mut wire| async move {
        drop(wire.rest().await);
    })
    .await;
    for (url, status) in [(url, 502), (silent.url(), 504)] {
        let origin = Origin::echo().await;
        let route = format!(
            "access = {{ forward_auth = {{ url = \"{url}\", dialect = \"caddy\", timeout = \"50ms\" }} }}"
        );
        let gateway = Gateway::start(&app(&origin, &route)).await;
        let mut client = gateway.connect().await;
        assert_eq!(client.get("app.test", "/").await.status, status);
        assert_eq!(origin.accepted(), 0);
    }
}
