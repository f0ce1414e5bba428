//! Keys: shown once, rotated, revoked.

use serde_json::json;

use super::{Scene, Who};

#[tokio::test]
async fn a_key_is_shown_once() {
    let scene = Scene::new().await;
    let alice = Who::Key(&scene.alice.key);
    let body =
        json!({ "name": "ci", "scopes": ["tunnel:connect:happy-*", "key:read"], "expires_in": 60 });
    let made = scene.call(alice, "POST", "/api/v1/keys", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let secret = made.json["secret"].as_str().unwrap();
    assert!(secret.starts_with(made.json["key"]["prefix"].as_str().unwrap()));
    assert_eq!(made.json["key"]["owner"], scene.alice.id.0);
    let location = made.header("location").unwrap().to_owned();
    let shown = scene.get(Who::Key(secret), &location).await;
    assert_eq!(shown.status, 200);
    assert_eq!(
        shown.json["scopes"],
        json!(["tunnel:connect:happy-*", "key:read"])
    );
    for path in [location.as_str(), "/api/v1/keys", "/api/v1/audit"] {
        let all = scene.get(Who::Key(&scene.admin.key), path).await;
        assert_eq!(all.status, 200);
        assert!(!all.text.contains(secret), "{path}");
    }
}

#[tokio::test]
async fn a_key_can_least_if_nothing_is_said_and_makes_none_that_can_more() {
    let scene = Scene::new().await;
    let alice = Who::Key(&scene.alice.key);
    let made = scene.call(alice, "POST", "/api/v1/keys", Some(json!({ "name": "k" })));
    let made = made.await;
    assert_eq!(made.json["key"]["scopes"], json!(["tunnel:connect"]));
    assert!(made.json["key"]["expires_at"].is_string());
    let never = json!({ "name": "k", "expires_in": null });
    let refused = scene
        .call(alice, "POST", "/api/v1/keys", Some(never.clone()))
        .await;
    assert_eq!(refused.problem(), (403, "needs_role"));
    let admin = Who::Key(&scene.admin.key);
    let made = scene.call(admin, "POST", "/api/v1/keys", Some(never)).await;
    assert_eq!(
        (made.status, &made.json["key"]["expires_at"]),
        (201, &json!(null))
    );
    let (_, maker) = scene.key(scene.alice.id, "key:create,tunnel:connect").await;
    let more = json!({ "name": "k", "scopes": ["user:read"] });
    let refused = scene
        .call(Who::Key(&maker), "POST", "/api/v1/keys", Some(more))
        .await;
    assert_eq!(refused.problem(), (403, "beyond_own_scopes"));
}

#[tokio::test]
async fn a_revoked_key_is_no_good_when_that_is_answered() {
    let scene = Scene::new().await;
    let (id, key) = scene.key(scene.alice.id, "*:*").await;
    let path = format!("/api/v1/keys/{id}");
    assert_eq!(scene.get(Who::Key(&key), &path).await.status, 200);
    let alice = Who::Key(&scene.alice.key);
    for _ in 0..2 {
        assert_eq!(scene.call(alice, "DELETE", &path, None).await.status, 204);
    }
    assert_eq!(scene.get(Who::Key(&key), &path).await.status, 401);
    let shown = scene.get(alice, &path).await;
    assert_eq!(shown.json["active"], false);
    assert!(shown.json["revoked_at"].is_string());
}

#[tokio::test]
async fn of_rotations_at_the_same_time_one_makes_a_key() {
    let scene = Scene::new().await;
    let (id, old) = scene.key(scene.alice.id, "*:*").await;
    let alice = Who::Key(&scene.alice.key);
    let path = format!("/api/v1/keys/{id}/rotate");
    let rotations = (0..8).map(|_| scene.call(alice, "POST", &path, None));
    let answers = futures_util::future::join_all(rotations).await;
    let count = |status| answers.iter().filter(|it| it.status == status).count();
    assert_eq!((count(201), count(409)), (1, 7));
    let made = answers.iter().find(|it| it.status == 201).unwrap();
    let new = made.json["secret"].as_str().unwrap();
    assert_eq!(scene.get(Who::Key(new), "/api/v1/me").await.status, 200);
    assert_eq!(scene.get(Who::Key(&old), "/api/v1/me").await.status, 401);
    let record = scene.get(alice, &format!("/api/v1/keys/{id}")).await;
    assert_eq!(record.json["successor"], made.json["key"]["id"]);
}

#[tokio::test]
async fn with_an_overlap_both_keys_work() {
    let scene = Scene::new().await;
    let (id, old) = scene.key(scene.alice.id, "*:*").await;
    let alice = Who::Key(&scene.alice.key);
    let path = format!("/api/v1/keys/{id}/rotate");
    let long = format!("{path}?overlap=604801");
    let long = scene.call(alice, "POST", &long, None).await;
    assert_eq!(long.status, 422);
    let path = format!("{path}?overlap=60");
    let made = scene.call(alice, "POST", &path, None);
    let made = made.await;
    assert_eq!(made.status, 201, "{}", made.text);
    let new = made.json["secret"].as_str().unwrap();
    for key in [new, &old] {
        assert_eq!(scene.get(Who::Key(key), "/api/v1/me").await.status, 200);
    }
}

#[tokio::test]
async fn whoever_finds_a_key_can_end_it() {
    let scene = Scene::new().await;
    let (_, key) = scene.key(scene.alice.id, "*:*").await;
    let report = |secret: &str| {
        let body = json!({ "secret": secret });
        scene.call(Who::Nobody, "POST", "/api/v1/keys/revoke", Some(body))
    };
    for other in ["nonsense", "ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA"] {
        let answer = report(other).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    }
    assert_eq!(scene.get(Who::Key(&key), "/api/v1/me").await.status, 200);
    let answer = report(&key).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(scene.get(Who::Key(&key), "/api/v1/me").await.status, 401);
}

#[tokio::test]
async fn fifty_tunnels_at_once_are_one() {
    let scene = Scene::new().await;
    let alice = Who::Key(&scene.alice.key);
    let list = scene.get(alice, "/api/v1/tunnels").await;
    let first = &list.json["items"][0]["id"];
    let path = format!("/api/v1/tunnels/{first}");
    let deleted = scene.call(alice, "DELETE", &path, None);
    assert_eq!(deleted.await.status, 204);
    let creations = (0..50).map(|_| scene.call(alice, "POST", "/api/v1/tunnels", Some(json!({}))));
    let answers = futures_util::future::join_all(creations).await;
    let count = |status| answers.iter().filter(|it| it.status == status).count();
    assert_eq!((count(201), count(409)), (1, 49));
    let list = scene.get(alice, "/api/v1/tunnels").await;
    assert_eq!(list.json["items"].as_array().unwrap().len(), 1);
    let admin = Who::Key(&scene.admin.key);
    for _ in 0..3 {
        let made = scene
            .call(admin, "POST", "/api/v1/tunnels", Some(json!({})))
            .await;
        assert_eq!(made.status, 201);
    }
}

#[tokio::test]
async fn a_key_for_one_tunnel_touches_no_other_one() {
    let scene = Scene::new().await;
    let admin = Who::Key(&scene.admin.key);
    let mut paths = Vec::new();
    for name in ["first", "second"] {
        let body = json!({ "name": name });
        let made = scene.call(admin, "POST", "/api/v1/tunnels", Some(body));
        let made = made.await;
        assert_eq!(made.status, 201, "{}", made.text);
        paths.push(made.header("location").unwrap().to_owned());
    }
    let first: u64 = paths[0].rsplit('/').next().unwrap().parse().unwrap();
    let bound = json!({ "name": "bound", "scopes": ["tunnel:*"], "tunnel": first });
    let made = scene.call(admin, "POST", "/api/v1/keys", Some(bound)).await;
    let bound = Who::Key(made.json["secret"].as_str().unwrap());
    let renamed = Some(json!({ "name": "third" }));
    let refused = scene.call(bound, "PATCH", &paths[1], renamed.clone()).await;
    assert_eq!(refused.status, 404, "{}", refused.text);
    let refused = scene.call(bound, "DELETE", &paths[1], None).await;
    assert_eq!(refused.status, 404, "{}", refused.text);
    let own = scene.call(bound, "PATCH", &paths[0], renamed).await;
    assert_eq!(own.status, 200, "{}", own.text);
}
