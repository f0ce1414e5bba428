//! Who asks: an API key, a session's cookie, or whoever has the control socket.
//!
//! `Authorization: Bearer` is looked at first, and one that is no good never falls back to a
//! cookie. A cookie is sent by a browser whatever page made it ask, so with one an unsafe method
//! needs the gateway's own origin and a token that only its own pages have. A key in a query string
//! is refused: by then it stands in logs and histories.

use std::{net::IpAddr, sync::Arc, time::Duration};

use auth::{
    directory::{By, Refused},
    identity::{Context, Identity},
    permit::{self, Actor, Resource},
    scope::Verb,
    session::SessionId,
    tunnel::TunnelId,
    user::UserId,
};
use axum::{
    extract::{FromRequestParts, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cookie::Cookie;
use http::{HeaderMap, header, request::Parts};
use percent_encoding::percent_decode_str;

use super::{Origin, State, problem::Problem};
use crate::{config, policy::rate::RateLimit};

/// The cookie of a session.
pub(crate) const SESSION_COOKIE: &str = "__Host-portunus_session";
/// The header that shows that a page of the gateway's own asks.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// Keys and sessions that were no good, from one client, before it has to wait. A good one is let
/// in all the same: what is limited is trying.
const FAILURES: (u64, Duration) = (30, Duration::from_secs(60));

/// Names of parameters that other gateways take credentials in.
const CREDENTIAL_PARAMETERS: [&str; 3] = ["api_key", "access_token", "apikey"];
/// What keys and sessions of this gateway begin with.
const CREDENTIAL_BRANDS: [&str; 2] = ["ptn_", "ptns_"];

/// Somebody who is known, with what they may do.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) identity: Identity,
    pub(super) context: Context,
}

impl Asking {
    /// Whether they may do `verb` to `resource`.
    pub(super) fn may(&self, verb: Verb, resource: &Resource<'_>) -> Result<(), Problem> {
        permit::may(&self.context.actor, verb, resource).map_err(Into::into)
    }

    /// The user; none for the operator, who is not one.
    pub(super) fn user(&self) -> Option<UserId> {
        match &self.context.actor {
            Actor::User(caller) => Some(caller.user.id),
            Actor::Anonymous | Actor::Operator => None,
        }
    }

    /// Whose something new shall be: of `wanted`, or one's own. The operator has to say.
    pub(super) fn owner(&self, wanted: Option<u64>) -> Result<UserId, Problem> {
        let own = || self.user();
        wanted
            .map(UserId)
            .or_else(own)
            .ok_or_else(|| Problem::invalid("say whose: the operator is no user, and owns nothing"))
    }

    /// Whether everybody's things are theirs to see.
    pub(super) fn sees_all(&self) -> bool {
        match &self.context.actor {
            Actor::Operator => true,
            Actor::User(caller) => caller.user.role == auth::user::Role::Admin,
            Actor::Anonymous => false,
        }
    }

    /// Whether what they came with is for `tunnel`: a key may be for one tunnel only.
    pub(super) fn is_for(&self, tunnel: TunnelId) -> bool {
        match &self.context.actor {
            Actor::User(caller) => caller.is_for(tunnel),
            Actor::Anonymous | Actor::Operator => true,
        }
    }

    /// The session they came with.
    pub(super) fn session(&self) -> Option<SessionId> {
        match &self.context.actor {
            Actor::User(caller) => caller.session(),
            Actor::Anonymous | Actor::Operator => None,
        }
    }
}

/// Why nobody is known to ask.
#[derive(Debug)]
pub(super) enum Unknown {
    /// Nothing was shown.
    Nothing,
    /// What was shown is not good.
    Refused(Refused),
    TooMany(Duration),
    /// A page of somebody else may have made the browser ask.
    Forged(&'static str),
    /// The request cannot be understood.
    Unclear(&'static str),
    /// The gateway keeps no users.
    NoIdentity,
}

impl From<Unknown> for Problem {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Nothing => Self::unauthenticated(),
            Unknown::Refused(refused) => Self::invalid_credential(refused),
            Unknown::TooMany(retry_after) => Self::too_many(retry_after),
            Unknown::Forged(why) => Self::forbidden("csrf", why),
            Unknown::Unclear(why) => Self::bad_request(why),
            Unknown::NoIdentity => Self::new(
                http::StatusCode::NOT_FOUND,
                "not_found",
                "this gateway keeps no users",
            ),
        }
    }
}

impl FromRequestParts<Arc<State>> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        authenticate(state, parts).map_err(Into::into)
    }
}

