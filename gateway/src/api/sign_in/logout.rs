//! Signing out.

use std::sync::Arc;

use auth::redirect::Target;
use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    SignIn, Ways, cookies, guard,
    pages::{self, TOKEN_FIELD},
    problem,
    request::{Asked, Fields, redirect},
    session,
};

/// `GET /auth/logout`: signs out at once, unless another site led here. Then it asks.
pub(super) async fn page(State(sign_in): State<Arc<SignIn>>, asked: Asked) -> Response {
    let ways = sign_in.ways.load_full();
    let return_to = target(&ways, asked.return_to());
    let caller = asked.caller(&sign_in);
    let session = caller.as_ref().and_then(|caller| caller.session());
    if let (Some(caller), Some(session)) = (&caller, session)
        && guard::is_led_here(&asked.headers)
    {
        let token = sign_in.identity.csrf_token(session);
        let to = return_to.as_ref().map(Target::as_str);
        return pages::sign_out(&caller.user.username, &token, to).into_response();
    }
    leave(&sign_in, &asked, StatusCode::FOUND, return_to).await
}

/// `POST /auth/logout`
pub(super) async fn sign_out(
    State(sign_in): State<Arc<SignIn>>,
    asked: Asked,
    body: Bytes,
) -> Response {
    let ways = sign_in.ways.load_full();
    let form = Fields::parse(&body);
    let session = asked.caller(&sign_in).and_then(|caller| caller.session());
    if let Some(session) = session {
        let token = form.get(TOKEN_FIELD).unwrap_or_default();
        let good = sign_in.identity.check_csrf(session, token);
        if !good || !guard::is_ours(&asked.headers, &ways.origin) {
            return problem::forged("/");
        }
    }
    let return_to = target(&ways, form.get("return_to"));
    leave(&sign_in, &asked, StatusCode::SEE_OTHER, return_to).await
}

async fn leave(
    sign_in: &SignIn,
    asked: &Asked,
    status: StatusCode,
    return_to: Option<Target>,
) -> Response {
    session::end(sign_in, asked).await;
    let to = return_to.unwrap_or_else(Target::home);
    let mut response = redirect(status, to.as_str());
    cookies::forget(response.headers_mut(), cookies::SESSION);
    response
}

/// Whoever wants to leave shall, even if the link they came by leads to where it may not.
fn target(ways: &Ways, return_to: Option<&str>) -> Option<Target> {
    ways.return_to.check(return_to?).ok()
}
