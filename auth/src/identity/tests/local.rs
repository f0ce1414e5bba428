//! Local accounts and the set-up.

use super::*;

const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn an_account_signs_in_with_its_password_in_any_case_of_its_name() {
    let f = Fixture::new().await;
    let operator = Context::operator();
    let user = f
        .identity
        .create_local("Alice", PASSWORD, Role::User, &operator)
        .await
        .unwrap();
    assert_eq!((&*user.username, user.provider), ("alice", Provider::Local));
    let (same, token) = f
        .identity
        .sign_in_local(" ALICE ", PASSWORD, &somebody())
        .await
        .unwrap();
    assert_eq!(same.id, user.id);
    f.by_session(&token).unwrap();
    let taken = f
        .identity
        .create_local("alice", PASSWORD, Role::User, &operator)
        .await;
    assert!(matches!(taken, Err(IdentityError::NameTaken(_))));
}

#[tokio::test]
async fn bad_names_and_passwords_are_refused() {
    let f = Fixture::new().await;
    let operator = Context::operator();
    for (name, password) in [
        ("", PASSWORD),
        ("a b", PASSWORD),
        ("a/b", PASSWORD),
        (&*"a".repeat(65), PASSWORD),
        ("alice", "short"),
        ("alice", &*"x".repeat(1025)),
        ("alice-in-chains", "alice-in-chains1"),
    ] {
        let refused = f
            .identity
            .create_local(name, password, Role::User, &operator)
            .await;
        assert!(
            matches!(refused, Err(IdentityError::Invalid { .. })),
            "{name}"
        );
    }
}

#[tokio::test]
async fn whatever_is_wrong_looks_and_costs_the_same() {
    let f = Fixture::new().await;
    let operator = Context::operator();
    f.identity
        .create_local("alice", PASSWORD, Role::User, &operator)
        .await
        .unwrap();
    let carol = f
        .identity
        .create_local("carol", PASSWORD, Role::User, &operator)
        .await
        .unwrap();
    let disabled = UserChanges {
        disabled: Some(true),
        ..UserChanges::default()
    };
    f.identity
        .update_user(carol.id, &disabled, None, &operator)
        .await
        .unwrap();
    let huge = "x".repeat(100_000);
    let mut texts = std::collections::HashSet::new();
    let cases = [
        ("alice", "wrong password"),
        ("nobody", PASSWORD),
        ("not a name/at all", PASSWORD),
        ("carol", PASSWORD),
        ("alice", &*huge),
    ];
    for (place, (name, password)) in cases.into_iter().enumerate() {
        let context = from(&format!("192.0.2.{place}"));
        let refused = f
            .identity
            .sign_in_local(name, password, &context)
            .await
            .unwrap_err();
        assert!(matches!(refused, IdentityError::BadCredentials), "{name}");
        texts.insert(refused.to_string());
        assert_eq!(f.hasher.verified(), place + 1, "{name}");
    }
    assert_eq!(texts.len(), 1);
    assert_eq!(
        f.actions()
            .iter()
            .filter(|&&a| a == "session.refuse")
            .count(),
        cases.len()
    );
}

