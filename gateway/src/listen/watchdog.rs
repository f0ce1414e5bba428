//! The deadlines of one connection, kept with one timer that is rarely touched.
//!
//! A timer per request or per read costs more than many requests do. Instead the stream and the
//! requests leave timestamps in an [`Activity`], and the [`Watchdog`] around the connection's
//! future looks at them when its timer fires, or arms it earlier when a poll left something
//! unfinished (half a request head, a write the client does not take).

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may stay in each state.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the first byte of a request to its whole head (HTTP/1.1), or from the start of the
    /// connection to its first request.
    pub head: Duration,
    /// Without a request in flight.
    pub idle: Duration,
    /// With bytes ready that the client does not take.
    pub write: Duration,
}

/// Timestamps in milliseconds since the connection began; 0 means "not now".
#[derive(Debug)]
pub struct Activity {
    began: Instant,
    in_flight: AtomicU32,
    /// The first byte after the last request's head, when no request was in flight.
    head_since: AtomicU64,
    idle_since: AtomicU64,
    write_blocked_since: AtomicU64,
    requests: AtomicU64,
    /// Request bodies still being read, which may outlast their responses.
    open_bodies: AtomicU32,
    /// A request body is, or may be, still on its way to us.
    body_left: AtomicBool,
    /// For each stream of a multiplexed connection: [`FREE`], [`MOVING`], or since when a frame
    /// it was given waits for the client to make room.
    streams: Box<[AtomicU64]>,
}

/// Streams of one connection that are watched; the limit on streams can be set far higher, and
/// each costs 8 bytes.
const WATCHED_STREAMS: u32 = 1024;
/// A stream slot nobody holds.
const FREE: u64 = 0;
/// Nothing of this stream waits for the client.
const MOVING: u64 = 1;

impl Activity {
    /// `streams`: how many requests at once are watched for a client that takes nothing of their
    /// responses; 0 where that shows as a blocked write (HTTP/1.1).
    pub fn new(streams: u32) -> Self {
        Self {
            streams: (0..streams.min(WATCHED_STREAMS))
                .map(|_| AtomicU64::new(FREE))
                .collect(),
            open_bodies: AtomicU32::new(0),
            began: Instant::now(),
            in_flight: AtomicU32::new(0),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(1),
            write_blocked_since: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            body_left: AtomicBool::new(false),
        }
    }

    /// Whether the request that begins has a body. Not for HTTP/2, whose streams end on their own.
    pub fn body_announced(&self, announced: bool) {
        self.body_left.store(announced, Ordering::Relaxed);
    }

    /// The last byte of the body was read.
    pub fn body_ended(&self) {
        self.body_left.store(false, Ordering::Relaxed);
    }

    pub(super) fn body_is_left(&self) -> bool {
        self.body_left.load(Ordering::Relaxed)
    }

    /// A request's head is complete.
    pub fn request_started(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
    }

