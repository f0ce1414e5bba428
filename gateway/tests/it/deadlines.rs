//! What a client may take its time for, and how long.

use std::time::Duration;

use http::Request;
use tokio::io::AsyncWriteExt;

use crate::support::{Gateway, Http2, Origin, Wire, proxy, whole, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// The gateway of [`Gateway::proxy`] with a `[listen.limits]`.
async fn limited(origin: &Origin, limits: &str) -> Gateway {
    let limits = format!("[listen.limits]\n{limits}\n[[site]]");
    Gateway::start(&proxy(&origin.url(), "").replace("[[site]]", &limits)).await
}

fn expired(deadline: &str) -> String {
    format!("portunus_connections_expired_total{{deadline=\"{deadline}\"}}")
}

#[tokio::test]
async fn half_a_head_is_cut_off() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "head_timeout = \"300ms\"").await;
    for mut client in [
        gateway.connect().await,
        gateway.connect_tls("app.test").await,
    ] {
        client.send("GET / HTTP/1.1\r\nHost: app.te").await;
        client.ended().await;
    }
    gateway.metric_is(&expired("head"), 2).await;
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn bytes_that_trickle_in_do_not_move_the_deadline_of_a_head() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "head_timeout = \"400ms\"").await;
    for mut client in [
        gateway.connect().await,
        gateway.connect_tls("app.test").await,
    ] {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nX: ").await;
        let mut drips = tokio::time::interval(Duration::from_millis(50));
        let cut = async {
            loop {
                drips.tick().await;
                if client.try_send("x").await.is_err() {
                    return;
                }
            }
        };
        within(cut).await;
    }
    gateway.metric_is(&expired("head"), 2).await;
}

#[tokio::test]
async fn half_a_head_on_a_kept_connection_is_cut_off() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "head_timeout = \"300ms\"\nidle_timeout = \"1h\"").await;
    let mut client = gateway.connect().await;
    client.get("app.test", "/").await.echoed();
    client.send("GET ").await;
    client.ended().await;
    gateway.metric_is(&expired("head"), 1).await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_cut_off() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "head_timeout = \"300ms\"\nidle_timeout = \"1h\"").await;
    gateway.connect().await.ended().await;
    gateway.connect_tls("app.test").await.ended().await;
    let http2 = Http2::connect(&gateway, "app.test").await;
    drop(within(http2.connection).await.unwrap());
    gateway.metric_is(&expired("head"), 3).await;
}

#[tokio::test]
async fn a_silent_handshake_is_cut_off() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "head_timeout = \"300ms\"").await;
    // Nothing, and the first bytes of a ClientHello of 256 bytes.
    for hello in [&b""[..], b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"] {
        let mut client = Wire::tcp(gateway.https()).await;
        client.send(hello).await;
        client.ended().await;
    }
    let timeouts = "portunus_tls_handshake_failures_total{reason=\"timeout\"}";
    gateway.metric_is(timeouts, 2).await;
}

#[tokio::test]
async fn stalled_clients_do_not_delay_others() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "head_timeout = \"1h\"").await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut handshake = Wire::tcp(gateway.https()).await;
        handshake.send(b"\x16\x03\x01\x01\x00\x01\x00").await;
        let mut head = gateway.connect().await;
        head.send("GET / HTTP/1.1\r\n").await;
        stalled.push((handshake, head));
    }
    gateway.metric_is("portunus_connections", 200).await;
    gateway.connect().await.get("app.test", "/").await.echoed();
    let mut client = gateway.connect_tls("app.test").await;
    client.get("app.test", "/").await.echoed();
    drop(stalled);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let origin = Origin::echo().await;
    let gateway = limited(&origin, "idle_timeout = \"300ms\"").await;
    for mut client in [
        gateway.connect().await,
        gateway.connect_tls("app.test").await,
    ] {
        client.get("app.test", "/").await.echoed();
        client.ended().await;
    }
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    assert_eq!(http2.get("https://app.test/").await.head.status, 200);
    // With a GOAWAY, so that the client knows that nothing it sent was lost.
    within(http2.connection).await.unwrap().unwrap();
    gateway.metric_is(&expired("idle"), 3).await;
}

