//! What can be made to go wrong, step by step: `authorize`, `token`, `audience`, `user`, `emails`.
//!
//! | fault | what happens |
//! |---|---|
//! | three digits | that status and a page |
//! | `timeout` | no answer, ever |
//! | `closed` | the connection ends without an answer |
//! | `garbage` | 200 and JSON that breaks off in the middle of a token |
//! | `html` | 200 and a page, as a captive portal has |
//! | `empty` | 200 and `{}` |
//! | `huge` | 200 and 2 MiB |
//! | `redirect` | 302 to `/_elsewhere` |
//! | `rate_limited` | GitHub: 403 and nothing remaining for 60 s; GitLab: 429 and `Retry-After: 60` |
//! | anything else | an error with that code, as the provider forms it at this step |

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::Step;
use super::answer::{self, Answer};
use super::ledger::Brand;

/// How long the limit of `rate_limited` lasts, in seconds.
const LIMITED_FOR: u64 = 60;

/// The faults that are switched on.
#[derive(Default)]
pub(crate) struct Faults(Vec<(Step, Fault)>);

impl Faults {
    pub(crate) fn read(body: &Value) -> Option<Self> {
        let faults = body.as_object()?.iter().map(|(step, fault)| {
            let step = match step.as_str() {
                "authorize" => Step::Authorize,
                "token" => Step::Token,
                "audience" => Step::Audience,
                "user" => Step::User,
                "emails" => Step::Emails,
                _ => return None,
            };
            Some((step, Fault::read(fault.as_str()?)))
        });
        faults.collect::<Option<_>>().map(Self)
    }

    pub(crate) fn of(&self, step: Step) -> Option<Fault> {
        let mut faults = self.0.iter();
        let (_, fault) = faults.find(|(broken, _)| *broken == step)?;
        Some(fault.clone())
    }
}

#[derive(Clone)]
pub(crate) enum Fault {
    Silence,
    HangUp,
    Answer(Broken),
    /// An OAuth error code.
    Code(String),
}

impl Fault {
    fn read(name: &str) -> Self {
        Self::Answer(match name {
            "timeout" => return Self::Silence,
            "closed" => return Self::HangUp,
            "garbage" => Broken::Garbage,
            "html" => Broken::Html,
            "empty" => Broken::Empty,
            "huge" => Broken::Huge,
            "redirect" => Broken::Redirect,
            "rate_limited" => Broken::RateLimited,
            other => match other.parse() {
                Ok(status) => Broken::Status(status),
                Err(_) => return Self::Code(other.to_owned()),
            },
        })
    }
}

/// An answer that is wrong at every step alike.
#[derive(Clone, Copy)]
pub(crate) enum Broken {
    Status(StatusCode),
    Garbage,
    Html,
    Empty,
    Huge,
    Redirect,
    RateLimited,
}

impl Broken {
    pub(crate) fn answer(self, brand: Brand) -> Answer {
        match self {
            Self::Status(status) => answer::html(status, format!("<h1>{status}</h1>")),
            Self::Garbage => {
                let mut broken = answer::json(StatusCode::OK, &Value::Null);
                *broken.body_mut() = r#"{"access_token":"gho_brokenoff"#.into();
                broken
            }
            Self::Html => answer::html(StatusCode::OK, "<h1>Welcome</h1>".to_owned()),
            Self::Empty => answer::json(StatusCode::OK, &json!({})),
            Self::Huge => answer::json(StatusCode::OK, &json!("x".repeat(2 * 1024 * 1024))),
            Self::Redirect => {
                let mut moved = answer::html(StatusCode::FOUND, String::new());
                let elsewhere = HeaderValue::from_static("/_elsewhere");
                moved.headers_mut().insert(header::LOCATION, elsewhere);
                moved
            }
            Self::RateLimited => limited(brand),
        }
    }
}

fn limited(brand: Brand) -> Answer {
    match brand {
        Brand::GitHub => {
            let body = json!({
                "message": "API rate limit exceeded",
                "documentation_url": "https://docs.github.com/rest",
            });
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let reset = now.unwrap_or_default().as_secs() + LIMITED_FOR;
            let mut answer = answer::json(StatusCode::FORBIDDEN, &body);
            let headers = answer.headers_mut();
            headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
            headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
            answer
        }
        Brand::GitLab => {
            let body = json!({ "message": "This endpoint has been requested too many times." });
            let mut answer = answer::json(StatusCode::TOO_MANY_REQUESTS, &body);
            let wait = HeaderValue::from(LIMITED_FOR);
            answer.headers_mut().insert(header::RETRY_AFTER, wait);
            answer
        }
    }
}
