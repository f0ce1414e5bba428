//! `/api/v1/tokens`: a JSON Web Token about whoever asks, to show to services that do not ask the
//! gateway.
//!
//! A token cannot be taken back, so it is short-lived, and a key needs `token:create` for it, or
//! `token:create:AUDIENCE` for one audience. What was issued, to whom and for whom, is in the audit
//! trail by its id; the token itself is kept nowhere.

use std::{sync::Arc, time::Duration};

use auth::{
    permit::{Actor, Resource},
    scope::{Kind, Verb},
    token::TokenError,
};
use axum::{
    extract,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use pingora_limits::rate::Rate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::api::{State, caller::Asking, extract::Json, moment::Moment, problem::Problem};

/// Tokens that one user may have made, and their window.
const MOST: isize = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// Characters of an audience.
const MAX_AUDIENCE: usize = 256;

pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Counts the tokens of each user, in a sketch of fixed size.
pub(in crate::api) struct Issuances(Rate);

impl Default for Issuances {
    fn default() -> Self {
        Self(Rate::new(WINDOW))
    }
}

impl Issuances {
    fn admit(&self, user: u64) -> Result<(), Problem> {
        match self.0.observe(&user, 1) > MOST {
            true => Err(Problem::too_many(WINDOW)),
            false => Ok(()),
        }
    }
}

impl std::fmt::Debug for Issuances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuances")
    }
}

/// A token that shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedToken {
    /// Who shall accept it, its `aud`; the configured one if nothing is said.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    audience: Option<String>,
}

/// A new token. It is shown here, once, and kept nowhere.
#[derive(Serialize, ToSchema)]
struct MadeToken {
    /// The token itself.
    token: String,
    /// When it ends.
    expires: Moment,
}

/// Make a token about oneself
///
/// A short-lived JSON Web Token (RFC 7519) with `sub` (the id of the user), `username`, `provider`,
/// `role` and, if it is known, `email`. Services check it with `/.well-known/jwks.json`. A key needs
/// the scope `token:create`, or `token:create:AUDIENCE`. One user has at most 60 made a minute.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "tokens",
    operation_id = "createToken",
    request_body = WantedToken,
    responses((status = 201, description = "The token", body = MadeToken)),
)]
async fn create(
    asking: Asking,
    extract::State(state): extract::State<Arc<State>>,
    Json(wanted): Json<WantedToken>,
) -> Result<Response, Problem> {
    let Actor::User(caller) = &asking.context.actor else {
        return Err(Problem::invalid(
            "a token is about a user, and the operator is none",
        ));
    };
    let issuing = state.issuing.as_ref().ok_or_else(Problem::not_found)?;
    let audience = match &wanted.audience {
        Some(audience) => checked(audience)?,
        None => issuing.audience(),
    };
    let user = &caller.user;
    let resource = Resource::of(user.id, Kind::Token, audience);
    asking.may(Verb::Create, &resource)?;
    state.issuances.admit(user.id.0)?;
    let made = issuing.issue(user, audience, issuing.lifetime())?;
    asking
        .identity
        .note_token(user.id, &made.id, audience, &asking.context)
        .await?;
    let private = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let made = Json(MadeToken {
        token: made.token,
        expires: made.expires.into(),
    });
    Ok((StatusCode::CREATED, private, made).into_response())
}

fn checked(audience: &str) -> Result<&str, Problem> {
    let sound = !audience.is_empty()
        && audience.chars().count() <= MAX_AUDIENCE
        && !audience.chars().any(char::is_control);
    match sound {
        true => Ok(audience),
        false => Err(Problem::invalid(
            "audience: this has to be 1 to 256 characters, none of them control characters",
        )),
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::own(&error)
    }
}
