//! Users: listed and changed.

use super::*;
use crate::directory::Revoked;

#[tokio::test]
async fn users_are_listed_by_what_they_are() {
    let f = Fixture::new().await;
    for name in ["alice", "bob", "carol", "dave"] {
        f.user(name).await;
    }
    f.admin("root").await;
    let names = async |filter: UserFilter| {
        let mut page = Page {
            cursor: None,
            limit: 2,
        };
        let mut names = Vec::new();
        loop {
            let found = f.identity.users(&page, &filter).await.unwrap();
            names.extend(found.items.into_iter().map(|user| user.record.username));
            match found.next {
                Some(next) => page.cursor = Some(next),
                None => return names,
            }
        }
    };
    let all = names(UserFilter::default()).await;
    assert_eq!(all, ["alice", "bob", "carol", "dave", "root"]);
    let admins = UserFilter {
        role: Some(Role::Admin),
        ..UserFilter::default()
    };
    assert_eq!(names(admins).await, ["root"]);
    let text = UserFilter {
        text: Some("CAROL@".to_owned()),
        ..UserFilter::default()
    };
    assert_eq!(names(text).await, ["carol"]);
    let local = UserFilter {
        provider: Some(Provider::Local),
        ..UserFilter::default()
    };
    assert!(names(local).await.is_empty());
}

#[tokio::test]
async fn a_change_on_an_old_copy_is_refused() {
    let f = Fixture::new().await;
    let (user, _) = f.user("alice").await;
    let changes = UserChanges {
        display_name: Some(Some("Alice".to_owned())),
        email: Some(None),
        ..UserChanges::default()
    };
    let operator = Context::operator();
    let update = async |seen| {
        f.identity
            .update_user(user.id, &changes, Some(seen), &operator)
            .await
    };
    let changed = update(user.revision).await.unwrap();
    assert_eq!(changed.display_name.as_deref(), Some("Alice"));
    assert_eq!(changed.email, None);
    assert!(matches!(
        update(user.revision).await,
        Err(IdentityError::Changed(What::User))
    ));
    update(changed.revision).await.unwrap();
    let delete = f
        .identity
        .delete_user(user.id, Some(user.revision), &operator)
        .await;
    assert!(matches!(delete, Err(IdentityError::Changed(What::User))));
}

#[tokio::test]
async fn who_is_disabled_loses_keys_and_sessions_until_enabled() {
    let f = Fixture::new().await;
    let (user, token) = f.user("alice").await;
    let (_, secret) = f.key(user.id).await;
    let callers = [f.by_key(&secret).unwrap(), f.by_session(&token).unwrap()];
    let mut revocations = f.identity.directory().revocations();
    let ended: Vec<_> = callers
        .iter()
        .map(|caller| f.identity.directory().ended(caller))
        .collect();
    let set = async |disabled| {
        let changes = UserChanges {
            disabled: Some(disabled),
            ..UserChanges::default()
        };
        f.identity
            .update_user(user.id, &changes, None, &Context::operator())
            .await
            .unwrap();
    };
    set(true).await;
    for ended in ended {
        ended.await;
    }
    assert_eq!(revocations.next().await, Some(Revoked::User(user.id)));
    assert!(f.by_key(&secret).is_err() && f.by_session(&token).is_err());
    set(false).await;
    assert!(f.by_key(&secret).is_ok() && f.by_session(&token).is_ok());
}

#[tokio::test]
async fn a_key_for_some_things_makes_nobody_an_administrator() {
    let f = Fixture::new().await;
    let (root, _) = f.admin("root").await;
    let (alice, _) = f.user("alice").await;
    let mut new = new_key("people");
    new.scopes = "user:*".parse().unwrap();
    let operator = Context::operator();
    let made = f.identity.create_key(root.id, &new, &operator).await;
    let partial = f.as_key(&made.unwrap().1);
    let promote = UserChanges {
        role: Some(Role::Admin),
        ..UserChanges::default()
    };
    let promoted = f
        .identity
        .update_user(alice.id, &promote, None, &partial)
        .await;
    assert!(matches!(promoted, Err(IdentityError::BeyondOwnScopes)));
    let password = "correct horse battery";
    let made = f
        .identity
        .create_local("mallory", password, Role::Admin, &partial)
        .await;
    assert!(matches!(made, Err(IdentityError::BeyondOwnScopes)));
    let made = f
        .identity
        .create_local("bob", password, Role::User, &partial);
    made.await.unwrap();
    new.scopes = Scopes::all();
    let made = f.identity.create_key(root.id, &new, &operator).await;
    let whole = f.as_key(&made.unwrap().1);
    let promoted = f
        .identity
        .update_user(alice.id, &promote, None, &whole)
        .await;
    assert_eq!(promoted.unwrap().role, Role::Admin);
}
