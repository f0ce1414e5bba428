//! Bodies pass as they come, in both directions, no faster than they are taken.

use std::{
    fs,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::Request;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{Gateway, Http2, Origin, PLAIN_AND_TLS, Wire, program::curl, whole, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// More than all buffers on the way together.
const LARGE: usize = 256 << 20;
/// A write that takes longer than this is blocked: nothing else in a test takes as long.
const BLOCKED: Duration = Duration::from_millis(700);

/// What the kernel may hold on one connection between two processes of this machine.
fn kernel_buffers() -> usize {
    ["tcp_rmem", "tcp_wmem"]
        .iter()
        .map(|name| {
            let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
            let largest = text.split_whitespace().nth(2).unwrap();
            largest.parse::<usize>().unwrap()
        })
        .sum()
}

/// Writes until nothing moves for [`BLOCKED`]; how much went.
async fn pour(stream: &mut TcpStream) -> usize {
    let block = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while sent < LARGE {
        match timeout(BLOCKED, stream.write(&block)).await {
            Ok(length) => sent += length.unwrap(),
            Err(_) => return sent,
        }
    }
    sent
}

/// A connection whose client keeps next to nothing in the kernel.
async fn narrow(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    within(socket.connect(address)).await.unwrap()
}

#[tokio::test]
async fn a_slow_reader_holds_back_the_upstream_not_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::proxy(&upstream, "").await;
    // Two hops through the kernel, and what the gateway itself may hold.
    let most = 2 * kernel_buffers() + (2 << 20);
    assert!(most < LARGE / 2, "the body is too small to tell");

    let mut http1 = narrow(gateway.http()).await;
    http1.write_all(GET.as_bytes()).await.unwrap();
    let (mut served, _) = within(listener.accept()).await.unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    served.write_all(head.as_bytes()).await.unwrap();
    let sent = pour(&mut served).await;
    assert!(
        sent < most,
        "{sent} bytes went to a client that reads nothing"
    );

    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let request = Request::get("https://app.test/").body(()).unwrap();
    let sent = http2.send(request).await;
    let (mut served, _) = within(listener.accept()).await.unwrap();
    served.write_all(head.as_bytes()).await.unwrap();
    // The window of the stream is never opened further.
    let _response = within(sent).await.unwrap();
    let sent = pour(&mut served).await;
    assert!(
        sent < most,
        "{sent} bytes went to a stream that takes nothing"
    );
}

#[tokio::test]
async fn a_slow_upstream_holds_back_the_upload_not_memory() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = narrow(gateway.http()).await;
    let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {LARGE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut upstream = origin.accept().await;
    upstream.head().await;
    let sent = pour(&mut client).await;
    let most = 2 * kernel_buffers() + (2 << 20);
    assert!(
        sent < most,
        "{sent} bytes went to an upstream that reads nothing"
    );
}

#[tokio::test]
async fn what_a_slow_stream_holds_does_not_hold_the_others() {
    let origin = Origin::serve(|mut wire| async move {
        while let Ok(head) = wire.try_head().await {
            if head.target() == "/small" {
                wire.answer("small").await;
                continue;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            wire.send(head).await;
            while wire.try_send(vec![0; 64 * 1024]).await.is_ok() {}
        }
    })
    .await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut builder = h2::client::Builder::new();
    // Room on the connection for other streams beside the one that is stuck.
    builder.initial_connection_window_size(1 << 20);
    let mut client = Http2::connect_with(&gateway, "app.test", &builder).await;
    let request = Request::get("https://app.test/large").body(()).unwrap();
    let sent = client.send(request).await;
    let stuck = within(sent).await.unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("https://app.test/small").await.body, b"small");
    }
    drop(stuck);
}

#[tokio::test]
async fn an_upload_arrives_before_it_ends() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    let head = upstream.head().await;
    assert_eq!(head.one("transfer-encoding"), Some("chunked"));
    for part in ["one", "two", "six"] {
        client.send(format!("3\r\n{part}\r\n")).await;
        let chunk = upstream.chunk(&mut Vec::new()).await.unwrap();
        assert_eq!(chunk.as_deref(), Some(part.as_bytes()));
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(upstream.chunk(&mut Vec::new()).await.unwrap(), None);
    upstream.answer("thanks").await;
    assert_eq!(client.response().await.text(), "thanks");
}

#[tokio::test]
async fn an_http2_upload_arrives_before_it_ends() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = Request::put("https://app.test/").body(()).unwrap();
    let (response, mut body) = client.sender.send_request(request, false).unwrap();
    let mut upstream = origin.accept().await;
    upstream.head().await;
    for part in ["one", "two"] {
        body.send_data(part.into(), false).unwrap();
        let chunk = upstream.chunk(&mut Vec::new()).await.unwrap();
        assert_eq!(chunk.as_deref(), Some(part.as_bytes()));
    }
    body.send_data("".into(), true).unwrap();
    assert_eq!(upstream.chunk(&mut Vec::new()).await.unwrap(), None);
    upstream.answer("thanks").await;
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(response.body, b"thanks");
}