/// Finds out who asks.
pub(super) fn authenticate(state: &State, parts: &Parts) -> Result<Asking, Unknown> {
    let identity = state.identity.clone().ok_or(Unknown::NoIdentity)?;
    let origin = Origin::of(&parts.extensions);
    let actor = match origin.operator {
        true => Actor::Operator,
        false => actor(state, &identity, parts, origin.ip)?,
    };
    let context = Context::new(actor, origin.ip, user_agent(&parts.headers));
    note_use(&identity, &context);
    Ok(Asking { identity, context })
}

/// Somebody who need not be known.
pub(super) fn anonymous(parts: &Parts) -> Context {
    let origin = Origin::of(&parts.extensions);
    Context::anonymous(origin.ip, user_agent(&parts.headers))
}

fn actor(
    state: &State,
    identity: &Identity,
    parts: &Parts,
    ip: Option<IpAddr>,
) -> Result<Actor, Unknown> {
    let now = identity.clock().now();
    let found = match presented(&parts.headers)? {
        Presented::Nothing => return Err(Unknown::Nothing),
        Presented::Key(key) => identity.directory().by_key(key, now),
        Presented::Session(cookie) => identity.directory().by_session(cookie, now),
    };
    let caller = found.map_err(|refused| state.failures.note(ip, refused))?;
    if let By::Session(session) = caller.by
        && !parts.method.is_safe()
    {
        check_page(identity, parts, session)?;
    }
    Ok(Actor::User(caller))
}

fn note_use(identity: &Identity, context: &Context) {
    let Actor::User(caller) = &context.actor else {
        return;
    };
    match caller.by {
        By::Key(key) => identity.used(key, context),
        By::Session(session) => identity.touch(session, context),
    }
}

/// What a request shows to say who asks.
#[derive(Debug, PartialEq)]
pub(super) enum Presented<'a> {
    Nothing,
    Key(&'a str),
    Session(&'a str),
}

/// Reads `Authorization` and the cookie.
pub(super) fn presented(headers: &HeaderMap) -> Result<Presented<'_>, Unknown> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = values.next() {
        if values.next().is_some() {
            return Err(Unknown::Unclear("there is more than one Authorization"));
        }
        let unreadable = Unknown::Unclear("the Authorization is not text");
        let text = value.to_str().map_err(|_| unreadable)?;
        return bearer(text)
            .map(Presented::Key)
            .ok_or(Unknown::Refused(Refused::Malformed));
    }
    Ok(session_cookie(headers).map_or(Presented::Nothing, Presented::Session))
}

/// The token of `Bearer token` (RFC 6750 §2.1), which may be empty.
pub(super) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The value of the session's cookie.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(Cookie::split_parse)
        .flatten();
    let cookie = cookies.find(|cookie| cookie.name() == SESSION_COOKIE)?;
    cookie.value_raw()
}

/// Whether a page of the gateway's own made the browser ask.
fn check_page(identity: &Identity, parts: &Parts, session: SessionId) -> Result<(), Unknown> {
    let headers = &parts.headers;
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return Err(Unknown::Forged("another site made the browser send this"));
    }
    let own = |origin: &str| {
        // Over HTTP/2 it is in the target.
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let host = authority.or_else(|| text("host")).unwrap_or_default();
        let after_scheme = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        !host.is_empty() && after_scheme.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    match text("origin") {
        Some(origin) if own(origin) => {}
        None if text("sec-fetch-site").is_some() => {}
        Some(_) => return Err(Unknown::Forged("the Origin is not this gateway")),
        None => {
            let why = "with a session's cookie a change needs an Origin; programs use an API key";
            return Err(Unknown::Forged(why));
        }
    }
    let token = text(CSRF_HEADER).unwrap_or_default();
    match identity.check_csrf(session, token) {
        true => Ok(()),
        false => Err(Unknown::Forged(
            "the X-CSRF-Token is missing or not that of this session; GET /api/v1/me says it",
        )),
    }
}

