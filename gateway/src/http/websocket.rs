//! Carrying a WebSocket: bytes both ways, unchanged, until one side ends it.
//!
//! Close frames with their codes and reasons, pings and pongs are the endpoints' business and
//! pass as they are. Only when the gateway itself must end the connection does it send a frame of
//! its own, and for that it follows the frame borders of what it passes on: 1001 "going away" at
//! shutdown or when the route is gone, 1008 "policy violation" when whoever opened it may no longer
//! (RFC 6455 §7.4.1).

use std::{
    io,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderValue, Response, header, response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Body, Exchange, connection::Facts, hop};
use crate::{policy::access::Until, router::Route};

/// How long an endpoint may take to answer the gateway's close frame, or to end its own side when
/// the other one has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// One read's worth; WebSocket messages are mostly smaller.
const BUFFER: usize = 8 * 1024;

/// A WebSocket between its 101 and its end.
pub struct Tunnel {
    pub downstream: OnUpgrade,
    pub upstream: OnUpgrade,
    pub idle: Duration,
    /// How long whoever opened it may stay.
    pub until: Until,
    pub route: Arc<Route>,
    pub facts: Arc<Facts>,
    pub exchange: Option<Exchange>,
}

/// Answers 101 and carries the connection on a task of its own.
pub fn switch(tunnel: Tunnel, mut head: response::Parts) -> Response<Body> {
    hop::strip(&mut head.headers);
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers
        .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let connections = tunnel.facts.gateway.connections.clone();
    let cut = tunnel.facts.gateway.cut.clone();
    connections.spawn(cut.run_until_cancelled_owned(tunnel.run()));
    Response::from_parts(head, Body::Empty)
}

impl Tunnel {
    async fn run(self) {
        let Self {
            downstream,
            upstream,
            idle,
            until,
            route,
            facts,
            mut exchange,
        } = self;
        if let Some(exchange) = &mut exchange {
            exchange.detach();
            exchange.answered(http::StatusCode::SWITCHING_PROTOCOLS);
        }
        let (Ok(client), Ok(server)) = tokio::join!(downstream, upstream) else {
            return;
        };
        let gauge = &facts.gateway.metrics.websockets;
        gauge.inc();
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_server, to_server) = split(TokioIo::new(server));
        let ended = async {
            tokio::select! {
                () = facts.stop.cancelled() => Goodbye::GoingAway,
                () = route.retired.cancelled() => Goodbye::GoingAway,
                () = until.wait() => Goodbye::NotAllowed,
            }
        };
        let last = Clock::new();
        let up = Half::new(from_client, to_server, true, &last);
        let down = Half::new(from_server, to_client, false, &last);
        let sent = relay(up, down, ended, idle, &last).await;
        gauge.dec();
        if let Some(exchange) = &mut exchange {
            exchange.sent(sent);
        }
    }
}

/// The time of the last byte in either direction.
struct Clock {
    began: Instant,
    millis: std::sync::atomic::AtomicU64,
}

impl Clock {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            millis: 0.into(),
        }
    }

    fn touch(&self) {
        let millis = self.began.elapsed().as_millis() as u64;
        self.millis
            .store(millis, std::sync::atomic::Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.millis.load(std::sync::atomic::Ordering::Relaxed))
    }

    async fn silent_for(&self, idle: Duration) {
        loop {
            let deadline = self.last() + idle;
            tokio::time::sleep_until(deadline).await;
            if self.last() + idle <= Instant::now() {
                return;
            }
        }
    }
}

type Stream = TokioIo<Upgraded>;

/// Runs both directions; returns the bytes sent to the client.
async fn relay(
    mut up: Half<'_, ReadHalf<Stream>, WriteHalf<Stream>>,
    mut down: Half<'_, ReadHalf<Stream>, WriteHalf<Stream>>,
    ended: impl Future<Output = Goodbye>,
    idle: Duration,
    clock: &Clock,
) -> u64 {
    let (going_away, why) = (CancellationToken::new(), OnceLock::new());
    {
        let mut both = pin!(async {
            let end = (&going_away, &why);
            let (mut up, mut down) = (pin!(up.run(end)), pin!(down.run(end)));
            tokio::select! {
                _ = &mut up => drop(timeout(CLOSE_TIMEOUT, down).await),
                _ = &mut down => drop(timeout(CLOSE_TIMEOUT, up).await),
            }
        });
        let goodbye = tokio::select! {
            () = &mut both => None,
            goodbye = ended => Some(goodbye),
            () = clock.silent_for(idle) => Some(Goodbye::GoingAway),
        };
        if let Some(goodbye) = goodbye {
            why.get_or_init(|| goodbye);
            going_away.cancel();
            drop(timeout(CLOSE_TIMEOUT, both).await);
        }
    }
    down.passed
}

