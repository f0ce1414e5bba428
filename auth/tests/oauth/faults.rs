//! What goes wrong at a provider becomes an error that says what to do.

use std::time::Duration;

use auth::Secret;
use auth::fetch::FetchError;
use auth::oauth::{Kind, LoginError, Logins, Problem, Step};
use serde_json::{Value, json};

use crate::stand_in::{BOTH, Ground, StandIn, gateway, gateway_with, press, sign_in};

/// What the provider did not do.
async fn problem_of(logins: &Logins, kind: Kind, pressed: &str) -> Problem {
    match sign_in(logins, kind, pressed).await {
        Err(LoginError::Provider { provider, problem }) => {
            assert_eq!(provider, kind);
            problem
        }
        other => panic!("{kind}: {other:?}"),
    }
}

/// What both providers make of a fault alike.
fn alike() -> Vec<(Value, Problem)> {
    let down = |status| Problem::Down {
        status: Some(status),
    };
    let odd = |step, status| Problem::UnexpectedStatus { step, status };
    let broken = |step| Problem::Malformed { step };
    vec![
        (json!({"token": "500"}), down(500)),
        (json!({"token": "502"}), down(502)),
        (json!({"token": "503"}), down(503)),
        (json!({"user": "500"}), down(500)),
        (json!({"token": "garbage"}), broken(Step::Token)),
        (json!({"token": "html"}), broken(Step::Token)),
        (json!({"token": "empty"}), broken(Step::Token)),
        (json!({"token": "400"}), broken(Step::Token)),
        (json!({"user": "garbage"}), broken(Step::User)),
        (json!({"user": "html"}), broken(Step::User)),
        (json!({"user": "404"}), odd(Step::User, 404)),
        (json!({"token": "redirect"}), odd(Step::Token, 302)),
        (json!({"user": "redirect"}), odd(Step::User, 302)),
        (json!({"user": "401"}), Problem::InvalidToken),
        (json!({"authorize": "access_denied"}), Problem::AccessDenied),
        (
            json!({"authorize": "application_suspended"}),
            Problem::Suspended,
        ),
        (
            json!({"authorize": "redirect_uri_mismatch"}),
            Problem::RedirectMismatch,
        ),
        (
            json!({"authorize": "temporarily_unavailable"}),
            Problem::Down { status: None },
        ),
        (
            json!({"authorize": "invalid_scope"}),
            Problem::Refused {
                step: Step::Authorize,
                code: "invalid_scope".to_owned(),
            },
        ),
        (
            json!({"authorize": "<script>alert(1)</script>"}),
            Problem::Refused {
                step: Step::Authorize,
                code: "an unknown error".to_owned(),
            },
        ),
        (json!({"token": "bad_verification_code"}), Problem::BadCode),
        (json!({"token": "invalid_grant"}), Problem::BadCode),
        (
            json!({"token": "incorrect_client_credentials"}),
            Problem::ClientRefused,
        ),
        (json!({"token": "invalid_client"}), Problem::ClientRefused),
        (
            json!({"token": "redirect_uri_mismatch"}),
            Problem::RedirectMismatch,
        ),
        (
            json!({"token": "unverified_user_email"}),
            Problem::UnverifiedEmail,
        ),
        (
            json!({"token": "unsupported_grant_type"}),
            Problem::Refused {
                step: Step::Token,
                code: "unsupported_grant_type".to_owned(),
            },
        ),
    ]
}

#[tokio::test]
async fn each_fault_of_a_provider_has_its_error() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        for (fault, expected) in alike() {
            stand_in.break_steps(&fault).await;
            let problem = problem_of(&logins, kind, "alice").await;
            assert_eq!(problem, expected, "{kind}: {fault}");
        }
        stand_in.break_steps(&json!({})).await;
        sign_in(&logins, kind, "alice").await.unwrap();
    }
    let asked = stand_in.get("/_requests").await;
    assert!(
        !asked.iter().any(|line| line.contains("/_elsewhere")),
        "a redirect was followed"
    );
}

#[tokio::test]
async fn a_field_that_is_missing_is_named() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    stand_in.break_steps(&json!({"user": "empty"})).await;
    let missing = Problem::Missing {
        step: Step::User,
        field: "id",
    };
    assert_eq!(problem_of(&logins, Kind::GitHub, "alice").await, missing);
    assert_eq!(
        problem_of(&logins, Kind::GitLab, "alice").await,
        Problem::Inactive
    );
    stand_in.break_steps(&json!({"emails": "empty"})).await;
    let malformed = Problem::Malformed { step: Step::Emails };
    assert_eq!(problem_of(&logins, Kind::GitHub, "alice").await, malformed);
}

#[tokio::test]
async fn addresses_that_may_not_be_read_are_none() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for fault in ["403", "404"] {
        stand_in.break_steps(&json!({ "emails": fault })).await;
        let done = sign_in(&logins, Kind::GitHub, "alice").await.unwrap();
        assert_eq!(done.identity.email, None);
    }
}

