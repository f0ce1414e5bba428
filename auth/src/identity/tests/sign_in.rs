//! Signing in with a provider.

use super::*;
use crate::directory::Refused;

#[tokio::test]
async fn the_first_sign_in_makes_a_user_with_a_tunnel_and_a_session() {
    let f = Fixture::new().await;
    let (user, token) = f.user("alice").await;
    assert_eq!(user.role, Role::User);
    assert_eq!(user.last_sign_in, Some(f.now()));
    let tunnels = f
        .identity
        .tunnels(Some(user.id), &Page::default())
        .await
        .unwrap();
    let [tunnel] = &tunnels.items[..] else {
        panic!("{tunnels:?}");
    };
    assert_eq!(tunnel.name.split('-').count(), 3);
    let caller = f.by_session(&token).unwrap();
    assert_eq!((caller.user.id, &*caller.user.username), (user.id, "alice"));
    assert_eq!(
        f.actions(),
        ["user.create", "tunnel.create", "session.create"]
    );
}

#[tokio::test]
async fn the_second_sign_in_is_the_same_user_with_what_the_provider_says_now() {
    let f = Fixture::new().await;
    let (first, _) = f.user("alice").await;
    let mut renamed = github("alice");
    renamed.username = "alicia".to_owned();
    renamed.email = None;
    f.clock.advance(DAY);
    let (second, _) = f.identity.sign_in(&renamed, &somebody()).await.unwrap();
    assert_eq!(second.id, first.id);
    assert_eq!((&*second.username, &second.email), ("alicia", &None));
    assert_eq!(second.last_sign_in, Some(f.now()));
    assert_eq!(second.created, first.created);
}

#[tokio::test]
async fn one_account_signing_in_at_two_gateways_at_once_is_one_user() {
    let f = Fixture::new().await;
    let gateways = [f.identity.clone(), f.neighbour().await];
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let gateway = gateways[i % 2].clone();
            tokio::spawn(async move {
                let (user, token) = gateway
                    .sign_in(&github("alice"), &somebody())
                    .await
                    .unwrap();
                (user.id, token)
            })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap().0);
    }
    assert_eq!(ids.len(), 1);
    let all = f
        .identity
        .users(&Page::default(), &UserFilter::default())
        .await
        .unwrap();
    assert_eq!(all.items.len(), 1);
    let tunnels = f.identity.tunnels(None, &Page::default()).await.unwrap();
    assert_eq!(tunnels.items.len(), 1);
}

#[tokio::test]
async fn the_same_name_at_another_provider_is_somebody_else() {
    let f = Fixture::new().await;
    let (admin, _) = f.admin("alice").await;
    let mut gitlab = github("alice");
    gitlab.provider = Provider::GitLab;
    let (other, _) = f.identity.sign_in(&gitlab, &somebody()).await.unwrap();
    assert_ne!(other.id, admin.id);
    assert_eq!((admin.role, other.role), (Role::Admin, Role::User));
}

#[tokio::test]
async fn who_leaves_the_list_of_admins_is_none_but_who_was_made_one_stays() {
    let f = Fixture::new().await;
    f.admin("alice").await;
    let (alice, _) = f.user("alice").await;
    assert_eq!(alice.role, Role::User);
    let changes = UserChanges {
        role: Some(Role::Admin),
        ..UserChanges::default()
    };
    let operator = Context::operator();
    f.identity
        .update_user(alice.id, &changes, None, &operator)
        .await
        .unwrap();
    let (alice, token) = f.user("alice").await;
    assert_eq!(alice.role, Role::Admin);
    assert_eq!(f.by_session(&token).unwrap().user.role, Role::Admin);
}

#[tokio::test]
async fn signing_in_again_ends_the_session_before() {
    let f = Fixture::new().await;
    let (_, before) = f.user("alice").await;
    let context = f.as_session(&before);
    let (_, after) = f
        .identity
        .sign_in(&github("alice"), &context)
        .await
        .unwrap();
    assert_eq!(f.by_session(&before).unwrap_err(), Refused::Unknown);
    assert_ne!(before.reveal(), after.reveal());
    f.by_session(&after).unwrap();
}

#[tokio::test]
async fn a_disabled_user_does_not_get_in() {
    let f = Fixture::new().await;
    let (user, token) = f.user("alice").await;
    let changes = UserChanges {
        disabled: Some(true),
        ..UserChanges::default()
    };
    f.identity
        .update_user(user.id, &changes, None, &Context::operator())
        .await
        .unwrap();
    assert_eq!(f.by_session(&token).unwrap_err(), Refused::Disabled);
    let again = f.identity.sign_in(&github("alice"), &somebody()).await;
    assert!(matches!(again, Err(IdentityError::Disabled)), "{again:?}");
    assert_eq!(f.actions().last(), Some(&"session.refuse"));
}

#[tokio::test]
async fn without_its_audit_row_nothing_happens() {
    #[derive(Debug)]
    struct Full;

    #[async_trait]
    impl AuditSink for Full {
        async fn commit(
            &self,
            _: &dyn Store,
            _: crate::store::Batch,
            _: &[Event],
        ) -> Result<crate::store::Revision, crate::audit::AuditError> {
            Err(crate::audit::AuditError::Stopped)
        }
    }

    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let mut parts = f.parts.clone();
    parts.audit = Arc::new(Full);
    let blind = Identity::open(parts, Settings::default()).await.unwrap();
    let operator = Context::operator();
    let refused = |outcome: Result<(), IdentityError>| {
        assert!(
            matches!(outcome, Err(IdentityError::Audit(_))),
            "{outcome:?}"
        );
    };
    refused(blind.sign_in(&github("bob"), &somebody()).await.map(drop));
    refused(
        blind
            .create_key(user.id, &new_key("a"), &operator)
            .await
            .map(drop),
    );
    refused(blind.delete_user(user.id, None, &operator).await);
    let users = f
        .identity
        .users(&Page::default(), &UserFilter::default())
        .await
        .unwrap();
    assert_eq!(users.items.len(), 1);
    assert!(
        f.identity
            .keys(None, &Page::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn rows_go_to_the_chain_in_the_commit_of_the_change() {
    let f = Fixture::new().await;
    let (store, clock) = (Arc::clone(&f.parts.store), Arc::clone(&f.parts.clock));
    let chain = crate::audit::Chain::open(store, &f.parts.seal, clock, "main")
        .await
        .unwrap();
    let mut parts = f.parts.clone();
    parts.audit = Arc::new(chain.clone());
    let identity = Identity::open(parts, Settings::default()).await.unwrap();
    let (user, token) = identity
        .sign_in(&github("alice"), &somebody())
        .await
        .unwrap();
    let caller = identity
        .directory()
        .by_session(token.reveal(), f.now())
        .unwrap();
    let context = Context::new(Actor::User(caller), None, Some("test/1"));
    identity
        .create_key(user.id, &new_key("a"), &context)
        .await
        .unwrap();
    let found = chain
        .reader()
        .query(&crate::audit::Query::new())
        .await
        .unwrap();
    let names: Vec<_> = found
        .entries
        .iter()
        .map(|entry| entry.row.event.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "key.create",
            "session.create",
            "tunnel.create",
            "user.create"
        ]
    );
    assert!(chain.reader().verify(&[]).await.unwrap().reason.is_none());
}
