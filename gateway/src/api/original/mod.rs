//! The API of the original tunnel server, for its clients: `/api/auth/…`; and the pages it had for
//! people, under `/tunnels` and `/api/keys` (`pages.rs`).
//!
//! The same paths, JSON and status codes, byte for byte, failures included (`failure.rs`). What is
//! stricter here: a provider's token has to have been given to this gateway's own application, a
//! key needs the scope for what it does, and the same limits hold as everywhere.

mod exchange;
mod failure;
mod pages;

use std::{fmt, sync::Arc, time::SystemTime};

use auth::{
    identity::{Identity, IdentityError, Page},
    key::{Key, KeyId},
    permit::{Actor, Resource, may},
    scope::{Kind, Verb},
};
use axum::{
    Json, Router,
    extract::{FromRequestParts, Path},
    routing::{delete, get, post},
};
use http::{StatusCode, request::Parts};
use serde::Serialize;
use time::OffsetDateTime;

pub use self::exchange::Vouching;
use self::failure::{Failure, Invalid};
pub(super) use self::{failure::detail, pages::routes as pages};
use super::{
    State,
    caller::{self, Asking, Unknown},
};

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/auth/exchange", post(exchange::exchange))
        .route("/api/auth/me", get(me))
        .route("/api/auth/keys", get(keys))
        .route("/api/auth/keys/{id}", delete(revoke))
}

/// Whether `path` is one of the original's, so that failures there are told its way.
pub(super) fn has(path: &str) -> bool {
    path.starts_with("/api/auth/") && path != super::verify::PATH
}

/// Somebody with an API key. Cookies are not looked at: the original's API knew none.
struct Caller(Asking);

impl FromRequestParts<Arc<State>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Failure> {
        let operator = super::Origin::of(&parts.extensions).operator;
        match caller::presented(&parts.headers) {
            _ if operator => {}
            Ok(caller::Presented::Key("")) => return Err(Failure::not_authenticated()),
            Ok(caller::Presented::Key(_)) => {}
            Ok(_) => return Err(Failure::not_authenticated()),
            Err(Unknown::Refused(_)) => {
                let text = "Invalid authentication credentials";
                return Err(Failure::new(StatusCode::FORBIDDEN, text));
            }
            Err(_) => return Err(Failure::not_authenticated()),
        }
        match caller::authenticate(state, parts) {
            Ok(asking) => Ok(Self(asking)),
            Err(Unknown::TooMany(retry_after)) => Err(Failure::too_many(retry_after)),
            Err(_) => {
                let text = "Invalid or expired API key";
                Err(Failure::new(StatusCode::UNAUTHORIZED, text))
            }
        }
    }
}

#[derive(Serialize)]
struct Me {
    id: u64,
    username: String,
    email: Option<String>,
    avatar_url: Option<String>,
    provider: String,
}

async fn me(Caller(asking): Caller) -> Result<Json<Me>, Failure> {
    let user = asking.user().ok_or_else(Failure::not_authenticated)?;
    let user = asking.identity.user(user).await?.record;
    Ok(Json(Me {
        id: user.id.0,
        username: user.username,
        email: user.email,
        avatar_url: user.avatar_url,
        provider: user.provider.to_string(),
    }))
}

#[derive(Serialize)]
struct KeyShown {
    id: u64,
    key_prefix: String,
    name: String,
    created_at: Naive,
    last_used_at: Option<Naive>,
    expires_at: Option<Naive>,
    is_active: bool,
    scopes: String,
}

async fn keys(Caller(asking): Caller) -> Result<Json<Vec<KeyShown>>, Failure> {
    let owner = asking.user().ok_or_else(Failure::not_authenticated)?;
    let all = Resource::of(owner, Kind::Key, "");
    may(&asking.context.actor, Verb::Read, &all)?;
    let now = asking.identity.clock().now();
    let mut shown = Vec::new();
    let mut page = Page {
        cursor: None,
        limit: auth::identity::MAX_PAGE,
    };
    loop {
        let found = asking.identity.keys(Some(owner), &page).await?;
        for key in found.items {
            shown.push(show(&asking.identity, key.record, now).await?);
        }
        page.cursor = found.next;
        if page.cursor.is_none() {
            return Ok(Json(shown));
        }
    }
}

async fn show(identity: &Identity, key: Key, now: SystemTime) -> Result<KeyShown, IdentityError> {
    let used = identity.last_used(key.id).await?;
    Ok(KeyShown {
        id: key.id.0,
        is_active: key.is_active(now),
        key_prefix: key.prefix,
        name: key.name,
        created_at: Naive(key.created),
        last_used_at: used.map(|used| Naive(used.at)),
        expires_at: key.expires.map(Naive),
        scopes: key.scopes.to_string(),
    })
}

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

async fn revoke(Caller(asking): Caller, Path(id): Path<String>) -> Result<Json<Message>, Failure> {
    let id = id.parse().map(KeyId).map_err(|_| {
        let invalid = Invalid::new("int_parsing", &["path", "key_id"])
            .saying("Input should be a valid integer, unable to parse string as an integer");
        Failure::invalid(invalid.input(id.clone()))
    })?;
    let key = asking.identity.key(id).await?;
    let resource = Resource::of(key.owner, Kind::Key, &key.name);
    may(&asking.context.actor, Verb::Delete, &resource)?;
    if let Actor::User(caller) = &asking.context.actor
        && caller.key() == Some(id)
    {
        let text = "Cannot revoke the API key currently in use";
        return Err(Failure::new(StatusCode::BAD_REQUEST, text));
    }
    asking.identity.revoke_key(id, &asking.context).await?;
    Ok(Json(Message {
        message: "API key revoked successfully",
    }))
}

/// A point in time without a zone, to the microsecond, as Python writes one.
struct Naive(SystemTime);

impl fmt::Display for Naive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from(self.0);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
        )?;
        match time.microsecond() {
            0 => Ok(()),
            micros => write!(f, ".{micros:06}"),
        }
    }
}

impl Serialize for Naive {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_read_as_the_originals() {
        let text = |millis| Naive(UNIX_EPOCH + Duration::from_millis(millis)).to_string();
        assert_eq!(text(1_776_254_401_500), "2026-04-15T12:00:01.500000");
        assert_eq!(text(1_776_254_401_000), "2026-04-15T12:00:01");
    }
}
