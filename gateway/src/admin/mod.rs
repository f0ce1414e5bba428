//! The admin listener: health, metrics, reload. On loopback or a Unix socket, never on a
//! listener that serves sites. And the control socket: the same, and the gateway's own API with an
//! operator's rights, for the command line. It is a file in the data directory, so whoever may
//! open it could read the store as well.
//!
//! A browser on the same machine can be made to send requests here. Whatever changes something
//! therefore refuses requests that carry an `Origin`, and every request must name this machine as
//! its host, which stops DNS rebinding.

mod health;

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::health::Health;
use crate::{
    api::Origin,
    app::Gateway,
    http::{Body, normalize},
    listen::{Accepted, Acceptor, BoundListener, Caps, Refusal, Socket, accept_loop},
    reload::Reloader,
};

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Scrapers, probes and a person; not a public service.
const CONNECTIONS: usize = 256;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Admin,
    Control,
}

/// Serves the admin listener or the control socket until `stop`.
pub async fn serve(
    listener: BoundListener,
    door: Door,
    gateway: Arc<Gateway>,
    reloader: Arc<Reloader>,
    stop: CancellationToken,
) {
    let address = listener.local.clone();
    let connections = TaskTracker::new();
    let entrance = Arc::new(Entrance {
        admin: Arc::new(Admin {
            gateway,
            reloader,
            door,
        }),
        stop: stop.clone(),
        connections: connections.clone(),
    });
    if let Err(error) = accept_loop(listener, Arc::new(Caps::default()), entrance, stop).await {
        tracing::error!(%address, %error, "admin listener failed");
    }
    connections.close();
    connections.wait().await;
}

struct Entrance {
    admin: Arc<Admin>,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Acceptor for Entrance {
    fn accepted(&self, connection: Accepted) {
        let (admin, stop) = (Arc::clone(&self.admin), self.stop.clone());
        self.connections.spawn(async move {
            let _place = connection.place;
            serve_connection(admin, connection.socket, stop).await;
        });
    }

    fn refused(&self, refusal: Refusal) {
        tracing::warn!(reason = refusal.label(), "admin connection refused");
    }

    fn caps(&self, _peer: Option<IpAddr>) -> (usize, usize) {
        (CONNECTIONS, CONNECTIONS)
    }
}

async fn serve_connection(admin: Arc<Admin>, socket: Socket, stop: CancellationToken) {
    let local = matches!(socket, Socket::Unix(_));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(
            TokioIo::new(socket),
            service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(admin.answer(request, local).await) }
            }),
        );
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

struct Admin {
    gateway: Arc<Gateway>,
    reloader: Arc<Reloader>,
    door: Door,
}

type Answer = Response<Body>;

impl Admin {
    async fn answer(&self, request: Request<Incoming>, unix: bool) -> Answer {
        if !unix && !names_this_machine(request.headers()) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "the admin listener answers only to localhost or an IP address\n",
            );
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/health") => {
                json_answer(StatusCode::OK, &self.gateway.health.alive().await)
            }
            (&Method::GET | &Method::HEAD, "/health/ready") => self.ready().await,
            (&Method::GET, "/metrics") => self.metrics(),
            (&Method::POST, "/reload") => self.reload(request.headers()).await,
            (_, "/health" | "/health/ready" | "/metrics" | "/reload") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")
            }
            _ if self.door == Door::Control => self.operate(request).await,
            _ => text(
                StatusCode::NOT_FOUND,
                "there is /health, /health/ready, /metrics and POST /reload\n",
            ),
        }
    }

    /// The gateway's own API, for who runs the gateway.
    async fn operate(&self, request: Request<Incoming>) -> Answer {
        let Some(api) = &self.gateway.api else {
            return text(StatusCode::NOT_FOUND, "this gateway has no domain\n");
        };
        let origin = Origin {
            ip: None,
            operator: true,
        };
        api.answer(origin, request).await
    }

    async fn ready(&self) -> Answer {
        let stopping = self.gateway.stop.is_cancelled();
        let readiness = self.gateway.health.ready(stopping).await;
        json_answer(readiness.status(), &readiness)
    }

    fn metrics(&self) -> Answer {
        match self.gateway.metrics.render() {
            Ok(exposition) => {
                let mut answer = Response::new(Body::Full(exposition.into()));
                answer.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
                );
                answer
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    async fn reload(&self, headers: &HeaderMap) -> Answer {
        if headers.contains_key(header::ORIGIN) {
            return text(StatusCode::FORBIDDEN, "not from a browser\n");
        }
        let reloader = Arc::clone(&self.reloader);
        match tokio::task::spawn_blocking(move || reloader.reload()).await {
            Ok(Ok(())) => text(StatusCode::OK, "reloaded\n"),
            Ok(Err(error)) => text(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error}\n")),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| normalize::host(host).ok());
    host.is_some_and(|host| {
        host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
    })
}

fn json_answer(status: StatusCode, body: &impl serde::Serialize) -> Answer {
    let text = serde_json::to_string(body).unwrap_or_default();
    with_type(status, "application/json", text)
}

fn text(status: StatusCode, body: &str) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
