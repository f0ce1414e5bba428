//! Every way a request can fail, and what the client is told. The only table of status codes for
//! failures.

use std::{borrow::Cow, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::{Body, normalize::Rejection};
use crate::policy::deprecation::Notice;

/// Seconds after which an agent that was away may be back.
const OFFLINE_RETRY: u64 = 5;

/// A request that gets no answer from its handler. `Display` is for the log; what the client
/// reads is [`Failure::answer`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Rejected(#[from] Rejection),
    #[error("{method} is not supported")]
    Method { method: &'static str },
    #[error("no site has this host")]
    UnknownHost { tls: bool },
    #[error("no route of the site matches")]
    NoRoute,
    #[error("it is not known who asks")]
    Unauthenticated { challenges: Vec<HeaderValue> },
    #[error("who asks may not")]
    Forbidden { challenges: Vec<HeaderValue> },
    #[error("there is an API key in the query")]
    KeyInQuery,
    #[error("the route is gone since its sunset")]
    Gone { notice: Arc<Notice> },
    #[error("a session was not handed over: {0}")]
    Handover(String, /* ours */ bool),
    #[error("the route needs users and keys, and there are none")]
    NoIdentity,
    #[error("the keys of the issuer of tokens are not there")]
    NoKeys,
    #[error("the forward auth service {upstream} answered {status}, which is neither yes nor no")]
    AuthAnswer {
        upstream: String,
        status: StatusCode,
    },
    #[error("the client asks too often")]
    TooManyRequests { retry_after: Duration },
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error("the client sent nothing of its request body for {0:?}")]
    BodyTimeout(Duration),
    #[error("the client broke off its request body: {0}")]
    BodyBroken(String),
    #[error("cannot connect to upstream {upstream}")]
    Connect { upstream: String, source: io::Error },
    #[error("upstream {upstream} did not accept a connection within {after:?}")]
    ConnectTimeout { upstream: String, after: Duration },
    #[error("upstream {upstream} failed before it answered: {reason}")]
    Upstream { upstream: String, reason: String },
    #[error("there is no tunnel {host}")]
    UnknownTunnel { host: String },
    #[error("no agent of the tunnel {host} is connected")]
    TunnelOffline { host: String },
    #[error("upstream {upstream}: {reason}")]
    Service { upstream: String, reason: String },
    #[error("upstream {upstream} did not answer within {after:?}")]
    UpstreamTimeout { upstream: String, after: Duration },
}

