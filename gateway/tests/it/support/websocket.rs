//! WebSockets from either side.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream, accept_async, client_async,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{Wire, wire::Stream, within};

/// An open WebSocket.
pub(crate) struct WebSocket(pub(crate) WebSocketStream<Box<dyn Stream>>);

impl WebSocket {
    /// Opens one as a client.
    pub(crate) async fn open(wire: Wire, url: &str) -> Self {
        match Self::try_open(wire, url).await {
            Ok(socket) => socket,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn try_open(wire: Wire, url: &str) -> Result<Self, Error> {
        let (socket, _) = within(client_async(url, wire.into_stream())).await?;
        Ok(Self(socket))
    }

    /// Takes one as a server, whose request head has not been read.
    pub(crate) async fn take(wire: Wire) -> Self {
        Self(within(accept_async(wire.into_stream())).await.unwrap())
    }

    pub(crate) async fn send(&mut self, message: impl Into<Message>) {
        within(self.0.send(message.into())).await.unwrap();
    }

    /// The next message, close frames and pings included; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        match within(self.0.next()).await? {
            Ok(message) => Some(message),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.to_owned().into(),
        };
        within(self.0.close(Some(frame))).await.unwrap();
    }

    /// Code and reason of the close frame that must come next, then the end. The server's side is
    /// the one that ends the connection, when it is dropped here.
    pub(crate) async fn closed(mut self) -> (u16, String) {
        let frame = match self.next().await {
            Some(Message::Close(Some(frame))) => frame,
            other => panic!("not a close frame with a code: {other:?}"),
        };
        // tungstenite answers it while the end is waited for.
        assert!(self.next().await.is_none());
        (frame.code.into(), frame.reason.to_string())
    }
}