#[tokio::test]
async fn a_limit_says_when_to_come_again() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        for step in ["token", "user"] {
            stand_in.break_steps(&json!({ step: "rate_limited" })).await;
            let error = sign_in(&logins, kind, "alice").await.unwrap_err();
            let wait = error.retry_after().expect("a time to wait").as_secs();
            // The gateway's clock stands still, the stand-in's does not.
            assert!((60..=90).contains(&wait), "{kind}, {step}: {wait} s");
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_or_never_ends_is_cut() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        for step in ["token", "user"] {
            stand_in.break_steps(&json!({ step: "huge" })).await;
            let problem = problem_of(&logins, kind, "alice").await;
            let host = "127.0.0.1".to_owned();
            let cut = FetchError::TooLarge {
                host,
                limit: 1024 * 1024,
            };
            assert_eq!(problem, Problem::Unreachable(cut), "{kind}, {step}");

            stand_in.break_steps(&json!({ step: "closed" })).await;
            let problem = problem_of(&logins, kind, "alice").await;
            assert!(
                matches!(problem, Problem::Unreachable(FetchError::Broken { .. })),
                "{kind}, {step}: {problem:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_provider_that_is_silent_is_given_up() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let begun = logins.begin(kind, None, None).unwrap();
        let callback = press(&begun, "alice").await;
        stand_in.break_steps(&json!({"token": "timeout"})).await;
        let cookie = begun.browser.cookie();
        // Nothing else is under way, so the paused clock runs to the timeout.
        tokio::time::pause();
        let error = logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap_err();
        tokio::time::resume();
        assert!(
            matches!(
                &error,
                LoginError::Provider {
                    problem: Problem::Unreachable(FetchError::Timeout { .. }),
                    ..
                }
            ),
            "{kind}: {error:?}"
        );
        stand_in.break_steps(&json!({})).await;
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_named() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let begun = logins.begin(Kind::GitHub, None, None).unwrap();
    let callback = press(&begun, "alice").await;
    drop(stand_in);
    let cookie = begun.browser.cookie();
    let error = logins
        .complete(Kind::GitHub, &callback, Some(&cookie))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("GitHub: cannot connect to 127.0.0.1"),
        "{error}"
    );
}

#[tokio::test]
async fn a_person_who_refuses_is_told_so() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        assert_eq!(
            problem_of(&logins, kind, "deny").await,
            Problem::AccessDenied
        );
    }
}

#[tokio::test]
async fn somebody_blocked_at_gitlab_does_not_sign_in() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    assert_eq!(
        problem_of(&logins, Kind::GitLab, "blocked").await,
        Problem::Inactive
    );
}

#[tokio::test]
async fn a_code_that_is_too_old_is_refused() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let begun = logins.begin(kind, None, None).unwrap();
        let callback = press(&begun, "alice").await;
        stand_in.post("/_expire", &json!({})).await;
        let cookie = begun.browser.cookie();
        let error = logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap_err();
        assert!(
            matches!(
                &error,
                LoginError::Provider {
                    problem: Problem::BadCode,
                    ..
                }
            ),
            "{kind}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_secret_is_told_from_a_wrong_code() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway_with(&stand_in, &ground, |config| {
        config.client_secret = Secret::new("wrong");
    });
    for kind in BOTH {
        assert_eq!(
            problem_of(&logins, kind, "alice").await,
            Problem::ClientRefused
        );
    }
}

/// GitHub sends the browser to the callback that is registered, not to the one it was asked for.
#[tokio::test]
async fn a_callback_that_is_not_registered_is_explained() {
    let stand_in = StandIn::with(&["--callback", "https://gw.example.com/other"]);
    let logins = gateway(&stand_in, &Ground::new());
    let problem = problem_of(&logins, Kind::GitHub, "alice").await;
    assert_eq!(problem, Problem::RedirectMismatch);
}

#[tokio::test]
async fn more_at_once_than_there_is_room_for_are_turned_away() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = std::sync::Arc::new(gateway(&stand_in, &ground));
    let token = stand_in
        .token(Kind::GitLab, "alice", "stand-in-client")
        .await;
    stand_in.break_steps(&json!({"audience": "timeout"})).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (logins, token) = (std::sync::Arc::clone(&logins), token.clone());
        waiting.spawn(async move { logins.exchange(Kind::GitLab, &token).await });
    }
    while stand_in.get("/_requests").await.len() < 32 {}
    let turned_away = logins.exchange(Kind::GitLab, &token).await;
    assert!(
        matches!(turned_away, Err(LoginError::Busy)),
        "{turned_away:?}"
    );
    // Whoever goes away makes room.
    waiting.shutdown().await;
    stand_in.break_steps(&json!({})).await;
    tokio::time::timeout(
        Duration::from_secs(10),
        logins.exchange(Kind::GitLab, &token),
    )
    .await
    .unwrap()
    .unwrap();
}
