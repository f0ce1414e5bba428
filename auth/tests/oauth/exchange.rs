//! Programs that bring a token of the provider.

use auth::Secret;
use auth::oauth::{Kind, LoginError, Problem};
use serde_json::json;

use crate::stand_in::{BOTH, CLIENT_ID, Ground, StandIn, gateway, gateway_with};

fn problem(error: LoginError) -> Problem {
    match error {
        LoginError::Provider { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_of_this_application_says_who_its_owner_is() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let token = stand_in.token(kind, "alice", CLIENT_ID).await;
        let identity = logins.exchange(kind, &token).await.unwrap();
        assert_eq!(
            (identity.provider, identity.login.as_str()),
            (kind, "alice")
        );
        assert_eq!(identity.email.as_deref(), Some("alice@example.com"));
    }
}

#[tokio::test]
async fn a_token_of_another_application_is_refused() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let token = stand_in.token(kind, "alice", "another-application").await;
        let error = logins.exchange(kind, &token).await.unwrap_err();
        assert_eq!(problem(error), Problem::OtherApplication, "{kind}");
    }
    let asked = stand_in.get("/_requests").await;
    assert!(
        !asked.iter().any(|line| line.ends_with("/user")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let long = "a".repeat(20_000);
    for text in ["", "gho_unknown", "a b", "a\r\nx: y", "\u{e4}", "\0", &long] {
        for kind in BOTH {
            let refused = logins.exchange(kind, &Secret::new(text)).await;
            assert!(refused.is_err(), "{kind}: {text:?}");
        }
    }
    let of_gitlab = stand_in.token(Kind::GitLab, "alice", CLIENT_ID).await;
    let error = logins.exchange(Kind::GitHub, &of_gitlab).await.unwrap_err();
    assert_eq!(problem(error), Problem::OtherApplication);
    let of_github = stand_in.token(Kind::GitHub, "alice", CLIENT_ID).await;
    let error = logins.exchange(Kind::GitLab, &of_github).await.unwrap_err();
    assert_eq!(problem(error), Problem::InvalidToken);
}

#[tokio::test]
async fn a_check_that_fails_lets_nobody_in() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let token = stand_in.token(kind, "alice", CLIENT_ID).await;
        for fault in [
            "500",
            "404",
            "empty",
            "garbage",
            "html",
            "redirect",
            "rate_limited",
            "closed",
        ] {
            stand_in.break_steps(&json!({ "audience": fault })).await;
            let refused = logins.exchange(kind, &token).await;
            assert!(refused.is_err(), "{kind}: {fault}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_secret_of_the_gateway_is_not_the_tokens_fault() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway_with(&stand_in, &ground, |config| {
        config.client_secret = Secret::new("wrong");
    });
    let token = stand_in.token(Kind::GitHub, "alice", CLIENT_ID).await;
    let error = logins.exchange(Kind::GitHub, &token).await.unwrap_err();
    assert_eq!(problem(error), Problem::ClientRefused);
}
