//! From an agent to a carrier: TCP or a proxy, TLS, and the request that switches protocols.
//!
//! With TLS the agent offers its own ALPN and `http/1.1`. Either way the first thing on the
//! connection is the same HTTP request; what answers 101 has given a carrier. Where something in
//! between takes `Upgrade` away, the next attempt asks for a WebSocket.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use super::{
    proxy::{Proxy, ProxyError},
    server::Server,
};
use crate::tunnel::{
    protocol::{self, Hello},
    websocket::{self, WebSocketBytes},
};

/// How long a carrier may take, from the first packet to 101.
const DIAL: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read for its reason.
const MAX_ANSWER: usize = 16 * 1024;

/// Any connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// How the bytes of a carrier travel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Carriage {
    /// As they are, after `Upgrade`.
    #[default]
    Raw,
    /// In messages of a WebSocket.
    WebSocket,
}

/// A carrier, and what the gateway said when it gave it.
pub(super) struct Dialled {
    pub(super) io: Box<dyn Io>,
    pub(super) granted: Granted,
}

/// What a gateway gives an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// The tunnel's name.
    pub tunnel: String,
    /// Where it can be reached, as a URL.
    pub url: String,
    /// How many carriers the session may have.
    pub carriers: usize,
}

/// Why there is no carrier.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot connect to {server}: {source}")]
    Connect { server: String, source: io::Error },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("TLS with {server} failed: {source}")]
    Tls { server: String, source: io::Error },
    #[error("{server} gave no answer within {DIAL:?}")]
    Timeout { server: String },
    #[error("{server} does not answer as a gateway: {problem}")]
    Protocol { server: String, problem: String },
    /// The path to the gateway does not let this kind of carrier through.
    #[error("{server} does not switch protocols (status {status})")]
    NotSwitched { server: String, status: StatusCode },
    #[error("{reason}")]
    Refused {
        status: StatusCode,
        reason: String,
        retry_after: Option<Duration>,
    },
}

impl DialError {
    /// Whether trying again changes nothing until a person does something.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                status.is_client_error()
                    && *status != StatusCode::TOO_MANY_REQUESTS
                    && *status != StatusCode::REQUEST_TIMEOUT
            }
            Self::Proxy(error) => {
                matches!(
                    error,
                    ProxyError::Malformed(..) | ProxyError::Credentials(_)
                )
            }
            _ => false,
        }
    }

    /// How long the gateway asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Asks for one carrier.
pub(super) async fn dial(
    server: &Server,
    proxy: Option<&Proxy>,
    key: &HeaderValue,
    hello: &Hello,
    carriage: Carriage,
) -> Result<Dialled, DialError> {
    let dialling = async {
        let stream = match proxy {
            Some(proxy) => proxy.connect(server).await?,
            None => direct(server).await?,
        };
        // What is sent was gathered already.
        let _ = stream.set_nodelay(true);
        match &server.tls {
            None => switch(server, stream, key, hello, carriage).await,
            Some(config) => {
                let failed = |source| DialError::Tls {
                    server: server.to_string(),
                    source,
                };
                let name = server
                    .name()
                    .map_err(|error| failed(io::Error::other(error)))?;
                let connector = TlsConnector::from(std::sync::Arc::clone(config));
                let stream = connector.connect(name, stream).await.map_err(failed)?;
                switch(server, stream, key, hello, carriage).await
            }
        }
    };
    match timeout(DIAL, dialling).await {
        Ok(dialled) => dialled,
        Err(_) => Err(DialError::Timeout {
            server: server.to_string(),
        }),
    }
}

async fn direct(server: &Server) -> Result<TcpStream, DialError> {
    TcpStream::connect(server.dialled())
        .await
        .map_err(|source| DialError::Connect {
            server: server.to_string(),
            source,
        })
}

