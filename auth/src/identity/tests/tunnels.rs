//! Tunnels: one for an ordinary user, names that are nobody else's.

use futures_util::FutureExt;

use super::*;
use crate::directory::Revoked;
use crate::tunnel::InvalidName;

async fn emptied(f: &Fixture, owner: UserId) {
    let tunnels = f
        .identity
        .tunnels(Some(owner), &Page::default())
        .await
        .unwrap();
    for tunnel in tunnels.items {
        f.identity
            .delete_tunnel(tunnel.id, None, &Context::operator())
            .await
            .unwrap();
    }
}

async fn create_fifty(f: &Fixture, owner: UserId) -> (usize, usize) {
    let gateways = [f.identity.clone(), f.neighbour().await];
    let tasks: Vec<_> = (0..50)
        .map(|i| {
            let gateway = gateways[i % 2].clone();
            tokio::spawn(async move {
                gateway
                    .create_tunnel(owner, None, &Context::operator())
                    .await
            })
        })
        .collect();
    let (mut made, mut existed) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(IdentityError::Exists(_)) => existed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (made, existed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_creations_at_once_by_an_ordinary_user_make_one() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    emptied(&f, user.id).await;
    assert_eq!(create_fifty(&f, user.id).await, (1, 49));
    let tunnels = f
        .identity
        .tunnels(Some(user.id), &Page::default())
        .await
        .unwrap();
    assert_eq!(tunnels.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_creations_at_once_by_an_admin_make_fifty() {
    let f = Fixture::new().await;
    let (user, _) = f.admin("alice").await;
    emptied(&f, user.id).await;
    assert_eq!(create_fifty(&f, user.id).await, (50, 0));
}

#[tokio::test]
async fn an_ordinary_user_is_told_which_tunnel_there_is() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let first = f
        .identity
        .tunnels(Some(user.id), &Page::default())
        .await
        .unwrap();
    let again = f
        .identity
        .create_tunnel(user.id, Some("other"), &Context::operator())
        .await;
    match again {
        Err(IdentityError::Exists(tunnel)) => assert_eq!(*tunnel, first.items[0].record),
        other => panic!("{other:?}"),
    }
    emptied(&f, user.id).await;
    f.identity
        .create_tunnel(user.id, Some("other"), &Context::operator())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_that_is_taken_by_chance_is_tried_again_with_another() {
    let f = Fixture::new().await;
    let names = |attempt: u32| format!("happy-panda-number{attempt}");
    let parts = f.parts.clone();
    let identity = Identity::open_with_names(parts, Settings::default(), names)
        .await
        .unwrap();
    let mut made = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let (user, _) = identity.sign_in(&github(name), &somebody()).await.unwrap();
        let tunnels = identity
            .tunnels(Some(user.id), &Page::default())
            .await
            .unwrap();
        made.push(tunnels.items[0].name.clone());
    }
    let (admin, _) = f.admin("root").await;
    let extra = identity
        .create_tunnel(admin.id, None, &Context::operator())
        .await
        .unwrap();
    made.push(extra.name.clone());
    let numbers = [0, 1, 2, 3].map(|n| format!("happy-panda-number{n}"));
    assert_eq!(made, numbers);
}

#[tokio::test]
async fn a_chosen_name_is_refused_if_it_is_taken_or_none() {
    let f = Fixture::new().await;
    let (admin, _) = f.admin("root").await;
    let operator = Context::operator();
    let create = async |name| {
        f.identity
            .create_tunnel(admin.id, Some(name), &operator)
            .await
    };
    create("happy-panda").await.unwrap();
    assert!(matches!(
        create("happy-panda").await,
        Err(IdentityError::NameTaken(_))
    ));
    for (name, problem) in [
        ("www", InvalidName::Reserved),
        ("Happy", InvalidName::Characters),
        ("a.b", InvalidName::Characters),
    ] {
        let refused = create(name).await.unwrap_err();
        assert!(matches!(refused, IdentityError::InvalidName(why) if why == problem));
    }
}

#[tokio::test]
async fn a_renamed_tunnel_is_found_by_its_new_name_only() {
    let f = Fixture::new().await;
    let (admin, _) = f.admin("root").await;
    let operator = Context::operator();
    let directory = f.identity.directory();
    let tunnel = f
        .identity
        .create_tunnel(admin.id, Some("before"), &operator)
        .await
        .unwrap();
    let mut revocations = directory.revocations();
    let stale = tunnel.revision;
    let renamed = f
        .identity
        .rename_tunnel(tunnel.id, "after", Some(stale), &operator)
        .await;
    let renamed = renamed.unwrap();
    assert_eq!(revocations.next().await, Some(Revoked::Tunnel(tunnel.id)));
    assert!(directory.tunnel_named("before").is_none());
    assert_eq!(directory.tunnel_named("after").unwrap().id, tunnel.id);
    let changed = f
        .identity
        .rename_tunnel(tunnel.id, "late", Some(stale), &operator)
        .await;
    assert!(matches!(changed, Err(IdentityError::Changed(What::Tunnel))));
    let other = f
        .identity
        .create_tunnel(admin.id, Some("before"), &operator)
        .await
        .unwrap();
    let taken = f
        .identity
        .rename_tunnel(other.id, "after", None, &operator)
        .await;
    assert!(matches!(taken, Err(IdentityError::NameTaken(_))));
    let policy = serde_json::json!({"access": "session"});
    let set =
        f.identity
            .set_tunnel_policy(tunnel.id, policy.clone(), Some(renamed.revision), &operator);
    assert_eq!(set.await.unwrap().policy, policy);
    assert_eq!(f.identity.tunnel(tunnel.id).await.unwrap().policy, policy);
}

#[tokio::test]
async fn a_connection_ends_with_its_tunnel_its_name_and_its_callers_role() {
    let f = Fixture::new().await;
    let (alice, _) = f.user("alice").await;
    let (root, _) = f.admin("root").await;
    let operator = Context::operator();
    let (_, own) = f.key(alice.id).await;
    let (_, admins) = f.key(root.id).await;
    let tunnel = f.identity.first_tunnel(alice.id).await.unwrap().unwrap();
    let connect = |name: &str| {
        let directory = f.identity.directory();
        let entry = directory.tunnel_named(name).unwrap();
        [&own, &admins].map(|key| {
            let caller = f.by_key(key).unwrap();
            Box::pin(directory.connection_ended(&caller, &entry))
        })
    };
    let both = connect(&tunnel.name);
    f.identity
        .rename_tunnel(tunnel.id, "other", None, &operator)
        .await
        .unwrap();
    for ended in both {
        ended.await;
    }
    let [mut one, other] = connect("other");
    let demote = crate::identity::UserChanges {
        role: Some(Role::User),
        ..UserChanges::default()
    };
    f.identity
        .update_user(root.id, &demote, None, &operator)
        .await
        .unwrap();
    other.await;
    assert!((&mut one).now_or_never().is_none());
    f.identity
        .delete_tunnel(tunnel.id, None, &operator)
        .await
        .unwrap();
    one.await;
}
