//! The handshake of one connection.
//!
//! A stream whose peer starts with a ClientHello comes in; a TLS stream leaves, or an
//! [`AcceptError`] after the peer has been told. The server name is read before anything is
//! answered: a name nothing is served under gets a fatal `unrecognized_name` and no byte that
//! depends on the certificates we have, so a scanner learns no host from us. Time is the caller's:
//! drop the future to give up.

use std::net::IpAddr;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{AcceptError, Tls};

/// A fatal `unrecognized_name(112)` alert in a record of its own (RFC 8446 §5.1, §6; RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// How many unread bytes of a refused client are taken in, so that closing sends FIN and not a
/// reset that would overtake the alert.
const LINGER_BYTES: usize = 16 * 1024;

/// Finishes the TLS handshake on a fresh stream. `local_ip` is the address the client connected
/// to; it picks the certificate of a client that sends no server name.
///
/// Has no timeout of its own, and a refused client that never closes is waited for: bound the
/// whole call.
pub async fn accept<S>(
    tls: &Tls,
    stream: S,
    local_ip: Option<IpAddr>,
) -> Result<TlsStream<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = start.client_hello();
    match tls.config_for(hello.server_name(), local_ip) {
        Some(config) => Ok(start.into_stream(config).await?),
        None => {
            let name = hello.server_name().map(str::to_owned);
            refuse(start.io).await;
            Err(AcceptError::UnknownName(name))
        }
    }
}

/// Tells the client and closes. Errors do not matter: the connection ends either way.
async fn refuse<S>(mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if stream.write_all(&UNRECOGNIZED_NAME).await.is_err()
        || stream.flush().await.is_err()
        || stream.shutdown().await.is_err()
    {
        return;
    }
    let mut left = LINGER_BYTES;
    let mut buffer = [0; 512];
    while left > 0 {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}
