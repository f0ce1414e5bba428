//! The life of one request.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{
    Body, Exchange, Failure, body::Tracked, connection::Facts, exchange::chain, forwarded::Client,
    hop, normalize,
};
use crate::{
    api::Origin,
    app::Snapshot,
    config::HeaderOps,
    handler::{Handler, proxy::Inbound, respond},
    policy::{
        Gate,
        access::{self, Asked, Passed, Verdict},
    },
    router::{Route, Subject, rewrite},
    tunnel,
};

/// Answers a request. Never fails: a failure becomes an answer here.
pub async fn handle(facts: Arc<Facts>, request: Request<Incoming>) -> Response<Tracked> {
    let (parts, body) = request.into_parts();
    let mut exchange = Some(Exchange::begin(Arc::clone(&facts), &parts));
    if parts.version != Version::HTTP_2 {
        facts.activity.body_announced(!body.is_end_stream());
    }
    let accept = parts.headers.get(header::ACCEPT).cloned();
    let head = parts.method == Method::HEAD;
    let answered = match route(&facts, &parts, &mut exchange) {
        Ok(Step::Run(run)) => run_route(&facts, run, parts, body, &mut exchange).await,
        Ok(Step::Own(own)) => own_domain(&facts, own, parts, body).await,
        Ok(Step::SignIn(own)) => sign_in(&facts, own, parts).await,
        Ok(Step::Answer(response)) => Ok(response),
        Err(failure) => Err(failure),
    };
    let response = answered
        .unwrap_or_else(|failure| explain(&failure, accept.as_ref(), exchange.as_ref(), &facts));
    if let Some(exchange) = &mut exchange {
        exchange.answered(response.status());
    }
    let response = if head {
        without_body(response)
    } else {
        response
    };
    response.map(|body| Tracked::new(body, exchange))
}

/// The answer to HEAD: the head of what GET would have got (RFC 9110 §9.3.2). hyper sees to that
/// over HTTP/1.1 only.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    if let Some(length) = length.filter(|_| !response.body().is_end_stream()) {
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert(length.into());
    }
    response.map(|_| Body::Empty)
}

enum Step {
    Run(Run),
    /// For the gateway itself.
    Own(Own),
    /// For the gateway itself, on the host of a site.
    SignIn(Own),
    Answer(Response<Body>),
}

/// A request with its route.
struct Run {
    route: Arc<Route>,
    client: Client,
    authority: HeaderValue,
    /// In normal form and rewritten, if that changed it.
    path: Option<String>,
    /// What the route's access has to know.
    door: Option<Door>,
    /// The site has a session cookie, which is no business of what is behind it.
    signs_in: bool,
}

/// What the rest of the life of a request has no use for.
struct Door {
    host: String,
    /// In normal form.
    path: String,
}

/// A request that no route takes.
struct Own {
    client: Client,
    authority: HeaderValue,
    host: String,
    /// In normal form.
    path: String,
}

impl Own {
    fn asked<'a>(&'a self, parts: &'a mut request::Parts) -> Asked<'a> {
        Asked {
            method: &parts.method,
            uri: &parts.uri,
            headers: &mut parts.headers,
            client: &self.client,
            authority: &self.authority,
            host: &self.host,
            path: &self.path,
            upgrade: false,
        }
    }
}

