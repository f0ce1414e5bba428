//! One connection between gateway and agent: HTTP/2 with the roles turned round.
//!
//! [`client`] is the gateway's end and opens streams, [`server`] the agent's and takes them. Both
//! give back a future that moves the bytes and has to be polled for anything to happen. It pings
//! the other end when nothing came from it for a while and ends the carrier when still nothing
//! comes: [`Timing`]. Bytes of any kind count as life, so a full pipe is not taken for a dead peer.

mod alive;

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{PingPong, client, server};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::alive::Life;
pub(super) use self::alive::Watched;
use super::{OpenError, Stream, protocol, window};

/// Bytes of one DATA frame. Larger ones cost less CPU and hold up others longer: 64 KiB are half a
/// millisecond at 1 Gbit/s.
const FRAME: u32 = 64 * 1024;
/// Bytes of one stream that wait to be written: what a peer that grants a window and reads nothing can
/// make us hold for it.
const SEND_BUFFER: usize = 256 * 1024;
/// Nothing either end sends has long headers.
const HEADER_LIST: u32 = 16 * 1024;
/// How long the two ends may take to agree on HTTP/2.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// When a peer is asked whether it lives, and when it is given up.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Silence after which it is asked.
    pub quiet: Duration,
    /// Silence after the question that ends the carrier.
    pub dead: Duration,
}

impl Default for Timing {
    /// A dead peer is found within 15 s.
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(5),
            dead: Duration::from_secs(10),
        }
    }
}

/// Why a carrier ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the connection was closed")]
    Closed,
    #[error("the peer has not been heard of for {0:?}")]
    Dead(Duration),
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the peer does not speak HTTP/2 as it should: {0}")]
    Protocol(h2::Error),
}

/// The gateway's end: opens streams.
#[derive(Clone, Debug)]
pub struct Carrier {
    sender: client::SendRequest<Bytes>,
    streams: Arc<Streams>,
    /// Cancelled when no stream can be opened any more.
    ended: CancellationToken,
}

impl Carrier {
    /// Opens a stream. Does not wait for the agent's answer: [`Stream`] brings it.
    pub async fn open(&self, kind: protocol::Kind) -> Result<Stream, OpenError> {
        let mut sender = self.sender.clone();
        poll_fn(|cx| sender.poll_ready(cx))
            .await
            .map_err(|_| OpenError::Carrier)?;
        let (response, send) = sender
            .send_request(protocol::connect(kind), false)
            .map_err(|_| OpenError::Carrier)?;
        let open = Open::new(&self.streams);
        Ok(Stream::opening(response, send, open))
    }

    /// How many streams are open.
    pub fn load(&self) -> usize {
        self.streams.open.load(Ordering::Relaxed)
    }

    /// Whether the carrier has ended, or is about to.
    pub fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Ends it at once, with all its streams.
    pub fn cut(&self) {
        self.ended.cancel();
    }
}

/// Starts the gateway's end on a connection whose other end has agreed to be the server.
pub async fn client<I>(
    io: I,
    timing: Timing,
) -> Result<(Carrier, impl Future<Output = Ended> + Send), Ended>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let life = Arc::new(Life::new());
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(window::LARGEST)
        .initial_connection_window_size(window::CARRIER)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .enable_push(false);
    let handshake = builder.handshake(Watched::new(io, Arc::clone(&life)));
    let (sender, mut connection) = timeout(HANDSHAKE, handshake)
        .await
        .map_err(|_| Ended::Dead(HANDSHAKE))?
        .map_err(explain)?;
    let pings = connection.ping_pong();
    let streams = Arc::new(Streams::default());
    let ended = CancellationToken::new();
    let carrier = Carrier {
        sender,
        streams: Arc::clone(&streams),
        ended: ended.clone(),
    };
    let run = async move {
        let _ended = ended.clone().drop_guard();
        let mut wanted = window::LARGEST;
        let mut resized = pin!(streams.changed.notified());
        let moved = poll_fn(|cx| {
            while resized.as_mut().poll(cx).is_ready() {
                resized.set(streams.changed.notified());
            }
            let now = window::of_each(streams.open.load(Ordering::Relaxed));
            // Refused while the last change is on its way; the next change of the count asks again.
            if now != wanted && connection.set_initial_window_size(now).is_ok() {
                wanted = now;
            }
            Pin::new(&mut connection).poll(cx)
        });
        tokio::select! {
            moved = moved => moved.map_or_else(explain, |()| Ended::Closed),
            dead = keep_alive(pings, &life, timing) => dead,
            () = ended.cancelled() => Ended::Closed,
        }
    };
    Ok((carrier, run))
}