impl Failure {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Rejected(_) | Self::BodyBroken(_) | Self::KeyInQuery => StatusCode::BAD_REQUEST,
            Self::Method { .. } => StatusCode::NOT_IMPLEMENTED,
            // RFC 9110 §15.5.20: over TLS the client picked the wrong connection.
            Self::UnknownHost { tls: true } => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownHost { tls: false } | Self::NoRoute | Self::UnknownTunnel { .. } => {
                StatusCode::NOT_FOUND
            }
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Gone { .. } => StatusCode::GONE,
            Self::Handover(_, false) => StatusCode::BAD_REQUEST,
            Self::NoIdentity
            | Self::NoKeys
            | Self::Handover(_, true)
            | Self::TunnelOffline { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::AuthAnswer { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Connect { .. } | Self::Upstream { .. } | Self::Service { .. } => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectTimeout { .. } | Self::UpstreamTimeout { .. } => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }

    /// The label of this failure in logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "bad_request",
            Self::Method { .. } => "method",
            Self::UnknownHost { .. } => "unknown_host",
            Self::NoRoute => "no_route",
            Self::UnknownTunnel { .. } => "unknown_tunnel",
            Self::TunnelOffline { .. } => "tunnel_offline",
            Self::Service { .. } => "tunnel_service",
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden { .. } => "forbidden",
            Self::KeyInQuery => "key_in_query",
            Self::Gone { .. } => "gone",
            Self::Handover(..) => "handover",
            Self::NoIdentity => "no_identity",
            Self::NoKeys => "no_keys",
            Self::AuthAnswer { .. } => "auth_answer",
            Self::TooManyRequests { .. } => "rate",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTimeout(_) => "body_timeout",
            Self::BodyBroken(_) => "body_broken",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::Upstream { .. } => "upstream",
            Self::UpstreamTimeout { .. } => "upstream_timeout",
        }
    }

    /// Whether somebody should look: an upstream is in trouble, not a client.
    pub fn is_ours(&self) -> bool {
        self.status().is_server_error() && !matches!(self, Self::Method { .. })
    }

    /// What a person at the other end should know, and no more.
    fn explanation(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::UnknownTunnel { host } => {
                return format!("There is no tunnel with the name {host}.").into();
            }
            Self::TunnelOffline { .. } => {
                "The service behind this name is not connected right now. Please try again shortly."
            }
            Self::Service { .. } => {
                "The agent of this tunnel is connected, but the service behind it is not answering."
            }
            Self::Rejected(Rejection::NoHost | Rejection::SeveralHosts | Rejection::BadHost) => {
                "The request does not name one valid host."
            }
            Self::Rejected(Rejection::BadPath | Rejection::PathEscapes) => {
                "The address of this page is not valid."
            }
            Self::Method { .. } => "This server does not support the method of the request.",
            Self::UnknownHost { .. } => "No site with this name is served here.",
            Self::NoRoute => "There is nothing at this address.",
            Self::Unauthenticated { .. } => "You need to show who you are to see this.",
            Self::Forbidden { .. } => "You may not see this.",
            Self::KeyInQuery => {
                "An API key belongs in the Authorization header. This one stood in an address, \
                 which others keep: revoke it."
            }
            Self::Gone { .. } => "What was here is no longer offered.",
            Self::Handover(_, false) => {
                "Signing in took too long or was begun elsewhere. Please open the page again."
            }
            Self::NoIdentity | Self::NoKeys | Self::Handover(_, true) | Self::AuthAnswer { .. } => {
                "It cannot be checked who you are right now. Please try again shortly."
            }
            Self::TooManyRequests { .. } => "Too many requests. Please wait a little.",
            Self::BodyTooLarge { .. } => "What was sent is larger than this site accepts.",
            Self::BodyTimeout(_) => "The request took too long to arrive.",
            Self::BodyBroken(_) => "The request arrived incomplete.",
            Self::Connect { .. } | Self::Upstream { .. } => {
                "The service behind this site is not answering. Please try again shortly."
            }
            Self::ConnectTimeout { .. } | Self::UpstreamTimeout { .. } => {
                "The service behind this site takes too long to answer. Please try again shortly."
            }
        })
    }

    /// The response: a small page for browsers; for everything else one line of text, or JSON
    /// (RFC 9457) where a program can do something about it.
    pub fn answer(&self, accept: Option<&HeaderValue>, request_id: &str) -> Response<Body> {
        let html = wants_html(accept);
        let (status, text) = (self.status(), self.explanation());
        let mut answer = match self.is_about_caller() && !html {
            true => problem(status, &text, request_id),
            false => page(status, &text, html, request_id),
        };
        let headers = answer.headers_mut();
        match self {
            Self::TooManyRequests { retry_after } => {
                // Whole seconds, rounded up (RFC 9110 §10.2.3).
                let seconds = retry_after.as_millis().div_ceil(1000) as u64;
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            Self::Unauthenticated { challenges } | Self::Forbidden { challenges } => {
                for challenge in challenges {
                    headers.append(header::WWW_AUTHENTICATE, challenge.clone());
                }
            }
            Self::Gone { notice } => notice.write(headers),
            Self::TunnelOffline { .. } => {
                headers.insert(header::RETRY_AFTER, OFFLINE_RETRY.into());
            }
            _ => {}
        }
        answer
    }

    fn is_about_caller(&self) -> bool {
        matches!(
            self,
            Self::Unauthenticated { .. }
                | Self::Forbidden { .. }
                | Self::KeyInQuery
                | Self::Gone { .. }
        )
    }
}

fn problem(status: StatusCode, text: &str, request_id: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": text,
        "request": request_id,
    });
    let mut response = Response::new(Body::from(problem.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn page(status: StatusCode, text: &str, html: bool, request_id: &str) -> Response<Body> {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("Error");
    let (content_type, body) = if html {
        let text = escaped(text);
        (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
                 <meta name=\"viewport\" content=\"width=device-width\">\
                 <title>{code} {reason}</title>\
                 <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;\
                 padding:0 1.5rem;color:#222;background:#fff}}small{{color:#777}}\
                 @media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}}}</style>\
                 <h1>{code} {reason}</h1><p>{text}</p><small>Request {request_id}</small>\n"
            ),
        )
    } else {
        (
            "text/plain; charset=utf-8",
            format!("{code} {reason}: {text} (request {request_id})\n"),
        )
    };
    let mut response = Response::new(Body::Full(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

fn wants_html(accept: Option<&HeaderValue>) -> bool {
    accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}
