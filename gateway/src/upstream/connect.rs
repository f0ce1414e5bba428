//! Opening a connection to an upstream.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use relay::tunnel::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream, lookup_host},
    sync::Mutex,
    time::Instant,
};

use crate::{config::UpstreamAddress, listen::Socket, tunnel::Tunnels};

/// How long the addresses of a name are used. The system's resolver does not tell their TTL; this
/// is short enough to follow a container that moves.
const NAME_LIFETIME: Duration = Duration::from_secs(5);

/// The address of an upstream and, for a name, what it resolved to last.
///
/// A look-up takes a thread of the blocking pool for as long as the system's resolver likes, so
/// there is one at a time, and a dead name server cannot use up threads that files are read with.
#[derive(Debug)]
pub(super) struct Resolver {
    address: UpstreamAddress,
    tunnels: Option<Weak<Tunnels>>,
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolver {
    pub(super) fn new(address: UpstreamAddress, tunnels: Option<&Arc<Tunnels>>) -> Self {
        Self {
            address,
            // They hold pools themselves.
            tunnels: tunnels.map(Arc::downgrade),
            resolved: Mutex::new(None),
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut resolved = self.resolved.lock().await;
        if let Some((at, addresses)) = &*resolved
            && at.elapsed() < NAME_LIFETIME
        {
            return Ok(addresses.clone());
        }
        let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
        *resolved = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

/// Connects; the addresses of a name are tried in order. The caller bounds the time.
pub(super) async fn connect(to: &Resolver) -> io::Result<Connection> {
    let stream = match &to.address {
        UpstreamAddress::Unix(path) => {
            let stream = UnixStream::connect(path).await?;
            return Ok(Connection::Socket(Socket::Unix(stream)));
        }
        UpstreamAddress::Tunnel(name) => {
            let tunnels = to.tunnels.as_ref().and_then(Weak::upgrade);
            let tunnels = tunnels.ok_or(io::ErrorKind::NotConnected)?;
            let stream = tunnels.connect(name).await?;
            return Ok(Connection::Tunnel(Box::new(stream)));
        }
        UpstreamAddress::Socket(address) => TcpStream::connect(address).await?,
        UpstreamAddress::Name { host, port } => {
            let addresses = to.resolve(host, *port).await?;
            TcpStream::connect(&addresses[..]).await?
        }
    };
    // A request head is written in one piece and should leave at once.
    stream.set_nodelay(true)?;
    Ok(Connection::Socket(Socket::Tcp(stream)))
}

/// A connection to an upstream, straight or through a tunnel.
#[derive(Debug)]
pub(super) enum Connection {
    Socket(Socket),
    Tunnel(Box<Stream>),
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, buffer),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, buffer),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write_vectored(cx, buffers),
            Self::Tunnel(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_write_vectored(),
            Self::Tunnel(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