/// Finds out what the request is for: one host, one path, one client, one route.
fn route(
    facts: &Facts,
    parts: &request::Parts,
    exchange: &mut Option<Exchange>,
) -> Result<Step, Failure> {
    if parts.method == Method::CONNECT {
        return Err(Failure::Method { method: "CONNECT" });
    }
    let snapshot = facts.gateway.snapshot.load();
    let authority = normalize::authority(parts.version, &parts.uri, &parts.headers)?;
    let host = normalize::host(authority)?;
    let path = normalize::path(parts.uri.path())?;
    let client = Client::of(
        facts.peer,
        facts.peer_header.as_ref(),
        facts.https,
        &parts.headers,
        &snapshot.trusted_proxies,
    );
    if let Some(exchange) = exchange {
        exchange.client_is(client.ip);
    }
    let own = snapshot.domain.as_deref() == Some(&*host);
    // The own domain says itself which methods it knows.
    if parts.method == Method::TRACE && !own {
        return Err(Failure::Method { method: "TRACE" });
    }
    let site = snapshot.router.site(&host).filter(|_| !own);
    let to_sign_in = !own
        && path.starts_with(access::session::SITE_PATHS)
        && match site {
            Some(site) => site.signs_in,
            None => facts.gateway.access.is_elsewhere(&host),
        };
    if site.is_none() && !own && !to_sign_in {
        return Err(Failure::UnknownHost { tls: facts.https });
    }
    if let Some(port) = redirect_port(&snapshot, facts, &client)
        && !site.is_some_and(|site| site.serve_plain)
    {
        let to = respond::to_https(
            &host,
            port,
            parts.uri.path(),
            parts.uri.query(),
            &parts.method,
        );
        return Ok(Step::Answer(to));
    }
    let Some(site) = site.filter(|_| !to_sign_in) else {
        if let Some(exchange) = exchange {
            exchange.own();
        }
        let own = Own {
            authority: authority_header(parts, authority)?,
            host: host.into_owned(),
            path: path.into_owned(),
            client,
        };
        return Ok(match to_sign_in {
            true => Step::SignIn(own),
            false => Step::Own(own),
        });
    };
    let route = site
        .route(&Subject {
            method: &parts.method,
            path: &path,
            query: parts.uri.query(),
            headers: &parts.headers,
            client: client.ip,
        })
        .ok_or(Failure::NoRoute)?;
    if let Some(exchange) = exchange {
        exchange.routed(Arc::clone(route));
    }
    let door = route.gate.as_ref().map(|_| Door {
        host: host.clone().into_owned(),
        path: path.clone().into_owned(),
    });
    let rewritten = rewrite::path(route.config.rewrite.as_ref(), &host, &path);
    let path = (rewritten != parts.uri.path()).then(|| rewritten.into_owned());
    Ok(Step::Run(Run {
        route: Arc::clone(route),
        authority: authority_header(parts, authority)?,
        client,
        path,
        door,
        signs_in: site.signs_in,
    }))
}

/// Answers a request for the gateway's own domain.
async fn own_domain(
    facts: &Facts,
    own: Own,
    mut parts: request::Parts,
    body: Incoming,
) -> Result<Response<Body>, Failure> {
    let gateway = &facts.gateway;
    match own.path.as_str() {
        access::session::HANDOVER if parts.method == Method::GET => {
            let snapshot = gateway.snapshot.load();
            let signs_in = |host: &str| {
                let site = snapshot.router.site(host);
                site.is_some_and(|site| site.signs_in)
            };
            return access::session::on_domain(&gateway.access, &own.asked(&mut parts), signs_in);
        }
        relay::tunnel::protocol::PATH => {
            let tunnels = gateway.tunnels.as_ref().ok_or(Failure::NoRoute)?;
            let request = Request::from_parts(parts, body);
            return Ok(tunnel::answer(tunnels, own.client.ip, request).await);
        }
        access::VERIFY => return access::verify(&gateway.access, &own.asked(&mut parts)),
        _ => {}
    }
    let api = facts.gateway.api.as_ref().ok_or(Failure::NoRoute)?;
    let origin = Origin {
        ip: own.client.ip,
        operator: false,
    };
    Ok(api.answer(origin, Request::from_parts(parts, body)).await)
}

/// Takes a session over to the host of a site.
async fn sign_in(
    facts: &Facts,
    own: Own,
    mut parts: request::Parts,
) -> Result<Response<Body>, Failure> {
    access::session::on_site(&facts.gateway.access, &own.asked(&mut parts)).await
}

