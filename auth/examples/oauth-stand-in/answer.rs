//! Requests and answers, as far as both providers share them.

use std::collections::HashMap;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use url::Url;
use url::form_urlencoded;

pub(crate) type Answer = Response<Full<Bytes>>;

/// A request with its body.
pub(crate) struct Asked {
    head: Parts,
    body: Bytes,
}

impl Asked {
    pub(crate) fn new(head: Parts, body: Bytes) -> Self {
        Self { head, body }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// The parameters of the query and of a form.
    pub(crate) fn parameters(&self) -> HashMap<String, String> {
        let query = self.head.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes())
            .chain(form_urlencoded::parse(&self.body))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    /// The token of `Authorization: Bearer …` or GitHub's older `token …`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let value = self.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let known = ["bearer", "token"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        known.then_some(token)
    }
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Answer {
    with_type(status, "application/json; charset=utf-8", body.to_string())
}

pub(crate) fn html(status: StatusCode, body: String) -> Answer {
    with_type(status, "text/html; charset=utf-8", body)
}

pub(crate) fn form(fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    with_type(
        StatusCode::OK,
        "application/x-www-form-urlencoded; charset=utf-8",
        body,
    )
}

/// To `target` with more parameters. A target that is no URL gets a page that says so.
pub(crate) fn redirect(target: &str, parameters: &[(&str, &str)]) -> Answer {
    let Ok(mut url) = Url::parse(target) else {
        return html(StatusCode::BAD_REQUEST, "redirect_uri is no URL".to_owned());
    };
    url.query_pairs_mut().extend_pairs(parameters);
    let mut answer = html(StatusCode::FOUND, String::new());
    if let Ok(location) = HeaderValue::from_str(url.as_str()) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

fn with_type(status: StatusCode, media_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
