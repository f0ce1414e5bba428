//! Failures the way the original tells them: `{"detail": …}`.

use std::time::Duration;

use auth::{identity::IdentityError, permit::Denied};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::super::problem::Problem;

/// Where the original says more about what is wrong with a field.
const EXPLANATIONS: &str = "https://errors.pydantic.dev/2.5/v/";

/// A request that was not done.
pub(super) struct Failure {
    status: StatusCode,
    detail: Detail,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Detail {
    Text(String),
    Fields(Vec<Invalid>),
}

/// Something wrong in one place of the request.
#[derive(Serialize)]
pub(super) struct Invalid {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Value>,
    msg: &'static str,
    input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Box<str>>,
}

#[derive(Serialize)]
struct Context {
    error: &'static str,
}

impl Invalid {
    pub(super) fn new(kind: &'static str, place: &[&str]) -> Self {
        Self {
            kind,
            loc: place.iter().map(|part| Value::from(*part)).collect(),
            msg: "",
            input: Value::Null,
            ctx: None,
            url: Some(format!("{EXPLANATIONS}{kind}").into()),
        }
    }

    /// A field that is not there, in `body`.
    pub(super) fn missing(place: &[&str], body: Value) -> Self {
        Self::new("missing", place)
            .saying("Field required")
            .input(body)
    }

    /// A body that is no JSON from this byte on.
    pub(super) fn no_json(at: usize) -> Self {
        Self {
            loc: vec!["body".into(), at.into()],
            ctx: Some(Context {
                error: "Expecting value",
            }),
            input: Value::Object(serde_json::Map::new()),
            url: None,
            ..Self::new("json_invalid", &[]).saying("JSON decode error")
        }
    }

    pub(super) fn saying(mut self, message: &'static str) -> Self {
        self.msg = message;
        self
    }

    pub(super) fn input(mut self, input: impl Into<Value>) -> Self {
        self.input = input.into();
        self
    }
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            detail: Detail::Text(text.into()),
            retry_after: None,
        }
    }

    pub(super) fn not_authenticated() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not authenticated")
    }

    pub(super) fn invalid(invalid: Invalid) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail: Detail::Fields(vec![invalid]),
            retry_after: None,
        }
    }

    pub(super) fn too_many(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts").after(Some(retry_after))
    }

    /// When it makes sense to try again.
    pub(super) fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (
            self.status,
            Json(Body {
                detail: self.detail,
            }),
        )
            .into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1) as u64;
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[derive(Serialize)]
struct Body {
    detail: Detail,
}

/// A failure in one sentence.
pub(in crate::api) fn detail(status: StatusCode, text: &str) -> Response {
    Failure::new(status, text).into_response()
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::NotFound(_) => not_found(),
            other => told(&Problem::from(other)),
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::not_authenticated(),
            Denied::NotYours => not_found(),
            denied @ Denied::Forbidden { .. } => told(&Problem::from(denied)),
        }
    }
}

fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "API key not found")
}

fn told(problem: &Problem) -> Failure {
    Failure::new(problem.status, problem.detail())
}
