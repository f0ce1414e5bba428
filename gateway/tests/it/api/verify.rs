//! What services ask about their own callers, and callers of before there were keys.

use serde_json::json;

use super::{Answer, Scene, Who, scene::toml};

const PATH: &str = "/api/auth/verify";
const HITS: &str = "portunus_legacy_auth_hits_total";

async fn with_body(scene: &Scene, who: Who<'_>) -> Answer {
    let body = json!({ "user_id": "u1" });
    scene.call(who, "POST", PATH, Some(body)).await
}

#[track_caller]
fn refused(answer: &Answer, error: &str) {
    let expected = format!(r#"{{"error":"{error}"}}"#);
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (401, expected.as_str())
    );
    assert_eq!(answer.header("deprecation"), None);
}

#[tokio::test]
async fn a_good_key_or_session_says_who_it_is() {
    let scene = Scene::new().await;
    for who in [Who::Key(&scene.alice.key), Who::Browser(&scene.alice)] {
        let answer = scene.get(who, PATH).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let id = scene.alice.id.to_string();
        assert_eq!(answer.json["user_id"], id.as_str());
        assert_eq!(answer.header("x-portunus-user-id"), Some(id.as_str()));
        assert_eq!(answer.header("x-portunus-user"), Some("alice"));
        assert_eq!(answer.header("x-portunus-role"), Some("user"));
    }
}

#[tokio::test]
async fn without_the_shim_a_body_says_nothing() {
    let scene = Scene::new().await;
    refused(
        &with_body(&scene, Who::Nobody).await,
        "missing_bearer_token",
    );
    refused(&scene.get(Who::Nobody, PATH).await, "missing_bearer_token");
    refused(&with_body(&scene, Who::Key("")).await, "empty_bearer_token");
    refused(
        &with_body(&scene, Who::Key("x")).await,
        "invalid_or_revoked_token",
    );
    assert_eq!(scene.gateway.metric(HITS), 0);
}

fn legacy(sunset: &str) -> String {
    format!(
        "{}\n[auth]\nlegacy = {{ accept_body_user_id = true{sunset} }}\n",
        toml("")
    )
}

#[tokio::test]
async fn with_the_shim_a_body_is_taken_told_counted_and_never_makes_up_for_a_bad_key() {
    let scene = Scene::with(&legacy(", sunset = \"2999-05-15\"")).await;
    let answer = with_body(&scene, Who::Nobody).await;
    assert_eq!(
        (answer.status, &answer.json["user_id"]),
        (200, &"u1".into()),
        "{}",
        answer.text
    );
    assert_eq!(answer.json["by"], "body");
    assert_eq!(
        answer.header("deprecation"),
        Some(r#"version="legacy-body-userid"; sunset="2999-05-15""#)
    );
    assert_eq!(
        answer.header("sunset"),
        Some("Wed, 15 May 2999 00:00:00 GMT")
    );
    assert_eq!(
        answer.header("warning"),
        Some(
            r#"299 - "body.user_id auth is deprecated; send Authorization: Bearer <session_token>""#
        )
    );
    assert_eq!(scene.gateway.metric(HITS), 1);
    refused(&with_body(&scene, Who::Key("")).await, "empty_bearer_token");
    refused(
        &with_body(&scene, Who::Key("x")).await,
        "invalid_or_revoked_token",
    );
    for body in [
        json!({}),
        json!({ "user_id": 5 }),
        json!({ "user_id": "" }),
        json!([]),
    ] {
        let answer = scene.call(Who::Nobody, "POST", PATH, Some(body)).await;
        refused(&answer, "missing_bearer_token");
    }
    assert_eq!(scene.gateway.metric(HITS), 1);
}

#[tokio::test]
async fn after_its_sunset_the_shim_takes_nobody() {
    let scene = Scene::with(&legacy(", sunset = \"2020-05-15\"")).await;
    refused(
        &with_body(&scene, Who::Nobody).await,
        "missing_bearer_token",
    );
    assert_eq!(scene.gateway.metric(HITS), 0);
}