/// Runs the route's handler and its response headers.
async fn run_route(
    facts: &Arc<Facts>,
    mut run: Run,
    mut parts: request::Parts,
    body: Incoming,
    exchange: &mut Option<Exchange>,
) -> Result<Response<Body>, Failure> {
    let route = Arc::clone(&run.route);
    if let Some(rate) = &route.rate {
        rate.admit(run.client.ip)?;
    }
    if let Some(deprecation) = &route.deprecation {
        deprecation.admit(facts.gateway.clock.now())?;
    }
    let mut passed = Passed::default();
    if let (Some(gate), Some(door)) = (&route.gate, run.door.take()) {
        // Boxed: it is large beside a request that nobody asks about.
        match Box::pin(enter(gate, &run, &door, &mut parts)).await? {
            Verdict::Pass(who) => passed = who,
            Verdict::Answer(answer) => return Ok(answer),
        }
    } else {
        access::strip_assertion(&mut parts.headers);
    }
    if run.signs_in {
        access::strip_cookies(&mut parts.headers);
    }
    let cookies = std::mem::take(&mut passed.cookies);
    let mut response = match &route.handler {
        Handler::Proxy(proxy) => {
            let uri = parts.uri.clone();
            let inbound = Inbound {
                facts,
                route: &route,
                client: &run.client,
                authority: run.authority,
                path: run.path.as_deref().unwrap_or(uri.path()),
                passed,
            };
            proxy.handle(parts, body, inbound, exchange).await?
        }
        Handler::Files(files) => {
            let path = run.path.as_deref().unwrap_or(parts.uri.path());
            let query = parts.uri.query();
            files
                .serve(&parts.method, path, query, &parts.headers)
                .await
                .map(Body::File)
        }
        Handler::Redirect(redirect) => {
            let path = run.path.as_deref().unwrap_or(parts.uri.path());
            let authority = run.authority.to_str().unwrap_or_default();
            let host = normalize::host(authority)?;
            respond::redirect(redirect, &host, path, parts.uri.query())
        }
        Handler::Respond(fixed) => respond::respond(fixed),
        Handler::Tunnels(tunnels) => {
            let host = normalize::host(run.authority.to_str().unwrap_or_default())?;
            let proxy = tunnels.proxy(&host).await?;
            let uri = parts.uri.clone();
            let inbound = Inbound {
                facts,
                route: &route,
                client: &run.client,
                authority: run.authority.clone(),
                path: run.path.as_deref().unwrap_or(uri.path()),
                passed,
            };
            // Boxed, so that requests of other routes do not carry its size.
            Box::pin(proxy.handle(parts, body, inbound, exchange)).await?
        }
    };
    if let Some(deprecation) = &route.deprecation {
        deprecation.announce(response.headers_mut());
    }
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    apply(&route.config.response_headers, response.headers_mut());
    Ok(response)
}

/// Asks the route's gate.
async fn enter(
    gate: &Gate,
    run: &Run,
    door: &Door,
    parts: &mut request::Parts,
) -> Result<Verdict, Failure> {
    let upgrade = hop::is_websocket_upgrade(&parts.method, parts.version, &parts.headers);
    let mut asked = Asked {
        method: &parts.method,
        uri: &parts.uri,
        headers: &mut parts.headers,
        client: &run.client,
        authority: &run.authority,
        host: &door.host,
        path: &door.path,
        upgrade,
    };
    gate.check(&mut asked).await
}

/// Header edits of a route, in the order remove, set, add.
pub fn apply(ops: &HeaderOps, headers: &mut HeaderMap) {
    for name in &ops.remove {
        headers.remove(name);
    }
    for (name, value) in &ops.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &ops.add {
        headers.append(name, value.clone());
    }
}

/// The port to redirect to, if the request came over plain HTTP and should not have.
fn redirect_port(snapshot: &Snapshot, facts: &Facts, client: &Client) -> Option<u16> {
    // A trusted proxy in front may have spoken HTTPS with the client.
    if facts.https || client.https {
        return None;
    }
    snapshot.https_port
}

/// The authority as a header value; shares the bytes of `Host` when that is where it came from.
fn authority_header(parts: &request::Parts, authority: &str) -> Result<HeaderValue, Failure> {
    match parts.headers.get(header::HOST) {
        Some(host) if parts.uri.authority().is_none() => Ok(host.clone()),
        _ => HeaderValue::try_from(authority)
            .map_err(|_| Failure::Rejected(normalize::Rejection::BadHost)),
    }
}

fn explain(
    failure: &Failure,
    accept: Option<&HeaderValue>,
    exchange: Option<&Exchange>,
    facts: &Facts,
) -> Response<Body> {
    let id = exchange.map(Exchange::id).unwrap_or_default();
    facts
        .gateway
        .metrics
        .failures
        .with_label_values(&[failure.label()])
        .inc();
    if failure.is_ours() {
        tracing::warn!(request = %id, error = %chain(failure), "request failed");
    } else {
        tracing::debug!(request = %id, error = %chain(failure), "request refused");
    }
    failure.answer(accept, &id.to_string())
}
