//! `/auth/me`: whom one of the gateway's JSON Web Tokens is about, in the form that clients of the
//! original tunnel server know.

use std::sync::Arc;

use auth::{
    token::Refusal,
    user::{User, UserId},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{SignIn, pages, request::Asked};
use crate::api::caller;

/// `GET /auth/me`
pub(super) async fn me(State(sign_in): State<Arc<SignIn>>, asked: Asked) -> Response {
    let mut answer = match of_bearer(&sign_in, &asked.headers).await {
        Ok(user) => Json(json!({
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "avatar_url": user.avatar_url,
            "provider": user.provider,
        }))
        .into_response(),
        Err(refused) => refused.into_response(),
    };
    pages::protect(answer.headers_mut());
    answer
}

async fn of_bearer(sign_in: &SignIn, headers: &HeaderMap) -> Result<User, Refused> {
    let presented = headers.get(header::AUTHORIZATION);
    let presented = presented.and_then(|value| value.to_str().ok());
    let token = presented.and_then(caller::bearer).ok_or(Refused::Nobody)?;
    let issuing = sign_in.issuing.as_ref().ok_or(Refused::Invalid)?;
    let claims = issuing.verify(token).map_err(|refusal| match refusal {
        Refusal::Expired => Refused::Expired,
        _ => Refused::Invalid,
    })?;
    let id = claims.sub.and_then(|sub| sub.parse().ok());
    let id = id.map(UserId).ok_or(Refused::Invalid)?;
    let user = sign_in.identity.user(id).await;
    let user = user.map_err(|_| Refused::Gone)?.record;
    match user.disabled {
        true => Err(Refused::Gone),
        false => Ok(user),
    }
}

/// Why nobody is told who they are.
enum Refused {
    Nobody,
    Expired,
    Invalid,
    Gone,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Nobody => (StatusCode::FORBIDDEN, "Not authenticated"),
            Self::Expired => (StatusCode::UNAUTHORIZED, "Token has expired"),
            Self::Invalid => (StatusCode::UNAUTHORIZED, "Invalid token"),
            Self::Gone => (StatusCode::UNAUTHORIZED, "User not found"),
        };
        let mut answer = (status, Json(json!({ "detail": detail }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        answer
    }
}
