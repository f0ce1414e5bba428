//! The response body on its way to the client.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::{pool::Lease, request_body::Stall};
use crate::http::body::BodyError;

/// An upstream's body. Read to its end it gives the connection back to the pool; dropped earlier
/// it closes the connection, because what is left on it belongs to nobody.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    stall: Stall,
}

#[derive(Debug, thiserror::Error)]
#[error("the upstream sent nothing for {0:?}")]
struct Stalled(Duration);

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, pause: Duration) -> Self {
        let mut body = Self {
            incoming,
            lease: Some(lease),
            stall: Stall::new(pause),
        };
        body.give_back_at_end(false);
        body
    }

    fn give_back_at_end(&mut self, at_trailers: bool) {
        if (at_trailers || self.incoming.is_end_stream())
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl http_body::Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => match this.stall.poll(cx) {
                Poll::Ready(pause) => Poll::Ready(Some(Err(Stalled(pause).into()))),
                Poll::Pending => Poll::Pending,
            },
            Poll::Ready(Some(Err(error))) => {
                this.lease = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.stall.moved();
                // Nothing follows trailers, and whoever passes them on may not ask.
                this.give_back_at_end(frame.is_trailers());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
