//! `/.well-known/jwks.json`: what others verify the gateway's tokens with (RFC 7517).

use std::sync::Arc;

use axum::{
    Router,
    extract::State as Shared,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, header};

use super::State;

/// Nothing is published: tokens are signed with a secret, or not at all.
const NONE: Bytes = Bytes::from_static(b"{\"keys\":[]}");

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/.well-known/jwks.json", get(jwks))
}

async fn jwks(Shared(state): Shared<Arc<State>>) -> Response {
    let document = state.tokens.as_ref().map_or(NONE, |keys| keys.jwks());
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=300"),
        ),
    ];
    (headers, document).into_response()
}