#[tokio::test]
async fn an_answer_can_begin_before_the_upload_ends() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 200);
    for part in ["a", "b"] {
        client.send(format!("1\r\n{part}\r\n")).await;
        let up = upstream.chunk(&mut Vec::new()).await.unwrap().unwrap();
        upstream.send(format!("1\r\n{}\r\n", up[0] as char)).await;
        let down = client.chunk(&mut Vec::new()).await.unwrap();
        assert_eq!(down.as_deref(), Some(part.as_bytes()));
    }
}

#[tokio::test]
async fn an_event_arrives_while_its_stream_is_open() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let event = "data: tick\n\n";
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    for mut client in [
        gateway.connect().await,
        gateway.connect_tls("app.test").await,
    ] {
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(head).await;
        // The head comes without waiting for an event.
        client.head().await;
        for _ in 0..3 {
            upstream.send(&chunk).await;
            let seen = client.chunk(&mut Vec::new()).await.unwrap().unwrap();
            assert_eq!(seen, event.as_bytes());
        }
    }
    let mut client = Http2::connect(&gateway, "app.test").await;
    let request = Request::get("https://app.test/").body(()).unwrap();
    let sent = client.send(request).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(head).await;
    let mut stream = within(sent).await.unwrap().into_body();
    upstream.send(&chunk).await;
    assert_eq!(within(stream.data()).await.unwrap().unwrap(), event);
}

#[tokio::test]
async fn a_body_without_length_or_chunks_ends_with_its_connection() {
    let origin = Origin::serve(|mut wire| async move {
        drop(wire.try_head().await);
        wire.send("HTTP/1.0 200 OK\r\n\r\nold times").await;
    })
    .await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(client.get("app.test", "/").await.text(), "old times");
    }
}

#[tokio::test]
async fn an_http10_client_gets_its_body_up_to_the_end_of_the_connection() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    assert_eq!(upstream.request().await.0.line, "GET / HTTP/1.1");
    upstream
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
        .await;
    let response = client.response().await;
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.text(), "abc");
}

#[tokio::test]
async fn trailers_of_a_response_arrive() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let answer = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n";

    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let request = Request::get("https://app.test/").body(()).unwrap();
    let sent = http2.send(request).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(answer).await;
    let response = whole(within(sent).await.unwrap()).await.unwrap();
    assert_eq!(response.body, b"ok");
    assert_eq!(response.trailers.unwrap()["x-sum"], "42");

    let mut http1 = gateway.connect().await;
    http1
        .send("GET / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    assert_eq!(upstream.request().await.0.one("te"), Some("trailers"));
    upstream.send(answer).await;
    http1.head().await;
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.is_empty()) {
        lines.push(http1.line().await.unwrap());
    }
    assert_eq!(lines, ["2", "ok", "0", "x-sum: 42", ""]);
}

#[tokio::test]
async fn trailers_of_a_request_arrive() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: app.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.is_empty()) {
        lines.push(upstream.line().await.unwrap());
    }
    assert_eq!(lines, ["2", "ok", "0", "x-sum: 42", ""]);
    upstream.answer("thanks").await;
    assert_eq!(client.response().await.text(), "thanks");
}

#[tokio::test]
async fn responses_without_a_body_keep_their_headers_and_the_connection() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    let mut upstream = None;
    for (request, answer, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: \"a\"",
            Some("12345"),
        ),
        // A length that nobody knows is not made up.
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"a\"",
            None,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\nETag: \"a\"", None),
        // Optional here (RFC 9110 §8.6), and left out.
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 12345\r\nETag: \"a\"",
            None,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"a\"",
            Some("0"),
        ),
    ] {
        client
            .send(format!("{request} / HTTP/1.1\r\nHost: app.test\r\n\r\n"))
            .await;
        let wire: &mut Wire = match &mut upstream {
            Some(wire) => wire,
            none => none.insert(origin.accept().await),
        };
        assert!(wire.request().await.0.line.starts_with(request));
        wire.send(format!("{answer}\r\n\r\n")).await;
        let head = client.head().await;
        assert_eq!(head.line, answer.split('\r').next().unwrap());
        assert_eq!(head.one("etag"), Some("\"a\""), "{answer}");
        assert_eq!(head.one("content-length"), length, "{answer}");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn interim_responses_of_an_upstream_do_not_end_the_exchange() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "ok"));
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let origin = Origin::echo().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 100);
    client.send("body").await;
    let response = client.response().await;
    assert!(response.text().ends_with("\r\n\r\nbody"));
    assert_eq!(response.echoed().one("expect"), None);
}

