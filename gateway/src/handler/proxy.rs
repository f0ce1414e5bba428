//! Passing a request on to an upstream and its response back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request,
    uri::PathAndQuery,
};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::{
    config::{HeaderOps, HostHeader, Proxy, UpstreamAddress},
    http::{
        Body, Exchange, Failure,
        allowed::AllowedBody,
        connection::Facts,
        exchange::chain,
        forwarded::Client,
        hop,
        websocket::{self, Tunnel},
    },
    policy::access::Passed,
    router::Route,
    tunnel::Offline,
    upstream::{
        Pool, Pools, RequestBody, SendError, UpstreamBody, pool::Timeouts,
        request_body::RequestBodyError,
    },
};

const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");

/// Sends requests to the upstreams of one route in turn.
#[derive(Debug)]
pub struct ProxyHandler {
    config: Proxy,
    targets: Vec<Target>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Target {
    pool: Arc<Pool>,
    /// The `Host` this upstream sees, unless it is the client's.
    host: Option<HeaderValue>,
}

/// What the service has found out about a request by the time it reaches this handler.
pub struct Inbound<'a> {
    pub facts: &'a Arc<Facts>,
    pub route: &'a Arc<Route>,
    pub client: &'a Client,
    /// The authority as the client sent it.
    pub authority: HeaderValue,
    /// After rewriting.
    pub path: &'a str,
    /// Who asks, if the route wants to know.
    pub passed: Passed,
}

impl ProxyHandler {
    pub fn new(config: &Proxy, pools: &mut Pools) -> Self {
        let targets = config.upstreams.iter().map(|upstream| Target {
            pool: pools.get(upstream),
            host: match &config.host {
                HostHeader::Keep => None,
                HostHeader::Set(host) => Some(host.clone()),
                HostHeader::Upstream => Some(authority_of(&upstream.address)),
            },
        });
        Self {
            targets: targets.collect(),
            next: AtomicUsize::new(0),
            config: config.clone(),
        }
    }

    /// Sends every request to `pool`, with the client's `Host`.
    pub fn of_pool(config: &Proxy, pool: Arc<Pool>) -> Self {
        Self {
            targets: vec![Target { pool, host: None }],
            next: AtomicUsize::new(0),
            config: config.clone(),
        }
    }

    /// Passes a request on. The exchange is handed back with the response, unless the connection
    /// became a WebSocket, which then owns it.
    pub async fn handle(
        &self,
        mut parts: request::Parts,
        body: Incoming,
        mut context: Inbound<'_>,
        exchange: &mut Option<Exchange>,
    ) -> Result<Response<Body>, Failure> {
        self.refuse_large(&parts)?;
        let limits = context.facts.limits();
        let upgrade = hop::is_websocket_upgrade(&parts.method, parts.version, &parts.headers);
        let downstream = upgrade.then(|| parts.extensions.remove()).flatten();
        let until = std::mem::take(&mut context.passed.until);
        self.prepare(
            &mut parts,
            &mut context,
            downstream.is_some(),
            exchange.as_ref(),
        )?;
        if !body.is_end_stream() && body.size_hint().exact().is_none() {
            // Said explicitly, because hyper takes a GET of unknown length for one without a body.
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let activity = Arc::clone(&context.facts.activity);
        let body = RequestBody::new(body, self.config.max_body, limits.body_timeout, activity);
        let mut response = self.send(Request::from_parts(parts, body)).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(downstream) = downstream else {
                return Err(Failure::Upstream {
                    upstream: self.targets[0].pool.upstream().to_string(),
                    reason: "it switched protocols without being asked to".into(),
                });
            };
            let tunnel = Tunnel {
                downstream,
                upstream: hyper::upgrade::on(&mut response),
                idle: self.config.websocket_idle_timeout,
                until,
                route: Arc::clone(context.route),
                facts: Arc::clone(context.facts),
                exchange: exchange.take(),
            };
            return Ok(websocket::switch(tunnel, response.into_parts().0));
        }
        let (mut parts, body) = response.into_parts();
        hop::strip(&mut parts.headers);
        parts.version = Version::HTTP_11;
        let body = match until.is_always() {
            true => Body::Upstream(body),
            false => Body::Allowed(Box::new(AllowedBody::new(body, until))),
        };
        Ok(Response::from_parts(parts, body))
    }

