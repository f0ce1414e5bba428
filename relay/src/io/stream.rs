//! Clients on TCP and TLS.
//!
//! In goes a connection, which is cut into messages for the server. Out goes what the server has
//! for the client, by way of an [`Outbox`] of bounded size: to a client that does not read,
//! datagrams are lost and nothing piles up.

use std::{cell::RefCell, io, rc::Rc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    time::timeout,
};

use super::shard::Shard;
use crate::turn::{FiveTuple, StreamError, frame_len};

/// Bytes that wait for a client. As many again may be on their way into its socket.
const OUTBOX: usize = 256 * 1024;
/// What is read at once. A message may be longer; the buffer grows to it.
const READ: usize = 16 * 1024;
/// How long a connection may be without an allocation.
const IDLE: Duration = Duration::from_secs(30);

/// Anything that carries bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why a client's connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    #[error("the client closed the connection")]
    Closed,
    #[error("the client made no allocation for {} seconds", IDLE.as_secs())]
    Idle,
    #[error(transparent)]
    NotTurn(#[from] StreamError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What waits for a client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: RefCell<BytesMut>,
    more: Notify,
}

impl Outbox {
    /// Puts a message in, or says that there is no room for it.
    pub(super) fn push(&self, pieces: [&[u8]; 2], padding: usize) -> bool {
        let mut bytes = self.bytes.borrow_mut();
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if bytes.len() + length + padding > OUTBOX {
            return false;
        }
        for piece in pieces {
            bytes.extend_from_slice(piece);
        }
        bytes.extend_from_slice(&[0; 3][..padding.min(3)]);
        self.more.notify_one();
        true
    }

    async fn next(&self) -> BytesMut {
        loop {
            let bytes = self.bytes.borrow_mut().split();
            if !bytes.is_empty() {
                return bytes;
            }
            self.more.notified().await;
        }
    }
}

/// Serves a client until its connection ends. Its allocation ends with it.
pub(super) async fn serve(stream: impl Stream, client: FiveTuple, shard: Rc<RefCell<Shard>>) {
    let outbox = Rc::new(Outbox::default());
    shard.borrow_mut().connect(client, Rc::clone(&outbox));
    let (reader, writer) = tokio::io::split(stream);
    let Err(end) = tokio::select! {
        end = read(reader, &client, &shard) => end,
        end = write(writer, &outbox) => end,
    };
    tracing::debug!(client = %client.client(), "{end}");
    shard.borrow_mut().disconnect(&client);
}

type Endless = Result<std::convert::Infallible, StreamEnd>;

async fn read(
    mut reader: impl AsyncRead + Unpin,
    client: &FiveTuple,
    shard: &RefCell<Shard>,
) -> Endless {
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        let read = reader.read_buf(&mut buffer);
        let length = if shard.borrow().has_allocation(client) {
            read.await?
        } else {
            timeout(IDLE, read).await.map_err(|_| StreamEnd::Idle)??
        };
        if length == 0 {
            return Err(StreamEnd::Closed);
        }
        let done = shard.borrow_mut().stream_readable(client, &buffer)?;
        let _ = buffer.split_to(done);
        let wanted = frame_len(&buffer)?.unwrap_or(0).max(READ);
        buffer.reserve(wanted.saturating_sub(buffer.len()));
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, outbox: &Outbox) -> Endless {
    loop {
        let mut bytes = outbox.next().await;
        writer.write_all_buf(&mut bytes).await?;
        writer.flush().await?;
    }
}
