//! Idle connections of one upstream, and sending a request over one of them or a new one.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use crossbeam_queue::ArrayQueue;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::{
    RequestBody, UpstreamBody, connect, progress::Progress, request_body::RequestBodyError,
};
use crate::config::UpstreamUrl;

/// Idle connections kept for one upstream. Over it they are closed after their response.
const IDLE_CONNECTIONS: usize = 256;
/// Idle connections older than this are not used again: many servers close theirs after 60 s or
/// more, and a close that crosses a request on the wire costs that request.
const IDLE_TIME: Duration = Duration::from_secs(50);

/// The pools of all upstreams, shared by routes with the same upstream and over reloads.
#[derive(Debug, Default)]
pub struct Pools {
    by_upstream: HashMap<UpstreamUrl, Arc<Pool>>,
}

impl Pools {
    /// The pool of an upstream, made when it is asked for first.
    pub fn get(&mut self, upstream: &UpstreamUrl) -> Arc<Pool> {
        let pool = self
            .by_upstream
            .entry(upstream.clone())
            .or_insert_with(|| Arc::new(Pool::new(upstream.clone())));
        Arc::clone(pool)
    }

    /// Forgets pools that no route uses any more; their idle connections close.
    pub fn release_unused(&mut self) {
        self.by_upstream
            .retain(|_, pool| Arc::strong_count(pool) > 1);
    }

    /// Closes idle connections past their time.
    pub fn close_expired(&self) {
        for pool in self.by_upstream.values() {
            pool.close_expired();
        }
    }
}

/// One upstream and its idle connections.
#[derive(Debug)]
pub struct Pool {
    upstream: UpstreamUrl,
    /// Oldest first; lock-free, because every request passes here twice.
    idle: ArrayQueue<Idle>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the whole request sent to the response head.
    pub response: Duration,
    pub idle: Duration,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("no answer within {0:?}")]
    ResponseTimeout(Duration),
    #[error(transparent)]
    RequestBody(RequestBodyError),
    #[error("{0}")]
    Exchange(#[source] hyper::Error),
}

impl SendError {
    /// Whether the upstream cannot have seen the request, so that another may be asked.
    pub fn is_before_request(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout(_))
    }
}

impl Pool {
    fn new(upstream: UpstreamUrl) -> Self {
        Self {
            upstream,
            idle: ArrayQueue::new(IDLE_CONNECTIONS),
        }
    }

    pub fn upstream(&self) -> &UpstreamUrl {
        &self.upstream
    }

    /// Sends a request and waits for the response head.
    ///
    /// A kept connection may turn out to be closed. The request is then sent again over a new
    /// one, but only if hyper says that none of it was written, or if it is idempotent and has no
    /// body (RFC 9110 §9.2.2). On connect errors the request comes back with the error, for
    /// another upstream to try.
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        timeouts: Timeouts,
    ) -> Result<Response<UpstreamBody>, (SendError, Option<Request<RequestBody>>)> {
        let has_body = !request.body().is_empty();
        let replay = !has_body && request.method().is_idempotent();
        let progress = request.body().progress();
        let progress = progress.as_deref();
        while let Some(mut sender) = self.take_idle().await {
            let spare = replay.then(|| copy(&request));
            match in_time(progress, sender.try_send_request(request), timeouts.response).await {
                Some(Ok(response)) => return Ok(self.answer(response, sender, has_body, timeouts)),
                Some(Err(mut refused)) => match refused.take_message().or(spare) {
                    Some(same) if is_stale(refused.error()) => request = same,
                    _ => return Err((failed(refused.into_error()), None)),
                },
                None => return Err((SendError::ResponseTimeout(timeouts.response), None)),
            }
        }
        let mut sender = match self.connect(timeouts.connect).await {
            Ok(sender) => sender,
            Err(error) => return Err((error, Some(request))),
        };
        match in_time(progress, sender.send_request(request), timeouts.response).await {
            Some(Ok(response)) => Ok(self.answer(response, sender, has_body, timeouts)),
            Some(Err(error)) => Err((failed(error), None)),
            None => Err((SendError::ResponseTimeout(timeouts.response), None)),
        }
    }

    fn answer(
        self: &Arc<Self>,
        response: Response<Incoming>,
        sender: SendRequest<RequestBody>,
        request_had_body: bool,
        timeouts: Timeouts,
    ) -> Response<UpstreamBody> {
        let lease = Lease {
            pool: Arc::clone(self),
            sender,
            request_had_body,
        };
        response.map(|incoming| UpstreamBody::new(incoming, lease, timeouts.idle))
    }

    async fn take_idle(&self) -> Option<SendRequest<RequestBody>> {
        while let Some(mut idle) = self.idle.pop() {
            if idle.sender.is_closed() || idle.since.elapsed() > IDLE_TIME {
                continue;
            }
            // Its last response has been read; its task may only not have run since.
            if idle.sender.is_ready() || idle.sender.ready().await.is_ok() {
                return Some(idle.sender);
            }
        }
        None
    }

    async fn connect(&self, limit: Duration) -> Result<SendRequest<RequestBody>, SendError> {
        let socket = timeout(limit, connect::connect(&self.upstream.address))
            .await
            .map_err(|_| SendError::ConnectTimeout(limit))?
            .map_err(SendError::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(socket))
            .await
            .map_err(SendError::Exchange)?;
        tokio::spawn(async move {
            // Its failures reach whoever waits for a response; an idle one has nobody to tell.
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(sender)
    }

    fn close_expired(&self) {
        for _ in 0..self.idle.len() {
            let Some(idle) = self.idle.pop() else { return };
            if !idle.sender.is_closed() && idle.since.elapsed() <= IDLE_TIME {
                // Full again already: this one is the surplus.
                drop(self.idle.push(idle));
            }
        }
    }
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    sender: SendRequest<RequestBody>,
    request_had_body: bool,
}

impl Lease {
    /// Keeps the connection for another request, if it can carry one.
    pub(super) fn give_back(self) {
        // An answer that came before the end of the request body leaves the rest of that body on
        // the connection; wait for nobody's upload.
        if self.sender.is_closed() || (self.request_had_body && !self.sender.is_ready()) {
            return;
        }
        let idle = Idle {
            sender: self.sender,
            since: Instant::now(),
        };
        drop(self.pool.idle.push(idle));
    }
}

/// Waits for the response head no longer than `limit`, less the time the client takes to send its
/// body.
async fn in_time<F: Future>(
    progress: Option<&Progress>,
    response: F,
    limit: Duration,
) -> Option<F::Output> {
    match progress {
        Some(progress) => progress.answer(response, limit).await,
        None => timeout(limit, response).await.ok(),
    }
}

fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    Request::from_parts(parts, RequestBody::empty())
}

/// The upstream closed a connection it had kept for us, before any byte of a response.
fn is_stale(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || error.is_incomplete_message() || is_reset(error)
}

fn is_reset(error: &hyper::Error) -> bool {
    find_source::<io::Error>(error).is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    })
}

fn failed(error: hyper::Error) -> SendError {
    match find_source::<RequestBodyError>(&error) {
        Some(body) => SendError::RequestBody(body.clone()),
        None => SendError::Exchange(error),
    }
}

fn find_source<T: std::error::Error + 'static>(error: &hyper::Error) -> Option<&T> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}
