//! The request body on its way upstream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::progress::Progress;
use crate::{http::exchange::chain, listen::Activity};

/// A client's body, never larger than its limit and never silent for longer than its pause.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    limit: u64,
    left: u64,
    stall: Stall,
    /// `None` when there is nothing to send.
    progress: Option<Arc<Progress>>,
    open: Option<OpenBody>,
}

/// Tells the client's connection that bytes it receives belong to this body, not to the head of
/// another request.
#[derive(Debug)]
struct OpenBody(Arc<Activity>);

impl OpenBody {
    fn new(activity: Arc<Activity>) -> Self {
        activity.body_opened();
        Self(activity)
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        self.0.body_closed();
    }
}

/// Why a request body could not be passed on. It reaches the caller as a source of hyper's error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestBodyError {
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the client sent nothing for {0:?}")]
    Stalled(Duration),
    /// With everything that led to it: hyper's error cannot be taken out of another one.
    #[error("the client broke off: {0}")]
    Broken(String),
}

impl RequestBody {
    pub fn new(
        incoming: Incoming,
        limit: Option<u64>,
        pause: Duration,
        activity: Arc<Activity>,
    ) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self {
            limit,
            left: limit,
            stall: Stall::new(pause),
            progress: incoming.is_some().then(|| Arc::new(Progress::new())),
            open: incoming.is_some().then(|| OpenBody::new(activity)),
            incoming,
        }
    }

    /// A body of no bytes.
    pub fn empty() -> Self {
        Self {
            incoming: None,
            limit: 0,
            left: 0,
            stall: Stall::new(Duration::ZERO),
            progress: None,
            open: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }

    fn turn(&self, of: fn(&Progress)) {
        if let Some(progress) = &self.progress {
            of(progress);
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            this.turn(Progress::clients_turn);
            return match this.stall.poll(cx) {
                Poll::Ready(pause) => Poll::Ready(Some(Err(RequestBodyError::Stalled(pause)))),
                Poll::Pending => Poll::Pending,
            };
        };
        let ended = frame.is_none() || incoming.is_end_stream();
        this.stall.moved();
        this.turn(Progress::upstreams_turn);
        if let Some(open) = &this.open
            && ended
        {
            open.0.body_ended();
        }
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                return Poll::Ready(Some(Err(RequestBodyError::Broken(chain(&error)))));
            }
            None => return Poll::Ready(None),
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match this.left.checked_sub(length) {
            Some(left) => {
                this.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(Some(Err(RequestBodyError::TooLarge(this.limit)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// A pause timer that costs nothing while bytes flow: it exists only once a read had to wait, and
/// is moved only when it fires.
#[derive(Debug)]
pub(super) struct Stall {
    pause: Duration,
    moved: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            pause,
            moved: None,
            timer: None,
        }
    }

    /// Something arrived.
    pub(super) fn moved(&mut self) {
        if self.timer.is_some() {
            self.moved = Some(Instant::now());
        }
    }

    /// Ready, with the length of the pause, when nothing arrived for that long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + self.pause)));
        while timer.as_mut().poll(cx).is_ready() {
            let deadline = match self.moved.take() {
                Some(moved) => moved + self.pause,
                None => return Poll::Ready(self.pause),
            };
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_measured_from_the_last_movement() {
        let mut stall = Stall::new(Duration::from_secs(60));
        let start = Instant::now();
        for _ in 0..3 {
            let waited =
                tokio::time::timeout(Duration::from_secs(50), poll_fn(|cx| stall.poll(cx))).await;
            assert!(waited.is_err());
            stall.moved();
        }
        poll_fn(|cx| stall.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 150 + 60);
    }
}
