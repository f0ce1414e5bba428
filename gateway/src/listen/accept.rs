//! The accept loop of one listener.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::{
    bind::{BoundListener, BoundSocket, unlink},
    caps::{Caps, Place, Refusal},
    stream::Socket,
};
use crate::config::ListenAddress;

/// First pause after the system refused a new descriptor, doubled up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// An accepted connection with its place under the caps.
#[derive(Debug)]
pub struct Accepted {
    pub socket: Socket,
    /// The other end; `None` on Unix sockets.
    pub peer: Option<IpAddr>,
    pub place: Place,
}

/// What an accept loop reports and asks. Implemented by the composition root.
pub trait Acceptor: Send + Sync + 'static {
    /// Takes a connection over. Must not block: work belongs in a task of its own.
    fn accepted(&self, connection: Accepted);
    /// A connection was closed at once.
    fn refused(&self, refusal: Refusal);
    /// `(total, per client)` for a connection of `peer`, asked each time so that a reload changes
    /// them.
    fn caps(&self, peer: Option<IpAddr>) -> (usize, usize);
}

/// Accepts until `stop` is cancelled, then closes the listening socket.
///
/// Errors of single connections are skipped; when descriptors or memory run out it waits and
/// tries again, so that the listener is there when they come back.
pub async fn accept_loop(
    listener: BoundListener,
    caps: Arc<Caps>,
    acceptor: Arc<impl Acceptor>,
    stop: CancellationToken,
) -> io::Result<()> {
    let address = listener.local;
    let listener = match listener.socket {
        BoundSocket::Tcp(socket) => Listener::Tcp(TcpListener::from_std(socket)?),
        BoundSocket::Unix(socket) => Listener::Unix(UnixListener::from_std(socket)?),
    };
    let mut backoff = MIN_BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                backoff = MIN_BACKOFF;
                let (total, per_client) = acceptor.caps(peer);
                match caps.enter(peer, total, per_client) {
                    Ok(place) => acceptor.accepted(Accepted {
                        socket,
                        peer,
                        place,
                    }),
                    Err(refusal) => acceptor.refused(refusal),
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, retry_in = ?backoff, "cannot accept connections; is the limit on open files (ulimit -n) too low?");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
    // While the socket is open its path answers "in use"; removed after closing, it could be
    // somebody else's by then.
    if let ListenAddress::Unix(path) = &address {
        unlink(path);
    }
    drop(listener);
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Responses are written whole; waiting for more would only delay them.
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), None))
            }
        }
    }
}

/// The peer went away between SYN and accept, or its socket is already unusable (accept(2)).
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotConnected
    )
}
