//! `/api/v1/keys`.

use std::{net::IpAddr, sync::Arc, time::Duration, time::SystemTime};

use auth::{
    Stored,
    apikey::ApiKey,
    key::{self, KeyId, LastUsed, Lifetime, NewKey},
    permit::Resource,
    scope::{Kind, Scopes, Verb},
    tunnel::TunnelId,
};
use axum::{
    extract::{self, Request},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    list::{List, OfOwner, page},
    openapi::ProblemRef,
    whose,
};
use crate::api::{
    State,
    caller::{self, Asking},
    conditional::{Conditions, Tag, Tagged},
    extract::{Json, Path, Query},
    moment::Moment,
    problem::Problem,
};

/// Of a text that may be a key, in characters.
const MAX_SECRET: usize = 200;
/// Records of last uses that are read at the same time for a list.
const READS: usize = 16;

pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, revoke))
        .routes(routes!(rotate))
        .routes(routes!(revoke_leaked))
}

/// An API key, without the key itself.
#[derive(Serialize, ToSchema)]
struct Key {
    id: u64,
    /// The user it belongs to.
    owner: u64,
    name: String,
    /// What the key begins with, to recognise it by.
    prefix: String,
    /// What it may be used for, as far as its owner may.
    scopes: Vec<String>,
    /// Whether it is neither revoked nor expired.
    active: bool,
    created_at: Moment,
    /// When it stops working; null is never.
    expires_at: Option<Moment>,
    revoked_at: Option<Moment>,
    /// The only tunnel it speaks for, if it is bound to one.
    tunnel: Option<u64>,
    /// The key that took its place.
    successor: Option<u64>,
    last_used: Option<Use>,
}

/// When, from where and by what a key was used last.
#[derive(Serialize, ToSchema)]
struct Use {
    at: Moment,
    #[schema(value_type = Option<String>)]
    ip: Option<IpAddr>,
    user_agent: Option<String>,
}

/// A new key. The key itself is shown here, once, and kept nowhere.
#[derive(Serialize, ToSchema)]
struct MadeKey {
    /// The key itself.
    #[schema(pattern = "^ptn_[0-9A-Za-z]{36}$")]
    secret: String,
    key: Key,
}

impl Key {
    fn of(key: key::Key, used: Option<LastUsed>, now: SystemTime) -> Self {
        Self {
            id: key.id.0,
            owner: key.owner.0,
            active: key.is_active(now),
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            created_at: key.created.into(),
            expires_at: key.expires.map(Moment::from),
            revoked_at: key.revoked.map(Moment::from),
            tunnel: key.tunnel.map(|tunnel| tunnel.0),
            successor: key.successor.map(|successor| successor.0),
            last_used: used.map(|used| Use {
                at: used.at.into(),
                ip: used.ip,
                user_agent: used.user_agent,
            }),
        }
    }
}

/// API keys
///
/// One's own; all of them for administrators. Revoked and expired ones are there as well.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "keys",
    operation_id = "listKeys",
    params(OfOwner),
    responses((status = 200, description = "A page of keys", body = List<Key>)),
)]
async fn list(asking: Asking, Query(which): Query<OfOwner>) -> Result<Json<List<Key>>, Problem> {
    let owner = whose(&asking, Kind::Key, which.owner)?;
    let page = page(which.cursor.as_ref(), which.limit);
    let found = asking.identity.keys(owner, &page).await?;
    let next = found.next.clone();
    let now = asking.identity.clock().now();
    let shown = found.items.into_iter().map(|key| async {
        let used = asking.identity.last_used(key.id).await?;
        Ok::<_, Problem>(Key::of(key.record, used, now))
    });
    let items = stream::iter(shown).buffered(READS).try_collect().await?;
    Ok(Json(List {
        items,
        next: List::<Key>::next_of(next),
    }))
}

/// A key that shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedKey {
    /// What its owner calls it.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    name: String,
    /// What it shall be used for, `resource:verb` or `resource:verb:pattern`; `tunnel:connect` if
    /// nothing is said.
    #[schema(min_items = 1, max_items = 32)]
    scopes: Option<Vec<WantedScope>>,
    /// Seconds it is good for, at most ten years; 90 days if nothing is said. Null is for ever,
    /// which only administrators may ask for.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 315_360_000)]
    expires_in: Option<Option<u64>>,
    /// The only tunnel it shall speak for. The key that was bound to it before is revoked.
    tunnel: Option<u64>,
    /// Whose it shall be; one's own if nothing is said.
    owner: Option<u64>,
}

/// `resource:verb` or `resource:verb:pattern`.
#[derive(Deserialize, ToSchema)]
#[schema(
    value_type = String,
    pattern = r"^(user|tunnel|key|session|token|audit|route|certificate|relay|config|store|\*):(read|create|update|delete|connect|access|\*)(:[a-zA-Z0-9_./*-]{1,128})?$",
    examples("tunnel:connect:happy-*")
)]
struct WantedScope(String);

/// Tells null from nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl WantedKey {
    fn scopes(&self) -> Result<Scopes, Problem> {
        let Some(wanted) = &self.scopes else {
            return Ok(Scopes::least());
        };
        // Each text is one scope, so that none hides another behind a comma.
        let divided = |scope: &&WantedScope| scope.0.contains([',', ' ']);
        if let Some(scope) = wanted.iter().find(divided) {
            let detail = format!("scopes: '{}' is not one scope", scope.0);
            return Err(Problem::invalid(detail));
        }
        let texts: Vec<_> = wanted.iter().map(|scope| scope.0.as_str()).collect();
        let parsed = texts.join(",").parse();
        parsed.map_err(|error| Problem::invalid(format!("scopes: {error}")))
    }

    fn lifetime(&self) -> Lifetime {
        match self.expires_in {
            None => Lifetime::Default,
            Some(None) => Lifetime::Never,
            Some(Some(seconds)) => Lifetime::For(Duration::from_secs(seconds)),
        }
    }
}

