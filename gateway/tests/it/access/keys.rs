//! API keys, and WebSockets that were opened with one.

use auth::identity::Context;
use tokio_tungstenite::tungstenite::{
    Error, Message, client::IntoClientRequest, http::HeaderValue,
};

use super::{Fixture, app, assert_refused};
use crate::support::{Gateway, Origin, WebSocket, within};

const KEYS: &str = "access = { key = { scope = \"route:access:app/api\" } }";
const SCOPE: &str = "route:access:app/*";

#[tokio::test]
async fn a_key_with_the_scope_passes_and_names_its_owner() {
    let mut app = Fixture::new(KEYS).await;
    let (_, key) = app.key(SCOPE).await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    let seen = app.get(&[&bearer]).await.echoed();
    assert_eq!(seen.one("x-portunus-user"), Some("github:alice"));
    assert_eq!(seen.one("x-portunus-role"), Some("user"));
    assert_eq!(seen.one("x-portunus-email"), Some("alice@example.com"));
    assert_eq!(seen.one("authorization"), None);
}

#[tokio::test]
async fn without_a_key_there_is_a_challenge() {
    let mut app = Fixture::new(KEYS).await;
    let refused = app.get(&[]).await;
    assert_refused(&refused, 401);
    let challenge = refused.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"api keys\""));
    assert_eq!(app.origin.accepted(), 0);
}

#[tokio::test]
async fn a_key_for_something_else_is_known_and_may_not() {
    let mut app = Fixture::new(KEYS).await;
    let (_, key) = app.key("tunnel:connect,route:access:apple").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    let refused = app.get(&[&bearer]).await;
    assert_refused(&refused, 403);
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    assert!(challenge.contains("route:access:app/api"), "{challenge}");
}

#[tokio::test]
async fn without_a_scope_the_label_of_the_route_is_meant() {
    let mut app = Fixture::new("access = { key = {} }").await;
    let (_, key) = app.key("route:access:app/all").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    assert_eq!(app.get(&[&bearer]).await.status, 200);
}

#[tokio::test]
async fn a_wrong_or_revoked_key_is_refused_also_beside_a_session() {
    let mut app =
        Fixture::new("access = { key = { scope = \"route:access:a\" }, session = {} }").await;
    let (key, secret) = app.key("route:access:a").await;
    let bearer = format!("Authorization: Bearer {}", secret.reveal());
    assert_eq!(app.get(&[&bearer]).await.status, 200);
    let operator = Context::operator();
    app.identity().revoke_key(key.id, &operator).await.unwrap();
    let refused = app.get(&[&bearer]).await;
    assert_refused(&refused, 401);
    for wrong in [
        "Authorization: Bearer ptn_",
        "Authorization: Bearer ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA",
        "Authorization: Bearer ",
        "authorization: bearer ptn_x",
    ] {
        assert_refused(&app.get(&[wrong]).await, 401);
    }
    let twice = app.get(&[&bearer, "Authorization: Basic YTpi"]).await;
    assert_refused(&twice, 401);
}

#[tokio::test]
async fn a_key_in_the_address_opens_nothing() {
    let mut app = Fixture::new(KEYS).await;
    let (_, key) = app.key(SCOPE).await;
    for name in ["key", "api_key", "access_token"] {
        let target = format!("/?{name}={}", key.reveal());
        let refused = app.get_from("app.test", &target, &[]).await;
        assert_refused(&refused, 400);
        let bearer = format!("Authorization: Bearer {}", key.reveal());
        let refused = app.get_from("app.test", &target, &[&bearer]).await;
        assert_refused(&refused, 400);
    }
}

#[tokio::test]
async fn who_is_wrong_too_often_has_to_wait() {
    let mut app = Fixture::new(KEYS).await;
    let (_, key) = app.key(SCOPE).await;
    for _ in 0..10 {
        let wrong = "Authorization: Bearer ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA";
        assert_eq!(app.get(&[wrong]).await.status, 401);
    }
    let another = "Authorization: Bearer ptn_x";
    let refused = app.get(&[another]).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("60"));
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    assert_eq!(app.get(&[&bearer]).await.status, 200);
}

#[tokio::test]
async fn a_websocket_ends_when_its_key_is_revoked() {
    let origin = Origin::bind().await;
    let gateway = Gateway::start(&app(&origin, KEYS)).await;
    let client = gateway.connect().await;
    let app = Fixture {
        gateway,
        origin,
        client,
    };
    let refused = WebSocket::try_open(app.gateway.connect().await, "ws://app.test/ws").await;
    match refused {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 401);
            assert!(response.headers().contains_key("www-authenticate"));
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened without a key"),
    }
    let (key, secret) = app.key(SCOPE).await;
    let mut request = "ws://app.test/ws".into_client_request().unwrap();
    let bearer = HeaderValue::from_str(&format!("Bearer {}", secret.reveal())).unwrap();
    request.headers_mut().insert("authorization", bearer);
    let wire = app.gateway.connect().await.into_stream();
    let open = within(tokio_tungstenite::client_async(request, wire));
    let serve = async { WebSocket::take(app.origin.accept().await).await };
    let (opened, mut server) = tokio::join!(open, serve);
    let mut client = WebSocket(opened.unwrap().0);
    client.send(Message::text("hello")).await;
    assert_eq!(server.next().await, Some(Message::text("hello")));
    let operator = Context::operator();
    let revoked = std::time::Instant::now();
    app.identity().revoke_key(key.id, &operator).await.unwrap();
    let (at_client, at_server) = tokio::join!(client.closed(), server.closed());
    assert_eq!((at_client.0, at_server.0), (1008, 1008));
    assert!(revoked.elapsed() < std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn a_stream_of_events_ends_when_its_key_is_revoked() {
    let origin = Origin::bind().await;
    let gateway = Gateway::start(&app(&origin, KEYS)).await;
    let mut client = gateway.connect().await;
    let waiting = gateway.connect().await;
    let app = Fixture {
        gateway,
        origin,
        client: waiting,
    };
    let (key, secret) = app.key(SCOPE).await;
    let bearer = secret.reveal();
    client
        .send(format!(
            "GET /events HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {bearer}\r\n\r\n"
        ))
        .await;
    let mut upstream = app.origin.accept().await;
    upstream.request().await;
    upstream
        .send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.status(), 200);
    let mut seen = Vec::new();
    let first = client.chunk(&mut seen).await.unwrap();
    assert_eq!(first.as_deref(), Some(&b"data: 1\n\n"[..]));
    let operator = Context::operator();
    app.identity().revoke_key(key.id, &operator).await.unwrap();
    // Cut, so that nobody takes it for the end of the stream.
    assert!(within(client.chunk(&mut seen)).await.is_err());
}
