//! One request and its response, from the complete head to the last byte.

use std::{net::IpAddr, sync::Arc};

use http::{Method, StatusCode, Version, header, request};
use tokio::time::Instant;

use super::connection::Facts;
use crate::{observe::AccessRecord, router::Route};

/// Bytes of a target or header that the access log shows. With every queued line at its longest
/// that bounds what a stuck reader of standard output makes us hold.
const LOGGED: usize = 1024;

/// Counts and logs a request when it is dropped, which is when its response has been sent or
/// given up.
#[derive(Debug)]
pub struct Exchange {
    facts: Arc<Facts>,
    started: Instant,
    id: RequestId,
    route: Option<Arc<Route>>,
    /// The gateway's own domain was asked.
    own: bool,
    status: StatusCode,
    sent: u64,
    outcome: Outcome,
    record: Option<Box<Head>>,
    /// Where the connection watches whether the client takes the response (HTTP/2).
    slot: Option<usize>,
    /// Runs on a task of its own, whose panic nobody else sees.
    own_task: bool,
}

/// Identifies one request in logs, upstream (`X-Request-Id`) and on error pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

impl RequestId {
    pub fn new() -> Self {
        Self(fastrand::u64(..))
    }

    /// Sixteen hexadecimal digits.
    pub fn digits(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|at| DIGITS[(self.0 >> (60 - 4 * at)) as usize & 15])
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    /// The client went away.
    Aborted,
    /// The body failed on our side or upstream's.
    Cut,
}

/// What the access log says of a request head; kept only when it is on.
#[derive(Debug)]
struct Head {
    method: Method,
    version: Version,
    host: String,
    target: String,
    client: Option<IpAddr>,
    user_agent: Option<String>,
    referer: Option<String>,
}

impl Exchange {
    pub fn begin(facts: Arc<Facts>, parts: &request::Parts) -> Self {
        facts.activity.request_started();
        facts.gateway.metrics.in_flight.inc();
        let text = |name| {
            let value = parts.headers.get(name)?.as_bytes();
            Some(String::from_utf8_lossy(&value[..value.len().min(LOGGED)]).into_owned())
        };
        let record = facts.gateway.access_log.is_on().then(|| {
            Box::new(Head {
                method: parts.method.clone(),
                version: parts.version,
                host: match parts.uri.authority() {
                    Some(authority) => cut(authority.as_str()).to_owned(),
                    None => text(header::HOST).unwrap_or_default(),
                },
                target: parts
                    .uri
                    .path_and_query()
                    .map_or_else(String::new, |target| cut(target.as_str()).to_owned()),
                client: facts.peer,
                user_agent: text(header::USER_AGENT),
                referer: text(header::REFERER),
            })
        });
        Self {
            slot: facts.activity.watch_stream(),
            own_task: facts.http2,
            facts,
            started: Instant::now(),
            id: RequestId::new(),
            route: None,
            own: false,
            status: StatusCode::OK,
            sent: 0,
            outcome: Outcome::Complete,
            record,
        }
    }

    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The client, once proxies in front are accounted for.
    pub fn client_is(&mut self, client: Option<IpAddr>) {
        if let Some(record) = &mut self.record {
            record.client = client;
        }
    }

    pub fn routed(&mut self, route: Arc<Route>) {
        self.route = Some(route);
    }

    /// The request is for the gateway itself.
    pub(super) fn own(&mut self) {
        self.own = true;
    }

    pub fn answered(&mut self, status: StatusCode) {
        self.status = status;
    }

    /// Bytes of body handed to the client's connection.
    pub fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        if let Some(slot) = self.slot {
            self.facts.activity.stream_waits(slot);
        }
    }

    /// The connection asks for more of the body, so it has taken what it was handed.
    pub(super) fn asked(&mut self) {
        if let Some(slot) = self.slot {
            self.facts.activity.stream_moves(slot);
        }
    }

    /// The exchange goes on as a WebSocket, on a task of its own.
    pub(super) fn detach(&mut self) {
        self.own_task = true;
    }

    /// The body failed; the client sees a truncated response.
    pub fn cut(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.outcome = Outcome::Cut;
        tracing::warn!(
            request = %self.id,
            route = self.route.as_deref().map(Route::label),
            sent = self.sent,
            error = %chain(error),
            "response cut short"
        );
    }

    pub(super) fn unfinished(&mut self) {
        if self.outcome == Outcome::Complete {
            self.outcome = Outcome::Aborted;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now - self.started;
        if let Some(slot) = self.slot {
            self.facts.activity.unwatch_stream(slot);
        }
        self.facts.activity.request_ended(now);
        let metrics = &self.facts.gateway.metrics;
        metrics.in_flight.dec();
        if std::thread::panicking() {
            self.outcome = Outcome::Cut;
            if self.own_task {
                metrics.panics.inc();
            }
        }
        match &self.route {
            Some(route) => route.metrics.observe(self.status, took, self.sent),
            None if self.own => metrics.own.observe(self.status, took, self.sent),
            None => metrics.unrouted.observe(self.status, took, self.sent),
        }
        let Some(head) = self.record.take() else {
            return;
        };
        self.facts.gateway.access_log.write(AccessRecord {
            method: head.method,
            version: head.version,
            https: self.facts.https,
            host: head.host,
            target: head.target,
            client: head.client,
            user_agent: head.user_agent,
            referer: head.referer,
            route: self.route.take(),
            request_id: self.id,
            status: self.status,
            sent: self.sent,
            took,
            outcome: match self.outcome {
                Outcome::Complete => "complete",
                Outcome::Aborted => "aborted",
                Outcome::Cut => "cut",
            },
        });
    }
}

/// Text cut to what the access log shows of it.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LOGGED);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// An error with everything that led to it, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