    /// A request's response was sent or given up.
    pub fn request_ended(&self, now: Instant) {
        self.idle_since.store(self.millis(now), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request body is being read from now on.
    pub fn body_opened(&self) {
        self.open_bodies.fetch_add(1, Ordering::Relaxed);
    }

    pub fn body_closed(&self) {
        let now = self.millis(Instant::now());
        self.idle_since.store(now, Ordering::Relaxed);
        self.open_bodies.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a slot for the response of one stream, if there is one left.
    pub fn watch_stream(&self) -> Option<usize> {
        self.streams.iter().position(|slot| {
            slot.load(Ordering::Relaxed) == FREE
                && slot
                    .compare_exchange(FREE, MOVING, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        })
    }

    /// A frame of the stream was handed over and waits for the client.
    pub fn stream_waits(&self, slot: usize) {
        let now = self.millis(Instant::now()).max(MOVING + 1);
        self.streams[slot].store(now, Ordering::Relaxed);
    }

    /// The last frame of the stream was taken.
    pub fn stream_moves(&self, slot: usize) {
        self.streams[slot].store(MOVING, Ordering::Relaxed);
    }

    pub fn unwatch_stream(&self, slot: usize) {
        self.streams[slot].store(FREE, Ordering::Relaxed);
    }

    /// When the stream that has waited longest began to.
    fn oldest_wait(&self) -> Option<u64> {
        let waits = self.streams.iter().map(|slot| slot.load(Ordering::Relaxed));
        waits.filter(|since| *since > MOVING).min()
    }

    fn is_busy(&self) -> bool {
        self.in_flight() != 0 || self.open_bodies.load(Ordering::Relaxed) != 0
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_read(&self) {
        if !self.is_busy() && self.head_since.load(Ordering::Relaxed) == 0 {
            let now = self.millis(Instant::now());
            self.head_since.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn wrote(&self, blocked: bool) {
        if !blocked {
            if self.write_blocked_since.load(Ordering::Relaxed) != 0 {
                self.write_blocked_since.store(0, Ordering::Relaxed);
            }
        } else if self.write_blocked_since.load(Ordering::Relaxed) == 0 {
            let now = self.millis(Instant::now());
            self.write_blocked_since.store(now, Ordering::Relaxed);
        }
    }

    /// The deadline that applies now and what it is called.
    fn deadline(&self, limits: &Deadlines, multiplexed: bool) -> Option<(Instant, Expiry)> {
        let blocked = self.write_blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return Some((self.at(blocked, limits.write), Expiry::Write));
        }
        if self.is_busy() {
            return None;
        }
        let head = self.head_since.load(Ordering::Relaxed);
        // HTTP/2 frames that are no request (SETTINGS, PING) also arrive between requests, so
        // there only the first request has a head deadline; idle covers the rest.
        let first = self.requests.load(Ordering::Relaxed) == 0;
        if first {
            return Some((self.began + limits.head, Expiry::Head));
        }
        if head != 0 && !multiplexed {
            return Some((self.at(head, limits.head), Expiry::Head));
        }
        let idle = self.idle_since.load(Ordering::Relaxed);
        Some((self.at(idle, limits.idle), Expiry::Idle))
    }

    fn millis(&self, now: Instant) -> u64 {
        // At least 1, because 0 means "not now". 2^64 ms outlasts any connection.
        (now.saturating_duration_since(self.began).as_millis() as u64).max(1)
    }

    fn at(&self, millis: u64, after: Duration) -> Instant {
        self.began + Duration::from_millis(millis) + after
    }
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Head,
    Idle,
    Write,
}

impl Expiry {
    pub fn label(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Write => "write",
        }
    }
}

pin_project! {
    /// Runs a connection's future until it ends or a deadline passes.
    pub struct Watchdog<'a, F> {
        #[pin]
        connection: F,
        #[pin]
        timer: Option<Sleep>,
        armed: Option<Instant>,
        activity: &'a Activity,
        limits: Deadlines,
        multiplexed: bool,
    }
}

impl<'a, F> Watchdog<'a, F> {
    /// `multiplexed` is true for HTTP/2.
    pub fn new(
        connection: F,
        activity: &'a Activity,
        limits: Deadlines,
        multiplexed: bool,
    ) -> Self {
        Self {
            connection,
            timer: None,
            armed: None,
            activity,
            limits,
            multiplexed,
        }
    }

    /// The watched future, to ask it to shut down gracefully.
    pub fn connection(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().connection
    }
}

impl<F: Future> Future for Watchdog<'_, F> {
    type Output = Result<F::Output, Expiry>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.connection.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        loop {
            let due = this.activity.deadline(this.limits, *this.multiplexed);
            // With requests in flight there is no deadline, but neither their end nor a stream
            // that the client starves wakes this future (HTTP/2 streams run elsewhere), so it
            // looks again from time to time.
            let wake = match due {
                Some((deadline, _)) => deadline,
                None => {
                    let pause = this.limits.idle.min(this.limits.write);
                    this.armed.unwrap_or_else(|| Instant::now() + pause)
                }
            };
            // A timer armed for earlier is left alone: when it fires we look again.
            if this.armed.is_none_or(|armed| wake < armed) {
                match this.timer.as_mut().as_pin_mut() {
                    Some(timer) => timer.reset(wake),
                    None => this.timer.set(Some(sleep_until(wake))),
                }
                *this.armed = Some(wake);
            }
            let Some(timer) = this.timer.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            *this.armed = None;
            let now = Instant::now();
            if let Some((deadline, expiry)) = due
                && now >= deadline
            {
                return Poll::Ready(Err(expiry));
            }
            if let Some(since) = this.activity.oldest_wait()
                && now >= this.activity.at(since, this.limits.write)
            {
                return Poll::Ready(Err(Expiry::Write));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LIMITS: Deadlines = Deadlines {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        write: Duration::from_secs(60),
    };

    async fn expire(activity: &Activity, multiplexed: bool) -> (Expiry, Duration) {
        let start = Instant::now();
        let expiry = Watchdog::new(pending::<()>(), activity, LIMITS, multiplexed)
            .await
            .unwrap_err();
        (expiry, start.elapsed())
    }

    fn near(elapsed: Duration, seconds: u64) -> bool {
        elapsed >= Duration::from_secs(seconds) && elapsed < Duration::from_secs(seconds + 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_at_the_head_deadline() {
        let (expiry, elapsed) = expire(&Activity::new(0), false).await;
        assert_eq!(expiry, Expiry::Head);
        assert!(near(elapsed, 10), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_at_the_idle_deadline() {
        let activity = Activity::new(0);
        activity.request_started();
        activity.request_ended(Instant::now());
        let (expiry, elapsed) = expire(&activity, false).await;
        assert_eq!(expiry, Expiry::Idle);
        assert!(near(elapsed, 75), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_on_a_kept_connection_has_the_head_deadline() {
        let activity = Activity::new(0);
        activity.request_started();
        activity.request_ended(Instant::now());
        activity.bytes_read();
        let (expiry, elapsed) = expire(&activity, false).await;
        assert_eq!(expiry, Expiry::Head);
        assert!(near(elapsed, 10), "{elapsed:?}");
        let (expiry, _) = expire(&activity, true).await;
        assert_eq!(expiry, Expiry::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn more_bytes_of_a_head_do_not_move_its_deadline() {
        let activity = Activity::new(0);
        activity.request_started();
        activity.request_ended(Instant::now());
        activity.bytes_read();
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                activity.bytes_read();
            }
        };
        let start = Instant::now();
        let dripped = Watchdog::new(trickle, &activity, LIMITS, false).await;
        assert_eq!(dripped, Err::<(), _>(Expiry::Head));
        assert!(near(start.elapsed(), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_has_no_deadline_until_a_write_blocks() {
        let activity = Activity::new(0);
        activity.request_started();
        let long = Watchdog::new(
            tokio::time::sleep(Duration::from_secs(4000)),
            &activity,
            LIMITS,
            false,
        );
        assert!(long.await.is_ok());
        activity.wrote(true);
        let (expiry, elapsed) = expire(&activity, false).await;
        assert_eq!(expiry, Expiry::Write);
        assert!(near(elapsed, 60), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_moves_on_clears_its_deadline() {
        let activity = Activity::new(0);
        activity.request_started();
        activity.wrote(true);
        let moving = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                activity.wrote(false);
                activity.wrote(true);
            }
        };
        assert!(
            Watchdog::new(moving, &activity, LIMITS, false)
                .await
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_client_makes_no_room_is_a_blocked_write() {
        let activity = Activity::new(2);
        activity.request_started();
        let quiet = activity.watch_stream().unwrap();
        let starved = activity.watch_stream().unwrap();
        assert_eq!(activity.watch_stream(), None);
        activity.stream_waits(quiet);
        activity.stream_moves(quiet);
        activity.stream_waits(starved);
        let (expiry, elapsed) = expire(&activity, true).await;
        assert_eq!(expiry, Expiry::Write);
        assert!(elapsed <= 2 * LIMITS.write, "{elapsed:?}");
        activity.unwatch_stream(starved);
        assert_eq!(activity.watch_stream(), Some(starved));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_outlasts_its_response_is_no_head() {
        let activity = Activity::new(0);
        activity.request_started();
        activity.body_opened();
        activity.request_ended(Instant::now());
        let upload = async {
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                activity.bytes_read();
            }
            activity.body_closed();
        };
        assert!(
            Watchdog::new(upload, &activity, LIMITS, false)
                .await
                .is_ok()
        );
    }
}