fn user_agent(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::USER_AGENT)?.to_str().ok()
}

/// Counts what each client tries.
#[derive(Debug)]
pub(super) struct Attempts {
    seen: RateLimit,
    window: Duration,
}

impl Attempts {
    pub(super) fn new((requests, window): (u64, Duration)) -> Self {
        Self {
            seen: RateLimit::new(config::Rate { requests, window }),
            window,
        }
    }

    /// Counts one; the error is how long the client has to wait.
    pub(super) fn count(&self, ip: Option<IpAddr>) -> Result<(), Duration> {
        self.seen.admit(ip).map_err(|_| self.window)
    }

    /// Counts one, if the client need not wait.
    pub(super) fn admit(&self, ip: Option<IpAddr>) -> Result<(), Problem> {
        self.count(ip).map_err(Problem::too_many)
    }
}

/// Counts credentials that were no good, by client.
#[derive(Debug)]
pub(super) struct Failures(Attempts);

impl Default for Failures {
    fn default() -> Self {
        Self(Attempts::new(FAILURES))
    }
}

impl Failures {
    /// Counts one, and says what it is answered with.
    pub(super) fn note(&self, ip: Option<IpAddr>, refused: Refused) -> Unknown {
        match self.0.count(ip) {
            Err(retry_after) => Unknown::TooMany(retry_after),
            Ok(()) => Unknown::Refused(refused),
        }
    }
}

/// Refuses requests that have a credential in their query string.
pub(super) async fn no_credentials_in_queries(request: Request, next: Next) -> Response {
    if request.uri().query().is_some_and(has_credential) {
        return Problem::bad_request(
            "there is a credential in the query string, where logs and histories keep it; \
             send it as Authorization: Bearer, and rotate this one",
        )
        .into_response();
    }
    next.run(request).await
}

fn has_credential(query: &str) -> bool {
    query.split('&').any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (name, value) = (percent_decode_str(name), percent_decode_str(value));
        let (name, value) = (name.decode_utf8_lossy(), value.decode_utf8_lossy());
        CREDENTIAL_PARAMETERS
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
            || CREDENTIAL_BRANDS
                .iter()
                .any(|brand| value.starts_with(brand))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_key_comes_before_a_cookie_and_never_falls_back_to_it() {
        let cookie = ("cookie", "a=b; __Host-portunus_session=ptns_x; c=d");
        let shown = |lines: &[_]| match presented(&headers(lines)) {
            Ok(Presented::Nothing) => "nothing".to_owned(),
            Ok(Presented::Key(key)) => format!("key {key}"),
            Ok(Presented::Session(cookie)) => format!("session {cookie}"),
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(shown(&[]), "nothing");
        assert_eq!(shown(&[cookie]), "session ptns_x");
        assert_eq!(shown(&[("cookie", "portunus_session=x")]), "nothing");
        for (authorization, expected) in [
            ("Bearer ptn_1", "key ptn_1"),
            ("bEARER   ptn_1 ", "key ptn_1"),
            ("Bearer", "key "),
            ("Basic dTpw", "refused"),
            ("", "refused"),
            ("ptn_1", "refused"),
        ] {
            let lines = [("authorization", authorization), cookie];
            assert_eq!(shown(&lines), expected, "{authorization}");
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(shown(&twice), "refused");
    }

    #[test]
    fn credentials_in_a_query_are_seen_however_they_are_written() {
        for query in [
            "api_key=x",
            "a=b&API_KEY=",
            "api%5Fkey=x",
            "access_token",
            "k=ptn_0123",
            "k=%70tn_0123",
            "k=ptns_0123",
        ] {
            assert!(has_credential(query), "{query}");
        }
        for query in ["", "limit=5", "name=ptn", "api_keys=5", "=", "&&", "%zz=%"] {
            assert!(!has_credential(query), "{query}");
        }
    }
}
