//! What the pages ask of a request.

use std::{net::IpAddr, sync::Arc};

use auth::{directory::Caller, identity::Context, permit::Actor};
use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use super::{SignIn, cookies, pages};
use crate::api::Origin;

/// The head of a request.
pub(in crate::api) struct Asked {
    pub(in crate::api) headers: HeaderMap,
    pub(in crate::api) query: Fields,
    ip: Option<IpAddr>,
}

impl Asked {
    /// Who is signed in in this browser, if anybody.
    pub(in crate::api) fn caller(&self, sign_in: &SignIn) -> Option<Arc<Caller>> {
        let cookie = cookies::read(&self.headers, cookies::SESSION)?;
        let identity = &sign_in.identity;
        let caller = identity
            .directory()
            .by_session(cookie, identity.clock().now());
        caller.ok()
    }

    /// For what `caller` does, or somebody who is not signed in.
    pub(in crate::api) fn context_of(&self, caller: Option<Arc<Caller>>) -> Context {
        let actor = caller.map_or(Actor::Anonymous, Actor::User);
        Context::new(actor, self.ip, self.user_agent())
    }

    fn user_agent(&self) -> Option<&str> {
        self.headers.get(header::USER_AGENT)?.to_str().ok()
    }

    /// Whether a person is to read the answer.
    pub(in crate::api) fn wants_html(&self) -> bool {
        let accept = self.headers.get(header::ACCEPT);
        accept
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"))
    }

    /// Where to return to; the tunnel server of before called it `redirect_uri`.
    pub(in crate::api) fn return_to(&self) -> Option<&str> {
        let query = &self.query;
        query.get("return_to").or_else(|| query.get("redirect_uri"))
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let origin = parts.extensions.get::<Origin>();
        Ok(Self {
            ip: origin.and_then(|origin| origin.ip),
            query: Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()),
            headers: std::mem::take(&mut parts.headers),
        })
    }
}

/// The fields of a form or a query, `application/x-www-form-urlencoded`.
pub(in crate::api) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(in crate::api) fn parse(text: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(text);
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The value of a field that is there once and not empty.
    pub(in crate::api) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(found, _)| found == name);
        let (_, value) = values.next()?;
        (values.next().is_none() && !value.is_empty()).then_some(value)
    }
}

/// Sends the browser on with a GET.
pub(in crate::api) fn redirect(status: StatusCode, to: &str) -> Response {
    let Ok(location) = HeaderValue::try_from(to) else {
        // All that is passed here was checked to be ASCII without blanks.
        return Redirect::to("/").into_response();
    };
    let mut response = status.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    pages::protect(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_there_twice_or_empty_does_not_count() {
        let fields = Fields::parse(b"a=1&b=x%20y+z&c=&d=1&d=2&%ff=%ff&&=");
        assert_eq!(fields.get("a"), Some("1"));
        assert_eq!(fields.get("b"), Some("x y z"));
        for name in ["c", "d", "e"] {
            assert_eq!(fields.get(name), None);
        }
    }

    #[test]
    fn a_redirect_is_not_stored() {
        let response = redirect(StatusCode::SEE_OTHER, "/tunnels?a=b");
        assert_eq!(response.headers()[header::LOCATION], "/tunnels?a=b");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
}
