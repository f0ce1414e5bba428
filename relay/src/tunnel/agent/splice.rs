//! Copies between a stream of a carrier and a local connection.
//!
//! Bytes for the service go from the frame they came in to the socket without a copy. Bytes from
//! it are read only when the carrier will take them, into memory that is used again; a connection
//! on which nothing moves holds none.

use std::{future::poll_fn, io};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::tunnel::{
    carrier::Taken,
    stream::{failed, poll_capacity},
};

/// Bytes read from the service at once.
const READ: usize = 64 * 1024;

/// Copies both ways until both ended. When the gateway gives the stream up, or reading from the
/// service fails, the other direction ends too: the stream is reset and the local connection
/// closed. A service that takes no more may still answer, as one does that refuses a body.
pub(super) async fn splice(stream: Taken, local: TcpStream) -> io::Result<()> {
    let Taken {
        send,
        receive,
        _open,
    } = stream;
    let (read, write) = local.into_split();
    tokio::try_join!(to_service(receive, write), from_service(read, send))?;
    Ok(())
}

async fn to_service(mut receive: h2::RecvStream, mut write: OwnedWriteHalf) -> io::Result<()> {
    while let Some(data) = poll_fn(|cx| receive.poll_data(cx)).await {
        let data = data.map_err(failed)?;
        if write.write_all(&data).await.is_err() {
            return Ok(());
        }
        receive
            .flow_control()
            .release_capacity(data.len())
            .map_err(failed)?;
    }
    // Whoever is gone needs no end.
    let _ = write.shutdown().await;
    Ok(())
}

async fn from_service(mut read: OwnedReadHalf, mut send: h2::SendStream<Bytes>) -> io::Result<()> {
    let mut memory = BytesMut::new();
    loop {
        tokio::select! {
            ready = read.ready(Interest::READABLE) => drop(ready?),
            reset = poll_fn(|cx| send.poll_reset(cx)) => {
                reset.map_err(failed)?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        let room = poll_fn(|cx| poll_capacity(&mut send, cx, READ)).await?;
        memory.reserve(room);
        let got = (&mut read).take(room as u64).read_buf(&mut memory).await?;
        if got == 0 {
            return send.send_data(Bytes::new(), true).map_err(failed);
        }
        send.send_data(memory.split().freeze(), false)
            .map_err(failed)?;
        if memory.capacity() == 0 {
            memory = BytesMut::new();
        }
    }
}
