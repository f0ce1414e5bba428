//! The routes that clients of the original tunnel server know, byte for byte.

use super::{Scene, Who};

#[tokio::test]
async fn who_am_i_and_my_keys_look_like_the_originals() {
    let scene = Scene::new().await;
    let me = scene.get(Who::Key(&scene.alice.key), "/api/auth/me").await;
    let id = scene.alice.id;
    assert_eq!(
        me.text,
        format!(
            r#"{{"id":{id},"username":"alice","email":null,"avatar_url":null,"provider":"github"}}"#
        )
    );
    let keys = scene
        .get(Who::Key(&scene.alice.key), "/api/auth/keys")
        .await;
    let first = &keys.json[0];
    let at = first["created_at"].as_str().unwrap();
    assert_eq!((&at[10..11], at.ends_with('Z')), ("T", false));
    let prefix = &scene.alice.key[..8];
    let begin = format!(
        r#"[{{"id":{},"key_prefix":"{prefix}","name":"made by a test","created_at":"{at}","last_used_at":"#,
        first["id"]
    );
    assert!(
        keys.text.starts_with(&begin) || first["last_used_at"].is_null(),
        "{}",
        keys.text
    );
    assert!(
        keys.text.ends_with(r#","is_active":true,"scopes":"*:*"}]"#),
        "{}",
        keys.text
    );
}

#[tokio::test]
async fn failures_look_like_the_originals() {
    let scene = Scene::new().await;
    let alice = Who::Key(&scene.alice.key);
    for path in ["/api/auth/me", "/api/auth/keys"] {
        for who in [Who::Nobody, Who::Browser(&scene.alice)] {
            let missing = scene.get(who, path).await;
            let told = (missing.status, missing.text.as_str());
            assert_eq!(told, (403, r#"{"detail":"Not authenticated"}"#));
        }
        for key in ["x", "ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA"] {
            let bad = scene.get(Who::Key(key), path).await;
            let told = (bad.status, bad.text.as_str());
            assert_eq!(told, (401, r#"{"detail":"Invalid or expired API key"}"#));
        }
    }
    let (bobs, _) = scene.key(scene.bob.id, "tunnel:connect").await;
    for (method, path, expected) in [
        (
            "GET",
            "/api/auth/nothing".to_owned(),
            (404, r#"{"detail":"Not Found"}"#),
        ),
        (
            "PUT",
            "/api/auth/me".to_owned(),
            (405, r#"{"detail":"Method Not Allowed"}"#),
        ),
        (
            "DELETE",
            format!("/api/auth/keys/{bobs}"),
            (404, r#"{"detail":"API key not found"}"#),
        ),
        (
            "DELETE",
            "/api/auth/keys/abc".to_owned(),
            (
                422,
                r#"{"detail":[{"type":"int_parsing","loc":["path","key_id"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"abc","url":"https://errors.pydantic.dev/2.5/v/int_parsing"}]}"#,
            ),
        ),
        (
            "POST",
            "/api/auth/exchange".to_owned(),
            (
                422,
                r#"{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null,"url":"https://errors.pydantic.dev/2.5/v/missing"}]}"#,
            ),
        ),
    ] {
        let answer = scene.call(alice, method, &path, None).await;
        assert_eq!((answer.status, answer.text.as_str()), expected, "{path}");
    }
}

#[tokio::test]
async fn a_key_is_revoked_but_not_by_itself() {
    let scene = Scene::new().await;
    let (id, key) = scene.key(scene.alice.id, "key:read,key:delete").await;
    let path = format!("/api/auth/keys/{id}");
    let itself = scene.call(Who::Key(&key), "DELETE", &path, None).await;
    assert_eq!(
        (itself.status, itself.text.as_str()),
        (
            400,
            r#"{"detail":"Cannot revoke the API key currently in use"}"#
        )
    );
    let other = scene
        .call(Who::Key(&scene.alice.key), "DELETE", &path, None)
        .await;
    assert_eq!(
        (other.status, other.text.as_str()),
        (200, r#"{"message":"API key revoked successfully"}"#)
    );
    let gone = scene.get(Who::Key(&key), "/api/auth/me").await;
    assert_eq!(gone.status, 401);
}

#[tokio::test]
async fn without_github_there_is_nothing_to_exchange() {
    let scene = Scene::new().await;
    let body = serde_json::json!({ "github_token": "gho_x" });
    let answer = scene
        .call(Who::Nobody, "POST", "/api/auth/exchange", Some(body))
        .await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (503, r#"{"detail":"GitHub OAuth not configured"}"#)
    );
}
