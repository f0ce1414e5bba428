//! What went wrong, as a page that says what to do next. Nothing of a provider's own words, and
//! nothing a person cannot use: details are in the log.

use std::time::Duration;

use auth::{
    identity::IdentityError,
    oauth::{LoginError, Problem as ProviderProblem, StateError},
};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::{
    guard,
    pages::{Message, Way},
};

const TRY_AGAIN: Way<'_> = Way {
    text: "Try again",
    href: "/auth/login",
};
const SIGN_IN: Way<'_> = Way {
    text: "Go to sign-in",
    href: "/auth/login",
};
const HOME: Way<'_> = Way {
    text: "Go to the first page",
    href: "/",
};

/// How long to wait where nobody says how long.
const A_MINUTE: Duration = Duration::from_secs(60);

/// The page for a sign-in at a provider that did not succeed.
pub(super) fn of_login(error: &LoginError) -> Response {
    let (status, heading, advice) = login(error);
    log(status, error);
    let wait = match error {
        LoginError::Busy => Some(A_MINUTE),
        _ => error.retry_after(),
    };
    let message = Message {
        status,
        heading,
        explanation: error.for_visitor(),
        advice,
        ways: &[TRY_AGAIN, HOME],
    };
    answer(&message, wait)
}

fn login(error: &LoginError) -> (StatusCode, &'static str, Option<&'static str>) {
    use ProviderProblem as P;
    match error {
        LoginError::NotConfigured(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Not set up",
            Some("The sign-in page shows the ways there are."),
        ),
        LoginError::State(StateError::OtherBrowser) => (
            StatusCode::BAD_REQUEST,
            "Please sign in again",
            Some(
                "Begin and end in one browser, and allow this site its cookies. If you did not \
                 begin a sign-in yourself, somebody else's link led you here: just leave.",
            ),
        ),
        LoginError::State(_) => (StatusCode::BAD_REQUEST, "Please sign in again", None),
        LoginError::ReturnTo(_) => (
            StatusCode::BAD_REQUEST,
            "This link leads elsewhere",
            Some(
                "You can sign in all the same and go on from the first page. If you run the \
                 application that linked here, add its address to redirects under [auth].",
            ),
        ),
        LoginError::Provider { problem, .. } => match problem {
            P::AccessDenied => (
                StatusCode::FORBIDDEN,
                "Not signed in",
                Some("Nothing was changed. You can try again, or choose another way to sign in."),
            ),
            P::BadCode | P::InvalidToken | P::OtherApplication => {
                (StatusCode::BAD_REQUEST, "Please sign in again", None)
            }
            P::UnverifiedEmail | P::Inactive => (
                StatusCode::FORBIDDEN,
                "Your account cannot be used here",
                None,
            ),
            P::RateLimited { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Please wait", None),
            P::Down { .. } | P::Unreachable(_) => (
                StatusCode::BAD_GATEWAY,
                "The provider does not answer",
                Some("If it lasts, its status page may say more."),
            ),
            P::Suspended
            | P::ClientRefused
            | P::RedirectMismatch
            | P::UnexpectedStatus { .. }
            | P::Malformed { .. }
            | P::Missing { .. }
            | P::Refused { .. } => (
                StatusCode::BAD_GATEWAY,
                "Sign-in is not working",
                Some("What exactly is wrong stands in the gateway's log."),
            ),
        },
        LoginError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Please wait", None),
        LoginError::Store(_) | LoginError::Seal(_) | LoginError::NoRandom => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Sign-in is not working",
            None,
        ),
    }
}