/// Sends the request and takes the connection over.
async fn switch<I: Io + 'static>(
    server: &Server,
    io: I,
    key: &HeaderValue,
    hello: &Hello,
    carriage: Carriage,
) -> Result<Dialled, DialError> {
    let protocol = |problem: String| DialError::Protocol {
        server: server.to_string(),
        problem,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .map_err(|error| protocol(error.to_string()))?;
    tokio::spawn(connection.with_upgrades());
    let nonce = websocket_key();
    let request = request(server, key, hello, carriage, &nonce).map_err(protocol)?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| protocol(error.to_string()))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(server, answer).await);
    }
    let granted = granted(answer.headers()).map_err(protocol)?;
    if carriage == Carriage::WebSocket {
        let accept = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept != derive_accept_key(nonce.as_bytes()).as_str()) {
            return Err(protocol("its WebSocket handshake is wrong".into()));
        }
    }
    let upgraded = hyper::upgrade::on(answer)
        .await
        .map_err(|error| protocol(error.to_string()))?;
    let io: Box<dyn Io> = match (carriage, upgraded.downcast::<TokioIo<I>>()) {
        (Carriage::Raw, Ok(parts)) if parts.read_buf.is_empty() => Box::new(parts.io.into_inner()),
        (Carriage::Raw, Ok(parts)) => Box::new(Ahead {
            ahead: parts.read_buf,
            io: parts.io.into_inner(),
        }),
        (Carriage::Raw, Err(upgraded)) => Box::new(TokioIo::new(upgraded)),
        (Carriage::WebSocket, Ok(parts)) => {
            let socket = WebSocketStream::from_partially_read(
                parts.io.into_inner(),
                parts.read_buf.into(),
                Role::Client,
                Some(websocket::config()),
            );
            Box::new(WebSocketBytes::new(socket.await))
        }
        (Carriage::WebSocket, Err(_)) => {
            return Err(protocol("the connection is of another kind".into()));
        }
    };
    Ok(Dialled { io, granted })
}

fn request(
    server: &Server,
    key: &HeaderValue,
    hello: &Hello,
    carriage: Carriage,
    nonce: &str,
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static(protocol::PATH);
    let headers = request.headers_mut();
    let default_port = if server.tls.is_some() { 443 } else { 80 };
    let host = match server.port == default_port {
        true => server.host.to_string(),
        false => server.to_string(),
    };
    let host = HeaderValue::try_from(host).map_err(|error| error.to_string())?;
    headers.insert(header::HOST, host);
    headers.insert(header::AUTHORIZATION, key.clone());
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    match carriage {
        Carriage::Raw => {
            let token = HeaderValue::from_static(protocol::UPGRADE);
            headers.insert(header::UPGRADE, token);
        }
        Carriage::WebSocket => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            let version = HeaderValue::from_static("13");
            headers.insert(header::SEC_WEBSOCKET_VERSION, version);
            let nonce = HeaderValue::try_from(nonce).map_err(|error| error.to_string())?;
            headers.insert(header::SEC_WEBSOCKET_KEY, nonce);
        }
    }
    hello.write(headers);
    Ok(request)
}

fn granted(headers: &HeaderMap) -> Result<Granted, String> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let missing = |name: &HeaderName| format!("its answer lacks {name}");
    let carriers = text(&protocol::CARRIERS).and_then(|number| number.parse().ok());
    Ok(Granted {
        tunnel: text(&protocol::TUNNEL)
            .ok_or_else(|| missing(&protocol::TUNNEL))?
            .to_owned(),
        url: text(&protocol::URL)
            .ok_or_else(|| missing(&protocol::URL))?
            .to_owned(),
        carriers: carriers.unwrap_or(1).clamp(1, protocol::MAX_CARRIERS),
    })
}

/// An answer other than 101, in words for whoever reads the agent's output.
async fn refused(server: &Server, answer: Response<Incoming>) -> DialError {
    let status = answer.status();
    let ours = answer.headers().contains_key(protocol::REFUSAL);
    let retry_after = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let switches = ours
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::SERVICE_UNAVAILABLE;
    if !switches {
        return DialError::NotSwitched {
            server: server.to_string(),
            status,
        };
    }
    #[expect(clippy::disallowed_methods, reason = "bounded by Limited")]
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    let reason: String = String::from_utf8_lossy(&body)
        .trim()
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(500)
        .collect();
    DialError::Refused {
        status,
        reason: match reason.is_empty() {
            true => format!("the gateway refuses the tunnel (status {status})"),
            false => reason,
        },
        retry_after,
    }
}

fn websocket_key() -> String {
    tokio_tungstenite::tungstenite::handshake::client::generate_key()
}

pin_project_lite::pin_project! {
    /// A connection of which some bytes were read already.
    struct Ahead<I> {
        ahead: Bytes,
        #[pin]
        io: I,
    }
}

impl<I: AsyncRead> AsyncRead for Ahead<I> {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let this = self.project();
        if this.ahead.is_empty() {
            return this.io.poll_read(cx, buffer);
        }
        let taken = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead.split_to(taken));
        std::task::Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite> AsyncWrite for Ahead<I> {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buffer)
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}