#[tokio::test]
async fn a_request_in_flight_is_not_idle() {
    let origin = Origin::bind().await;
    let gateway = limited(
        &origin,
        "idle_timeout = \"100ms\"\nhead_timeout = \"100ms\"",
    )
    .await;
    let mut http1 = gateway.connect().await;
    http1.send(GET).await;
    let mut first = origin.accept().await;
    first.request().await;
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let request = Request::get("https://app.test/").body(()).unwrap();
    let sent = http2.send(request).await;
    let mut second = origin.accept().await;
    second.request().await;
    // Another connection shows that the deadlines have passed meanwhile.
    gateway.connect().await.ended().await;
    first.answer("slow").await;
    assert_eq!(http1.response().await.text(), "slow");
    second.answer("slow").await;
    assert_eq!(within(sent).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let origin = Origin::serve(|mut wire| async move {
        if wire.try_head().await.is_ok() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
                .await;
            while wire.try_send(vec![0; 64 * 1024]).await.is_ok() {}
        }
    })
    .await;
    let gateway = limited(&origin, "write_timeout = \"300ms\"").await;
    let mut plain = gateway.connect().await;
    plain.send(GET).await;
    plain.head().await;
    gateway.metric_is(&expired("write"), 1).await;
    gateway.metric_is("portunus_connections", 0).await;
    let mut tls = gateway.connect_tls("app.test").await;
    tls.send(GET).await;
    tls.head().await;
    gateway.metric_is(&expired("write"), 2).await;
    gateway.metric_is("portunus_connections", 0).await;
    gateway.metric_is("portunus_requests_in_flight", 0).await;
}

#[tokio::test]
async fn a_slow_reader_that_goes_on_reading_is_not_cut_off() {
    let origin = Origin::serve(|mut wire| async move {
        if wire.try_head().await.is_ok() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n")
                .await;
            drop(wire.try_send(vec![0; 20 << 20]).await);
        }
    })
    .await;
    let gateway = limited(&origin, "write_timeout = \"1s\"").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    client.head().await;
    // In all longer than the deadline, each pause shorter.
    let mut pauses = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..20 {
        pauses.tick().await;
        client.exactly(1 << 20).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_resets_is_noticed_at_once() {
    let origin = Origin::bind().await;
    let gateway = limited(&origin, "idle_timeout = \"1h\"").await;
    let mut stream = tokio::net::TcpStream::connect(gateway.http())
        .await
        .unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut upstream = origin.accept().await;
    upstream.request().await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    upstream.ended().await;
    gateway.metric_is("portunus_connections", 0).await;
}

#[tokio::test]
async fn an_http2_stream_that_takes_nothing_is_cut_off() {
    let origin = Origin::serve(|mut wire| async move {
        if wire.try_head().await.is_ok() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
                .await;
            while wire.try_send(vec![0; 64 * 1024]).await.is_ok() {}
        }
    })
    .await;
    let gateway = limited(&origin, "write_timeout = \"300ms\"").await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = Request::get("https://app.test/").body(()).unwrap();
    let sent = client.send(request).await;
    // Its window fills and is never opened again.
    let response = within(sent).await.unwrap();
    gateway.metric_is("portunus_requests_in_flight", 0).await;
    drop(response);
}

#[tokio::test]
async fn an_answer_that_comes_early_does_not_hurry_the_upload() {
    const BYTES: usize = 20;
    let origin = Origin::bind().await;
    let gateway = limited(&origin, "head_timeout = \"300ms\"").await;
    for tls in [false, true] {
        let mut client = match tls {
            false => gateway.connect().await,
            true => gateway.connect_tls("app.test").await,
        };
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {BYTES}\r\n\r\n"
            ))
            .await;
        let mut upstream = origin.accept().await;
        upstream.head().await;
        upstream
            .send("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (202, "ok"));
        trickle(BYTES, async || client.send("x").await, &mut upstream).await;
        // The same connection takes another request.
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.answer("next").await;
        assert_eq!(client.response().await.text(), "next");
    }
    assert_eq!(gateway.metric(&expired("head")), 0);
}

#[tokio::test]
async fn an_answer_that_comes_early_does_not_hurry_an_http2_upload() {
    const BYTES: usize = 20;
    let origin = Origin::bind().await;
    // A stream has no deadline for its head; the idle one is as short.
    let limits = "head_timeout = \"300ms\"\nidle_timeout = \"300ms\"";
    let gateway = limited(&origin, limits).await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = Request::post("https://app.test/")
        .header("content-length", BYTES)
        .body(())
        .unwrap();
    let (response, mut body) = client.sender.send_request(request, false).unwrap();
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(response.head.status, 202);
    let mut send = async |last| body.send_data("x".into(), last).unwrap();
    trickle(BYTES - 1, async || send(false).await, &mut upstream).await;
    // Nor is it told that it has to go.
    assert_eq!(gateway.metric(&expired("idle")), 0);
    trickle(1, async || send(true).await, &mut upstream).await;
}

/// Sends byte after byte, each when the one before has arrived: twenty of them take longer than
/// the deadlines above, each takes less.
async fn trickle(bytes: usize, mut send: impl AsyncFnMut(), upstream: &mut Wire) {
    let mut steps = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..bytes {
        steps.tick().await;
        send().await;
        assert_eq!(upstream.exactly(1).await.unwrap(), b"x");
    }
}
