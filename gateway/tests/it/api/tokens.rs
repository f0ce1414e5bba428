//! Tokens about whoever asks, checked as somebody would who knows only what is published.

use std::sync::Arc;

use auth::token::{Keys, Rotation};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, errors::ErrorKind};
use serde_json::{Value, json};

use super::{Answer, Scene, Who, scene::toml};
use crate::support::{check, within};

const TOKENS: &str = "/api/v1/tokens";
const ISSUER: &str = "http://gw.test";
const HOST: &str = super::scene::HOST;
const SECRET: &str = "0d5f8a71c2e94b36a7d0f1e2c3b4a59687766554";

async fn make(scene: &Scene, who: Who<'_>, body: Value) -> Answer {
    scene.call(who, "POST", TOKENS, Some(body)).await
}

async fn token(scene: &Scene, who: Who<'_>, body: Value) -> String {
    let made = make(scene, who, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json["token"].as_str().unwrap().to_owned()
}

async fn jwks(scene: &Scene) -> String {
    scene.get(Who::Nobody, "/.well-known/jwks.json").await.text
}

#[tokio::test]
async fn a_key_and_a_session_get_a_token_that_the_published_keys_check() {
    let scene = Scene::new().await;
    for who in [Who::Key(&scene.alice.key), Who::Browser(&scene.alice)] {
        let made = make(&scene, who, json!({})).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(made.header("cache-control"), Some("no-store"));
        assert!(made.json["expires"].as_str().unwrap().ends_with('Z'));
        let token = made.json["token"].as_str().unwrap();
        let claims = check(&jwks(&scene).await, token, ISSUER, HOST).unwrap();
        assert_eq!(claims["sub"], scene.alice.id.to_string());
        assert_eq!(claims["username"], "alice");
        assert_eq!(claims["provider"], "github");
        assert_eq!(claims["role"], "user");
        let seconds = |name: &str| claims[name].as_u64().unwrap();
        assert_eq!(seconds("exp") - seconds("iat"), 15 * 60);
        let me = scene.get(Who::Key(token), "/auth/me").await;
        assert_eq!((me.status, &me.json["username"]), (200, &json!("alice")));
    }
}

#[tokio::test]
async fn with_a_shared_secret_nothing_is_published_and_the_secret_checks() {
    let jwt = format!(
        "[auth]\njwt = {{ algorithm = \"HS256\", secret = \"{SECRET}\", audience = \"mesh\" }}"
    );
    let scene = Scene::with(&format!("{}\n{jwt}", toml(""))).await;
    let token = token(&scene, Who::Key(&scene.bob.key), json!({})).await;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&["mesh"]);
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!(claims["username"], "bob");
    assert_eq!(jwks(&scene).await, "{\"keys\":[]}");
    assert_eq!(scene.get(Who::Key(&token), "/auth/me").await.status, 200);
}

#[tokio::test]
async fn a_token_for_one_audience_is_worth_nothing_to_another() {
    let scene = Scene::new().await;
    let who = Who::Key(&scene.alice.key);
    let token = token(&scene, who, json!({ "audience": "app.test" })).await;
    let jwks = jwks(&scene).await;
    assert!(check(&jwks, &token, ISSUER, "app.test").is_ok());
    let refused = check(&jwks, &token, ISSUER, "other.test");
    assert_eq!(refused, Err(ErrorKind::InvalidAudience));
    assert_eq!(scene.get(Who::Key(&token), "/auth/me").await.status, 401);
    for wrong in [json!(""), json!("a\nb"), json!("a".repeat(257)), json!(1)] {
        let refused = make(&scene, who, json!({ "audience": wrong })).await;
        assert_eq!(refused.problem(), (422, "invalid"), "{wrong}");
    }
}

#[tokio::test]
async fn a_token_stays_good_when_the_key_that_signed_it_is_replaced() {
    let scene = Scene::new().await;
    let who = Who::Key(&scene.alice.key);
    let before = token(&scene, who, json!({})).await;
    let identity = scene.identity();
    let (store, seal) = (Arc::clone(identity.store()), Arc::clone(identity.seal()));
    let clock = Arc::clone(identity.clock());
    let keys = Keys::open(store, seal, clock, Rotation::default());
    let keys = keys.await.unwrap();
    assert!(keys.rotate().await.unwrap());
    within(async { while jwks(&scene).await.as_bytes() != keys.jwks() {} }).await;
    let published = jwks(&scene).await;
    let after = token(&scene, who, json!({})).await;
    assert_ne!(before.split('.').next(), after.split('.').next());
    for token in [&before, &after] {
        assert!(check(&published, token, ISSUER, HOST).is_ok());
        assert_eq!(scene.get(Who::Key(token), "/auth/me").await.status, 200);
    }
}

#[tokio::test]
async fn a_key_needs_the_scope_and_keeps_to_its_audience() {
    let scene = Scene::new().await;
    let alice = scene.alice.id;
    let (_, none) = scene.key(alice, "tunnel:connect,*:read").await;
    let refused = make(&scene, Who::Key(&none), json!({})).await;
    assert_eq!(refused.problem(), (403, "needs_scope"));
    assert!(refused.text.contains("token:create"), "{}", refused.text);
    let (_, narrow) = scene.key(alice, "token:create:app.test").await;
    let wanted = json!({ "audience": "app.test" });
    assert_eq!(make(&scene, Who::Key(&narrow), wanted).await.status, 201);
    let refused = make(&scene, Who::Key(&narrow), json!({})).await;
    assert_eq!(refused.problem(), (403, "needs_scope"));
    let operator = make(&scene, Who::Operator, json!({})).await;
    assert_eq!(operator.problem(), (422, "invalid"));
}

#[tokio::test]
async fn each_token_is_in_the_trail_without_the_token() {
    let scene = Scene::new().await;
    let who = Who::Key(&scene.alice.key);
    let token = token(&scene, who, json!({ "audience": "app.test" })).await;
    let claims = check(&jwks(&scene).await, &token, ISSUER, "app.test").unwrap();
    let path = "/api/v1/audit?event=token.issue";
    let found = scene.get(Who::Key(&scene.admin.key), path).await;
    assert_eq!(found.json["items"].as_array().map(Vec::len), Some(1));
    let id = claims["jti"].as_str().unwrap();
    assert!(found.text.contains(&format!("{id} for app.test")));
    assert!(!found.text.contains(token.rsplit('.').next().unwrap()));
}

#[tokio::test]
async fn one_user_has_so_many_made_and_others_do_not_wait() {
    let scene = Scene::new().await;
    for _ in 0..60 {
        token(&scene, Who::Key(&scene.alice.key), json!({})).await;
    }
    let (_, another) = scene.key(scene.alice.id, "token:create").await;
    let refused = make(&scene, Who::Key(&another), json!({})).await;
    assert_eq!(refused.problem(), (429, "too_many_attempts"));
    assert!(refused.header("retry-after").is_some());
    token(&scene, Who::Key(&scene.bob.key), json!({})).await;
}