#[tokio::test]
async fn curl_uploads_and_downloads_a_large_file_over_http2() {
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let origin = Origin::serve(move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            let head = wire.head().await;
            let body = wire.body(&head).await.unwrap();
            count.store(body.len(), Ordering::SeqCst);
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                body.len()
            ))
            .await;
            wire.send(body).await;
        }
    })
    .await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut rng = fastrand::Rng::with_seed(5);
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..))
        .take(8 << 20)
        .collect();
    let file = gateway.dir.write("file", &bytes);
    let root = gateway.dir.write("root.pem", gateway.root_pem());
    let back = gateway.dir.join("back");
    let port = gateway.https().port();
    let output = curl(&[
        "-q",
        "--silent",
        "--show-error",
        "--http2",
        "--cacert",
        root.to_str().unwrap(),
        "--resolve",
        &format!("app.test:{port}:127.0.0.1"),
        "--data-binary",
        &format!("@{}", file.display()),
        "--output",
        back.to_str().unwrap(),
        &format!("https://app.test:{port}/"),
    ])
    .await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(received.load(Ordering::SeqCst), bytes.len());
    assert!(
        fs::read(back).unwrap() == bytes,
        "the file came back changed"
    );
}

#[tokio::test]
async fn head_gets_what_get_gets_without_its_body() {
    let site = "[[site]]\nhosts = [\"app.test\"]\nhttp = \"serve\"\n\
        [[site.route]]\npath = [\"/fixed\"]\nrespond = { body = \"hello\" }\n\
        [[site.route]]\npath = [\"/moved\"]\nredirect = \"/fixed\"\n";
    let gateway = Gateway::start(&format!("{PLAIN_AND_TLS}{site}")).await;
    let mut http1 = gateway.connect().await;
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    for (path, status) in [("/fixed", 200), ("/nowhere", 404), ("/moved", 308)] {
        let get = http1.get("app.test", path).await;
        assert_eq!(get.status, status, "{path}");
        let length = get.header("content-length");
        assert_eq!(length, Some(get.body.len().to_string().as_str()), "{path}");

        http1
            .send(format!("HEAD {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"))
            .await;
        let head = http1.head().await;
        assert_eq!(head.status(), status, "{path}");
        same_but_date_and_length(&head.fields, &get.head.fields);
        // A redirect has no body, and nothing then needs to be said about its length.
        if !get.body.is_empty() {
            assert_eq!(head.one("content-length"), length, "{path}");
        }

        let uri = format!("https://app.test{path}");
        let get = http2.get(&uri).await;
        assert_eq!(get.head.status, status, "{path}");
        let sent = http2.send(Request::head(&uri).body(()).unwrap()).await;
        let response = within(sent).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        // The stream ended with its headers: no frame of data came, not even an empty one.
        assert!(response.body().is_end_stream(), "{path}");
        if !get.body.is_empty() {
            let length = get.body.len().to_string();
            assert_eq!(response.headers()["content-length"], length, "{path}");
        }
    }
    // Nothing of a body is left over on the first connection either.
    assert_eq!(http1.get("app.test", "/fixed").await.text(), "hello");
    let lines = gateway.access_log.wait_for(13).await;
    let heads: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("\"method\":\"HEAD\""))
        .collect();
    assert_eq!(heads.len(), 6, "{lines:?}");
    for line in heads {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["outcome"], &line["bytes"]),
            (&"complete".into(), &0.into())
        );
    }
}

#[track_caller]
fn same_but_date_and_length(one: &[(String, String)], other: &[(String, String)]) {
    let stable = |fields: &[(String, String)]| {
        let mut fields = fields.to_vec();
        fields.retain(|(name, _)| !["date", "content-length"].contains(&name.as_str()));
        fields
    };
    assert_eq!(stable(one), stable(other));
}

#[tokio::test]
async fn a_get_with_a_body_of_unknown_length_arrives_whole() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut http1 = gateway.connect().await;
    http1
        .send("GET /one HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    let head = upstream.head().await;
    assert_eq!(head.one("transfer-encoding"), Some("chunked"));
    assert_eq!(head.one("content-length"), None);
    for part in ["one", "two"] {
        http1.send(format!("3\r\n{part}\r\n")).await;
        let chunk = upstream.chunk(&mut Vec::new()).await.unwrap();
        assert_eq!(chunk.as_deref(), Some(part.as_bytes()));
    }
    http1.send("0\r\n\r\n").await;
    assert_eq!(upstream.chunk(&mut Vec::new()).await.unwrap(), None);
    upstream.answer("ok").await;
    assert_eq!(http1.response().await.text(), "ok");

    // Over HTTP/2, where a body has a length only when the client says so.
    let mut http2 = Http2::connect(&gateway, "app.test").await;
    let request = Request::get("https://app.test/two").body(()).unwrap();
    let (response, mut body) = http2.sender.send_request(request, false).unwrap();
    body.send_data("search".into(), true).unwrap();
    let (head, body) = upstream.request().await;
    assert_eq!(head.line, "GET /two HTTP/1.1");
    assert_eq!(body, b"search");
    upstream.answer("found").await;
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(response.body, b"found");
    // What was left of either body would have spoiled the request that followed it.
    http1.send(GET).await;
    assert_eq!(upstream.request().await.0.line, "GET / HTTP/1.1");
    assert_eq!(origin.accepted(), 1);
}
