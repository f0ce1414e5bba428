//! What responses are made of.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Exchange, allowed::AllowedBody};
use crate::{handler::files::FileBody, upstream::UpstreamBody};

/// Why a body ended before its end. hyper then cuts the connection or resets the stream, so that
/// the client sees a failure instead of a short body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    Empty,
    Full(Bytes),
    File(FileBody),
    Upstream(UpstreamBody),
    /// From an upstream, as long as whoever asked may have it.
    Allowed(Box<AllowedBody>),
    /// From the gateway's own domain.
    Own(axum::body::Body),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::File(file) => Pin::new(file)
                .poll_frame(cx)
                .map_err(|error: io::Error| error.into()),
            Self::Upstream(upstream) => Pin::new(upstream).poll_frame(cx),
            Self::Allowed(allowed) => Pin::new(allowed.as_mut()).poll_frame(cx),
            Self::Own(own) => Pin::new(own).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::File(file) => file.is_end_stream(),
            Self::Upstream(upstream) => upstream.is_end_stream(),
            Self::Allowed(allowed) => allowed.is_end_stream(),
            Self::Own(own) => own.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(file) => file.size_hint(),
            Self::Upstream(upstream) => upstream.size_hint(),
            Self::Allowed(allowed) => allowed.size_hint(),
            Self::Own(own) => own.size_hint(),
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Full(text.into())
    }
}

/// A body that ends its [`Exchange`] when it was sent or dropped, whichever comes first.
#[derive(Debug)]
pub struct Tracked {
    body: Body,
    exchange: Option<Exchange>,
    ended: bool,
}

impl Tracked {
    pub fn new(body: Body, exchange: Option<Exchange>) -> Self {
        Self {
            body,
            exchange,
            ended: false,
        }
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(exchange) = &mut this.exchange {
            exchange.asked();
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let (Poll::Ready(frame), Some(exchange)) = (&polled, &mut this.exchange) {
            match frame {
                Some(Ok(frame)) => {
                    exchange.sent(frame.data_ref().map_or(0, |data| data.len() as u64));
                }
                Some(Err(error)) => exchange.cut(error.as_ref()),
                None => this.ended = true,
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

impl Drop for Tracked {
    fn drop(&mut self) {
        // Dropped by hyper before the end: the client went away.
        if let Some(exchange) = &mut self.exchange
            && !self.ended
            && !http_body::Body::is_end_stream(&self.body)
        {
            exchange.unfinished();
        }
    }
}
