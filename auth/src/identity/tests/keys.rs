//! Keys: made, rotated, revoked, and what they never can do.

use super::*;
use crate::directory::{Refused, Revoked};

#[tokio::test]
async fn a_key_works_until_it_expires() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let (key, secret) = f.key(user.id).await;
    assert_eq!(key.expires, Some(f.now() + 90 * DAY));
    assert_eq!(key.prefix, secret.prefix());
    let caller = f.by_key(&secret).unwrap();
    assert_eq!((caller.user.id, caller.key()), (user.id, Some(key.id)));
    assert_eq!(caller.scopes, Scopes::least());
    f.clock.advance(90 * DAY - Duration::from_millis(1));
    f.by_key(&secret).unwrap();
    f.clock.advance(Duration::from_millis(1));
    assert_eq!(f.by_key(&secret).unwrap_err(), Refused::Expired);
}

#[tokio::test]
async fn a_key_for_ever_needs_an_admin() {
    let f = Fixture::new().await;
    let (user, token) = f.user("alice").await;
    let (_, admin) = f.admin("root").await;
    let mut new = new_key("for ever");
    new.lifetime = Lifetime::Never;
    let refused = f
        .identity
        .create_key(user.id, &new, &f.as_session(&token))
        .await;
    assert!(
        matches!(refused, Err(IdentityError::NeverNeedsAdmin)),
        "{refused:?}"
    );
    let made = f
        .identity
        .create_key(user.id, &new, &f.as_session(&admin))
        .await;
    let (key, secret) = made.unwrap();
    assert_eq!(key.expires, None);
    f.clock.advance(10_000 * DAY);
    f.by_key(&secret).unwrap();
}

#[tokio::test]
async fn a_key_makes_no_key_that_reaches_further() {
    let f = Fixture::new().await;
    let (user, token) = f.user("alice").await;
    let mut new = new_key("maker");
    new.scopes = "key:create,tunnel:connect:happy-*".parse().unwrap();
    let (_, maker) = f
        .identity
        .create_key(user.id, &new, &f.as_session(&token))
        .await
        .unwrap();
    let by = f.as_key(&maker);
    for (scopes, allowed) in [
        ("tunnel:connect:happy-panda", true),
        ("key:create", true),
        ("tunnel:connect", false),
        ("tunnel:connect:*", false),
        ("*:*", false),
        ("key:create,key:read", false),
    ] {
        new.scopes = scopes.parse().unwrap();
        let made = f.identity.create_key(user.id, &new, &by).await;
        assert_eq!(made.is_ok(), allowed, "{scopes}: {made:?}");
    }
}

#[tokio::test]
async fn a_key_for_one_tunnel_makes_no_key_for_others() {
    let f = Fixture::new().await;
    let (user, token) = f.admin("root").await;
    let by_session = f.as_session(&token);
    let [first, second] = ["first", "second"].map(Some);
    let first = f.identity.create_tunnel(user.id, first, &by_session).await;
    let second = f.identity.create_tunnel(user.id, second, &by_session).await;
    let (first, second) = (first.unwrap().id, second.unwrap().id);
    let mut new = new_key("bound");
    new.scopes = Scopes::all();
    let unbound = f.identity.create_key(user.id, &new, &by_session).await;
    let (unbound, _) = unbound.unwrap();
    new.tunnel = Some(first);
    let bound = f.identity.create_key(user.id, &new, &by_session).await;
    let by = f.as_key(&bound.unwrap().1);
    for tunnel in [None, Some(second)] {
        new.tunnel = tunnel;
        let made = f.identity.create_key(user.id, &new, &by).await;
        assert!(matches!(made, Err(IdentityError::BeyondOwnScopes)));
    }
    let rotated = f.identity.rotate_key(unbound.id, Duration::ZERO, &by).await;
    assert!(matches!(rotated, Err(IdentityError::BeyondOwnScopes)));
    new.tunnel = Some(first);
    f.identity.create_key(user.id, &new, &by).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_said() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let operator = Context::operator();
    for (name, lifetime) in [
        ("", Lifetime::Default),
        ("a\nb", Lifetime::Default),
        (&*"x".repeat(101), Lifetime::Default),
        ("zero", Lifetime::For(Duration::ZERO)),
        ("long", Lifetime::For(20 * 365 * DAY)),
    ] {
        let mut new = new_key(name);
        new.lifetime = lifetime;
        let made = f.identity.create_key(user.id, &new, &operator).await;
        assert!(matches!(made, Err(IdentityError::Invalid { .. })), "{name}");
    }
    let nobody = f
        .identity
        .create_key(UserId(999), &new_key("a"), &operator)
        .await;
    assert!(matches!(nobody, Err(IdentityError::NotFound(What::User))));
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_everywhere() {
    let f = Fixture::new().await;
    let neighbour = f.neighbour().await;
    let (user, _) = f.user("alice").await;
    let (key, secret) = f.key(user.id).await;
    neighbour.directory().caught_up(key.revision).await;
    let caller = neighbour
        .directory()
        .by_key(secret.reveal(), f.now())
        .unwrap();
    let mut revocations = neighbour.directory().revocations();
    let ended = neighbour.directory().ended(&caller);
    f.identity
        .revoke_key(key.id, &Context::operator())
        .await
        .unwrap();
    assert_eq!(f.by_key(&secret).unwrap_err(), Refused::Revoked);
    ended.await;
    assert_eq!(revocations.next().await, Some(Revoked::Key(key.id)));
    let there = neighbour.directory().by_key(secret.reveal(), f.now());
    assert_eq!(there.unwrap_err(), Refused::Revoked);
    f.identity
        .revoke_key(key.id, &Context::operator())
        .await
        .unwrap();
    assert_eq!(
        f.actions()
            .iter()
            .filter(|&&action| action == "key.revoke")
            .count(),
        1
    );
}

#[tokio::test]
async fn whoever_finds_a_key_can_revoke_it() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let (key, secret) = f.key(user.id).await;
    let unknown = ApiKey::mint().unwrap();
    for text in ["", "ptn_nonsense", unknown.reveal()] {
        let revoked = f
            .identity
            .revoke_presented(text, &somebody())
            .await
            .unwrap();
        assert_eq!(revoked, None);
    }
    let revoked = f
        .identity
        .revoke_presented(secret.reveal(), &somebody())
        .await;
    assert_eq!(revoked.unwrap(), Some(key.id));
    assert_eq!(f.by_key(&secret).unwrap_err(), Refused::Revoked);
}

