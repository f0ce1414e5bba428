//! A small upstream to put behind the gateway and look at.
//!
//! ```text
//! cargo run -p gateway --example demo-upstream [ADDRESS]      default 127.0.0.1:9000
//! ```
//!
//! | request | answer |
//! |---|---|
//! | any method `/api/echo` | JSON: what arrived (method, path, query, header pairs, body length) |
//! | `POST /api/upload` | JSON: the bytes of the body, which is streamed away |
//! | `GET /api/events?count=N` | server-sent events, `tick 1`, `tick 2`, … one each second |
//! | `GET /ws` | WebSocket echo; the text `close 4001 bye` closes with that code and reason |
//! | `GET /health` | `{"status":"healthy"}` |

use std::{convert::Infallible, io, net::SocketAddr, process::ExitCode, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How long to wait after `accept` failed, so that a full descriptor table is not a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> ExitCode {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9000");
    let Ok(address) = address.parse::<SocketAddr>() else {
        eprintln!("{address:?} is not an address such as 127.0.0.1:9000");
        return ExitCode::from(64);
    };
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{}", bind_message(address, &error));
            return ExitCode::FAILURE;
        }
    };
    println!(
        "listening on http://{}",
        listener.local_addr().unwrap_or(address)
    );
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream))),
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn bind_message(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen on {address}: the port is taken by another program. Stop that one \
             (`ss -ltnp 'sport = :{}'` names it), or pass another address as the first argument.",
            address.port()
        ),
        _ => format!("cannot listen on {address}: {error}"),
    }
}

async fn connection(stream: TcpStream) {
    // Ticks are small and must not wait for each other.
    stream.set_nodelay(true).ok();
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        eprintln!("connection: {error}");
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let method = request.method().clone();
    Ok(match (&method, request.uri().path()) {
        (_, "/api/echo") => echo(request).await,
        (&Method::POST, "/api/upload") => upload(request.into_body()).await,
        (&Method::GET, "/api/events") => events(request.uri().query()),
        (&Method::GET, "/ws") => websocket(request),
        (&Method::GET, "/health") => json_answer(StatusCode::OK, &json!({ "status": "healthy" })),
        (_, path) => {
            let body = json!({ "error": "not found", "path": path });
            json_answer(StatusCode::NOT_FOUND, &body)
        }
    })
}

async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let length = match drain(body).await {
        Ok(length) => length,
        Err(error) => return broken_body(&error),
    };
    let body = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": pairs(&head.headers),
        "body_length": length,
    });
    json_answer(StatusCode::OK, &body)
}

fn pairs(headers: &HeaderMap) -> Vec<[String; 2]> {
    headers
        .iter()
        .map(|(name, value)| {
            [
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ]
        })
        .collect()
}

async fn upload(body: Incoming) -> Response<Body> {
    match drain(body).await {
        Ok(length) => json_answer(StatusCode::OK, &json!({ "bytes": length })),
        Err(error) => broken_body(&error),
    }
}

/// Reads a body to its end without keeping it; returns its length in bytes.
async fn drain(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            length += data.len() as u64;
        }
    }
    Ok(length)
}

fn broken_body(error: &hyper::Error) -> Response<Body> {
    let body = json!({ "error": format!("the request body broke off: {error}") });
    json_answer(StatusCode::BAD_REQUEST, &body)
}

/// Server-sent events; `count` in the query ends the stream after so many, else it goes on.
fn events(query: Option<&str>) -> Response<Body> {
    let count = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("count=")?.parse().ok())
        .unwrap_or(u64::MAX);
    let frames = ticks(count).map(|tick| {
        let event = format!("id: {tick}\ndata: tick {tick}\n\n");
        Ok(Frame::data(Bytes::from(event)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

/// 1, 2, … `count`, the first at once and then one each second.
fn ticks(count: u64) -> impl Stream<Item = u64> + Send + 'static {
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((clock, 0), move |(mut clock, told)| async move {
        if told == count {
            return None;
        }
        clock.tick().await;
        Some((told + 1, (clock, told + 1)))
    })
}

fn websocket(mut request: Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let asks = headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks);
    let Some(accept) = key.map(|key| derive_accept_key(key.as_bytes())) else {
        let body = json!({ "error": "this path takes WebSockets only" });
        let mut response = json_answer(StatusCode::UPGRADE_REQUIRED, &body);
        let websocket = header::HeaderValue::from_static("websocket");
        response.headers_mut().insert(header::UPGRADE, websocket);
        return response;
    };
    tokio::spawn(echo_messages(hyper::upgrade::on(&mut request)));
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("upgrade"),
    );
    headers.insert(
        header::UPGRADE,
        header::HeaderValue::from_static("websocket"),
    );
    if let Ok(accept) = accept.try_into() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

async fn echo_messages(upgrade: OnUpgrade) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return eprintln!("websocket: {error}"),
    };
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
    if let Err(error) = echo_loop(&mut socket).await {
        eprintln!("websocket: {error}");
    }
}

async fn echo_loop(
    socket: &mut WebSocketStream<TokioIo<Upgraded>>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => match close_command(&text) {
                Some(frame) => socket.close(Some(frame)).await?,
                None => socket.send(Message::Text(text)).await?,
            },
            message @ Message::Binary(_) => socket.send(message).await?,
            // The library answers pings and closes; its answer leaves with the next flush.
            _ => socket.flush().await.or_else(closed_is_fine)?,
        }
    }
    Ok(())
}

fn closed_is_fine(
    error: tokio_tungstenite::tungstenite::Error,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    match error {
        tokio_tungstenite::tungstenite::Error::ConnectionClosed => Ok(()),
        error => Err(error),
    }
}

/// `close <code> <reason>`, with a code that may be sent (RFC 6455 §7.4).
fn close_command(text: &str) -> Option<CloseFrame> {
    let rest = text.strip_prefix("close ")?;
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let code = CloseCode::from(code.parse::<u16>().ok()?);
    // A control frame holds 125 bytes, two of them the code.
    (code.is_allowed() && reason.len() <= 123).then(|| CloseFrame {
        code,
        reason: reason.into(),
    })
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Full::from(body.to_string()).boxed_unsync());
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
