//! The gateway's answer to an agent that asks for a carrier.
//!
//! Whoever serves HTTP finds out with [`asked`] how the bytes are to travel, decides, answers with
//! [`granted`] or [`refused`], and turns the upgraded connection into a carrier with
//! [`carry`].

use std::{future::Future, time::Duration};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::tunnel::{
    agent::{Carriage, Granted},
    carrier::{self, Carrier, Ended, Timing},
    protocol,
    websocket::WebSocketBytes,
};

/// How an agent wants its carrier; `None` if the request does not ask for one as it should.
pub fn asked(headers: &HeaderMap) -> Option<Carriage> {
    let upgrade = headers.get(header::UPGRADE)?;
    if upgrade == protocol::UPGRADE {
        return Some(Carriage::Raw);
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION)?;
    let websocket = upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") && version == "13";
    (websocket && headers.contains_key(header::SEC_WEBSOCKET_KEY)).then_some(Carriage::WebSocket)
}

/// The head of the answer that gives a carrier.
pub fn granted(carriage: Carriage, asked: &HeaderMap, granted: &Granted) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    let token = match carriage {
        Carriage::Raw => protocol::UPGRADE,
        Carriage::WebSocket => "websocket",
    };
    headers.insert(header::UPGRADE, HeaderValue::from_static(token));
    if carriage == Carriage::WebSocket
        && let Some(key) = asked.get(header::SEC_WEBSOCKET_KEY)
        && let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
    {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    let mut insert = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    insert(protocol::TUNNEL, granted.tunnel.clone());
    insert(protocol::URL, granted.url.clone());
    insert(protocol::CARRIERS, granted.carriers.to_string());
    response
}

/// An answer that says in words why there is no carrier. Only 429 and 503 are tried again.
pub fn refused(
    status: StatusCode,
    reason: &str,
    retry_after: Option<Duration>,
) -> Response<String> {
    let mut response = Response::new(format!("{reason}\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(protocol::REFUSAL, HeaderValue::from_static("1"));
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, bearer);
    }
    if let Some(pause) = retry_after {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Makes a carrier of a connection that has switched protocols, and the future that runs it.
pub async fn carry<I>(
    io: I,
    carriage: Carriage,
    timing: Timing,
) -> Result<(Carrier, impl Future<Output = Ended> + Send), Ended>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io: Box<dyn Bytes> = match carriage {
        Carriage::Raw => Box::new(io),
        Carriage::WebSocket => Box::new(WebSocketBytes::server(io).await),
    };
    carrier::client(io, timing).await
}

/// Bytes either way, whatever they travel in.
trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}