#[tokio::test]
async fn rotation_without_overlap_revokes_and_with_it_shortens() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let operator = Context::operator();
    let (first, first_secret) = f.key(user.id).await;
    f.clock.advance(DAY);
    let rotated = f
        .identity
        .rotate_key(first.id, Duration::ZERO, &operator)
        .await;
    let (second, second_secret) = rotated.unwrap();
    assert_eq!(f.by_key(&first_secret).unwrap_err(), Refused::Revoked);
    assert_eq!((second.owner, &second.name), (user.id, &first.name));
    assert_eq!(second.expires, Some(f.now() + 90 * DAY));
    let rotated = f.identity.rotate_key(second.id, 2 * DAY, &operator).await;
    let (third, third_secret) = rotated.unwrap();
    f.clock.advance(2 * DAY - Duration::from_secs(1));
    f.by_key(&second_secret).unwrap();
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(f.by_key(&second_secret).unwrap_err(), Refused::Expired);
    f.by_key(&third_secret).unwrap();
    let again = f.identity.rotate_key(second.id, DAY, &operator).await;
    assert!(matches!(again, Err(IdentityError::Rotated(id)) if id == third.id));
    let long = f.identity.rotate_key(third.id, 8 * DAY, &operator).await;
    assert!(matches!(long, Err(IdentityError::Invalid { .. })));
}