/// A stream that the gateway opened, on the agent's end.
#[derive(Debug)]
pub struct Request {
    /// What its bytes are.
    pub kind: protocol::Kind,
    respond: server::SendResponse<Bytes>,
    body: h2::RecvStream,
    open: Open,
}

/// Both directions of a taken stream, for whoever copies.
pub(super) struct Taken {
    pub(super) send: h2::SendStream<Bytes>,
    pub(super) receive: h2::RecvStream,
    pub(super) _open: Open,
}

impl Request {
    /// The service was reached: from here on bytes flow.
    pub(super) fn accept(mut self) -> io::Result<Taken> {
        let response = http::Response::new(());
        let send = self
            .respond
            .send_response(response, false)
            .map_err(super::stream::failed)?;
        Ok(Taken {
            send,
            receive: self.body,
            _open: self.open,
        })
    }

    /// The service was not reached, and why in words.
    pub(super) fn refuse(mut self, reason: &str) {
        // A stream that was reset in the meantime needs no answer.
        let _ = self
            .respond
            .send_response(protocol::unreachable(reason), true);
    }

    /// Waits until the gateway gives the stream up.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(drop)
    }
}

/// Runs the agent's end: hands every stream to `take`, until the connection ends. Once `drain` is
/// cancelled no new streams are taken and the carrier ends with the last one.
pub async fn server<I>(
    io: I,
    timing: Timing,
    drain: CancellationToken,
    mut take: impl FnMut(Request),
) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let life = Arc::new(Life::new());
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(window::LARGEST)
        .initial_connection_window_size(window::CARRIER)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(window::MAX_STREAMS);
    let handshake = builder.handshake(Watched::new(io, Arc::clone(&life)));
    let mut connection = match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return explain(error),
        Err(_) => return Ended::Dead(HANDSHAKE),
    };
    let pings = connection.ping_pong();
    let streams = Arc::new(Streams::default());
    let run = async {
        let mut wanted = window::LARGEST;
        let mut draining = false;
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted,
                () = streams.changed.notified() => {
                    let now = window::of_each(streams.open.load(Ordering::Relaxed));
                    if now != wanted && connection.set_initial_window_size(now).is_ok() {
                        wanted = now;
                    }
                    continue;
                }
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    connection.graceful_shutdown();
                    continue;
                }
            };
            match accepted {
                Some(Ok((request, respond))) => take(Request {
                    kind: protocol::Kind::of(request.headers()),
                    respond,
                    body: request.into_body(),
                    open: Open::new(&streams),
                }),
                Some(Err(error)) => return explain(error),
                None => return Ended::Closed,
            }
        }
    };
    tokio::select! {
        ended = run => ended,
        dead = keep_alive(pings, &life, timing) => dead,
    }
}

/// Returns when the peer is dead.
async fn keep_alive(pings: Option<PingPong>, life: &Life, timing: Timing) -> Ended {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        life.quiet_for(timing.quiet).await;
        // While an answer is awaited no other ping can be sent; waiting for any sign is the same.
        if pings.send_ping(h2::Ping::opaque()).is_ok() {
            let pong = poll_fn(|cx| pings.poll_pong(cx));
            tokio::select! {
                answered = pong => match answered {
                    Ok(_) => continue,
                    Err(error) => return explain(error),
                },
                () = life.quiet_for(timing.quiet + timing.dead) => {}
            }
        }
        return Ended::Dead(timing.quiet + timing.dead);
    }
}

/// How many streams of a carrier are open.
#[derive(Debug, Default)]
struct Streams {
    open: AtomicUsize,
    changed: Notify,
}

/// Counts one stream as open while it lives.
#[derive(Debug)]
pub(super) struct Open(Arc<Streams>);

impl Open {
    fn new(streams: &Arc<Streams>) -> Self {
        let before = streams.open.fetch_add(1, Ordering::Relaxed);
        streams.tell(before, before + 1);
        Self(Arc::clone(streams))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.tell(before, before - 1);
    }
}

impl Streams {
    /// Wakes the carrier if windows have to change.
    fn tell(&self, before: usize, now: usize) {
        if window::of_each(before) != window::of_each(now) {
            self.changed.notify_one();
        }
    }
}

fn explain(error: h2::Error) -> Ended {
    if error.is_io() {
        return Ended::Io(super::stream::failed(error));
    }
    if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) {
        return Ended::Closed;
    }
    Ended::Protocol(error)
}
