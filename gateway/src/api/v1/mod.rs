//! `/api/v1`: users, tunnels, keys, sessions, tokens and the audit trail, for programs and the dashboard.
//!
//! One file per resource. Each operation asks `auth::permit` before it does anything; what is
//! somebody else's answers as if it were not there. Records carry an entity tag, lists are read
//! page by page, failures are problems (RFC 9457). The description of all of it, OpenAPI 3.1, is
//! made from the same code and served as `/api/v1/openapi.json` (`openapi.rs`).

mod audit;
mod keys;
mod list;
mod me;
pub(super) mod openapi;
mod sessions;
mod tokens;
mod tunnels;
mod users;

use std::sync::Arc;

use auth::{
    permit::Resource,
    scope::{Kind, Verb},
    user::UserId,
};
use axum::{
    Router,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use utoipa_axum::router::OpenApiRouter;

use self::list::Number;
pub(super) use self::tokens::Issuances;
use super::{State, caller::Asking, problem::Problem};

/// The operations, and where they are described.
pub(super) fn routes() -> Router<Arc<State>> {
    let (router, description) = operations().split_for_parts();
    router.merge(openapi::routes(description))
}

fn operations() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(me::routes())
        .merge(users::routes())
        .merge(tunnels::routes())
        .merge(keys::routes())
        .merge(sessions::routes())
        .merge(tokens::routes())
        .merge(audit::routes())
}

/// The answer to a creation: 201 with where the new thing is.
fn created(made: impl IntoResponse, location: &str) -> Response {
    let mut response = (StatusCode::CREATED, made).into_response();
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Whose things a list shows: those of `wanted`, of everybody, or one's own. Asks whether that is
/// permitted.
fn whose(asking: &Asking, kind: Kind, wanted: Option<Number>) -> Result<Option<UserId>, Problem> {
    let owner = match wanted {
        Some(wanted) => Some(UserId(wanted.0)),
        None if asking.sees_all() => None,
        None => asking.user(),
    };
    let resource = match owner {
        Some(owner) => Resource::of(owner, kind, ""),
        None => Resource::common(kind, ""),
    };
    asking.may(Verb::Read, &resource)?;
    Ok(owner)
}
