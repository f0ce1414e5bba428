//! What is said when something does not work: `application/problem+json` (RFC 9457).
//!
//! Every failure of `/api/v1` becomes a [`Problem`], those of reading the request included
//! (`extract.rs`). `code` is for programs and stays as it is; `detail` is for people and may
//! change. A failure of the gateway itself is logged in full and told in one sentence.

use std::time::Duration;

use auth::{
    audit::AuditError,
    directory::Refused,
    identity::IdentityError,
    password::PasswordError,
    permit::{Denied, Needs},
    store::StoreError,
};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A request that was not done.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    code: &'static str,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

/// A problem as it is sent (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// Says no more than the status: `about:blank`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The meaning of the status.
    title: &'a str,
    /// The status code of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, for programs: a word that stays as it is.
    code: &'a str,
    /// What happened and what to do about it, for people.
    detail: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            header: None,
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// What is said to people.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// The request can be read, and asks for what cannot be.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    /// Not there, or somebody else's.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such thing, or it is not yours",
        )
    }

    pub(super) fn unauthenticated() -> Self {
        Self::challenge(
            "unauthenticated",
            "sign in, or send an API key: Authorization: Bearer ptn_…",
            "Bearer realm=\"portunus\"",
        )
    }

    /// A key or session was sent, and is not good (RFC 6750 §3.1).
    pub(super) fn invalid_credential(refused: Refused) -> Self {
        let detail = match refused {
            Refused::Malformed => {
                "this is not formed like an API key of this gateway; a key is ptn_ and 36 letters and digits"
            }
            _ => "this API key or session is not known, has expired, or was revoked",
        };
        let challenge = "Bearer realm=\"portunus\", error=\"invalid_token\"";
        Self::challenge("invalid_credential", detail, challenge)
    }

    fn challenge(code: &'static str, detail: &str, challenge: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail).with(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    pub(super) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub(super) fn too_many(retry_after: Duration) -> Self {
        // Whole seconds, rounded up (RFC 9110 §10.2.3).
        let seconds = retry_after.as_millis().div_ceil(1000).max(1) as u64;
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_attempts",
            format!("too many attempts; try again in {seconds} s"),
        )
        .with(header::RETRY_AFTER, seconds.into())
    }

    pub(super) fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "changed",
            "it was changed since it was read; read it again and repeat the change",
        )
    }

    fn conflict(code: &'static str, detail: &impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail.to_string())
    }

    /// The gateway's own failure: logged here, told without what only the operator should know.
    pub(super) fn own(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "the API could not do what it was asked");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the gateway could not do this; its log says why",
        )
    }

    fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%error, "the API has no store");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "the store does not answer; try again shortly",
        )
        .with(header::RETRY_AFTER, HeaderValue::from_static("5"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        headers.extend(self.header);
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match &denied {
            Denied::Unauthenticated => Self::unauthenticated(),
            Denied::NotYours => Self::not_found(),
            Denied::Forbidden { needs } => {
                let code = match needs {
                    Needs::Role(_) => "needs_role",
                    Needs::Scope(..) => "needs_scope",
                    Needs::Operator => "needs_operator",
                };
                Self::forbidden(code, denied.to_string())
            }
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        use IdentityError as E;
        match error {
            E::NotFound(_) => Self::not_found(),
            E::Unauthenticated => Self::unauthenticated(),
            E::Forbidden(denied) => denied.into(),
            E::NeverNeedsAdmin => Self::forbidden("needs_role", error.to_string()),
            E::BeyondOwnScopes => Self::forbidden("beyond_own_scopes", error.to_string()),
            E::Disabled => Self::forbidden("disabled", error.to_string()),
            E::Changed(_) => Self::precondition_failed(),
            E::NameTaken(_) => Self::conflict("name_taken", &error),
            E::Exists(_) => Self::conflict("exists", &error),
            E::Rotated(_) => Self::conflict("rotated", &error),
            E::NotActive => Self::conflict("not_active", &error),
            E::Busy => Self::conflict("busy", &error),
            E::Invalid { .. } | E::InvalidName(_) => Self::invalid(error.to_string()),
            E::BadCredentials => Self::new(
                StatusCode::UNAUTHORIZED,
                "bad_credentials",
                error.to_string(),
            ),
            E::TooMany { retry_after } => Self::too_many(retry_after),
            E::SetupClosed => Self::forbidden("setup_closed", error.to_string()),
            E::Password(PasswordError::Busy) => Self::too_many(Duration::from_secs(5)),
            E::Store(error) => error.into(),
            other => Self::own(&other),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable { .. } | StoreError::OutOfDisk { .. } => {
                Self::unavailable(&error)
            }
            other => Self::own(&other),
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => error.into(),
            other => Self::own(&other),
        }
    }
}
