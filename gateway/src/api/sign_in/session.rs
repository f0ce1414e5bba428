//! The session of a browser: where it begins and ends.

use auth::session::SessionToken;
use axum::response::Response;

use super::{SignIn, cookies, request::Asked};

/// Gives the browser its new session. One that it had before has ended with the sign-in, whoever it
/// was of: nobody expects to be somebody else in another tab.
pub(super) fn begin(sign_in: &SignIn, token: &SessionToken, response: &mut Response) {
    let lifetime = sign_in.ways.load().lifetime;
    let headers = response.headers_mut();
    cookies::set(headers, cookies::SESSION, token.reveal(), lifetime);
    cookies::forget(headers, cookies::FORM);
}

/// Ends the session that the request came with, if any.
pub(super) async fn end(sign_in: &SignIn, asked: &Asked) {
    let Some(caller) = asked.caller(sign_in) else {
        return;
    };
    let Some(session) = caller.session() else {
        return;
    };
    let context = asked.context_of(Some(caller));
    if let Err(error) = sign_in.identity.revoke_session(session, &context).await {
        tracing::warn!(%error, "a session could not be ended; it goes on until it expires");
    }
}
