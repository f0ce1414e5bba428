//! Many TLS connections that asked once and are now silent.

use futures_util::future::try_join_all;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{
    Target,
    client::{Tls, get},
};
use crate::error::{Doing, Result};

/// Opened at a time, so that the server's pool to the origin stays as small as under load.
const AT_ONCE: usize = 16;

/// Open connections; they close when this is dropped.
pub struct Idle {
    _connections: Vec<TlsStream<TcpStream>>,
}

impl Idle {
    pub async fn open(target: &Target<'_>, count: usize) -> Result<Self> {
        let tls = Tls::new(target.workspace)?;
        let mut connections = Vec::with_capacity(count);
        while connections.len() < count {
            let batch = AT_ONCE.min(count - connections.len());
            let opening = (0..batch).map(|_| open_one(&tls, target));
            connections.append(&mut try_join_all(opening).await?);
        }
        Ok(Self {
            _connections: connections,
        })
    }
}

async fn open_one(tls: &Tls, target: &Target<'_>) -> Result<TlsStream<TcpStream>> {
    let stream = tls.connect(target.address).await;
    let mut stream = stream.doing(|| format!("connect to {}", target.address))?;
    get(&mut stream, target, false).await?;
    Ok(stream)
}