#[tokio::test]
async fn too_many_failures_are_refused_before_any_hashing() {
    let f = Fixture::new().await;
    let operator = Context::operator();
    f.identity
        .create_local("alice", PASSWORD, Role::User, &operator)
        .await
        .unwrap();
    for _ in 0..5 {
        let wrong = f
            .identity
            .sign_in_local("alice", "wrong", &somebody())
            .await;
        assert!(matches!(wrong, Err(IdentityError::BadCredentials)));
    }
    let hashed = f.hasher.verified();
    for context in [somebody(), from("198.51.100.1")] {
        let refused = f.identity.sign_in_local("alice", PASSWORD, &context).await;
        let Err(IdentityError::TooMany { retry_after }) = refused else {
            panic!("{refused:?}");
        };
        assert!(retry_after <= Duration::from_secs(30));
    }
    assert_eq!(f.hasher.verified(), hashed);
    f.clock.advance(Duration::from_secs(31));
    f.identity
        .sign_in_local("alice", PASSWORD, &somebody())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_password_ends_the_sessions() {
    let f = Fixture::new().await;
    let operator = Context::operator();
    let user = f
        .identity
        .create_local("alice", PASSWORD, Role::User, &operator)
        .await
        .unwrap();
    let (_, token) = f
        .identity
        .sign_in_local("alice", PASSWORD, &somebody())
        .await
        .unwrap();
    f.identity
        .set_password(user.id, "another password", &operator)
        .await
        .unwrap();
    assert!(f.by_session(&token).is_err());
    assert!(
        f.identity
            .sign_in_local("alice", PASSWORD, &somebody())
            .await
            .is_err()
    );
    f.identity
        .sign_in_local("alice", "another password", &somebody())
        .await
        .unwrap();
    let (github, _) = f.user("bob").await;
    let refused = f
        .identity
        .set_password(github.id, "another password", &operator)
        .await;
    assert!(matches!(refused, Err(IdentityError::Invalid { .. })));
}

#[tokio::test]
async fn the_set_up_link_makes_one_admin_and_is_good_no_longer() {
    let f = Fixture::new().await;
    let neighbour = f.neighbour().await;
    let link = f.identity.setup_link().await.unwrap().unwrap();
    assert_eq!(neighbour.setup_link().await.unwrap(), Some(link.clone()));
    let finish = async |gateway: &Identity, token: &str, name: &str| {
        gateway
            .finish_setup(token, name, PASSWORD, &from("192.0.2.5"))
            .await
    };
    let wrong = finish(&f.identity, "ptnsetup_guess", "eve").await;
    assert!(matches!(wrong, Err(IdentityError::SetupClosed)));
    let (first, second) = tokio::join!(
        finish(&f.identity, link.expose(), "alice"),
        finish(&neighbour, link.expose(), "bob"),
    );
    assert_eq!(
        u8::from(first.is_ok()) + u8::from(second.is_ok()),
        1,
        "{first:?} {second:?}"
    );
    let (admin, token) = first.or(second).unwrap();
    assert_eq!(admin.role, Role::Admin);
    f.identity.directory().caught_up(admin.revision).await;
    f.by_session(&token).unwrap();
    assert_eq!(f.identity.setup_link().await.unwrap(), None);
    let late = finish(&f.identity, link.expose(), "carol").await;
    assert!(matches!(late, Err(IdentityError::SetupClosed)));
    assert!(f.actions().contains(&"setup.finish"));
}

#[tokio::test]
async fn an_admin_made_otherwise_closes_the_set_up() {
    let f = Fixture::new().await;
    let link = f.identity.setup_link().await.unwrap().unwrap();
    let operator = Context::operator();
    f.identity
        .create_local("root", PASSWORD, Role::Admin, &operator)
        .await
        .unwrap();
    let late = f
        .identity
        .finish_setup(link.expose(), "eve", PASSWORD, &somebody())
        .await;
    assert!(matches!(late, Err(IdentityError::SetupClosed)));
    assert_eq!(f.identity.setup_link().await.unwrap(), None);
}

#[tokio::test]
async fn there_is_no_set_up_where_a_provider_is_configured() {
    let settings = Settings {
        has_provider: true,
        ..Settings::default()
    };
    let f = Fixture::with(settings).await;
    assert_eq!(f.identity.setup_link().await.unwrap(), None);
}

#[tokio::test]
async fn guessing_at_the_set_up_token_is_limited() {
    let f = Fixture::new().await;
    f.identity.setup_link().await.unwrap().unwrap();
    let guess = async || {
        f.identity
            .finish_setup("guess", "eve", PASSWORD, &somebody())
            .await
    };
    for _ in 0..5 {
        assert!(matches!(guess().await, Err(IdentityError::SetupClosed)));
    }
    assert!(matches!(guess().await, Err(IdentityError::TooMany { .. })));
}

#[tokio::test]
async fn argon2_is_what_checks_passwords_and_old_hashes_are_made_anew() {
    use crate::password::{Cost, Passwords};
    let f = Fixture::new().await;
    let operator = Context::operator();
    let at_cost = async |passes| {
        let mut parts = f.parts.clone();
        let cost = Cost { memory: 64, passes };
        parts.passwords = Arc::new(Passwords::new(cost, 1).unwrap());
        Identity::open(parts, Settings::default()).await.unwrap()
    };
    let cheap = at_cost(1).await;
    let user = cheap
        .create_local("alice", PASSWORD, Role::User, &operator)
        .await
        .unwrap();
    let at = crate::record::layout::password(user.id);
    let kept = async || {
        let sealed = f.parts.store.get(&at).await.unwrap().unwrap().value;
        String::from_utf8(f.parts.seal.open(&at, &sealed).unwrap()).unwrap()
    };
    assert!(kept().await.starts_with("$argon2id$v=19$m=64,t=1,"));
    let dearer = at_cost(2).await;
    assert!(
        dearer
            .sign_in_local("alice", "wrong password", &somebody())
            .await
            .is_err()
    );
    assert!(kept().await.contains("t=1,"));
    dearer
        .sign_in_local("alice", PASSWORD, &somebody())
        .await
        .unwrap();
    assert!(kept().await.contains("t=2,"));
    dearer
        .sign_in_local("alice", PASSWORD, &somebody())
        .await
        .unwrap();
    assert!(
        dearer
            .sign_in_local("nobody", PASSWORD, &somebody())
            .await
            .is_err()
    );
}

/// Answers only after somebody else gave the account another password.
#[derive(Debug)]
struct Meanwhile(Identity, Arc<CountingHasher>);

#[async_trait]
impl PasswordHasher for Meanwhile {
    async fn hash(&self, password: &str) -> Result<String, crate::password::PasswordError> {
        self.1.hash(password).await
    }

    async fn verify(
        &self,
        hash: Option<&str>,
        password: &str,
    ) -> Result<crate::password::Verdict, crate::password::PasswordError> {
        let verdict = self.1.verify(hash, password).await;
        let page = self
            .0
            .users(&Page::default(), &UserFilter::default())
            .await
            .unwrap();
        let operator = Context::operator();
        let changed = self
            .0
            .set_password(page.items[0].id, "another password", &operator);
        changed.await.unwrap();
        verdict
    }
}

#[tokio::test]
async fn a_password_that_is_changed_meanwhile_lets_nobody_in() {
    let f = Fixture::new().await;
    let operator = Context::operator();
    f.identity
        .create_local("alice", PASSWORD, Role::User, &operator)
        .await
        .unwrap();
    let mut parts = f.parts.clone();
    parts.passwords = Arc::new(Meanwhile(f.identity.clone(), Arc::clone(&f.hasher)));
    let slow = Identity::open(parts, Settings::default()).await.unwrap();
    let late = slow.sign_in_local("alice", PASSWORD, &somebody()).await;
    assert!(matches!(late, Err(IdentityError::Busy)), "{late:?}");
    assert!(
        f.identity
            .sessions(None, &Page::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    f.identity
        .sign_in_local("alice", "another password", &somebody())
        .await
        .unwrap();
}
