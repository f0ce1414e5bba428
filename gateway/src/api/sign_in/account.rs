//! The gateway's first page.

use std::sync::Arc;

use auth::user::{Provider, Role};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    SignIn,
    pages::{self, Account},
    request::Asked,
};

/// `GET /`
pub(super) async fn home(State(sign_in): State<Arc<SignIn>>, asked: Asked) -> Response {
    let caller = asked.caller(&sign_in);
    let session = caller.as_ref().and_then(|caller| caller.session());
    let (Some(caller), Some(session)) = (caller, session) else {
        return pages::welcome(&sign_in.domain).into_response();
    };
    let user = &caller.user;
    let account = Account {
        domain: &sign_in.domain,
        username: &user.username,
        provider: match user.provider {
            Provider::GitHub => "GitHub",
            Provider::GitLab => "GitLab",
            Provider::Local => "A local account",
        },
        admin: user.role == Role::Admin,
        token: &sign_in.identity.csrf_token(session),
    };
    account.page().into_response()
}