#[tokio::test]
async fn rotations_at_once_leave_one_key_active() {
    let f = Fixture::new().await;
    let neighbour = f.neighbour().await;
    let (user, _) = f.user("alice").await;
    let tunnel = f
        .identity
        .tunnels(Some(user.id), &Page::default())
        .await
        .unwrap();
    let mut new = new_key("agent");
    new.tunnel = Some(tunnel.items[0].id);
    let operator = Context::operator();
    let (key, _) = f
        .identity
        .create_key(user.id, &new, &operator)
        .await
        .unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let gateway = if i % 2 == 0 { &f.identity } else { &neighbour }.clone();
            let id = key.id;
            tokio::spawn(async move {
                gateway
                    .rotate_key(id, Duration::ZERO, &Context::operator())
                    .await
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(IdentityError::Rotated(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(active(&f, user.id).await, 1);
}

#[tokio::test]
async fn keys_made_for_one_tunnel_at_once_leave_one_active() {
    let f = Fixture::new().await;
    let neighbour = f.neighbour().await;
    let (user, _) = f.user("alice").await;
    let tunnel = f
        .identity
        .tunnels(Some(user.id), &Page::default())
        .await
        .unwrap();
    let tunnel = tunnel.items[0].id;
    let tasks: Vec<_> = (0..12)
        .map(|i| {
            let gateway = if i % 2 == 0 { &f.identity } else { &neighbour }.clone();
            let mut new = new_key("agent");
            new.tunnel = Some(tunnel);
            let owner = user.id;
            tokio::spawn(async move {
                gateway
                    .create_key(owner, &new, &Context::operator())
                    .await
                    .unwrap()
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(active(&f, user.id).await, 1);
}

#[tokio::test]
async fn a_key_is_bound_only_to_a_tunnel_of_its_owner_and_ends_with_it() {
    let f = Fixture::new().await;
    let (alice, _) = f.user("alice").await;
    let (bob, _) = f.user("bob").await;
    let tunnel = f
        .identity
        .tunnels(Some(bob.id), &Page::default())
        .await
        .unwrap();
    let tunnel = tunnel.items[0].record.clone();
    let mut new = new_key("agent");
    new.tunnel = Some(tunnel.id);
    let operator = Context::operator();
    let stolen = f.identity.create_key(alice.id, &new, &operator).await;
    assert!(matches!(stolen, Err(IdentityError::NotFound(What::Tunnel))));
    let (_, secret) = f
        .identity
        .create_key(bob.id, &new, &operator)
        .await
        .unwrap();
    let caller = f.by_key(&secret).unwrap();
    let actor = Actor::User(Arc::clone(&caller));
    let directory = f.identity.directory();
    let connect = crate::scope::Verb::Connect;
    assert!(
        directory
            .may_use_tunnel(&actor, connect, &tunnel.name)
            .is_some()
    );
    let ended = directory.ended(&caller);
    f.identity
        .delete_tunnel(tunnel.id, None, &operator)
        .await
        .unwrap();
    ended.await;
    assert_eq!(f.by_key(&secret).unwrap_err(), Refused::Revoked);
}

#[tokio::test]
async fn the_last_use_is_written_later_and_once_in_a_while() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let (key, secret) = f.key(user.id).await;
    let mut context = f.as_key(&secret);
    context.ip = Some("192.0.2.9".parse().unwrap());
    context.user_agent = Some("agent ".repeat(100));
    f.identity.used(key.id, &context);
    assert_eq!(f.identity.last_used(key.id).await.unwrap(), None);
    let first = f.now();
    f.clock.advance(Duration::from_secs(1));
    f.identity.used(key.id, &context);
    f.identity.close().await.unwrap();
    let used = f.identity.last_used(key.id).await.unwrap().unwrap();
    assert_eq!((used.at, used.ip), (first, context.ip));
    assert_eq!(used.user_agent.unwrap().chars().count(), 200);
}

#[tokio::test]
async fn the_last_use_of_a_deleted_key_is_not_written_and_others_are() {
    let f = Fixture::new().await;
    let (alice, _) = f.user("alice").await;
    let (bob, _) = f.user("bob").await;
    let (gone, _) = f.key(alice.id).await;
    let (stays, _) = f.key(bob.id).await;
    f.identity.used(gone.id, &somebody());
    f.identity.used(stays.id, &somebody());
    f.identity
        .delete_user(alice.id, None, &Context::operator())
        .await
        .unwrap();
    f.identity.flush().await.unwrap();
    assert_eq!(f.identity.last_used(gone.id).await.unwrap(), None);
    assert!(f.identity.last_used(stays.id).await.unwrap().is_some());
}

#[tokio::test]
async fn keys_are_listed_page_by_page() {
    let f = Fixture::new().await;
    let (alice, _) = f.user("alice").await;
    let (bob, _) = f.user("bob").await;
    for _ in 0..7 {
        f.key(alice.id).await;
        f.key(bob.id).await;
    }
    for (owner, total) in [(Some(alice.id), 7), (None, 14)] {
        let mut seen = Vec::new();
        let mut page = Page {
            cursor: None,
            limit: 3,
        };
        loop {
            let found = f.identity.keys(owner, &page).await.unwrap();
            assert!(found.items.len() <= 3);
            seen.extend(found.items.iter().map(|key| key.id));
            page.cursor = match found.next {
                Some(next) => Some(next),
                None => break,
            };
        }
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), total);
    }
    let page = Page {
        cursor: Some("garbage".to_owned()),
        limit: 3,
    };
    let refused = f.identity.keys(None, &page).await;
    assert!(matches!(refused, Err(IdentityError::Invalid { .. })));
}

async fn active(f: &Fixture, owner: UserId) -> usize {
    let page = Page {
        cursor: None,
        limit: 500,
    };
    let keys = f.identity.keys(Some(owner), &page).await.unwrap();
    keys.items
        .iter()
        .filter(|key| key.is_active(f.now()))
        .count()
}
