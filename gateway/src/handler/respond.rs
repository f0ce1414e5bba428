//! Answers that need nothing but the configuration.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::{
    config::{Redirect, Respond},
    http::Body,
    router::rewrite,
};

/// A fixed answer.
pub fn respond(config: &Respond) -> Response<Body> {
    let mut response = Response::new(Body::Full(Bytes::from(config.body.clone())));
    *response.status_mut() = config.status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, config.content_type.clone());
    response
}

/// A redirect to the configured target.
pub fn redirect(config: &Redirect, host: &str, path: &str, query: Option<&str>) -> Response<Body> {
    to(
        config.status,
        &rewrite::target(&config.to, host, path, query),
    )
}

/// The redirect from plain HTTP to HTTPS. 308 keeps method and body (RFC 9110 §15.4.9); `port` is
/// left out when it is the default.
pub fn to_https(
    host: &str,
    port: u16,
    path: &str,
    query: Option<&str>,
    method: &Method,
) -> Response<Body> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let port = if port == 443 {
        String::new()
    } else {
        format!(":{port}")
    };
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let mut response = to(
        StatusCode::PERMANENT_REDIRECT,
        &format!("https://{host}{port}{path}{query}"),
    );
    if *method == Method::GET || *method == Method::HEAD {
        // A permanent redirect is cached without end otherwise; an hour outlives a page view and
        // not a change of mind.
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=3600"),
        );
    }
    response
}

fn to(status: StatusCode, target: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    match HeaderValue::try_from(target) {
        Ok(location) => {
            *response.status_mut() = status;
            response.headers_mut().insert(header::LOCATION, location);
        }
        // Only bytes that a header cannot carry get here, and a parsed request has none.
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
