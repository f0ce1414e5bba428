//! A virtual connection: one CONNECT stream of a carrier, as a byte stream.
//!
//! On the gateway's side a stream is usable at once; whether the agent reached the service is
//! known with the first read, which fails with [`OpenError`] if it did not.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{carrier::Open, protocol};

/// Bytes taken from one write; the rest waits for the next one.
const MAX_WRITE: usize = 256 * 1024;

/// A virtual connection. Dropping it before both directions ended resets it.
#[derive(Debug)]
pub struct Stream {
    send: SendStream<Bytes>,
    receive: Receive,
    unread: Bytes,
    /// Where written bytes are gathered; its memory is used again once they were sent.
    gathered: BytesMut,
    ended: bool,
    /// Counts the stream as open.
    _open: Open,
}

#[derive(Debug)]
enum Receive {
    /// The agent has not answered yet.
    Opening(ResponseFuture),
    Open(RecvStream),
    Failed,
}

/// Why there is no connection to the service.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    #[error("the agent cannot reach the service: {reason}")]
    Service { reason: String },
    #[error("the agent refuses the connection (status {status})")]
    Refused { status: StatusCode },
    #[error("the tunnel's connection to the agent ended")]
    Carrier,
}

impl Stream {
    /// The gateway's end, before the agent's answer.
    pub(super) fn opening(response: ResponseFuture, send: SendStream<Bytes>, open: Open) -> Self {
        Self::new(Receive::Opening(response), send, open)
    }

    fn new(receive: Receive, send: SendStream<Bytes>, open: Open) -> Self {
        Self {
            send,
            receive,
            unread: Bytes::new(),
            gathered: BytesMut::new(),
            ended: false,
            _open: open,
        }
    }

    fn poll_receiver(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut RecvStream>> {
        if let Receive::Opening(response) = &mut self.receive {
            let response = ready!(Pin::new(response).poll(cx));
            let opened = response
                .map_err(|_| OpenError::Carrier)
                .and_then(protocol::opened);
            match opened {
                Ok(body) => self.receive = Receive::Open(body),
                Err(error) => {
                    self.receive = Receive::Failed;
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::ConnectionRefused,
                        error,
                    )));
                }
            }
        }
        Poll::Ready(match &mut self.receive {
            Receive::Open(body) => Ok(body),
            _ => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Waits until something may be sent, and says how much.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        poll_capacity(&mut self.send, cx, wanted)
    }
}

/// Waits until at least one byte may be sent. Fails when the other end has reset the stream.
pub(super) fn poll_capacity(
    send: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<io::Result<usize>> {
    if let Poll::Ready(reset) = send.poll_reset(cx) {
        return Poll::Ready(Err(broken(reset)));
    }
    send.reserve_capacity(wanted);
    loop {
        let capacity = send.capacity();
        if capacity > 0 {
            return Poll::Ready(Ok(capacity.min(wanted)));
        }
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            let receiver = ready!(this.poll_receiver(cx))?;
            match ready!(receiver.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..taken]);
        this.unread.advance(taken);
        if let Receive::Open(body) = &mut this.receive {
            body.flow_control()
                .release_capacity(taken)
                .map_err(failed)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let offered: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if offered == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut room = ready!(this.poll_capacity(cx, offered.min(MAX_WRITE)))?;
        let taken = room.min(offered);
        this.gathered.reserve(taken);
        for buffer in buffers {
            let part = buffer.len().min(room);
            this.gathered.extend_from_slice(&buffer[..part]);
            room -= part;
        }
        let data = this.gathered.split().freeze();
        this.send.send_data(data, false).map_err(failed)?;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The carrier sends on its own.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) {
            this.send.send_data(Bytes::new(), true).map_err(failed)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// An error of HTTP/2 as one of a connection.
pub(super) fn failed(error: h2::Error) -> io::Error {
    if error.is_io()
        && let Some(error) = error.into_io()
    {
        return error;
    }
    io::ErrorKind::ConnectionReset.into()
}

fn broken(reset: Result<h2::Reason, h2::Error>) -> io::Error {
    match reset {
        Ok(_) => io::ErrorKind::ConnectionReset.into(),
        Err(error) => failed(error),
    }
}
