//! Signing in with GitHub or GitLab: off to the provider, and back.

use std::sync::Arc;

use auth::oauth::{Callback, Completed, Kind, LoginError, STATE_TTL};
use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

use super::{
    SignIn, cookies, problem,
    request::{Asked, redirect},
    session,
};

pub(super) async fn begin_github(state: State<Arc<SignIn>>, asked: Asked) -> Response {
    begin(&state, Kind::GitHub, &asked)
}

pub(super) async fn begin_gitlab(state: State<Arc<SignIn>>, asked: Asked) -> Response {
    begin(&state, Kind::GitLab, &asked)
}

pub(super) async fn complete_github(
    State(sign_in): State<Arc<SignIn>>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Response {
    complete(sign_in, Kind::GitHub, query, asked).await
}

pub(super) async fn complete_gitlab(
    State(sign_in): State<Arc<SignIn>>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Response {
    complete(sign_in, Kind::GitLab, query, asked).await
}

/// `GET /auth/{provider}/authorize`: the original tunnel server gave other sites a person's provider
/// token and API key here, in the query of an address of their choice. Nobody is given that.
pub(super) async fn authorize(asked: Asked) -> Response {
    if asked.wants_html() {
        return problem::handing_out_is_gone();
    }
    let detail =
        "keys are not handed out in addresses any more; exchange a token at /api/auth/exchange";
    (StatusCode::GONE, Json(json!({ "detail": detail }))).into_response()
}

/// `GET /auth/{provider}`
fn begin(sign_in: &SignIn, kind: Kind, asked: &Asked) -> Response {
    let ways = sign_in.ways.load();
    let cookie = cookies::read(&asked.headers, cookies::BROWSER);
    match ways.logins.begin(kind, asked.return_to(), cookie) {
        Ok(begun) => {
            let mut response = redirect(StatusCode::FOUND, begun.authorize_url.as_str());
            let headers = response.headers_mut();
            cookies::set(
                headers,
                cookies::BROWSER,
                &begun.browser.cookie(),
                STATE_TTL,
            );
            response
        }
        // In the form that clients of the original tunnel server know.
        Err(LoginError::NotConfigured(kind)) if !asked.wants_html() => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "detail": format!("{kind} OAuth not configured") })),
        )
            .into_response(),
        Err(error) => problem::of_login(&error),
    }
}

/// `GET /auth/{provider}/callback`
async fn complete(
    sign_in: Arc<SignIn>,
    kind: Kind,
    query: Option<String>,
    asked: Asked,
) -> Response {
    let callback = Callback::parse(&query.unwrap_or_default());
    let cookie = cookies::read(&asked.headers, cookies::BROWSER);
    let ways = sign_in.ways.load_full();
    match ways.logins.complete(kind, &callback, cookie).await {
        Ok(completed) => {
            let admin = ways.logins.is_admin(&completed.identity);
            enter(sign_in, completed, admin, asked).await
        }
        Err(error) => problem::of_login(&error),
    }
}

async fn enter(sign_in: Arc<SignIn>, completed: Completed, admin: bool, asked: Asked) -> Response {
    let Completed {
        identity,
        return_to,
    } = completed;
    let person = auth::user::SignIn {
        provider: match identity.provider {
            Kind::GitHub => auth::user::Provider::GitHub,
            Kind::GitLab => auth::user::Provider::GitLab,
        },
        subject: identity.subject,
        username: identity.login,
        display_name: identity.name,
        email: identity.email,
        avatar_url: identity.avatar_url,
        admin,
    };
    match sign_in
        .identity
        .sign_in(&person, &asked.context_of(asked.caller(&sign_in)))
        .await
    {
        Ok((_, token)) => {
            let mut response = redirect(StatusCode::FOUND, return_to.as_str());
            session::begin(&sign_in, &token, &mut response);
            response
        }
        Err(error) => problem::of_identity(&error),
    }
}