/// One direction of a WebSocket.
struct Half<'a, R, W> {
    from: R,
    to: W,
    /// Frames from a client are masked (RFC 6455 §5.3).
    masked: bool,
    frames: FrameBorders,
    passed: u64,
    clock: &'a Clock,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Half<'a, R, W> {
    fn new(from: R, to: W, masked: bool, clock: &'a Clock) -> Self {
        Self {
            from,
            to,
            masked,
            frames: FrameBorders::default(),
            passed: 0,
            clock,
        }
    }

    /// Passes bytes until the end of the stream and passes the end on; or, once told to go away,
    /// finishes the frame under way, says goodbye and waits for the end.
    async fn run(&mut self, end: End<'_>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let passed = self.pass(&mut buffer, end).await;
        // The other direction may still have a close frame to deliver, so only this one ends.
        let ended = self.to.shutdown().await;
        if end.0.is_cancelled() {
            while self.from.read(&mut buffer).await? != 0 {}
        }
        passed.and(ended)
    }

    async fn pass(&mut self, buffer: &mut [u8], end: End<'_>) -> io::Result<()> {
        loop {
            // Only reads are broken off: a write cut in the middle would leave half a frame.
            let length = tokio::select! {
                length = self.from.read(buffer) => length?,
                () = end.0.cancelled() => return self.say_goodbye(buffer, end).await,
            };
            if length == 0 {
                return Ok(());
            }
            self.forward(&buffer[..length]).await?;
        }
    }

    async fn say_goodbye(&mut self, buffer: &mut [u8], end: End<'_>) -> io::Result<()> {
        while !self.frames.at_border() {
            let length = self.from.read(buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let rest = self.frames.to_border(&buffer[..length]);
            self.forward(&buffer[..rest]).await?;
        }
        if self.frames.closed() {
            return Ok(());
        }
        let goodbye = end.1.get().copied().unwrap_or(Goodbye::GoingAway);
        self.to
            .write_all(&close_frame(goodbye, self.masked))
            .await?;
        self.to.flush().await
    }

    async fn forward(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frames.pass(bytes);
        self.to.write_all(bytes).await?;
        self.to.flush().await?;
        self.passed += bytes.len() as u64;
        self.clock.touch();
        Ok(())
    }
}

/// Tells both directions to end, and why.
type End<'a> = (&'a CancellationToken, &'a OnceLock<Goodbye>);

/// Why the gateway ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    GoingAway,
    NotAllowed,
}

impl Goodbye {
    fn code(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::NotAllowed => 1008,
        }
    }
}

/// A close frame. The mask of zeros is one of 2^32 equally good ones here: the mask hides
/// attacker-chosen payload from proxies, and this payload is a constant.
fn close_frame(goodbye: Goodbye, masked: bool) -> Vec<u8> {
    let mut frame = match masked {
        true => vec![0x88, 0x82, 0, 0, 0, 0],
        false => vec![0x88, 0x02],
    };
    frame.extend(goodbye.code().to_be_bytes());
    frame
}

/// Follows frame headers (RFC 6455 §5.2) to know where one frame ends and the next begins.
#[derive(Debug, Default)]
struct FrameBorders {
    header: [u8; 10],
    header_length: usize,
    /// Mask and payload still to come.
    payload_left: u64,
    close_seen: bool,
}

impl FrameBorders {
    fn at_border(&self) -> bool {
        self.header_length == 0 && self.payload_left == 0
    }

    fn closed(&self) -> bool {
        self.close_seen
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// How many of these bytes belong to the frame under way.
    fn to_border(&self, bytes: &[u8]) -> usize {
        let mut ahead = Self {
            header: self.header,
            ..*self
        };
        let mut passed = 0;
        while passed < bytes.len() && !ahead.at_border() {
            passed += ahead.step(&bytes[passed..]);
        }
        passed
    }

    /// Takes in as much of the current header or payload as there is; at least one byte.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload_left > 0 {
            let take = self.payload_left.min(bytes.len() as u64);
            self.payload_left -= take;
            return take as usize;
        }
        self.header[self.header_length] = bytes[0];
        self.header_length += 1;
        if let Some(left) = self.whole_header() {
            self.close_seen |= self.header[0] & 0x0f == 8;
            self.payload_left = left;
            self.header_length = 0;
        }
        1
    }

    /// The bytes that follow the header, once the length field is complete.
    fn whole_header(&self) -> Option<u64> {
        if self.header_length < 2 {
            return None;
        }
        let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        let field = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            length => return Some(u64::from(length) + mask),
        };
        if self.header_length < 2 + field {
            return None;
        }
        let length = self.header[2..2 + field]
            .iter()
            .fold(0u64, |length, byte| length << 8 | u64::from(*byte));
        Some(length.saturating_add(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let bit = if masked { 0x80 } else { 0 };
        match length {
            0..126 => frame.push(bit | length as u8),
            126..65536 => {
                frame.push(bit | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    #[test]
    fn borders_are_found_however_the_bytes_are_cut() {
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..500 {
            let lengths = [0, 1, 125, 126, 65535, 65536];
            let frames: Vec<_> = (0..rng.usize(1..6))
                .map(|_| frame(2, rng.bool(), lengths[rng.usize(..lengths.len())]))
                .collect();
            let borders: Vec<usize> = frames
                .iter()
                .scan(0, |at, frame| {
                    *at += frame.len();
                    Some(*at)
                })
                .collect();
            let bytes = frames.concat();
            let cut = rng.usize(..bytes.len());
            let mut state = FrameBorders::default();
            state.pass(&bytes[..cut]);
            assert_eq!(state.at_border(), cut == 0 || borders.contains(&cut));
            let next = borders.iter().find(|border| **border >= cut).unwrap();
            let expected = if state.at_border() { 0 } else { next - cut };
            assert_eq!(state.to_border(&bytes[cut..]), expected);
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..rng.usize(..200)).map(|_| rng.u8(..)).collect();
            let mut state = FrameBorders::default();
            state.pass(&bytes);
            assert!(state.to_border(&bytes) <= bytes.len());
        }
    }

    #[test]
    fn a_close_frame_is_noticed() {
        let mut state = FrameBorders::default();
        state.pass(&frame(1, true, 3));
        assert!(!state.closed());
        state.pass(&frame(8, true, 2));
        assert!(state.closed());
        let mut own = FrameBorders::default();
        own.pass(&close_frame(Goodbye::NotAllowed, true));
        assert!(own.at_border() && own.closed());
    }
}
