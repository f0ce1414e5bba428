//! A byte stream over the binary messages of a WebSocket (RFC 6455), for paths on which nothing
//! but WebSockets pass. Where messages begin and end means nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};

/// Bytes of a message that we send; some middle boxes dislike larger ones.
const MAX_SENT: usize = 64 * 1024;
/// Bytes of a message that we take.
const MAX_TAKEN: usize = 1024 * 1024;

/// The settings both ends use.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_TAKEN))
        .max_frame_size(Some(MAX_TAKEN))
        // Every message is written at once: who gathers is above us.
        .write_buffer_size(0)
}

/// Bytes in binary messages.
#[derive(Debug)]
pub struct WebSocketBytes<I> {
    socket: WebSocketStream<I>,
    unread: Bytes,
}

impl<I> WebSocketBytes<I> {
    /// Takes a WebSocket whose handshake is over.
    pub fn new(socket: WebSocketStream<I>) -> Self {
        Self {
            socket,
            unread: Bytes::new(),
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> WebSocketBytes<I> {
    /// Takes a connection on which the server's end of the handshake is over.
    pub async fn server(io: I) -> Self {
        let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
        Self::new(WebSocketStream::from_raw_socket(io, role, Some(config())).await)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => this.unread = bytes,
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => {
                    let text = "a text message where bytes belong";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
        let taken = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..taken]);
        this.unread.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.get_mut().socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(failed)?;
        let taken = buffer.len().min(MAX_SENT);
        let message = Message::Binary(Bytes::copy_from_slice(&buffer[..taken]));
        socket.start_send(message).map_err(failed)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket)
            .poll_flush(cx)
            .map_err(failed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = ready!(Pin::new(&mut self.get_mut().socket).poll_close(cx));
        Poll::Ready(match closed {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(()),
            Err(error) => Err(failed(error)),
        })
    }
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
