//! `/api/auth/verify`: a service asks whether its caller may be let in.
//!
//! The service passes on its caller's `Authorization`, by GET as forward authentication does, or by
//! POST with the body it got. 200 says who it is, in the body and in `X-Portunus-…` headers; 401
//! says in one word why not.
//!
//! Callers of before there were keys say who they are by a `user_id` in the body, which anybody can
//! write. While the configuration says so (`auth.legacy`), and until its sunset, they are let in as
//! well: with headers that tell them to change, counted, and warned about in the log. A bearer
//! token that is no good is never made up for by that.

use std::{sync::Arc, time::SystemTime};

use auth::{directory::By, permit::Actor};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use prometheus::IntCounter;
use serde::Serialize;
use serde_json::Value;
use time::{Date, OffsetDateTime};

use super::{
    MAX_BODY, State,
    caller::{self, Presented, Unknown},
    problem::Problem,
};
use crate::config::auth as config;

pub(super) const PATH: &str = "/api/auth/verify";
/// The longest `user_id`, in bytes.
const MAX_USER_ID: usize = 256;
const WARNING: HeaderValue = HeaderValue::from_static(
    "299 - \"body.user_id auth is deprecated; send Authorization: Bearer <session_token>\"",
);

/// Lets callers in who say who they are in the body.
#[derive(Debug)]
pub struct Legacy {
    /// From the beginning of this day (UTC) they are refused.
    sunset: Option<Date>,
    hits: IntCounter,
}

impl Legacy {
    /// As configured; `None` if they are refused.
    pub fn new(config: Option<config::Legacy>, hits: &IntCounter) -> Option<Self> {
        let config = config.filter(|config| config.accept_body_user_id)?;
        Some(Self {
            sunset: config.sunset,
            hits: hits.clone(),
        })
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.sunset
            .is_some_and(|sunset| OffsetDateTime::from(now).date() >= sunset)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::WARNING, WARNING);
        let mut deprecation = "version=\"legacy-body-userid\"".to_owned();
        if let Some(sunset) = self.sunset {
            deprecation.push_str(&format!("; sunset=\"{}\"", day(sunset)));
            let midnight = SystemTime::from(sunset.midnight().assume_utc());
            insert(&mut headers, "sunset", &httpdate::fmt_http_date(midnight));
        }
        insert(&mut headers, "deprecation", &deprecation);
        headers
    }
}

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route(PATH, get(verify).post(verify))
}

/// Somebody who is let in.
#[derive(Serialize)]
struct Verified {
    user_id: String,
    username: Option<String>,
    role: Option<String>,
    /// `key`, `session`, or `body` for who only says so.
    by: &'static str,
    scopes: Vec<String>,
}

/// Why somebody is not: the words that services know.
#[derive(Serialize)]
struct Refusal {
    error: &'static str,
}

async fn verify(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match caller::presented(&parts.headers) {
        Ok(Presented::Key("")) => return refuse("empty_bearer_token"),
        Ok(Presented::Nothing) => {}
        Ok(_) => {
            return match caller::authenticate(&state, &parts) {
                Ok(asking) => let_in(&asking.context.actor),
                Err(Unknown::TooMany(retry_after)) => {
                    Problem::too_many(retry_after).into_response()
                }
                Err(Unknown::Forged(why)) => Problem::forbidden("csrf", why).into_response(),
                Err(_) => refuse("invalid_or_revoked_token"),
            };
        }
        Err(_) => return refuse("invalid_or_revoked_token"),
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        let problem = Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the body is larger than anything that is taken here",
        );
        return problem.into_response();
    };
    match (&state.legacy, claimed(&body)) {
        (Some(legacy), Some(user_id)) if !legacy.is_over(state.now()) => {
            legacy.hits.inc();
            tracing::warn!(
                "a caller without a key was let in for the user_id of its body (auth.legacy)"
            );
            let by_body = Verified {
                user_id,
                username: None,
                role: None,
                by: "body",
                scopes: Vec::new(),
            };
            (legacy.headers(), answer(&by_body)).into_response()
        }
        _ => refuse("missing_bearer_token"),
    }
}

/// Who the body says is calling.
fn claimed(body: &Bytes) -> Option<String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        return None;
    };
    match fields.remove("user_id") {
        Some(Value::String(user_id))
            if (1..=MAX_USER_ID).contains(&user_id.len())
                && HeaderValue::from_str(&user_id).is_ok() =>
        {
            Some(user_id)
        }
        _ => None,
    }
}

fn let_in(actor: &Actor) -> Response {
    let Actor::User(caller) = actor else {
        return refuse("missing_bearer_token");
    };
    let by = match caller.by {
        By::Key(_) => "key",
        By::Session(_) => "session",
    };
    answer(&Verified {
        user_id: caller.user.id.to_string(),
        username: Some(caller.user.username.to_string()),
        role: Some(caller.user.role.to_string()),
        by,
        scopes: caller.scopes.iter().map(ToString::to_string).collect(),
    })
}

/// In the body for programs that ask, in headers for proxies that ask.
fn answer(verified: &Verified) -> Response {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "x-portunus-user-id", &verified.user_id);
    if let Some(username) = &verified.username {
        insert(&mut headers, "x-portunus-user", username);
    }
    if let Some(role) = &verified.role {
        insert(&mut headers, "x-portunus-role", role);
    }
    insert(&mut headers, "x-portunus-by", verified.by);
    (headers, Json(verified)).into_response()
}

fn refuse(error: &'static str) -> Response {
    let bearer = [(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"portunus\""),
    )];
    (StatusCode::UNAUTHORIZED, bearer, Json(Refusal { error })).into_response()
}

/// What is not fit for a header is left out.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn day(date: Date) -> String {
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}")
}
