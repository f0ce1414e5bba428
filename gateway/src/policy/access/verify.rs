//! `/auth/verify` of the gateway's own domain: forward auth for proxies other than this one.
//!
//! Another nginx, Caddy or Traefik asks whether a request is from somebody who is known here. It
//! passes the client's headers on; what the request was for stands in `X-Original-URL` or in
//! `X-Forwarded-Host`. The answer is 200 with `X-Portunus-User`, `-Role` and `-Email`, or 401, or
//! 403, or, for a browser when the proxy passes redirects on, a redirect to sign-in. In the query of
//! what is asked, `scope=NAME` demands a key with `route:access:NAME` and `role=admin` an
//! administrator.
//!
//! Whoever asks learns only about credentials they have.

use std::{borrow::Cow, sync::Arc};

use auth::{
    directory::Caller,
    permit::{Actor, Resource, may},
    scope::{Kind, Verb},
    user::Role,
};
use http::{HeaderValue, Response, header};
use url::{Url, form_urlencoded};

use super::{KEY_BRAND, Shared, asked::Asked, session};
use crate::http::{Body, Failure, normalize};

/// The path.
pub const VERIFY: &str = "/auth/verify";

/// What the other proxy asks.
struct Question {
    scope: Option<String>,
    admin: bool,
    /// The host the client asked the other proxy for.
    host: Option<String>,
    /// Hosts are named that are not the same: the client has added one, and nobody here can tell
    /// which one the other proxy means.
    unclear: bool,
    /// The dialect has no redirects.
    nginx: bool,
}

/// Answers the question.
pub fn verify(shared: &Shared, asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let question = Question::read(asked);
    let Some(caller) = caller(shared, asked, &question)? else {
        return refuse(shared, asked, &question);
    };
    if question.admin && caller.user.role != Role::Admin {
        return Err(Failure::Forbidden { challenges: vec![] });
    }
    let actor = Actor::User(Arc::clone(&caller));
    // A session may whatever its user may; a key only with a scope for it.
    let name = question.scope.as_deref().unwrap_or("verify");
    if may(&actor, Verb::Access, &Resource::common(Kind::Route, name)).is_err() {
        return Err(Failure::Forbidden { challenges: vec![] });
    }
    let mut answer = Response::new(Body::Empty);
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in shared.passed(caller, asked).headers {
        headers.insert(name, value);
    }
    Ok(answer)
}

impl Question {
    fn read(asked: &Asked<'_>) -> Self {
        let query = asked.uri.query().unwrap_or_default();
        let (mut scope, mut admin) = (None, false);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "scope" => {
                    let name = value.strip_prefix("route:access:").unwrap_or(&value);
                    scope = Some(name.to_owned());
                }
                "role" => admin |= value == "admin",
                _ => {}
            }
        }
        let all = |name: &str| {
            let values = asked.headers.get_all(name).iter();
            let texts: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
            texts
        };
        let original = all("x-original-url");
        let nginx = original.iter().any(|url| Url::parse(url).is_ok());
        let original = original.iter().filter_map(|url| {
            let url = Url::parse(url).ok()?;
            url.host_str().map(str::to_owned)
        });
        let forwarded = all("x-forwarded-host");
        let forwarded = forwarded.iter().map(|host| (*host).to_owned());
        let mut hosts: Vec<_> = original
            .chain(forwarded)
            .map(|host| normalize::host(&host).ok().map(Cow::into_owned))
            .collect();
        hosts.dedup();
        let unclear = hosts.len() > 1;
        let host = hosts.into_iter().next().flatten();
        Self {
            scope,
            admin,
            host,
            unclear,
            nginx,
        }
    }
}

/// Who the credentials belong to; none without any.
fn caller(
    shared: &Shared,
    asked: &Asked<'_>,
    question: &Question,
) -> Result<Option<Arc<Caller>>, Failure> {
    let identity = shared.identity.as_ref().ok_or(Failure::NoIdentity)?;
    let now = shared.clock.now();
    let bearer = asked.headers.get(header::AUTHORIZATION);
    let bearer = bearer.and_then(|field| field.to_str().ok()?.split_once(' '));
    if let Some((scheme, key)) = bearer
        && scheme.eq_ignore_ascii_case("bearer")
        && key.starts_with(KEY_BRAND)
    {
        // All clients of the other proxy come from its address, so nobody has to wait for what
        // another one tried; nobody guesses a key either.
        let found = identity.directory().by_key(key.trim(), now);
        return found.map(Some).map_err(|_| unauthenticated());
    }
    // The cookie of one host must not count at another.
    let cookie = asked.cookie(session::COOKIE).filter(|_| !question.unclear);
    let Some(cookie) = cookie else {
        return Ok(None);
    };
    let handover = shared.handover.as_ref().ok_or(Failure::NoIdentity)?;
    let token = match &question.host {
        Some(host) => handover.open(host, cookie),
        None => return Ok(identity.directory().by_session(cookie, now).ok()),
    };
    Ok(token.and_then(|token| identity.directory().by_session(token.expose(), now).ok()))
}

fn refuse(
    shared: &Shared,
    asked: &Asked<'_>,
    question: &Question,
) -> Result<Response<Body>, Failure> {
    // Only hosts that can have a session are worth signing in for.
    let host = question.host.as_deref();
    let known = host.is_some_and(|host| shared.is_elsewhere(host));
    if question.nginx || question.unclear || !known || !asked.is_navigation() {
        return Err(unauthenticated());
    }
    session::from_elsewhere(asked)
}

fn unauthenticated() -> Failure {
    Failure::Unauthenticated {
        challenges: vec![HeaderValue::from_static("Bearer realm=\"api keys\"")],
    }
}
