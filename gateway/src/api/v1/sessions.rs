//! `/api/v1/sessions`.

use std::{net::IpAddr, sync::Arc};

use auth::{
    permit::Resource,
    scope::{Kind, Verb},
    session::{self, SessionId},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    list::{Cursor, Limit, List, Number, page},
    whose,
};
use crate::api::{
    State,
    caller::Asking,
    extract::{Json, Path, Query},
    moment::Moment,
    problem::Problem,
};

pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, revoke_all))
        .routes(routes!(get, revoke))
}

/// A browser that is signed in.
#[derive(Serialize, ToSchema)]
struct Session {
    id: u64,
    /// The user who signed in.
    user: u64,
    created_at: Moment,
    /// When it was used last, to the minute.
    last_seen_at: Moment,
    /// When it ends however often it is used.
    expires_at: Moment,
    /// Where it was used from last.
    #[schema(value_type = Option<String>)]
    ip: Option<IpAddr>,
    user_agent: Option<String>,
    /// It is the one that asks.
    current: bool,
}

impl Session {
    fn of(session: session::Session, current: Option<SessionId>) -> Self {
        Self {
            id: session.id.0,
            user: session.user.0,
            created_at: session.created.into(),
            last_seen_at: session.last_seen.into(),
            expires_at: session.expires.into(),
            ip: session.ip,
            user_agent: session.user_agent,
            current: current == Some(session.id),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// What `next` of the page before was.
    #[param(inline)]
    cursor: Option<Cursor>,
    /// Entries of a page.
    #[param(inline)]
    limit: Option<Limit>,
    /// Only sessions of this user. Ordinary users see their own.
    #[param(inline)]
    user: Option<Number>,
}

/// Sessions
///
/// One's own; all of them for administrators. Some may have ended by their time.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    tag = "sessions",
    operation_id = "listSessions",
    params(Which),
    responses((status = 200, description = "A page of sessions", body = List<Session>)),
)]
async fn list(asking: Asking, Query(which): Query<Which>) -> Result<Json<List<Session>>, Problem> {
    let user = whose(&asking, Kind::Session, which.user)?;
    let page = page(which.cursor.as_ref(), which.limit);
    let found = asking.identity.sessions(user, &page).await?;
    let current = asking.session();
    Ok(Json(List::of(found, |session| {
        Session::of(session.record, current)
    })))
}

/// One session
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    operation_id = "getSession",
    params(("id" = u64, Path)),
    responses((status = 200, description = "The session", body = Session)),
)]
async fn get(asking: Asking, Path(id): Path<u64>) -> Result<Json<Session>, Problem> {
    let session = asking.identity.session(SessionId(id)).await?;
    asking.may(Verb::Read, &Resource::of(session.user, Kind::Session, ""))?;
    Ok(Json(Session::of(session.record, asking.session())))
}

/// End a session
///
/// Whoever has its cookie is signed out when this is answered.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    operation_id = "revokeSession",
    params(("id" = u64, Path)),
    responses((status = 204, description = "It has ended")),
)]
async fn revoke(asking: Asking, Path(id): Path<u64>) -> Result<StatusCode, Problem> {
    let id = SessionId(id);
    let session = asking.identity.session(id).await?;
    let resource = Resource::of(session.user, Kind::Session, "");
    asking.may(Verb::Delete, &resource)?;
    asking.identity.revoke_session(id, &asking.context).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfWhom {
    /// Whose sessions; one's own if nothing is said.
    #[param(inline)]
    user: Option<Number>,
}

/// End all sessions of a user
///
/// Signs out everywhere, here included.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions",
    tag = "sessions",
    operation_id = "revokeSessions",
    params(OfWhom),
    responses((status = 204, description = "They have ended")),
)]
async fn revoke_all(asking: Asking, Query(of): Query<OfWhom>) -> Result<StatusCode, Problem> {
    let user = asking.owner(of.user.map(|user| user.0))?;
    asking.may(Verb::Delete, &Resource::of(user, Kind::Session, ""))?;
    // Somebody who is not there has no sessions, and that is told.
    asking.identity.user(user).await?;
    asking.identity.revoke_all(user, &asking.context).await?;
    Ok(StatusCode::NO_CONTENT)
}
