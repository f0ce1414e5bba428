//! Tokens that somebody else signed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

use super::{Fixture, assert_refused};
use crate::support::Origin;

/// Somebody who issues tokens and publishes the keys.
struct Issuer {
    key: Ed25519KeyPair,
    server: Origin,
    /// How often anything was fetched.
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn new() -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let x = BASE64.encode(key.public_key());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "x": x }] });
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        let server = Origin::serve(move |mut wire| {
            let (keys, count) = (keys.to_string(), Arc::clone(&count));
            async move {
                while let Ok(head) = wire.try_head().await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let host = head.one("host").unwrap();
                    let body = match head.target() {
                        "/keys" => keys.clone(),
                        _ => json!({
                            "issuer": format!("http://{host}"),
                            "jwks_uri": format!("http://{host}/keys"),
                        })
                        .to_string(),
                    };
                    wire.answer(&body).await;
                }
            }
        })
        .await;
        Self { key, server, asked }
    }

    fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let end = now + Duration::from_secs(300);
        json!({
            "iss": self.server.url(), "aud": "app", "sub": "alice", "exp": end.as_secs(),
            "groups": ["a", "b"], "level": 3,
        })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "EdDSA", "kid": "one" }), claims)
    }
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

async fn fixture(issuer: &Issuer) -> Fixture {
    let url = issuer.server.url();
    let route = format!(
        "access = {{ jwt = {{ issuer = \"{url}\", audience = [\"app\"], \
         claims = {{ sub = \"x-user\", groups = \"x-groups\", level = \"x-level\", none = \"x-none\" }} }} }}"
    );
    Fixture::new(&route).await
}

#[tokio::test]
async fn a_good_token_passes_with_its_claims_as_headers() {
    let issuer = Issuer::new().await;
    let mut app = fixture(&issuer).await;
    let token = bearer(&issuer.token(&issuer.claims()));
    let lines = [&token, "X-User: root", "X-None: root", "x_user: root"];
    let seen = app.get(&lines).await.echoed();
    assert_eq!(seen.all("x-user"), ["alice"]);
    assert_eq!(seen.one("x-groups"), Some("a,b"));
    assert_eq!(seen.one("x-level"), Some("3"));
    assert_eq!(seen.one("x-none"), None);
    assert_eq!(seen.one("x_user"), None);
}

#[tokio::test]
async fn a_token_that_is_not_right_in_every_way_is_refused() {
    let issuer = Issuer::new().await;
    let stranger = Issuer::new().await;
    let mut app = fixture(&issuer).await;
    let with = |name: &str, value: Value| {
        let mut claims = issuer.claims();
        claims[name] = value;
        claims
    };
    let good = issuer.claims();
    let unsigned = format!("{}.", message(&json!({ "alg": "none" }), &good));
    let confused = message(&json!({ "alg": "HS256", "kid": "one" }), &good);
    let public = hmac::Key::new(hmac::HMAC_SHA256, issuer.key.public_key().as_ref());
    let tag = BASE64.encode(hmac::sign(&public, confused.as_bytes()));
    for wrong in [
        unsigned,
        format!("{confused}.{tag}"),
        issuer.token(&with("aud", json!("other"))),
        issuer.token(&with("iss", json!("https://other.test"))),
        issuer.token(&with("exp", json!(1_000_000))),
        stranger.token(&good),
        "a.b.c".into(),
    ] {
        let refused = app.get(&[&bearer(&wrong)]).await;
        assert_refused(&refused, 401);
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    let nobody = app.get(&[]).await;
    assert_eq!(
        nobody.header("www-authenticate"),
        Some("Bearer realm=\"tokens\"")
    );
    assert_eq!(app.origin.accepted(), 0);
}

#[tokio::test]
async fn made_up_keys_do_not_make_the_gateway_ask_again_and_again() {
    let issuer = Issuer::new().await;
    let mut app = fixture(&issuer).await;
    let good = bearer(&issuer.token(&issuer.claims()));
    assert_eq!(app.get(&[&good]).await.status, 200);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    for kid in 0..20 {
        let header = json!({ "alg": "EdDSA", "kid": format!("made-up-{kid}") });
        let token = issuer.sign(&header, &issuer.claims());
        assert_refused(&app.get(&[&bearer(&token)]).await, 401);
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    assert_eq!(app.get(&[&good]).await.status, 200);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_nobody_is_blamed() {
    let issuer = Issuer::new().await;
    let mut app = fixture(&issuer).await;
    let token = bearer(&issuer.token(&issuer.claims()));
    drop(issuer);
    assert_eq!(app.get(&[&token]).await.status, 503);
}
