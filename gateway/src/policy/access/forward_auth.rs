//! `forward_auth`: another service decides.
//!
//! It is asked with the headers of the request and without its body, over connections that are
//! kept. In doubt nobody passes: a service that cannot be reached or takes too long is a failure.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{
    asked::{Asked, Passed, Verdict},
    session, strip, who,
};
use crate::{
    config::{self, Dialect, UpstreamAddress},
    handler::proxy,
    http::{Body, Failure, hop},
    upstream::{Pool, Pools, RequestBody, UpstreamBody, pool::Timeouts},
};

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");

/// What a client might have answered conditionally or in part, of a body that is not sent, or
/// about the connection: not for the service.
const NOT_FORWARDED: [HeaderName; 17] = [
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::TE,
];

/// Bytes of an unread answer that are read to keep the connection.
const DRAIN: usize = 64 * 1024;

/// A service and how it is asked.
#[derive(Debug)]
pub(super) struct ForwardAuth {
    config: config::ForwardAuth,
    pool: Arc<Pool>,
    host: HeaderValue,
    target: Uri,
}

impl ForwardAuth {
    pub(super) fn new(config: &config::ForwardAuth, pools: &mut Pools) -> Self {
        Self {
            pool: pools.get(&config.upstream),
            host: authority_of(&config.upstream.address),
            // The configuration has checked it.
            target: config.target.parse().unwrap_or_default(),
            config: config.clone(),
        }
    }

    /// Asks the service.
    pub(super) async fn ask(&self, asked: &mut Asked<'_>) -> Result<Verdict, Failure> {
        let request = self.question(asked);
        let limit = self.config.timeout;
        let timeouts = Timeouts {
            connect: limit,
            response: limit,
            idle: limit,
        };
        let sent = match timeout(limit, self.pool.send(request, timeouts)).await {
            Ok(sent) => sent.map_err(|(error, _)| proxy::failure(&self.pool, error))?,
            Err(_) => {
                return Err(Failure::UpstreamTimeout {
                    upstream: self.pool.upstream().to_string(),
                    after: limit,
                });
            }
        };
        if sent.status().is_success() {
            return Ok(Verdict::Pass(self.passed(sent, asked.headers).await));
        }
        self.refused(sent).await
    }

    fn question(&self, asked: &Asked<'_>) -> Request<RequestBody> {
        let mut headers = asked.headers.clone();
        hop::strip(&mut headers);
        for name in NOT_FORWARDED {
            headers.remove(name);
        }
        for name in [
            X_FORWARDED_METHOD,
            X_FORWARDED_URI,
            X_ORIGINAL_URL,
            X_ORIGINAL_URI,
            X_ORIGINAL_METHOD,
        ] {
            headers.remove(name);
        }
        drop_lookalikes(&mut headers);
        strip::cookie(&mut headers, session::COOKIE);
        asked.client.write(&mut headers, Some(asked.authority));
        headers.insert(header::HOST, self.host.clone());
        let target = asked.target();
        let method = HeaderValue::from_str(asked.method.as_str()).ok();
        let mut put = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        };
        match self.config.dialect {
            Dialect::Nginx => {
                let authority = asked.authority.to_str().unwrap_or_default();
                let url = format!("{}://{authority}{target}", asked.scheme());
                put(X_ORIGINAL_URL, who::value(&url));
                put(X_ORIGINAL_METHOD, method);
            }
            Dialect::Caddy | Dialect::Traefik => {
                put(X_FORWARDED_METHOD, method);
                put(X_FORWARDED_URI, who::value(&target));
            }
        }
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.target.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        request
    }

    async fn passed(&self, answer: Response<UpstreamBody>, asked: &mut HeaderMap) -> Passed {
        let mut passed = Passed::default();
        for name in &self.config.copy_headers {
            // The client's own was removed before, except for this one.
            if *name == header::AUTHORIZATION {
                asked.remove(name);
            }
            let values = answer.headers().get_all(name).iter();
            passed
                .headers
                .extend(values.map(|value| (name.clone(), value.clone())));
        }
        if self.config.dialect == Dialect::Traefik {
            let cookies = answer.headers().get_all(header::SET_COOKIE).iter();
            passed.cookies.extend(cookies.cloned());
        }
        drain(answer.into_body()).await;
        passed
    }

    async fn refused(&self, answer: Response<UpstreamBody>) -> Result<Verdict, Failure> {
        let status = answer.status();
        if self.config.dialect != Dialect::Nginx {
            let (mut parts, body) = answer.into_parts();
            hop::strip(&mut parts.headers);
            parts.version = Version::HTTP_11;
            let mut response = Response::from_parts(parts, Body::Upstream(body));
            // What one person was refused is no answer to the next.
            let headers = response.headers_mut();
            headers
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("no-store"));
            return Ok(Verdict::Answer(response));
        }
        let challenges = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let challenges = challenges.cloned().collect();
        drain(answer.into_body()).await;
        Err(match status {
            StatusCode::UNAUTHORIZED => Failure::Unauthenticated { challenges },
            StatusCode::FORBIDDEN => Failure::Forbidden { challenges },
            status => Failure::AuthAnswer {
                upstream: self.pool.upstream().to_string(),
                status,
            },
        })
    }
}

/// Removes what a service may take for what it is told here: to CGI, WSGI and Rack `X_Forwarded_Uri`
/// is the same variable as `X-Forwarded-Uri`, and the client wrote it.
fn drop_lookalikes(headers: &mut HeaderMap) {
    let is_one = |name: &HeaderName| {
        let dashed = name.as_str().replace('_', "-");
        dashed != name.as_str()
            && (dashed.starts_with("x-forwarded-")
                || dashed.starts_with("x-original-")
                || dashed == "x-real-ip")
    };
    let lookalikes: Vec<_> = headers
        .keys()
        .filter(|name| is_one(name))
        .cloned()
        .collect();
    for name in lookalikes {
        headers.remove(name);
    }
}

/// Reads what little there is, so that the connection can be used again.
async fn drain(mut body: UpstreamBody) {
    let mut read = 0;
    while read <= DRAIN {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, bytes::Bytes::len),
            _ => return,
        }
    }
}

fn authority_of(address: &UpstreamAddress) -> HeaderValue {
    proxy::authority_of(address)
}