    fn refuse_large(&self, parts: &request::Parts) -> Result<(), Failure> {
        let Some(limit) = self.config.max_body else {
            return Ok(());
        };
        let length = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(Failure::BodyTooLarge { limit });
        }
        Ok(())
    }

    /// Turns the client's head into the one an upstream gets.
    fn prepare(
        &self,
        parts: &mut request::Parts,
        context: &mut Inbound<'_>,
        upgrade: bool,
        exchange: Option<&Exchange>,
    ) -> Result<(), Failure> {
        let headers = &mut parts.headers;
        hop::strip(headers);
        // hyper has answered it already, and the body follows without waiting.
        headers.remove(header::EXPECT);
        if upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        drop_lookalikes(headers, &context.route.config.request_headers);
        context.client.write(headers, Some(&context.authority));
        if parts.version != Version::HTTP_11 || !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, context.authority.clone());
            join_cookies(headers);
        }
        if let Some(exchange) = exchange
            && let Ok(id) = HeaderValue::from_bytes(&exchange.id().digits())
        {
            headers.insert(X_REQUEST_ID, id);
        }
        // After `strip`: whatever the client nominates, these are the gateway's.
        for (name, value) in context.passed.headers.drain(..) {
            headers.append(name, value);
        }
        crate::http::service::apply(&context.route.config.request_headers, headers);
        parts.version = Version::HTTP_11;
        parts.uri = origin_form(&parts.uri, context.path)?;
        Ok(())
    }

    /// Asks the upstreams in turn, starting with the next one, until one takes a connection.
    async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let timeouts = Timeouts {
            connect: self.config.connect_timeout,
            response: self.config.response_timeout,
            idle: self.config.idle_timeout,
        };
        let first = match self.targets.len() {
            1 => 0,
            several => self.next.fetch_add(1, Ordering::Relaxed) % several,
        };
        let mut tried = 0;
        loop {
            let target = &self.targets[(first + tried) % self.targets.len()];
            if let Some(host) = &target.host {
                request.headers_mut().insert(header::HOST, host.clone());
            }
            let (error, unsent) = match target.pool.send(request, timeouts).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            tried += 1;
            match unsent {
                Some(same) if error.is_before_request() && tried < self.targets.len() => {
                    tracing::warn!(upstream = %target.pool.upstream(), %error, "trying the next upstream");
                    request = same;
                }
                _ => return Err(failure(&target.pool, error)),
            }
        }
    }
}

/// Removes headers that an application server may take for ones the gateway writes: CGI, WSGI and
/// Rack give `X_Forwarded_For` and `X-Forwarded-For` the same variable. And `X-Portunus-User` with
/// its kin, also on routes that ask nobody who they are: an application believes them on every path.
fn drop_lookalikes(headers: &mut HeaderMap, edits: &HeaderOps) {
    const OURS: &[u8] = b"portunus";
    let is_ours =
        |name: &[u8]| matches!(name, [b'x', b'-' | b'_', rest @ ..] if rest.starts_with(OURS));
    let written = |dashed: &str| {
        dashed.starts_with("x-forwarded-")
            || ["forwarded", "x-real-ip", "x-request-id"].contains(&dashed)
            || edits.set.iter().any(|(name, _)| name == dashed)
            || edits.remove.iter().any(|name| name == dashed)
    };
    let lookalikes: Vec<_> = headers
        .keys()
        .filter(|name| {
            let text = name.as_str();
            is_ours(text.as_bytes()) || (text.contains('_') && written(&text.replace('_', "-")))
        })
        .cloned()
        .collect();
    for name in lookalikes {
        headers.remove(name);
    }
}

