//! One accepted connection: handshake, protocol, deadlines, drain.

use std::{
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, Request};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{body::Tracked, service};
use crate::{
    app::Gateway,
    config::Limits,
    listen::{Accepted, Activity, Deadlines, Expiry, Io, Place, Socket, Watchdog},
    tls::{self, AcceptError},
};

/// Bytes hyper may hold of a request head, and at most of one read of a body.
const H1_READ_BUFFER: usize = 64 * 1024;
/// Window of one HTTP/2 stream and of the connection: what a client may have under way without
/// waiting for us. 1 MiB fills a 100 Mbit/s path at 80 ms.
const H2_STREAM_WINDOW: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Header list of one HTTP/2 request, decoded.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// Resets a client may cause before its connection ends (CVE-2023-44487, CVE-2025-8671).
const H2_PENDING_RESETS: usize = 20;
const H2_LOCAL_RESETS: usize = 64;
/// What HTTP/2 may hold of one response while the client does not take it; one chunk more may
/// come on top. A client that never reads can pin this for each of its streams.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// How long a connection that is asked to end gracefully by its idle deadline gets for it.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is known about a connection, shared by its requests.
#[derive(Debug)]
pub struct Facts {
    pub gateway: Arc<Gateway>,
    /// The other end; `None` on Unix sockets.
    pub peer: Option<IpAddr>,
    /// `peer` as upstreams read it, made once.
    pub peer_header: Option<HeaderValue>,
    /// Whether TLS was terminated here.
    pub https: bool,
    pub http2: bool,
    pub activity: Arc<Activity>,
    /// Cancelled when the listener or the gateway shuts down.
    pub stop: CancellationToken,
    limits: Limits,
    /// Held until the last request and WebSocket of the connection is gone.
    _place: Place,
}

impl Facts {
    /// The limits in force when the connection was accepted.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Serves a connection to its end.
pub async fn serve(
    gateway: Arc<Gateway>,
    accepted: Accepted,
    https: bool,
    stop: CancellationToken,
) {
    let Accepted {
        socket,
        peer,
        place,
    } = accepted;
    let limits = gateway.snapshot.load().limits.clone();
    let (io, activity, http2) = if https {
        let Some(stream) = handshake(&gateway, socket, &limits, &stop).await else {
            return;
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let streams = if http2 { limits.streams } else { 0 };
        let activity = Arc::new(Activity::new(streams));
        (Io::tls(stream, Arc::clone(&activity)), activity, http2)
    } else {
        let activity = Arc::new(Activity::new(0));
        (Io::plain(socket, Arc::clone(&activity)), activity, false)
    };
    let facts = Arc::new(Facts {
        peer,
        peer_header: peer.and_then(|peer| HeaderValue::try_from(peer.to_string()).ok()),
        https,
        http2,
        activity,
        stop,
        limits,
        _place: place,
        gateway,
    });
    if http2 {
        serve_h2(io, facts).await;
    } else {
        serve_h1(io, facts).await;
    }
}

async fn handshake(
    gateway: &Gateway,
    socket: Socket,
    limits: &Limits,
    stop: &CancellationToken,
) -> Option<tokio_rustls::server::TlsStream<Socket>> {
    let tls = gateway.tls.as_ref()?;
    let local = socket.local().map(|local| local.ip().to_canonical());
    let shaken = tokio::select! {
        shaken = timeout(limits.head_timeout, tls::accept(tls, socket, local)) => shaken,
        () = stop.cancelled() => return None,
    };
    let reason = match shaken {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(AcceptError::UnknownName { .. })) => "unknown_name",
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            "failed"
        }
        Err(_) => "timeout",
    };
    gateway
        .metrics
        .handshake_failures
        .with_label_values(&[reason])
        .inc();
    None
}

async fn serve_h1(io: Io, facts: Arc<Facts>) {
    let limits = facts.limits();
    let shared = Arc::clone(&facts);
    let connection = http1::Builder::new()
        .max_buf_size(limits.head_size.max(H1_READ_BUFFER))
        .max_header_size(limits.head_size)
        .half_close(false)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| answer(Arc::clone(&shared), request)),
        )
        .with_upgrades();
    watch(connection, &facts, false, |connection| {
        connection.graceful_shutdown();
    })
    .await;
}

async fn serve_h2(io: Io, facts: Arc<Facts>) {
    let limits = facts.limits();
    let shared = Arc::clone(&facts);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(H2_HEADER_LIST)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_LOCAL_RESETS)
        .max_send_buf_size(H2_SEND_BUFFER)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| answer(Arc::clone(&shared), request)),
        );
    watch(connection, &facts, true, |connection| {
        connection.graceful_shutdown();
    })
    .await;
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Tracked>, Infallible>> + Send>>;

/// Boxed, because hyper moves a request's future several times before it runs, and this one is as
/// large as all that a request may wait for.
fn answer(facts: Arc<Facts>, request: Request<Incoming>) -> Answer {
    Box::pin(async move { Ok(service::handle(facts, request).await) })
}

/// Runs a connection under its deadlines; when told to stop lets it finish what it has begun.
async fn watch<C, E>(
    connection: C,
    facts: &Facts,
    multiplexed: bool,
    graceful: impl Fn(Pin<&mut C>),
) where
    C: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let limits = facts.limits();
    let deadlines = Deadlines {
        head: limits.head_timeout,
        idle: limits.idle_timeout,
        write: limits.write_timeout,
    };
    let mut watched = pin!(Watchdog::new(
        connection,
        &facts.activity,
        deadlines,
        multiplexed
    ));
    let ended = tokio::select! {
        biased;
        ended = watched.as_mut() => ended,
        () = facts.stop.cancelled() => {
            if facts.activity.in_flight() == 0 {
                // The last request is over and so is its body: an idle connection ends at once.
                facts.activity.body_ended();
            }
            graceful(watched.as_mut().connection());
            watched.as_mut().await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(error = %super::exchange::chain(&error), "connection ended");
        }
        Err(expiry) => {
            facts
                .gateway
                .metrics
                .expired
                .with_label_values(&[expiry.label()])
                .inc();
            if expiry == Expiry::Idle && multiplexed {
                // GOAWAY, so that the client does not send into a closing connection.
                graceful(watched.as_mut().connection());
                drop(timeout(GOODBYE, watched.connection()).await);
            }
        }
    }
}
