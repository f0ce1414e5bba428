//! Whatever goes wrong at the provider, a person reads what to do next.

use serde_json::json;

use super::{Browser, start};

/// What was broken, at which step, and the status of the page.
const FAULTS: &[(&str, &str, u16)] = &[
    ("authorize", "access_denied", 403),
    ("authorize", "application_suspended", 502),
    ("authorize", "redirect_uri_mismatch", 502),
    ("authorize", "temporarily_unavailable", 502),
    ("authorize", "made_up_code", 502),
    ("token", "closed", 502),
    ("token", "garbage", 502),
    ("token", "html", 502),
    ("token", "empty", 502),
    ("token", "huge", 502),
    ("token", "redirect", 502),
    ("token", "500", 502),
    ("token", "503", 502),
    ("token", "rate_limited", 503),
    ("token", "bad_verification_code", 400),
    ("token", "invalid_client", 502),
    ("user", "closed", 502),
    ("user", "garbage", 502),
    ("user", "html", 502),
    ("user", "huge", 502),
    ("user", "redirect", 502),
    ("user", "500", 502),
    ("user", "rate_limited", 503),
];

#[tokio::test]
async fn every_failure_of_a_provider_is_a_page_with_a_way_on() {
    let (stand_in, gateway) = start().await;
    for provider in ["github", "gitlab"] {
        for (step, fault, status) in FAULTS {
            let mut browser = Browser::new(&gateway).await;
            stand_in.break_steps(&json!({ *step: *fault })).await;
            let page = browser.sign_in(&stand_in, provider, "alice").await;
            let case = format!("{provider} {step} {fault}: {}", page.text);
            assert_eq!(page.status, *status, "{case}");
            assert!(!page.has_session(), "{case}");
            assert!(page.text.contains("<h1>"), "{case}");
            assert!(
                page.text.contains("href=\"/auth/login\">Try again"),
                "{case}"
            );
            // Nothing of the provider's own words, and nothing only programs understand.
            for raw in [
                *fault,
                "Refused, as asked",
                "expected",
                "JSON",
                "http://127",
            ] {
                let known = raw == "closed" || raw.len() < 5;
                assert!(known || !page.text.contains(raw), "{raw} in {case}");
            }
            let waits = page.header("retry-after").is_some();
            assert!(*fault != "rate_limited" || waits, "{case}");
        }
    }
    stand_in.break_steps(&json!({})).await;
    let mut browser = Browser::new(&gateway).await;
    assert!(
        browser
            .sign_in(&stand_in, "github", "alice")
            .await
            .has_session()
    );
}

#[tokio::test]
async fn who_refuses_at_the_provider_can_try_again() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    let page = browser.sign_in(&stand_in, "github", "deny").await;
    assert_eq!(page.status, 403);
    assert!(
        page.text.contains("You did not allow the sign-in"),
        "{}",
        page.text
    );
    assert!(
        browser
            .sign_in(&stand_in, "github", "alice")
            .await
            .has_session()
    );
}

#[tokio::test]
async fn a_blocked_account_is_told_so() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    let page = browser.sign_in(&stand_in, "gitlab", "blocked").await;
    assert_eq!(page.status, 403);
    assert!(page.text.contains("is not active"), "{}", page.text);
}

#[tokio::test]
async fn a_user_without_anything_is_nobody() {
    let (stand_in, gateway) = start().await;
    stand_in.break_steps(&json!({ "user": "empty" })).await;
    // GitLab's users say that they are active, or are not.
    for (provider, status) in [("github", 502), ("gitlab", 403)] {
        let mut browser = Browser::new(&gateway).await;
        let page = browser.sign_in(&stand_in, provider, "alice").await;
        assert_eq!(
            (page.status, page.has_session()),
            (status, false),
            "{}",
            page.text
        );
    }
}
