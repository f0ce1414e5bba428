//! Idle connections of one upstream, and sending a request over one of them or a new one.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use crossbeam_queue::ArrayQueue;
use http::{HeaderName, Request, Response, StatusCode, Version};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use relay::tunnel::OpenError;
use tokio::time::{Instant, timeout};

use super::{
    RequestBody, UpstreamBody,
    connect::{self, Resolver},
    progress::Progress,
    request_body::RequestBodyError,
};
use crate::{config::UpstreamUrl, tunnel::Tunnels};

/// Bytes of a response read at once, at most. The cost of a large response falls with it (a third
/// less CPU than at 64 KiB); what a slow client makes us hold grows with it.
const READ_BUFFER: usize = 512 * 1024;
/// Idle connections kept for one upstream. Over it they are closed after their response.
const IDLE_CONNECTIONS: usize = 256;
/// Those of them that are used first. What a quiet upstream needs stays warm, and the surplus of
/// a burst grows old and is closed, instead of all taking turns.
const WARM_CONNECTIONS: usize = 8;
/// Idle connections older than this are not used again: many servers close theirs after 60 s or
/// more, and a close that crosses a request on the wire costs that request.
const IDLE_TIME: Duration = Duration::from_secs(50);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The pools of all upstreams, shared by routes with the same upstream and over reloads.
#[derive(Debug, Default)]
pub struct Pools {
    by_upstream: HashMap<UpstreamUrl, Arc<Pool>>,
    tunnels: Option<Arc<Tunnels>>,
}

impl Pools {
    /// Pools that can lead through tunnels.
    pub fn with_tunnels(tunnels: Option<Arc<Tunnels>>) -> Self {
        Self {
            tunnels,
            ..Self::default()
        }
    }

    /// The agents that upstreams may be behind.
    pub fn tunnels(&self) -> Option<Arc<Tunnels>> {
        self.tunnels.clone()
    }

    /// The pool of an upstream, made when it is asked for first.
    pub fn get(&mut self, upstream: &UpstreamUrl) -> Arc<Pool> {
        let tunnels = self.tunnels.as_ref();
        let pool = self
            .by_upstream
            .entry(upstream.clone())
            .or_insert_with(|| Arc::new(Pool::new(upstream.clone(), tunnels)));
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
    address: Resolver,
    upstream: UpstreamUrl,
    /// Lock-free, because every request passes here twice.
    warm: ArrayQueue<Idle>,
    spare: ArrayQueue<Idle>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    expires: Instant,
}

impl Idle {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && Instant::now() < self.expires
    }
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
    /// The upstream is behind a tunnel, and its agent cannot reach the service.
    #[error("{0}")]
    Service(String),
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
    /// An upstream without connections yet.
    pub(crate) fn new(upstream: UpstreamUrl, tunnels: Option<&Arc<Tunnels>>) -> Self {
        Self {
            address: Resolver::new(upstream.address.clone(), tunnels),
            upstream,
            warm: ArrayQueue::new(WARM_CONNECTIONS),
            spare: ArrayQueue::new(IDLE_CONNECTIONS - WARM_CONNECTIONS),
        }
    }

    pub fn upstream(&self) -> &UpstreamUrl {
        &self.upstream
    }

    /// Sends a request and waits for the response head.
    ///
    /// A kept connection may turn out to be closed. A request of which nothing was written is
    /// then sent over another one. One that may have been seen is sent again only if it is
    /// idempotent and has no body, once, over a new connection (RFC 9110 §9.2.2). On connect
    /// errors the request comes back with the error, for another upstream to try.
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
            match in_time(
                progress,
                sender.try_send_request(request),
                timeouts.response,
            )
            .await
            {
                Some(Ok(response)) => return Ok(self.answer(response, sender, has_body, timeouts)),
                Some(Err(mut refused)) => match (refused.take_message(), spare) {
                    (Some(unsent), _) => request = unsent,
                    (None, Some(same)) if is_stale(refused.error()) => {
                        request = same;
                        break;
                    }
                    _ => return Err((failed(refused.into_error()), None)),
                },
                None => return Err((SendError::ResponseTimeout(timeouts.response), None)),
            }
        }
        // Boxed: rare beside requests over kept connections, and larger than all else here.
        let connecting = Box::pin(self.connect(timeouts.connect));
        let mut sender = match connecting.await {
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
            idle_time: idle_time(&response),
        };
        response.map(|incoming| UpstreamBody::new(incoming, lease, timeouts.idle))
    }

    async fn take_idle(&self) -> Option<SendRequest<RequestBody>> {
        while let Some(mut idle) = self.warm.pop().or_else(|| self.spare.pop()) {
            // Its last response has been read; its task may only not have run since.
            if idle.is_usable() && (idle.sender.is_ready() || idle.sender.ready().await.is_ok()) {
                return Some(idle.sender);
            }
        }
        None
    }

    fn keep(&self, idle: Idle) {
        // Full: this one is the surplus, and dropping it closes it.
        if let Err(idle) = self.warm.push(idle) {
            drop(self.spare.push(idle));
        }
    }

    async fn connect(&self, limit: Duration) -> Result<SendRequest<RequestBody>, SendError> {
        let socket = timeout(limit, connect::connect(&self.address))
            .await
            .map_err(|_| SendError::ConnectTimeout(limit))?
            .map_err(SendError::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
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

    pub(crate) fn close_expired(&self) {
        for queue in [&self.warm, &self.spare] {
            for _ in 0..queue.len() {
                let Some(idle) = queue.pop() else { break };
                if idle.is_usable() {
                    self.keep(idle);
                }
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
    /// `None`: this connection carries no further request.
    idle_time: Option<Duration>,
}

impl Lease {
    /// Keeps the connection for another request, if it can carry one.
    pub(super) fn give_back(self) {
        let Some(idle_time) = self.idle_time else {
            return;
        };
        // An answer that came before the end of the request body leaves the rest of that body on
        // the connection; wait for nobody's upload.
        if self.sender.is_closed() || (self.request_had_body && !self.sender.is_ready()) {
            return;
        }
        self.pool.keep(Idle {
            sender: self.sender,
            expires: Instant::now() + idle_time,
        });
    }
}

/// How long the connection of a response may be idle before its next request; `None` if it must
/// not carry one: it was upgraded, or the upstream speaks HTTP/1.0, to which hyper would send the
/// next request as 1.0 and so without a chunked body.
fn idle_time(response: &Response<Incoming>) -> Option<Duration> {
    if response.version() != Version::HTTP_11
        || response.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        return None;
    }
    let Some(announced) = response.headers().get(KEEP_ALIVE) else {
        return Some(IDLE_TIME);
    };
    let seconds = announced
        .to_str()
        .ok()?
        .split(',')
        .find_map(|item| item.trim().strip_prefix("timeout="))
        .and_then(|seconds| seconds.parse::<u64>().ok());
    match seconds {
        // A second early, so that the request does not cross the upstream's close.
        Some(seconds) => Some(IDLE_TIME.min(Duration::from_secs(seconds.saturating_sub(1)))),
        None => Some(IDLE_TIME),
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
    if let Some(body) = find_source::<RequestBodyError>(&error) {
        return SendError::RequestBody(body.clone());
    }
    let io = find_source::<io::Error>(&error).and_then(io::Error::get_ref);
    match io.and_then(|inner| inner.downcast_ref::<OpenError>()) {
        Some(open) => SendError::Service(open.to_string()),
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
