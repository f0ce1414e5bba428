//! What can go wrong with a sign-in, for a page to explain and for a log.
//!
//! `Display` is for the log and the operator, [`LoginError::for_visitor`] for the person in front of
//! the page. Neither holds a code, a token, a state, a secret or text of the provider's.

use std::fmt;
use std::time::Duration;

use super::{Kind, StateError};
use crate::fetch::FetchError;
use crate::redirect::Refused;
use crate::seal::SealError;
use crate::store::StoreError;

/// Why nobody was signed in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoginError {
    #[error("sign-in with {0} is not configured")]
    NotConfigured(Kind),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    ReturnTo(#[from] Refused),
    #[error("{provider}: {problem}")]
    Provider { provider: Kind, problem: Problem },
    #[error("too many sign-ins at once")]
    Busy,
    #[error("a used sign-in could not be written down: {0}")]
    Store(#[from] StoreError),
    #[error("a sign-in cannot begin: {0}")]
    Seal(#[from] SealError),
    #[error("the system gave no random bytes to begin a sign-in with")]
    NoRandom,
}

impl LoginError {
    /// What to tell the person who wanted to sign in.
    pub fn for_visitor(&self) -> &'static str {
        match self {
            Self::NotConfigured(_) => "This way to sign in is not set up here.",
            Self::State(StateError::Expired) => "That took too long. Please sign in again.",
            Self::State(StateError::Replayed) => {
                "This sign-in was used already. Please sign in again."
            }
            Self::State(StateError::OtherBrowser) => {
                "This sign-in began in another browser, or cookies are off. Please sign in again."
            }
            Self::State(StateError::Missing | StateError::Invalid) => {
                "This sign-in is not valid. Please sign in again."
            }
            Self::ReturnTo(_) => "The link you followed leads to a place that is not allowed.",
            Self::Provider { problem, .. } => problem.for_visitor(),
            Self::Busy => "Many people are signing in right now. Please try again in a minute.",
            Self::Store(_) | Self::Seal(_) | Self::NoRandom => {
                "Signing in does not work right now. Please try again later."
            }
        }
    }

    /// When it makes sense to try again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider {
                problem: Problem::RateLimited { retry_after },
                ..
            } => *retry_after,
            _ => None,
        }
    }
}

/// Which of the provider's answers it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The page where a person agrees.
    Authorize,
    /// The code against a token.
    Token,
    /// Which application a token was given to.
    Audience,
    /// Who the user is.
    User,
    /// The user's addresses.
    Emails,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorize => "authorization",
            Self::Token => "token",
            Self::Audience => "token check",
            Self::User => "user",
            Self::Emails => "e-mail",
        })
    }
}

/// What a provider did not do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("the person refused to let this application know who they are")]
    AccessDenied,
    #[error("the application is suspended at the provider; ask its support")]
    Suspended,
    #[error(
        "the provider does not take the code: it is wrong, expired, used, or was given for another redirect address"
    )]
    BadCode,
    #[error(
        "the provider does not take client_id and client_secret; compare them and base_url with the application's settings there"
    )]
    ClientRefused,
    #[error(
        "the callback address is not the one registered at the provider; register the gateway's own origin and /auth/…/callback"
    )]
    RedirectMismatch,
    #[error("the person has not verified their e-mail address at the provider")]
    UnverifiedEmail,
    #[error("the person's account at the provider is not active")]
    Inactive,
    #[error("the provider does not know the token: it is wrong, expired or was revoked")]
    InvalidToken,
    #[error("the token was given to another application than this gateway's, or to none")]
    OtherApplication,
    #[error("the provider limits the rate of this gateway's requests{}", Wait(*.retry_after))]
    RateLimited { retry_after: Option<Duration> },
    #[error("the provider is not working right now{}", Status(*.status))]
    Down { status: Option<u16> },
    #[error("the provider's {step} answer has the unexpected status {status}; is base_url right?")]
    UnexpectedStatus { step: Step, status: u16 },
    #[error("the provider's {step} answer is not the JSON it should be; is base_url right?")]
    Malformed { step: Step },
    #[error("the provider's {step} answer lacks a usable '{field}'")]
    Missing { step: Step, field: &'static str },
    #[error("the provider refused at the {step} step: {code}")]
    Refused { step: Step, code: String },
    #[error(transparent)]
    Unreachable(#[from] FetchError),
}

impl Problem {
    /// What an OAuth error code says: those of RFC 6749 §4.1.2.1 and §5.2, and GitHub's own.
    pub(super) fn of_code(step: Step, code: &str) -> Self {
        match code {
            "access_denied" => Self::AccessDenied,
            "application_suspended" => Self::Suspended,
            "bad_verification_code" | "invalid_grant" => Self::BadCode,
            // GitHub says the last one of a client_id it never gave out.
            "incorrect_client_credentials"
            | "invalid_client"
            | "unauthorized_client"
            | "Not Found" => Self::ClientRefused,
            "redirect_uri_mismatch" | "invalid_redirect_uri" => Self::RedirectMismatch,
            "unverified_user_email" => Self::UnverifiedEmail,
            "slow_down" => Self::RateLimited { retry_after: None },
            "server_error" | "temporarily_unavailable" => Self::Down { status: None },
            other => Self::Refused {
                step,
                code: printable(other),
            },
        }
    }

    fn for_visitor(&self) -> &'static str {
        match self {
            Self::AccessDenied => "You did not allow the sign-in, so you are not signed in.",
            Self::BadCode => "The provider did not confirm this sign-in. Please sign in again.",
            Self::UnverifiedEmail => {
                "Please verify your e-mail address at the provider, then sign in again."
            }
            Self::Inactive => "Your account at the provider is not active.",
            Self::InvalidToken => "The provider does not know this token.",
            Self::OtherApplication => "This token was not made for this gateway.",
            Self::RateLimited { .. } => {
                "The provider asks to wait before more people sign in. Please try again later."
            }
            Self::Down { .. } | Self::Unreachable(_) => {
                "The provider cannot be reached right now. Please try again in a minute."
            }
            Self::Suspended
            | Self::ClientRefused
            | Self::RedirectMismatch
            | Self::UnexpectedStatus { .. }
            | Self::Malformed { .. }
            | Self::Missing { .. }
            | Self::Refused { .. } => {
                "Signing in with this provider is not set up right. Please tell the operator."
            }
        }
    }
}

/// A code as the RFC forms it; anything else is text that somebody put there.
fn printable(code: &str) -> String {
    let formed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !code.is_empty() && code.len() <= 40 && code.bytes().all(formed) {
        code.to_owned()
    } else {
        "an unknown error".to_owned()
    }
}

struct Wait(Option<Duration>);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(wait) => write!(f, "; the next may be in {} s", wait.as_secs()),
            None => Ok(()),
        }
    }
}

struct Status(Option<u16>);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => write!(f, " (status {status})"),
            None => Ok(()),
        }
    }
}

/// Why a provider's settings cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    #[error("{0}: client_id is empty; copy it from the application's page at the provider")]
    ClientId(Kind),
    #[error("{0}: client_secret is empty; make one on the application's page at the provider")]
    ClientSecret(Kind),
    #[error(
        "{0}: base_url is https://, a host, and maybe a port and a path, without user, query or fragment"
    )]
    BaseUrl(Kind),
    #[error(
        "{0}: base_url is plain http, where everyone on the way reads the client secret; use https"
    )]
    PlainHttp(Kind),
    #[error("{0}: the gateway's origin makes no callback address")]
    Origin(Kind),
}
