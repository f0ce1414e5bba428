//! Opening a connection to an upstream.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    sync::Mutex,
    time::Instant,
};

use crate::{config::UpstreamAddress, listen::Socket};

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
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolver {
    pub(super) fn new(address: UpstreamAddress) -> Self {
        Self {
            address,
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
pub(super) async fn connect(to: &Resolver) -> io::Result<Socket> {
    let stream = match &to.address {
        UpstreamAddress::Unix(path) => return UnixStream::connect(path).await.map(Socket::Unix),
        UpstreamAddress::Socket(address) => TcpStream::connect(address).await?,
        UpstreamAddress::Name { host, port } => {
            let addresses = to.resolve(host, *port).await?;
            TcpStream::connect(&addresses[..]).await?
        }
    };
    // A request head is written in one piece and should leave at once.
    stream.set_nodelay(true)?;
    Ok(Socket::Tcp(stream))
}
