//! Reading requests: axum's extractors, with a [`Problem`] for what they refuse.

use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        path::ErrorKind,
        rejection::{JsonRejection, PathRejection},
    },
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::problem::Problem;

/// A JSON body, `application/json` or `application/…+json`.
pub(super) struct Json<T>(pub(super) T);

/// The parameters of the query string; unknown ones are refused by the types they are read into.
pub(super) struct Query<T>(pub(super) T);

/// The parameters in the path. What is not formed like one names nothing: 404.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::<Value>::from_request(request, state).await;
        let axum::Json(body) = read.map_err(|rejection| json_problem(&rejection))?;
        // serde would take an array for an object, in the order of the fields.
        let Value::Object(mut fields) = body else {
            return Err(Problem::invalid("the body has to be an object"));
        };
        fields.values_mut().for_each(make_whole);
        let read = serde_json::from_value(Value::Object(fields));
        read.map(Self)
            .map_err(|error| Problem::invalid(error.to_string()))
    }
}

/// Makes `5.0` what JSON says it is, a whole number.
fn make_whole(value: &mut Value) {
    /// Beyond it floating-point numbers leave whole ones out.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_f64()
        && value.is_f64()
        && number.fract() == 0.0
        && (0.0..EXACT).contains(&number)
    {
        *value = Value::from(number as u64);
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::bad_request(plain(&rejection.body_text()))),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(PathRejection::FailedToDeserializePathParams(failed))
                if !matches!(failed.kind(), ErrorKind::UnsupportedType { .. }) =>
            {
                Err(Problem::not_found())
            }
            Err(rejection) => Err(Problem::new(
                rejection.status(),
                "internal",
                "the path cannot be read",
            )),
        }
    }
}

fn json_problem(rejection: &JsonRejection) -> Problem {
    let text = rejection.body_text();
    let detail = plain(&text);
    match rejection {
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "the body has to be JSON, said so by Content-Type: application/json",
        ),
        JsonRejection::BytesRejection(bytes) if bytes.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than anything that is taken here",
            )
        }
        _ => Problem::bad_request(detail),
    }
}

/// What is wrong, without axum's words about types.
fn plain(text: &str) -> &str {
    for prefix in [
        "Failed to deserialize the JSON body into the target type: ",
        "Failed to parse the request body as JSON: ",
        "Failed to deserialize query string: ",
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return rest;
        }
    }
    text
}
