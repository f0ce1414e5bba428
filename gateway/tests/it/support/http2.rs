//! An HTTP/2 client that sees frames: resets with their codes, GOAWAY, windows it does not open.

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, Response};
use tokio::task::JoinHandle;

use super::{Gateway, wire::connect_tls, within};

/// One HTTP/2 connection over TLS.
pub(crate) struct Http2 {
    pub(crate) sender: SendRequest<Bytes>,
    /// Ends with the connection: `Ok` after a GOAWAY without an error.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// A response that was read whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<http::HeaderMap>,
}

impl Http2 {
    pub(crate) async fn connect(gateway: &Gateway, name: &str) -> Self {
        Self::connect_with(gateway, name, &h2::client::Builder::new()).await
    }

    pub(crate) async fn connect_with(
        gateway: &Gateway,
        name: &str,
        builder: &h2::client::Builder,
    ) -> Self {
        let mut config = gateway.client_config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = connect_tls(gateway.https(), config, name).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = within(builder.handshake(stream)).await.unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request without a body.
    pub(crate) async fn send(&mut self, request: Request<()>) -> ResponseFuture {
        within(std::future::poll_fn(|cx| self.sender.poll_ready(cx)))
            .await
            .unwrap();
        self.sender.send_request(request, true).unwrap().0
    }

    /// `GET` and its whole response.
    pub(crate) async fn get(&mut self, uri: &str) -> Whole {
        let sent = self.send(Request::get(uri).body(()).unwrap()).await;
        let response = within(sent).await.unwrap();
        whole(response).await.unwrap()
    }
}

/// Reads a response to its end.
pub(crate) async fn whole(response: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = within(stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = within(stream.trailers()).await?;
    Ok(Whole {
        head,
        body,
        trailers,
    })
}
