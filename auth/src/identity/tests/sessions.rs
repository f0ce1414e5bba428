//! Sessions: how long they last and how they end.

use super::*;
use crate::directory::{By, Refused, Revoked};

#[tokio::test]
async fn an_idle_session_ends_and_a_used_one_does_not() {
    let f = Fixture::new().await;
    let (_, token) = f.user("alice").await;
    let id = f.by_session(&token).unwrap().session().unwrap();
    for _ in 0..4 {
        f.clock.advance(11 * HOUR);
        f.by_session(&token).unwrap();
        f.identity.touch(id, &somebody());
    }
    f.clock.advance(12 * HOUR);
    assert_eq!(f.by_session(&token).unwrap_err(), Refused::Expired);
}

#[tokio::test]
async fn a_session_ends_at_the_end_of_its_life_however_used() {
    let f = Fixture::new().await;
    let (_, token) = f.user("alice").await;
    let id = f.by_session(&token).unwrap().session().unwrap();
    for _ in 0..7 * 24 {
        f.by_session(&token).unwrap();
        f.identity.touch(id, &somebody());
        f.clock.advance(HOUR);
    }
    assert_eq!(f.by_session(&token).unwrap_err(), Refused::Expired);
}

#[tokio::test]
async fn a_use_is_written_to_the_minute_and_seen_by_the_neighbour() {
    let f = Fixture::new().await;
    let (_, token) = f.user("alice").await;
    let neighbour = f.neighbour().await;
    let id = f.by_session(&token).unwrap().session().unwrap();
    let before = f.identity.session(id).await.unwrap();
    f.clock.advance(MINUTE / 2);
    f.identity.touch(id, &from("192.0.2.7"));
    f.identity.flush().await.unwrap();
    assert_eq!(f.identity.session(id).await.unwrap(), before);
    f.clock.advance(11 * HOUR);
    f.identity.touch(id, &from("192.0.2.7"));
    f.identity.flush().await.unwrap();
    let after = f.identity.session(id).await.unwrap();
    assert_eq!(after.last_seen, f.now());
    assert_eq!(after.ip, Some("192.0.2.7".parse().unwrap()));
    neighbour.directory().caught_up(after.revision).await;
    f.clock.advance(11 * HOUR);
    neighbour
        .directory()
        .by_session(token.reveal(), f.now())
        .unwrap();
}

#[tokio::test]
async fn a_revoked_session_ends_at_once_and_is_told() {
    let f = Fixture::new().await;
    let (_, token) = f.user("alice").await;
    let (_, other) = f.user("alice").await;
    let mut revocations = f.identity.directory().revocations();
    let caller = f.by_session(&token).unwrap();
    let By::Session(id) = caller.by else {
        panic!("{caller:?}");
    };
    f.identity
        .revoke_session(id, &Context::operator())
        .await
        .unwrap();
    assert_eq!(f.by_session(&token).unwrap_err(), Refused::Unknown);
    assert_eq!(revocations.next().await, Some(Revoked::Session(id)));
    assert!(!f.identity.directory().still_good(&caller, f.now()));
    f.by_session(&other).unwrap();
    let again = f.identity.revoke_session(id, &Context::operator()).await;
    assert!(matches!(again, Err(IdentityError::NotFound(What::Session))));
}

#[tokio::test]
async fn a_use_does_not_bring_a_revoked_session_back() {
    let f = Fixture::new().await;
    let (_, token) = f.user("alice").await;
    let neighbour = f.neighbour().await;
    let id = f.by_session(&token).unwrap().session().unwrap();
    f.clock.advance(HOUR);
    f.identity.touch(id, &somebody());
    neighbour
        .revoke_session(id, &Context::operator())
        .await
        .unwrap();
    f.identity.flush().await.unwrap();
    assert!(f.identity.session(id).await.is_err());
}

#[tokio::test]
async fn all_sessions_of_a_user_can_be_ended() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(f.user("alice").await.1);
    }
    let (_, other) = f.user("bob").await;
    f.identity
        .revoke_all(user.id, &Context::operator())
        .await
        .unwrap();
    for token in &tokens {
        assert!(f.by_session(token).is_err());
    }
    f.by_session(&other).unwrap();
}

#[tokio::test]
async fn sessions_are_listed_by_user() {
    let f = Fixture::new().await;
    let (alice, _) = f.user("alice").await;
    f.user("alice").await;
    f.user("bob").await;
    let count = async |user| {
        let page = f.identity.sessions(user, &Page::default()).await.unwrap();
        page.items.len()
    };
    assert_eq!(count(Some(alice.id)).await, 2);
    assert_eq!(count(None).await, 3);
}

#[tokio::test]
async fn what_ended_long_ago_is_swept_away() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let (key, _) = f.key(user.id).await;
    f.identity
        .revoke_key(key.id, &Context::operator())
        .await
        .unwrap();
    f.identity.sweep().await.unwrap();
    assert_eq!(
        f.identity
            .sessions(None, &Page::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    f.clock.advance(14 * HOUR);
    f.identity.sweep().await.unwrap();
    assert!(
        f.identity
            .sessions(None, &Page::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    f.identity.key(key.id).await.unwrap();
    f.clock.advance(91 * DAY);
    f.identity.sweep().await.unwrap();
    assert!(f.identity.key(key.id).await.is_err());
    assert!(
        f.identity
            .keys(Some(user.id), &Page::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn a_form_token_belongs_to_its_session_on_every_gateway() {
    let f = Fixture::new().await;
    let neighbour = f.neighbour().await;
    let (_, token) = f.user("alice").await;
    let (_, other) = f.user("alice").await;
    let id = f.by_session(&token).unwrap().session().unwrap();
    let other = f.by_session(&other).unwrap().session().unwrap();
    let csrf = f.identity.csrf_token(id);
    assert!(neighbour.check_csrf(id, &csrf));
    assert!(!f.identity.check_csrf(other, &csrf));
    for wrong in ["", "0", &csrf[1..], &format!("{csrf}0"), "ä"] {
        assert!(!f.identity.check_csrf(id, wrong));
    }
}

#[tokio::test]
async fn garbage_is_no_session() {
    let f = Fixture::new().await;
    let (_, token) = f.user("alice").await;
    let directory = f.identity.directory();
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..2000 {
        let noise: String = (0..random.usize(0..60)).map(|_| random.char(..)).collect();
        assert_eq!(
            directory.by_session(&noise, f.now()).unwrap_err(),
            Refused::Malformed
        );
    }
    let text = token.reveal();
    let flipped = format!(
        "{}{}",
        &text[..47],
        if text.ends_with('a') { 'b' } else { 'a' }
    );
    assert_eq!(
        directory.by_session(&flipped, f.now()).unwrap_err(),
        Refused::Unknown
    );
}
