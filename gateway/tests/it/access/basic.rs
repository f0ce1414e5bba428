//! Names and passwords in the configuration.

use auth::password::{Cost, Passwords};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Fixture, assert_refused};

async fn fixture() -> Fixture {
    let cost = Cost {
        memory: 8,
        passes: 1,
    };
    let passwords = Passwords::new(cost, 1).unwrap();
    let hash = passwords.hash("correct horse").await.unwrap();
    Fixture::new(&format!(
        "access = {{ basic = {{ users = {{ alice = \"{}\" }}, realm = \"staff\" }} }}",
        hash.as_str()
    ))
    .await
}

fn credentials(pair: &str) -> String {
    format!("Authorization: Basic {}", BASE64_STANDARD.encode(pair))
}

#[tokio::test]
async fn the_right_password_passes_every_time() {
    let mut app = fixture().await;
    let alice = credentials("alice:correct horse");
    for _ in 0..3 {
        let seen = app.get(&[&alice]).await.echoed();
        assert_eq!(seen.one("x-portunus-user"), Some("basic:alice"));
        assert_eq!(seen.one("authorization"), None);
    }
}

#[tokio::test]
async fn anything_else_is_refused_alike() {
    let mut app = fixture().await;
    let nobody = app.get(&[]).await;
    assert_refused(&nobody, 401);
    let challenge = "Basic realm=\"staff\", charset=\"UTF-8\"";
    assert_eq!(nobody.header("www-authenticate"), Some(challenge));
    for wrong in [
        "alice:wrong horse",
        "bob:correct horse",
        "alice",
        ":",
        "alice:",
    ] {
        let refused = app.get(&[&credentials(wrong)]).await;
        assert_refused(&refused, 401);
        assert_eq!(refused.header("www-authenticate"), Some(challenge));
    }
    for broken in ["Authorization: Basic", "Authorization: Basic %%%"] {
        assert_refused(&app.get(&[broken]).await, 401);
    }
    let alice = credentials("alice:correct horse");
    assert_eq!(app.get(&[&alice]).await.status, 200);
}

#[tokio::test]
async fn guessing_ends_with_a_pause() {
    let mut app = fixture().await;
    let alice = credentials("alice:correct horse");
    assert_eq!(app.get(&[&alice]).await.status, 200);
    for guess in 0..10 {
        let wrong = credentials(&format!("alice:{guess}"));
        assert_eq!(app.get(&[&wrong]).await.status, 401);
    }
    let refused = app.get(&[&credentials("alice:11")]).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(app.get(&[&alice]).await.status, 200);
}