/// The target of a request in origin form, the query byte for byte as it came.
fn origin_form(uri: &Uri, path: &str) -> Result<Uri, Failure> {
    let unchanged = uri.path() == path;
    if unchanged && uri.authority().is_none() && uri.scheme().is_none() {
        return Ok(uri.clone());
    }
    let target = match (uri.path_and_query(), uri.query()) {
        (Some(same), _) if unchanged => same.clone(),
        (_, query) => {
            let text = match query {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            };
            PathAndQuery::try_from(text)
                .map_err(|_| Failure::Rejected(crate::http::normalize::Rejection::BadPath))?
        }
    };
    Ok(Uri::from(target))
}

/// HTTP/2 may split cookies over several fields; an HTTP/1.1 server expects one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

pub(crate) fn authority_of(address: &UpstreamAddress) -> HeaderValue {
    let text = match address {
        UpstreamAddress::Name { host, port: 80 } => host.clone(),
        UpstreamAddress::Name { host, port } => format!("{host}:{port}"),
        UpstreamAddress::Socket(address) => address.to_string(),
        UpstreamAddress::Unix(_) | UpstreamAddress::Tunnel(_) => "localhost".to_owned(),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

pub(crate) fn failure(pool: &Pool, error: SendError) -> Failure {
    let upstream = pool.upstream().to_string();
    match error {
        SendError::Connect(source) if is_offline(&source) => {
            Failure::TunnelOffline { host: upstream }
        }
        SendError::Connect(source) => Failure::Connect { upstream, source },
        SendError::ConnectTimeout(after) => Failure::ConnectTimeout { upstream, after },
        SendError::ResponseTimeout(after) => Failure::UpstreamTimeout { upstream, after },
        SendError::RequestBody(RequestBodyError::TooLarge(limit)) => {
            Failure::BodyTooLarge { limit }
        }
        SendError::RequestBody(RequestBodyError::Stalled(pause)) => Failure::BodyTimeout(pause),
        SendError::RequestBody(RequestBodyError::Broken(reason)) => Failure::BodyBroken(reason),
        SendError::Service(reason) => Failure::Service { upstream, reason },
        SendError::Exchange(error) => Failure::Upstream {
            upstream,
            reason: chain(&error),
        },
    }
}

/// No agent is there to ask, so nobody can say whether its service is.
fn is_offline(error: &std::io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Offline>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_stays_byte_identical() {
        for (uri, path, expected) in [
            ("/a?x=%7e&x=1&&=;%zz", "/a", "/a?x=%7e&x=1&&=;%zz"),
            ("/a?", "/b", "/b?"),
            ("http://h.example/a?q=%2F", "/a", "/a?q=%2F"),
            ("/%61?b+c", "/a", "/a?b+c"),
        ] {
            let form = origin_form(&uri.parse().unwrap(), path).unwrap();
            assert_eq!(form.to_string(), expected);
        }
    }

    #[test]
    fn lookalikes_of_what_the_gateway_writes_are_dropped() {
        let mut headers = HeaderMap::new();
        for name in [
            "x_forwarded_for",
            "x-real_ip",
            "x_user",
            "x-portunus-user",
            "x_portunus-role",
            "my_own",
            "x-kept",
        ] {
            headers.insert(name, "1".parse().unwrap());
        }
        let edits = HeaderOps {
            set: vec![("x-user".parse().unwrap(), "alice".parse().unwrap())],
            ..HeaderOps::default()
        };
        drop_lookalikes(&mut headers, &edits);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert!(headers.contains_key("my_own") && headers.contains_key("x-kept"));
    }

    #[test]
    fn split_cookies_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1".parse().unwrap());
        headers.append("cookie", "b=2".parse().unwrap());
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().count(), 1);
        assert_eq!(headers["cookie"], "a=1; b=2");
    }
}
