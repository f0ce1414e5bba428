//! What the gateway answers on its own domain: its API, sign-in, health.
//!
//! A request whose host is the configured `domain` comes here instead of to a site. It goes
//! through an axum router, one file or folder per group of paths, with its [`Origin`] as a request
//! extension. The same routes answer on the control socket, through which the command line speaks.
//! Nothing here is on the path of a proxied request.
//!
//! `v1` is the API, `original` the one that clients of the original tunnel server know, `verify`
//! what services ask about their own callers. `caller` finds out who asks.

mod caller;
mod conditional;
mod extract;
mod health;
mod jwks;
mod moment;
mod operate;
mod original;
mod problem;
pub mod sign_in;
mod v1;
mod verify;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{audit::Chain, token::Keys};
use axum::{
    Router,
    body::Body as Inbound,
    extract::{DefaultBodyLimit, OriginalUri},
    middleware::{self, Next},
    response::{IntoResponse, Response as Answer},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::runtime::Handle;
use tower_service::Service as _;

use self::{
    caller::{Attempts, Failures},
    problem::Problem,
    sign_in::SignIn,
    v1::Issuances,
};
pub use self::{operate::Backups, original::Vouching, verify::Legacy};
use crate::{
    http::{Body, body::BodyError},
    identity::{Identity, Issuing, Opened},
    tunnel::Tunnels,
};

/// Bytes of a request's body; nothing that the gateway itself takes is longer.
const MAX_BODY: usize = 256 * 1024;
/// Keys that one client may report as found elsewhere, and their window.
const LEAKS: (u64, Duration) = (60, Duration::from_secs(60));

/// Tokens of a provider that one client may exchange, and their window.
const EXCHANGES: (u64, Duration) = (10, Duration::from_secs(60));

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
    /// Agents that are connected, if there may be any.
    pub tunnels: Option<Arc<Tunnels>>,
    audit: Option<Chain>,
    tokens: Option<Arc<Keys>>,
    issuing: Option<Arc<Issuing>>,
    legacy: Option<Legacy>,
    vouching: Option<Arc<dyn Vouching>>,
    backups: Option<Backups>,
    failures: Failures,
    leaks: Attempts,
    exchanges: Attempts,
    issuances: Issuances,
}

impl State {
    /// For the host `domain`, with what the configuration asked for.
    pub fn new(domain: String, opened: Option<Opened>, parts: Parts) -> Self {
        let tokens = opened.as_ref().and_then(|opened| opened.tokens.clone());
        let (identity, audit) = opened.map(|opened| (opened.identity, opened.audit)).unzip();
        Self {
            domain,
            identity,
            tunnels: parts.tunnels,
            audit,
            tokens,
            issuing: parts.issuing,
            legacy: parts.legacy,
            vouching: parts.vouching,
            backups: parts.backups,
            failures: Failures::default(),
            leaks: Attempts::new(LEAKS),
            exchanges: Attempts::new(EXCHANGES),
            issuances: Issuances::default(),
        }
    }

    fn now(&self) -> SystemTime {
        let clock = self.identity.as_ref().map(Identity::clock);
        clock.map_or_else(SystemTime::now, |clock| clock.now())
    }

    fn identity(&self) -> Result<&Identity, Problem> {
        self.identity.as_ref().ok_or_else(Problem::not_found)
    }

    fn audit(&self) -> Result<&Chain, Problem> {
        self.audit.as_ref().ok_or_else(Problem::not_found)
    }
}

/// What not every gateway has.
#[derive(Debug, Default)]
pub struct Parts {
    /// Lets callers in who say who they are in the body.
    pub legacy: Option<Legacy>,
    /// Says whose a provider's token is.
    pub vouching: Option<Arc<dyn Vouching>>,
    /// Signs tokens about users.
    pub issuing: Option<Arc<Issuing>>,
    /// The agents there may be.
    pub tunnels: Option<Arc<Tunnels>>,
    /// Where backups are made from.
    pub backups: Option<Backups>,
}

/// Where a request comes from, as far as the connection tells. A request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client; `None` over a Unix socket.
    pub ip: Option<IpAddr>,
    /// It came over the control socket: whoever may open that runs this gateway.
    pub operator: bool,
}

impl Origin {
    /// That of a request; of one that has none, nothing is known.
    fn of(extensions: &http::Extensions) -> Self {
        let unknown = Self {
            ip: None,
            operator: false,
        };
        extensions.get().copied().unwrap_or(unknown)
    }
}

impl Api {
    /// Every route there is, answered on the runtime `background`.
    pub fn new(state: State, background: Handle) -> Self {
        let router = Router::new()
            .merge(health::routes())
            .merge(original::routes())
            .merge(verify::routes())
            .merge(operate::routes())
            .merge(jwks::routes())
            .merge(v1::routes())
            .fallback(nothing)
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn(caller::no_credentials_in_queries))
            .layer(middleware::from_fn(careful))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::new(state));
        Self { router, background }
    }

    /// With the pages of sign-in, and those for people who are signed in.
    pub fn with_sign_in(self, sign_in: Arc<SignIn>) -> Self {
        Self {
            router: self
                .router
                .merge(sign_in::routes(Arc::clone(&sign_in)))
                .merge(original::pages(sign_in)),
            ..self
        }
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

/// There is no such path.
async fn nothing(OriginalUri(uri): OriginalUri) -> Answer {
    match original::has(uri.path()) {
        true => original::detail(StatusCode::NOT_FOUND, "Not Found"),
        false => Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing at this address; /api/v1/openapi.json says what there is",
        )
        .into_response(),
    }
}

/// There is the path, with other methods, which `Allow` names.
async fn wrong_method(OriginalUri(uri): OriginalUri) -> Answer {
    match original::has(uri.path()) {
        true => original::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        false => Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "wrong_method",
            "this address does not know the method of the request; Allow names those it knows",
        )
        .into_response(),
    }
}

/// What holds for every answer: it is what its type says, and nobody keeps it unless it says so.
async fn careful(request: axum::extract::Request, next: Next) -> Answer {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    answer
}