/// The page for what identity did not do.
pub(super) fn of_identity(error: &IdentityError) -> Response {
    if let IdentityError::TooMany { retry_after } = error {
        return too_many(*retry_after);
    }
    let (status, heading, explanation, advice) = match error {
        IdentityError::Disabled => (
            StatusCode::FORBIDDEN,
            "Your account is disabled",
            "You are not signed in.",
            Some("An administrator of this gateway can enable the account again."),
        ),
        IdentityError::SetupClosed => (
            StatusCode::GONE,
            "This link is no longer good",
            "A set-up link works once, and only as long as there is no administrator.",
            Some(
                "If nobody has set this gateway up, start it again: it prints the link that is good.",
            ),
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Sign-in is not working",
            "Signing in does not work right now. Please try again later.",
            None,
        ),
    };
    log(status, error);
    let message = Message {
        status,
        heading,
        explanation,
        advice,
        ways: &[SIGN_IN, HOME],
    };
    answer(&message, None)
}

/// The page for a form that was not sent from where it should be.
pub(in crate::api) fn forged(retry: &str) -> Response {
    let message = Message {
        status: StatusCode::FORBIDDEN,
        heading: "Please send that again",
        explanation: "This form did not come from its own page, or lay open for too long, so \
                      nothing was done.",
        advice: Some("Open the page again, and allow this site its cookies."),
        ways: &[Way {
            text: "Open the page again",
            href: retry,
        }],
    };
    answer(&message, None)
}

/// The page for what the gateway does not do for other sites any more.
pub(super) fn handing_out_is_gone() -> Response {
    let message = Message {
        status: StatusCode::GONE,
        heading: "This is no longer possible",
        explanation: "An application asked this gateway to hand it your access. The gateway does \
                      not put keys into addresses any more, so nothing was handed over.",
        advice: Some(
            "Sign in here, make an API key, and give it to the application yourself if you trust it.",
        ),
        ways: &[SIGN_IN, HOME],
    };
    answer(&message, None)
}

/// The page for a system without random bytes.
pub(super) fn no_random(error: &guard::NoRandom) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    log(status, error);
    let message = Message {
        status,
        heading: "Sign-in is not working",
        explanation: "Signing in does not work right now. Please try again later.",
        advice: None,
        ways: &[HOME],
    };
    answer(&message, None)
}

pub(super) fn too_many(wait: Duration) -> Response {
    let explanation = format!(
        "There were too many attempts to sign in. Please try again in {}.",
        in_words(wait)
    );
    let message = Message {
        status: StatusCode::TOO_MANY_REQUESTS,
        heading: "Please wait",
        explanation: &explanation,
        advice: None,
        ways: &[SIGN_IN],
    };
    answer(&message, Some(wait))
}

/// Rounded up, so that waiting for it is enough.
fn in_words(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    match (seconds, seconds.div_ceil(60)) {
        (1, _) => "a second".to_owned(),
        (2..=90, _) => format!("{seconds} seconds"),
        (_, minutes) => format!("{minutes} minutes"),
    }
}

fn answer(message: &Message<'_>, wait: Option<Duration>) -> Response {
    let mut response = message.page().into_response();
    if let Some(wait) = wait {
        // Whole seconds, rounded up (RFC 9110 §10.2.3).
        let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, seconds.max(1).into());
    }
    response
}

/// What somebody has to look at is a warning; what people do is not.
fn log(status: StatusCode, error: &dyn std::error::Error) {
    if status.is_server_error() {
        tracing::warn!(%error, "nobody was signed in");
    } else {
        tracing::info!(%error, "nobody was signed in");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_said_in_words_that_are_never_too_short() {
        for (millis, words) in [
            (0, "a second"),
            (1000, "a second"),
            (1001, "2 seconds"),
            (90_000, "90 seconds"),
            (90_001, "2 minutes"),
            (299_000, "5 minutes"),
            (300_001, "6 minutes"),
        ] {
            assert_eq!(in_words(Duration::from_millis(millis)), words);
        }
    }

    #[test]
    fn too_many_attempts_say_when_to_come_back() {
        let wait = Duration::from_millis(61_500);
        let response = of_identity(&IdentityError::TooMany { retry_after: wait });
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "62");
    }
}
