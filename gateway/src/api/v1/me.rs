//! `/api/v1/me`: who the gateway takes the client for.

use std::sync::Arc;

use auth::{directory::By, permit::Actor};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::users::User;
use crate::api::{State, caller::Asking, extract::Json, problem::Problem};

pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(me))
}

/// Who asks, and with what.
#[derive(Serialize, ToSchema)]
struct Me {
    by: Shown,
    /// The user; null for the operator, who is nobody in particular.
    user: Option<User>,
    /// The API key that was sent.
    key: Option<u64>,
    /// The session of the cookie that was sent.
    session: Option<u64>,
    /// What the key may be used for; `*:*` without one.
    scopes: Vec<String>,
    /// What `X-CSRF-Token` has to be when this session changes something.
    csrf_token: Option<String>,
}

/// What a client showed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Shown {
    Key,
    Session,
    /// It came over the control socket.
    Operator,
}

/// Who is asking
///
/// Every good key or session may ask this, whatever its scopes.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    tag = "me",
    operation_id = "me",
    responses((status = 200, description = "Who asks, and with what", body = Me)),
)]
async fn me(asking: Asking) -> Result<Response, Problem> {
    let mut me = Me {
        by: Shown::Operator,
        user: None,
        key: None,
        session: None,
        scopes: vec!["*:*".to_owned()],
        csrf_token: None,
    };
    if let Actor::User(caller) = &asking.context.actor {
        let user = asking.identity.user(caller.user.id).await?;
        me.user = Some(User::from(user.record));
        me.scopes = caller.scopes.iter().map(ToString::to_string).collect();
        match caller.by {
            By::Key(key) => (me.by, me.key) = (Shown::Key, Some(key.0)),
            By::Session(session) => {
                (me.by, me.session) = (Shown::Session, Some(session.0));
                me.csrf_token = Some(asking.identity.csrf_token(session));
            }
        }
    }
    let private = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((private, Json(me)).into_response())
}
