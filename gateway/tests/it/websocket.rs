//! WebSockets through the gateway: messages, ends, reloads.

use std::time::Duration;

use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Gateway, Origin, WebSocket, eventually, proxy, within};

const URL: &str = "ws://app.test/ws";
const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Both ends of a WebSocket through the gateway, over TLS.
async fn open(gateway: &Gateway, origin: &Origin) -> (WebSocket, WebSocket) {
    let wire = gateway.connect_tls("app.test").await;
    let serve = async { WebSocket::take(origin.accept().await).await };
    tokio::join!(WebSocket::open(wire, URL), serve)
}

#[tokio::test]
async fn text_binary_and_pings_pass_both_ways() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let plain = async { WebSocket::open(gateway.connect().await, URL).await };
    let serve = async { WebSocket::take(origin.accept().await).await };
    let over_plain = tokio::join!(plain, serve);
    for (mut client, mut server) in [over_plain, open(&gateway, &origin).await] {
        for message in [
            Message::text("héllo"),
            Message::binary(vec![0, 255, 13, 10]),
            Message::text(""),
            Message::Ping("are you there".into()),
        ] {
            client.send(message.clone()).await;
            assert_eq!(server.next().await, Some(message.clone()));
            server.send(message.clone()).await;
            let back = match client.next().await {
                // The answer to the client's own ping may overtake.
                Some(Message::Pong(_)) => client.next().await,
                other => other,
            };
            assert_eq!(back, Some(message));
        }
    }
}

#[tokio::test]
async fn large_messages_pass_both_ways() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let (mut client, mut server) = open(&gateway, &origin).await;
    let mut rng = fastrand::Rng::with_seed(9);
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..))
        .take(4 << 20)
        .collect();
    let ((), up) = tokio::join!(client.send(bytes.clone()), server.next());
    assert!(up == Some(Message::binary(bytes.clone())));
    let ((), down) = tokio::join!(server.send(bytes.clone()), client.next());
    assert!(down == Some(Message::binary(bytes)));
}

#[tokio::test]
async fn close_codes_and_reasons_pass_unchanged() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for (code, reason) in [
        (1000, "session_replaced"),
        (1001, ""),
        (1008, "hello expected"),
        (4001, "kicked"),
        (4002, "bänned"),
    ] {
        let (client, mut server) = open(&gateway, &origin).await;
        server.close(code, reason).await;
        let (seen, answer) = tokio::join!(client.closed(), server.closed());
        assert_eq!(seen, (code, reason.to_owned()));
        assert_eq!(answer.0, code);

        let (mut client, server) = open(&gateway, &origin).await;
        client.close(code, reason).await;
        let (seen, answer) = tokio::join!(server.closed(), client.closed());
        assert_eq!(seen, (code, reason.to_owned()));
        assert_eq!(answer.0, code);
    }
    eventually(|| gateway.metric("portunus_websockets") == 0).await;
}

#[tokio::test]
async fn a_refusal_of_the_upstream_reaches_the_client() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let wire = gateway.connect_tls("app.test").await;
    let refuse = async {
        let mut upstream = origin.accept().await;
        let head = upstream.head().await;
        assert_eq!(head.one("upgrade"), Some("websocket"));
        upstream
            .send(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\
                 Content-Length: 13\r\n\r\ntoken expired",
            )
            .await;
    };
    let (opened, ()) = tokio::join!(WebSocket::try_open(wire, URL), refuse);
    match opened {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 401);
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[tokio::test]
async fn a_frame_sent_together_with_the_101_arrives() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect_tls("app.test").await;
    client.send(HANDSHAKE).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send([ACCEPTED.as_bytes(), b"\x81\x05hello"].concat())
        .await;
    let head = client.head().await;
    assert_eq!(head.status(), 101);
    assert_eq!(
        head.one("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(client.exactly(7).await.unwrap(), b"\x81\x05hello");
}

#[tokio::test]
async fn what_a_client_sends_before_the_101_is_held_until_then() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    let frame = b"\x81\x82\0\0\0\0hi";
    client.send([HANDSHAKE.as_bytes(), frame].concat()).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    assert!(upstream.buffered().is_empty());
    upstream.send(ACCEPTED).await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(upstream.exactly(frame.len()).await.unwrap(), frame);
}

