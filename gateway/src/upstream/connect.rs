//! Opening a connection to an upstream.

use std::io;

use tokio::net::{TcpStream, UnixStream};

use crate::{config::UpstreamAddress, listen::Socket};

/// Connects; a name is resolved now and its addresses are tried in order. The caller bounds the
/// time.
pub async fn connect(address: &UpstreamAddress) -> io::Result<Socket> {
    let stream = match address {
        UpstreamAddress::Unix(path) => return UnixStream::connect(path).await.map(Socket::Unix),
        UpstreamAddress::Socket(address) => TcpStream::connect(address).await?,
        UpstreamAddress::Name { host, port } => TcpStream::connect((host.as_str(), *port)).await?,
    };
    // A request head is written in one piece and should leave at once.
    stream.set_nodelay(true)?;
    Ok(Socket::Tcp(stream))
}
