//! What a service is told of a caller by a signed token, and what it never is.

use auth::{
    identity::{Context, UserChanges},
    user::Role,
};
use serde_json::Value;

use super::Fixture;
use crate::support::{Head, check};

const ASSERTED: &str = "access = { key = { scope = \"route:access:app\" }, assertion = true }";
const PLAIN: &str = "access = { key = { scope = \"route:access:app\" } }";
const HEADER: &str = "x-portunus-assertion";
const ISSUER: &str = "http://gw.test";

impl Fixture {
    async fn jwks(&mut self) -> String {
        let published = self.get_from("gw.test", "/.well-known/jwks.json", &[]);
        published.await.text().to_owned()
    }

    /// What the service sees of a request with `lines`.
    async fn seen(&mut self, host: &str, lines: &[&str]) -> Head {
        self.get_from(host, "/", lines).await.echoed()
    }
}

fn asserted(seen: &Head) -> String {
    seen.one(HEADER).expect("there is an assertion").to_owned()
}

fn claims(jwks: &str, assertion: &str, host: &str) -> Value {
    check(jwks, assertion, ISSUER, host).unwrap()
}

#[tokio::test]
async fn a_service_believes_it_by_what_the_gateway_publishes() {
    let mut app = Fixture::new(ASSERTED).await;
    let (_, key) = app.key("route:access:app").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    let jwks = app.jwks().await;
    let first = asserted(&app.seen("app.test", &[&bearer]).await);
    let said = claims(&jwks, &first, "app.test");
    assert_eq!(said["username"], "alice");
    assert_eq!(said["role"], "user");
    assert_eq!(said["email"], "alice@example.com");
    assert!(said["sub"].as_str().unwrap().parse::<u64>().is_ok());
    let lasts = said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap();
    assert!((60..=300).contains(&lasts), "{lasts}");

    // It is for this host, signed once, and known at the domain as nothing.
    assert!(check(&jwks, &first, ISSUER, "other.test").is_err());
    let again = asserted(&app.seen("app.test", &[&bearer]).await);
    assert_eq!(first, again);
    let other = asserted(&app.seen("other.test", &[&bearer]).await);
    claims(&jwks, &other, "other.test");
    let replayed = format!("Authorization: Bearer {first}");
    let me = app.get_from("gw.test", "/auth/me", &[&replayed]).await;
    assert_eq!(me.status, 401);
}

#[tokio::test]
async fn it_is_made_anew_when_the_user_changes() {
    let mut app = Fixture::new(ASSERTED).await;
    let (key, secret) = app.key("route:access:app").await;
    let bearer = format!("Authorization: Bearer {}", secret.reveal());
    let jwks = app.jwks().await;
    let before = asserted(&app.seen("app.test", &[&bearer]).await);
    assert_eq!(claims(&jwks, &before, "app.test")["role"], "user");
    let changes = UserChanges {
        role: Some(Role::Admin),
        ..UserChanges::default()
    };
    let operator = Context::operator();
    let changed = app
        .identity()
        .update_user(key.owner, &changes, None, &operator);
    changed.await.unwrap();
    let after = asserted(&app.seen("app.test", &[&bearer]).await);
    assert_eq!(claims(&jwks, &after, "app.test")["role"], "admin");
}

#[tokio::test]
async fn one_that_the_client_sends_never_passes() {
    let made_up = [
        "X-Portunus-Assertion: a.b.c",
        "X_Portunus_Assertion: a.b.c",
        "X-Portunus_Assertion: a.b.c",
    ];
    for route in [ASSERTED, PLAIN, "access = { ip = [\"127.0.0.1\"] }", ""] {
        let mut app = Fixture::new(route).await;
        let (_, key) = app.key("route:access:app").await;
        let bearer = format!("Authorization: Bearer {}", key.reveal());
        let lines: Vec<_> = made_up.into_iter().chain([&*bearer]).collect();
        let seen = app.seen("app.test", &lines).await;
        let said = seen.all(HEADER);
        assert_eq!(said.len(), usize::from(route == ASSERTED), "{route}");
        assert!(!said.contains(&"a.b.c"), "{route}");
        for name in ["x_portunus_assertion", "x-portunus_assertion"] {
            assert_eq!(seen.one(name), None, "{route}");
        }
    }
}

#[tokio::test]
async fn without_asking_for_it_none_is_sent() {
    let mut app = Fixture::new(PLAIN).await;
    let (_, key) = app.key("route:access:app").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    let seen = app.seen("app.test", &[&bearer]).await;
    assert_eq!(seen.one("x-portunus-user"), Some("github:alice"));
    assert_eq!(seen.one(HEADER), None);
}
