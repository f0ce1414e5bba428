//! Calls to a provider, and what their answers have in common.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde_json::Value;
use url::Url;

use super::{Problem, Step};
use crate::Secret;
use crate::fetch::{Fetch, FetchError};

/// A longer name or login is nobody's.
const MAX_TEXT: usize = 255;
const MAX_URL: usize = 2048;

/// A way to a provider at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api<'a> {
    pub(super) fetch: &'a Fetch,
    /// Since 1970.
    pub(super) now: Duration,
}

impl Api<'_> {
    /// Sends a request; limits and failures of the provider are errors, other answers come back.
    pub(super) async fn send(
        &self,
        step: Step,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Problem> {
        let answer = self.fetch.send(request).await;
        let answer = answer.inspect_err(|error| tracing::debug!(%step, %error, "call failed"))?;
        let status = answer.status();
        tracing::debug!(%step, status = status.as_u16(), "the provider answered");
        if is_rate_limited(status, answer.headers()) {
            let retry_after = self.wait(answer.headers());
            return Err(Problem::RateLimited { retry_after });
        }
        if status.is_server_error() {
            let status = Some(status.as_u16());
            return Err(Problem::Down { status });
        }
        Ok(answer)
    }

    /// The JSON at `url`, which the owner of `token` may read.
    pub(super) async fn get(
        &self,
        step: Step,
        url: &Url,
        token: &Secret,
    ) -> Result<Value, Problem> {
        let bearer = sensitive(&format!("Bearer {}", token.expose()))?;
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, bearer)
            .body(Bytes::new());
        // An address of the configuration that is a URL and no URI.
        let request = request.map_err(|_| FetchError::BadUrl)?;
        json(step, &self.send(step, request).await?)
    }

    /// How long an answer that limits the rate asks to wait.
    fn wait(&self, headers: &HeaderMap) -> Option<Duration> {
        let seconds = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            text.trim().parse().ok().map(Duration::from_secs)
        };
        let now = Duration::from_secs(self.now.as_secs());
        let until = |name: &str| Some(seconds(name)?.saturating_sub(now));
        seconds("retry-after")
            .or_else(|| until("x-ratelimit-reset"))
            .or_else(|| until("ratelimit-reset"))
    }
}

/// GitHub answers 403 or 429, GitLab 429. A 403 without these headers is about rights.
fn is_rate_limited(status: StatusCode, headers: &HeaderMap) -> bool {
    let used_up = headers
        .get("x-ratelimit-remaining")
        .is_some_and(|n| n == "0");
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN && (used_up || headers.contains_key(header::RETRY_AFTER))
}

/// A header that no log prints. A token with characters that no header has is no token.
pub(super) fn sensitive(value: &str) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::from_str(value).map_err(|_| Problem::InvalidToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of an answer that says that all is well.
pub(super) fn json(step: Step, answer: &Response<Bytes>) -> Result<Value, Problem> {
    match answer.status() {
        StatusCode::OK => {
            let parsed = serde_json::from_slice(answer.body());
            parsed.map_err(|_| Problem::Malformed { step })
        }
        StatusCode::UNAUTHORIZED => Err(Problem::InvalidToken),
        status => Err(Problem::UnexpectedStatus {
            step,
            status: status.as_u16(),
        }),
    }
}

/// A field that has to be there: a short text without control characters.
pub(super) fn text(step: Step, of: &Value, field: &'static str) -> Result<String, Problem> {
    optional_text(of, field).ok_or(Problem::Missing { step, field })
}

/// A field that may be absent, null or empty.
pub(super) fn optional_text(of: &Value, field: &str) -> Option<String> {
    let text = of.get(field)?.as_str()?.trim();
    let fits = !text.is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

/// The id of a user, which is a number at both providers.
pub(super) fn id(step: Step, of: &Value, field: &'static str) -> Result<String, Problem> {
    let number = of.get(field).and_then(Value::as_u64);
    let number = number.ok_or(Problem::Missing { step, field })?;
    Ok(number.to_string())
}

/// A picture, if its address is one that may stand in a page.
pub(super) fn picture(of: &Value, field: &str) -> Option<String> {
    let text = of.get(field)?.as_str()?;
    let url = Url::parse(text).ok()?;
    let fits = matches!(url.scheme(), "https" | "http") && text.len() <= MAX_URL;
    fits.then(|| url.into())
}