#[tokio::test]
async fn the_end_of_one_side_without_a_close_frame_ends_the_other() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    for client_first in [true, false] {
        let mut client = gateway.connect_tls("app.test").await;
        client.send(HANDSHAKE).await;
        let mut upstream = origin.accept().await;
        upstream.head().await;
        upstream.send(ACCEPTED).await;
        client.head().await;
        let _left_open = if client_first {
            drop(client);
            upstream.ended().await;
            upstream
        } else {
            drop(upstream);
            client.ended().await;
            client
        };
        // Whether the other side closes as well or not.
        gateway.metric_is("portunus_websockets", 0).await;
    }
}

#[tokio::test]
async fn deadlines_of_requests_do_not_end_a_websocket() {
    let origin = Origin::bind().await;
    let toml = proxy(
        &origin.url(),
        "response_timeout = \"100ms\"\nidle_timeout = \"100ms\"",
    )
    .replace(
        "[[site]]",
        "[listen.limits]\nhead_timeout = \"100ms\"\nidle_timeout = \"100ms\"\n\
         body_timeout = \"100ms\"\n[[site]]",
    );
    let gateway = Gateway::start(&toml).await;
    let (mut client, mut server) = open(&gateway, &origin).await;
    let mut moments = tokio::time::interval(Duration::from_millis(250));
    moments.tick().await;
    for _ in 0..3 {
        moments.tick().await;
        client.send("up").await;
        assert_eq!(server.next().await, Some(Message::text("up")));
        server.send("down").await;
        assert_eq!(client.next().await, Some(Message::text("down")));
    }
}

#[tokio::test]
async fn a_silent_websocket_is_told_to_go_away() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "websocket_idle_timeout = \"200ms\"").await;
    let (client, server) = open(&gateway, &origin).await;
    let (to_client, to_server) = tokio::join!(client.closed(), server.closed());
    assert_eq!((to_client.0, to_server.0), (1001, 1001));
}

#[tokio::test]
async fn a_reload_that_leaves_the_route_alone_leaves_its_websockets_alone() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let (mut client, mut server) = open(&gateway, &origin).await;
    let more = "[[site]]\nhosts = [\"new.test\"]\n[[site.route]]\nrespond = { body = \"new\" }\n";
    let toml = proxy(&origin.url(), "") + more;
    gateway.reload(&toml).await.unwrap();
    assert_eq!(
        gateway
            .connect_tls("new.test")
            .await
            .get("new.test", "/")
            .await
            .text(),
        "new"
    );
    client.send("still here").await;
    assert_eq!(server.next().await, Some(Message::text("still here")));
    server.send("me too").await;
    assert_eq!(client.next().await, Some(Message::text("me too")));
}

#[tokio::test]
async fn a_reload_that_removes_the_route_tells_its_websockets_to_go_away() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let (client, server) = open(&gateway, &origin).await;
    let other = Origin::echo().await;
    gateway.reload(&proxy(&other.url(), "")).await.unwrap();
    let (to_client, to_server) = tokio::join!(client.closed(), server.closed());
    assert_eq!((to_client.0, to_server.0), (1001, 1001));
    gateway.metric_is("portunus_websockets", 0).await;
}

#[tokio::test]
async fn draining_tells_websockets_to_go_away() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let (client, server) = open(&gateway, &origin).await;
    gateway.begin_stop();
    let (to_client, to_server) = tokio::join!(client.closed(), server.closed());
    assert_eq!((to_client.0, to_server.0), (1001, 1001));
    assert!(gateway.stop().await, "something was cut");
}

#[tokio::test]
async fn a_websocket_that_ignores_the_goodbye_does_not_hold_up_the_drain() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client.send(HANDSHAKE).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream.send(ACCEPTED).await;
    client.head().await;
    assert!(within(gateway.stop()).await, "something was cut");
    // The close frames were sent, masked where a client sends.
    assert_eq!(client.rest().await, b"\x88\x02\x03\xe9");
    assert_eq!(upstream.rest().await, b"\x88\x82\0\0\0\0\x03\xe9");
}
