//! A local service, and a carrier that leads to it.

use std::{net::SocketAddr, time::Duration};

use relay::tunnel::{
    agent::{self, Service},
    carrier::{self, Carrier, Ended, Timing},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// A gateway's end and an agent's end, joined by TCP.
pub(crate) struct Joined {
    pub(crate) carrier: Carrier,
    pub(crate) edge: JoinHandle<Ended>,
    pub(crate) agent: JoinHandle<Ended>,
    pub(crate) drain: CancellationToken,
}

/// Two ends of one TCP connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dialled, listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

impl Joined {
    /// Joins a gateway's end to the service at `address`.
    pub(crate) async fn to(address: &str) -> Self {
        let (edge, agent) = pair().await;
        let drain = CancellationToken::new();
        let service = Service {
            address: address.to_owned(),
        };
        let drained = drain.clone();
        let agent =
            tokio::spawn(
                async move { agent::serve(agent, &service, Timing::default(), drained).await },
            );
        let (carrier, run) = carrier::client(edge, Timing::default()).await.unwrap();
        Self {
            carrier,
            edge: tokio::spawn(run),
            agent,
            drain,
        }
    }
}

/// A service that sends back what it gets, until the end.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

/// A service that accepts one connection and hands it out.
pub(crate) async fn one() -> (SocketAddr, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move { listener.accept().await.unwrap().0 });
    (address, accepted)
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, future).await.expect("in time")
}

/// Sends `bytes` and the end, and reads all that comes.
pub(crate) async fn round_trip(
    stream: relay::tunnel::Stream,
    bytes: &[u8],
) -> std::io::Result<Vec<u8>> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut got = Vec::new();
    let send = async {
        write.write_all(bytes).await?;
        write.shutdown().await
    };
    let receive = read.read_to_end(&mut got);
    tokio::try_join!(send, receive)?;
    Ok(got)
}
