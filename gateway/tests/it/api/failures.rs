//! What is wrong with requests is told as problems, and garbage breaks nothing.

use serde_json::json;

use super::{Scene, Who};

#[tokio::test]
async fn every_failure_is_a_problem() {
    let scene = Scene::new().await;
    let alice = Who::Key(&scene.alice.key);
    let nothing = scene.get(alice, "/nothing").await;
    assert_eq!(nothing.problem(), (404, "not_found"));
    let number = scene.get(alice, "/api/v1/keys/x").await;
    assert_eq!(number.problem(), (404, "not_found"));
    let method = scene.call(alice, "PUT", "/api/v1/keys", None).await;
    assert_eq!(method.problem(), (405, "wrong_method"));
    let mut allowed: Vec<_> = method.header("allow").unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=x",
        "cursor=",
        "unknown=1",
        "owner=-1",
    ] {
        let answer = scene.get(alice, &format!("/api/v1/keys?{query}")).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{query}");
    }
    let post = |kind: &'static str, body: String| {
        let scene = &scene;
        async move {
            scene
                .send(alice, "POST", "/api/v1/keys", &[kind], Some(&body))
                .await
        }
    };
    const JSON: &str = "Content-Type: application/json";
    let good = json!({ "name": "k" }).to_string();
    let kind = post("Content-Type: text/plain", good.clone()).await;
    assert_eq!(kind.problem(), (415, "not_json"));
    let large = post(JSON, json!({ "name": "x".repeat(300_000) }).to_string());
    assert_eq!(large.await.problem(), (413, "too_large"));
    for body in ["", "{", "nonsense", "{\"name\":\"k\"}}"] {
        let answer = post(JSON, body.to_owned()).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{body}");
    }
    for body in [
        "null",
        "[]",
        "{}",
        r#"{"name":5}"#,
        r#"{"name":""}"#,
        r#"{"name":"a\nb"}"#,
        r#"{"name":"k","unknown":1}"#,
        r#"{"name":"k","scopes":[]}"#,
        r#"{"name":"k","scopes":["nonsense"]}"#,
        r#"{"name":"k","scopes":["user:read,key:read"]}"#,
        r#"{"name":"k","expires_in":0}"#,
        r#"{"name":"k","expires_in":315360001}"#,
    ] {
        let answer = post(JSON, body.to_owned()).await;
        assert_eq!(answer.problem(), (422, "invalid"), "{body}");
    }
    assert_eq!(post(JSON, good).await.status, 201);
}

#[tokio::test]
async fn garbage_never_breaks_anything() {
    let scene = Scene::new().await;
    let mut random = fastrand::Rng::with_seed(11);
    let paths = [
        ("POST", "/api/v1/keys"),
        ("POST", "/api/v1/users"),
        ("POST", "/api/v1/tunnels"),
        ("POST", "/api/v1/tokens"),
        ("PATCH", "/api/v1/users/1"),
        ("PATCH", "/api/v1/tunnels/1"),
        ("POST", "/api/v1/keys/revoke"),
        ("POST", "/api/auth/exchange"),
        ("POST", "/api/auth/verify"),
    ];
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "\"name\"",
        ":",
        ",",
        "\"username\"",
        "null",
        "1e999",
        "-1",
        "\"\\ud800\"",
        "true",
        "\"owner\"",
        "18446744073709551616",
        "\"scopes\"",
        "\"user_id\"",
    ];
    for (method, path) in paths.into_iter().cycle().take(240) {
        let length = random.usize(0..12);
        let body: String = (0..length)
            .map(|_| pieces[random.usize(..pieces.len())])
            .collect();
        let who = Who::Key(&scene.admin.key);
        let answer = scene.send(who, method, path, &[], Some(&body)).await;
        assert!(
            answer.status < 500 || answer.status == 503,
            "{method} {path} {body}: {answer:?}"
        );
    }
    assert_eq!(scene.get(Who::Nobody, "/_health").await.status, 200);
    assert_eq!(scene.gateway.metric("portunus_panics_total"), 0);
}

#[tokio::test]
async fn the_description_is_served() {
    let scene = Scene::new().await;
    let served = scene.get(Who::Nobody, "/api/v1/openapi.json").await;
    assert_eq!(served.json["openapi"], "3.1.0");
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    assert_eq!(served.text, std::fs::read_to_string(published).unwrap());
    let keys = scene.get(Who::Nobody, "/.well-known/jwks.json").await;
    assert_eq!(keys.json["keys"][0]["kty"], "OKP");
    assert_eq!(keys.json["keys"][0].get("d"), None);
}
