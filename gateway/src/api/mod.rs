//! What the gateway answers on its own domain: its API, sign-in, health.
//!
//! A request whose host is the configured `domain` comes here instead of to a site. It goes
//! through an axum router, one file or folder per group of paths, with its [`Origin`] as a request
//! extension. The same routes answer on the control socket, through which the command line speaks.
//! Nothing here is on the path of a proxied request.

mod health;

use std::{net::IpAddr, sync::Arc};

use axum::{Router, body::Body as Inbound, extract::DefaultBodyLimit};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::runtime::Handle;
use tower_service::Service as _;

use crate::{
    http::{Body, body::BodyError},
    identity::Identity,
};

/// Bytes of a request's body; nothing that the gateway itself takes is longer.
const MAX_BODY: usize = 256 * 1024;

/// The routes of the gateway's own domain.
#[derive(Clone, Debug)]
pub struct Api {
    router: Router,
    background: Handle,
}

/// What the routes rest on.
#[derive(Debug)]
pub struct State {
    /// The host that all of this answers on.
    pub domain: String,
    /// Users, sessions and keys.
    pub identity: Option<Identity>,
}

/// Where a request comes from, as far as the connection tells. A request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client; `None` over a Unix socket.
    pub ip: Option<IpAddr>,
    /// It came over the control socket: whoever may open that runs this gateway.
    pub operator: bool,
}

impl Api {
    /// Every route there is, answered on the runtime `background`.
    pub fn new(state: State, background: Handle) -> Self {
        let router = Router::new()
            .merge(health::routes())
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::new(state));
        Self { router, background }
    }

    /// Answers a request. Never fails: a failure is an answer too.
    pub async fn answer<B>(&self, origin: Origin, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
    {
        let mut request = request.map(Inbound::new);
        request.extensions_mut().insert(origin);
        let answered = self.router.clone().call(request);
        match self.background.spawn(answered).await {
            Ok(Ok(response)) => response.map(Body::Own),
            Err(error) => {
                tracing::error!(%error, "a request to the gateway's own domain was not answered");
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}
