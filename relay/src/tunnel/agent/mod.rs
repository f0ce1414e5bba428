//! The agent's end of a tunnel: takes streams and copies their bytes to the local service.

mod splice;

use std::{future::Future, io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::carrier::{self, Ended, Request, Timing};

/// How long a local service may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// The local service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// `host:port`
    pub address: String,
}

/// Serves one carrier until it ends. Streams that are open then are reset.
pub async fn serve<I>(io: I, service: &Service, timing: Timing, drain: CancellationToken) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = TaskTracker::new();
    let ended = carrier::server(io, timing, drain, |request| {
        let address = service.address.clone();
        streams.spawn(carry(request, address));
    })
    .await;
    streams.close();
    streams.wait().await;
    ended
}

async fn carry(mut request: Request, address: String) {
    let connected = tokio::select! {
        connected = connect(&address) => connected,
        () = std::future::poll_fn(|cx| request.poll_reset(cx)) => return,
    };
    let local = match connected {
        Ok(local) => local,
        Err(reason) => {
            tracing::warn!(%address, %reason, "cannot reach the local service");
            return request.refuse(&reason);
        }
    };
    let carried = match request.accept() {
        Ok(stream) => splice::splice(stream, local).await,
        Err(error) => Err(error),
    };
    if let Err(error) = carried {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let connecting: &mut (dyn Future<Output = io::Result<TcpStream>> + Send + Unpin) =
        &mut Box::pin(TcpStream::connect(address));
    match timeout(CONNECT, connecting).await {
        Ok(Ok(local)) => {
            // What is copied was gathered already; waiting for more only delays it.
            let _ = local.set_nodelay(true);
            Ok(local)
        }
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer within {CONNECT:?}")),
    }
}