/// Make an API key
///
/// The answer has the key itself; it is never shown again. A key makes no key that may do more than
/// itself.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "keys",
    operation_id = "createKey",
    request_body = WantedKey,
    responses((status = 201, description = "The key", body = MadeKey, headers(
        ("location" = String, description = "Where the key is"),
    ))),
)]
async fn create(asking: Asking, Json(wanted): Json<WantedKey>) -> Result<Response, Problem> {
    let owner = asking.owner(wanted.owner)?;
    asking.may(Verb::Create, &Resource::of(owner, Kind::Key, &wanted.name))?;
    let new = NewKey {
        scopes: wanted.scopes()?,
        lifetime: wanted.lifetime(),
        tunnel: wanted.tunnel.map(TunnelId),
        name: wanted.name,
    };
    let made = asking
        .identity
        .create_key(owner, &new, &asking.context)
        .await?;
    Ok(shown_once(&asking, made))
}

/// One API key
#[utoipa::path(
    get,
    path = "/api/v1/keys/{id}",
    tag = "keys",
    operation_id = "getKey",
    params(("id" = u64, Path)),
    responses(
        (status = 200, description = "The key, without itself", body = Key, headers(("etag" = String, description = "Its version"))),
        (status = 304, description = "It is as the client has it"),
    ),
)]
async fn get(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let key = permitted(&asking, Verb::Read, id).await?;
    let used = asking.identity.last_used(key.id).await?;
    let now = asking.identity.clock().now();
    let beside = used.as_ref().map(|used| {
        let since = used.at.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_millis()
    });
    let tagged = Tagged {
        tag: Tag {
            revision: key.revision,
            // Whether it has expired is seen without anything being written.
            beside: Some(beside.unwrap_or_default() << 1 | u128::from(key.is_active(now))),
        },
        body: Key::of(key.record, used, now),
    };
    Ok(tagged.answer(&conditions))
}

/// Revoke an API key
///
/// It works no longer when this is answered, and whatever was opened with it ends. The record stays.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    tag = "keys",
    operation_id = "revokeKey",
    params(("id" = u64, Path), ("if-match" = Option<String>, Header, description = "Revoke only this version")),
    responses((status = 204, description = "It is revoked, now or before")),
)]
async fn revoke(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    let key = permitted(&asking, Verb::Delete, id).await?;
    conditions.revision(key.revision)?;
    asking.identity.revoke_key(key.id, &asking.context).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Overlap {
    /// Seconds the old key works on, at most seven days. It stops at once if nothing is said.
    #[serde(default)]
    #[param(minimum = 0, maximum = 604_800, default = 0)]
    overlap: u64,
}

/// Rotate an API key
///
/// Makes a key with the same name, scopes and lifetime that takes its place. Of rotations at the
/// same time one makes a key, the others are told 409.
#[utoipa::path(
    post,
    path = "/api/v1/keys/{id}/rotate",
    tag = "keys",
    operation_id = "rotateKey",
    params(("id" = u64, Path), Overlap),
    responses(
        (status = 201, description = "The new key", body = MadeKey, headers(
            ("location" = String, description = "Where the key is"),
        )),
        (status = 409, description = "It was rotated before, was revoked, or has expired", body = ProblemRef, content_type = "application/problem+json"),
    ),
)]
async fn rotate(
    asking: Asking,
    Path(id): Path<u64>,
    Query(overlap): Query<Overlap>,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let key = permitted(&asking, Verb::Update, id).await?;
    conditions.revision(key.revision)?;
    let overlap = Duration::from_secs(overlap.overlap);
    let made = asking
        .identity
        .rotate_key(key.id, overlap, &asking.context)
        .await?;
    Ok(shown_once(&asking, made))
}

/// A key that was found.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Leaked {
    /// The whole key.
    #[schema(max_length = 200)]
    secret: String,
}

/// Revoke a key that was found
///
/// For whoever finds a key where it should not be, such as a secret scanner. Having the key is
/// enough: no sign-in. The answer is the same whether it was a key or not.
#[utoipa::path(
    post,
    path = "/api/v1/keys/revoke",
    tag = "keys",
    operation_id = "revokeLeakedKey",
    request_body = Leaked,
    security(()),
    responses((status = 204, description = "If it was a key, it works no longer")),
)]
async fn revoke_leaked(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    let context = caller::anonymous(&parts);
    let request = Request::from_parts(parts, body);
    let Json(leaked) =
        <Json<Leaked> as extract::FromRequest<_>>::from_request(request, &()).await?;
    if leaked.secret.chars().count() > MAX_SECRET {
        return Err(Problem::invalid("secret: this is longer than any key"));
    }
    let identity = state.identity()?;
    state.leaks.admit(context.ip)?;
    identity.revoke_presented(&leaked.secret, &context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The key, if whoever asks may do `verb` to it.
async fn permitted(asking: &Asking, verb: Verb, id: u64) -> Result<Stored<key::Key>, Problem> {
    let key = asking.identity.key(KeyId(id)).await?;
    asking.may(verb, &Resource::of(key.owner, Kind::Key, &key.name))?;
    Ok(key)
}

fn shown_once(asking: &Asking, (key, secret): (Stored<key::Key>, ApiKey)) -> Response {
    let location = format!("/api/v1/keys/{}", key.id);
    let now = asking.identity.clock().now();
    let made = MadeKey {
        secret: secret.reveal().to_owned(),
        key: Key::of(key.record, None, now),
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    super::created((no_store, Json(made)).into_response(), &location)
}
