//! A response that ends when whoever asked for it may no longer have it.
//!
//! Most responses are over before anybody could be told so, and cost nothing here. Only one that
//! has to be waited for, or is long, watches for the end of the key, session or token behind it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::BodyError;
use crate::{policy::access::Until, upstream::UpstreamBody};

/// Frames that pass before a response counts as long.
const SHORT: u8 = 8;

/// The body of an upstream's response to somebody who may have it for now.
pub struct AllowedBody {
    body: UpstreamBody,
    frames: u8,
    until: Until,
    /// Made of `until` when the response turns out to be long.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The key, session or token that the request came with is no longer good.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("whoever asked may no longer have the rest")]
pub struct NoLongerAllowed;

impl AllowedBody {
    /// `body`, until `until` ends.
    pub fn new(body: UpstreamBody, until: Until) -> Self {
        Self {
            body,
            frames: 0,
            until,
            end: None,
        }
    }

    /// Whether it has ended; wakes the task when it does.
    fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let end = self
            .end
            .get_or_insert_with(|| std::mem::take(&mut self.until).wait());
        end.as_mut().poll(cx).is_ready()
    }
}

impl Body for AllowedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.frames >= SHORT && this.has_ended(cx) {
            return Poll::Ready(Some(Err(NoLongerAllowed.into())));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(_) => this.frames = this.frames.saturating_add(1),
            Poll::Pending => {
                if this.has_ended(cx) {
                    return Poll::Ready(Some(Err(NoLongerAllowed.into())));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for AllowedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllowedBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
