//! `/api/v1/tunnels`.

use std::sync::Arc;

use auth::{
    Stored,
    permit::{Denied, Resource},
    scope::{Kind, Verb},
    tunnel::{self, TunnelId},
};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    list::{List, OfOwner, page},
    openapi::ProblemRef,
    whose,
};
use crate::api::{
    State,
    caller::Asking,
    conditional::{Conditions, Tagged},
    extract::{Json, Path, Query},
    moment::Moment,
    problem::Problem,
};

pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, rename, delete))
}

/// A name under the tunnel domain that belongs to a user.
#[derive(Serialize, ToSchema)]
struct Tunnel {
    id: u64,
    /// The user it belongs to.
    owner: u64,
    /// Its label under the tunnel domain.
    name: String,
    created_at: Moment,
}

impl From<tunnel::Tunnel> for Tunnel {
    fn from(tunnel: tunnel::Tunnel) -> Self {
        Self {
            id: tunnel.id.0,
            owner: tunnel.owner.0,
            name: tunnel.name,
            created_at: tunnel.created.into(),
        }
    }
}

/// Tunnels
///
/// One's own; all of them for administrators.
#[utoipa::path(
    get,
    path = "/api/v1/tunnels",
    tag = "tunnels",
    operation_id = "listTunnels",
    params(OfOwner),
    responses((status = 200, description = "A page of tunnels", body = List<Tunnel>)),
)]
async fn list(asking: Asking, Query(which): Query<OfOwner>) -> Result<Json<List<Tunnel>>, Problem> {
    let owner = whose(&asking, Kind::Tunnel, which.owner)?;
    let page = page(which.cursor.as_ref(), which.limit);
    let found = asking.identity.tunnels(owner, &page).await?;
    Ok(Json(List::of(found, |tunnel| Tunnel::from(tunnel.record))))
}

/// A tunnel that shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTunnel {
    /// Its label under the tunnel domain; without one it is three words.
    #[schema(
        min_length = 1,
        max_length = 63,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
    )]
    name: Option<String>,
    /// Whose it shall be; one's own if nothing is said.
    owner: Option<u64>,
}

/// Make a tunnel
///
/// An ordinary user has one tunnel, and is told which with 409; administrators have as many as they
/// want.
#[utoipa::path(
    post,
    path = "/api/v1/tunnels",
    tag = "tunnels",
    operation_id = "createTunnel",
    request_body = NewTunnel,
    responses(
        (status = 201, description = "The tunnel", body = Tunnel, headers(
            ("location" = String, description = "Where the tunnel is"),
            ("etag" = String, description = "Its version"),
        )),
        (status = 409, description = "There is one already, or the name is taken", body = ProblemRef, content_type = "application/problem+json"),
    ),
)]
async fn create(asking: Asking, Json(new): Json<NewTunnel>) -> Result<Response, Problem> {
    let owner = asking.owner(new.owner)?;
    let name = new.name.as_deref();
    let resource = Resource::of(owner, Kind::Tunnel, name.unwrap_or_default());
    asking.may(Verb::Create, &resource)?;
    let made = asking.identity.create_tunnel(owner, name, &asking.context);
    let tunnel = made.await?;
    let location = format!("/api/v1/tunnels/{}", tunnel.id);
    Ok(super::created(tagged(tunnel), &location))
}

/// One tunnel
#[utoipa::path(
    get,
    path = "/api/v1/tunnels/{id}",
    tag = "tunnels",
    operation_id = "getTunnel",
    params(("id" = u64, Path)),
    responses(
        (status = 200, description = "The tunnel", body = Tunnel, headers(("etag" = String, description = "Its version"))),
        (status = 304, description = "It is as the client has it"),
    ),
)]
async fn get(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let tunnel = permitted(&asking, Verb::Read, id).await?;
    Ok(tagged(tunnel).answer(&conditions))
}

/// What shall be different.
#[derive(Deserialize, ToSchema)]
#[schema(as = TunnelChanges)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[schema(
        min_length = 1,
        max_length = 63,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
    )]
    name: Option<String>,
}

/// Change a tunnel
///
/// Under another name it is another address: whoever is connected is told to come again.
#[utoipa::path(
    patch,
    path = "/api/v1/tunnels/{id}",
    tag = "tunnels",
    operation_id = "updateTunnel",
    params(("id" = u64, Path), ("if-match" = Option<String>, Header, description = "Change only this version")),
    request_body = Changes,
    responses(
        (status = 200, description = "The tunnel as it is now", body = Tunnel, headers(("etag" = String, description = "Its version"))),
        (status = 409, description = "The name is taken", body = ProblemRef, content_type = "application/problem+json"),
    ),
)]
async fn rename(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
    Json(changes): Json<Changes>,
) -> Result<Response, Problem> {
    let tunnel = permitted(&asking, Verb::Update, id).await?;
    let revision = conditions.revision(tunnel.revision)?;
    let Some(name) = changes.name else {
        return Ok(tagged(tunnel).into_response());
    };
    // A key that may change some names only may not leave them.
    asking.may(
        Verb::Update,
        &Resource::of(tunnel.owner, Kind::Tunnel, &name),
    )?;
    let renamed = asking
        .identity
        .rename_tunnel(tunnel.id, &name, revision, &asking.context)
        .await?;
    Ok(tagged(renamed).into_response())
}

/// Delete a tunnel
///
/// Keys that are bound to it work no longer.
#[utoipa::path(
    delete,
    path = "/api/v1/tunnels/{id}",
    tag = "tunnels",
    operation_id = "deleteTunnel",
    params(("id" = u64, Path), ("if-match" = Option<String>, Header, description = "Delete only this version")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    let tunnel = permitted(&asking, Verb::Delete, id).await?;
    let revision = conditions.revision(tunnel.revision)?;
    asking
        .identity
        .delete_tunnel(tunnel.id, revision, &asking.context)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tunnel, if whoever asks may do `verb` to it.
async fn permitted(
    asking: &Asking,
    verb: Verb,
    id: u64,
) -> Result<Stored<tunnel::Tunnel>, Problem> {
    let tunnel = asking.identity.tunnel(TunnelId(id)).await?;
    let resource = Resource::of(tunnel.owner, Kind::Tunnel, &tunnel.name);
    asking.may(verb, &resource)?;
    // A key for one tunnel does nothing to another one.
    match asking.is_for(tunnel.id) {
        true => Ok(tunnel),
        false => Err(Denied::NotYours.into()),
    }
}

fn tagged(tunnel: Stored<tunnel::Tunnel>) -> Tagged<Tunnel> {
    Tagged {
        tag: tunnel.revision.into(),
        body: tunnel.record.into(),
    }
}
