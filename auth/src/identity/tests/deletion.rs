//! Deleting a user: everything of theirs goes, whatever comes between.

use super::*;
use crate::directory::Refused;
use crate::record::{self, layout};
use crate::store::{Batch, Range, RedbStore};

/// Keys of the store that have to do with users; the audit and counters are not among them.
async fn owned(store: &dyn Store) -> Vec<String> {
    let mut keys = Vec::new();
    let mut range = Range::all();
    loop {
        let page = store.range(range).await.unwrap();
        keys.extend(
            page.entries
                .iter()
                .map(|entry| entry.key.escape_ascii().to_string()),
        );
        match page.next {
            Some(next) => range = Range::all().after(next),
            None => break,
        }
    }
    keys.retain(|key| !key.starts_with("index/next/") && key != layout::CSRF);
    keys.retain(|key| !key.starts_with("\\x00"));
    keys
}

#[tokio::test]
async fn nothing_of_a_deleted_user_is_left() {
    let f = Fixture::new().await;
    let (user, token) = f.admin("alice").await;
    let operator = Context::operator();
    let mut secrets = Vec::new();
    for _ in 0..200 {
        secrets.push(f.key(user.id).await.1);
    }
    for _ in 0..20 {
        f.identity
            .create_tunnel(user.id, None, &operator)
            .await
            .unwrap();
    }
    f.identity.used(crate::key::KeyId(1), &operator);
    f.identity.flush().await.unwrap();
    let caller = f.by_session(&token).unwrap();
    let ended = f.identity.directory().ended(&caller);
    f.identity
        .delete_user(user.id, None, &operator)
        .await
        .unwrap();
    ended.await;
    assert_eq!(owned(&*f.parts.store).await, Vec::<String>::new());
    assert!(f.by_session(&token).is_err());
    for secret in &secrets {
        assert_eq!(f.by_key(secret).unwrap_err(), Refused::Unknown);
    }
    assert_eq!(f.actions().last(), Some(&"user.delete"));
    let again = f.identity.delete_user(user.id, None, &operator).await;
    assert!(matches!(again, Err(IdentityError::NotFound(What::User))));
    let (anew, _) = f.user("alice").await;
    assert_ne!(anew.id, user.id);
}

#[tokio::test]
async fn local_accounts_go_with_their_passwords() {
    let f = Fixture::new().await;
    let operator = Context::operator();
    let create = async || {
        f.identity
            .create_local("bob", "long enough 1", Role::User, &operator)
            .await
    };
    let user = create().await.unwrap();
    f.identity
        .delete_user(user.id, None, &operator)
        .await
        .unwrap();
    assert_eq!(owned(&*f.parts.store).await, Vec::<String>::new());
    create().await.unwrap();
}

/// What a kill between the first commit and the others leaves.
async fn mark(identity: &Identity, id: UserId) {
    let mut user = identity.user(id).await.unwrap();
    user.record.deleting = true;
    let batch = Batch::new()
        .put(layout::user(id), record::encode(&user.record))
        .put(layout::deletion(id), "")
        .delete(layout::subject(user.provider, &user.subject));
    let revision = identity.store().commit(batch).await.unwrap();
    identity.directory().caught_up(revision).await;
}

#[tokio::test]
async fn who_is_being_deleted_can_do_nothing_and_get_nothing() {
    let f = Fixture::new().await;
    let (user, token) = f.user("alice").await;
    let (key, secret) = f.key(user.id).await;
    mark(&f.identity, user.id).await;
    assert!(f.by_key(&secret).is_err() && f.by_session(&token).is_err());
    let operator = Context::operator();
    assert!(
        f.identity
            .create_key(user.id, &new_key("a"), &operator)
            .await
            .is_err()
    );
    assert!(
        f.identity
            .rotate_key(key.id, Duration::ZERO, &operator)
            .await
            .is_err()
    );
    assert!(
        f.identity
            .create_tunnel(user.id, None, &operator)
            .await
            .is_err()
    );
    let (anew, _) = f.user("alice").await;
    assert_ne!(anew.id, user.id);
}

#[tokio::test]
async fn a_deletion_that_was_cut_off_is_finished_at_the_next_start() {
    let folder = std::env::temp_dir().join(format!("portunus-deletion-{:x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("store.redb");
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let secret = {
        let store = Arc::new(RedbStore::open(&path).await.unwrap());
        let f = Fixture::over(store, clock.clone(), Settings::default()).await;
        let (user, _) = f.user("alice").await;
        let (_, secret) = f.key(user.id).await;
        mark(&f.identity, user.id).await;
        f.identity.close().await.unwrap();
        secret
    };
    let store = reopen(&path).await;
    let f = Fixture::over(store, clock, Settings::default()).await;
    assert_eq!(owned(&*f.parts.store).await, Vec::<String>::new());
    assert_eq!(f.by_key(&secret).unwrap_err(), Refused::Unknown);
    drop(f);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Tasks that were stopped may have the file for a moment more.
async fn reopen(path: &std::path::Path) -> Arc<RedbStore> {
    loop {
        match RedbStore::open(path).await {
            Ok(store) => return Arc::new(store),
            Err(crate::store::StoreError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("portunus-restart-{:x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("store.redb");
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let (token, good, revoked, csrf, user) = {
        let store = Arc::new(RedbStore::open(&path).await.unwrap());
        let f = Fixture::over(store, clock.clone(), Settings::default()).await;
        let (user, token) = f.user("alice").await;
        let (_, good) = f.key(user.id).await;
        let (key, revoked) = f.key(user.id).await;
        f.identity
            .revoke_key(key.id, &Context::operator())
            .await
            .unwrap();
        let id = f.by_session(&token).unwrap().session().unwrap();
        let csrf = f.identity.csrf_token(id);
        f.identity.close().await.unwrap();
        (token, good, revoked, csrf, user)
    };
    let f = Fixture::over(reopen(&path).await, clock, Settings::default()).await;
    let id = f.by_session(&token).unwrap().session().unwrap();
    assert!(f.identity.check_csrf(id, &csrf));
    f.by_key(&good).unwrap();
    assert_eq!(f.by_key(&revoked).unwrap_err(), Refused::Revoked);
    let (bob, _) = f.user("bob").await;
    assert!(bob.id > user.id);
    drop(f);
    std::fs::remove_dir_all(&folder).unwrap();
}
