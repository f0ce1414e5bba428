//! Keys over time, in one store and in several gateways.

use tokio::task::JoinSet;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn kids(jwks: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(jwks).unwrap();
    let keys = document["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_key_set_is_public_and_others_check_our_tokens_with_it() {
    let clock = clock();
    let keys = keys(&memory(), &clock).await;
    let token = issuer(&clock, Signer::Keys(Arc::clone(&keys)))
        .issue(grant())
        .unwrap()
        .token;
    let theirs = KeySet::parse(&keys.jwks()).unwrap();
    let verifier = Verifier::new(Arc::new(clock), ["dashboard"]).issuers(["https://example.com"]);
    verifier.verify(&token, &theirs).unwrap();

    let document: Value = serde_json::from_slice(&keys.jwks()).unwrap();
    let listed = document["keys"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for key in listed {
        let members: Vec<_> = key.as_object().unwrap().keys().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
    }
    assert_eq!(read_part(&token, 0)["kid"], kids(&keys.jwks())[0]);
}

#[tokio::test]
async fn a_token_stays_good_over_rotations_until_it_ends() {
    let (store, clock) = (memory(), clock());
    let keys = keys(&store, &clock).await;
    let issuer = issuer(&clock, Signer::Keys(Arc::clone(&keys)));
    let verifier = issuer.verifier(["dashboard"]);
    assert!(!keys.rotate_if_due().await.unwrap());
    assert_eq!(keys.due(), at(START) + 30 * DAY);

    clock.advance(30 * DAY);
    let long = Grant {
        lasts: DAY,
        ..grant()
    };
    let before = issuer.issue(long).unwrap();
    let [first, second] = kids(&keys.jwks()).try_into().unwrap();
    assert!(keys.rotate_if_due().await.unwrap());
    assert!(!keys.rotate_if_due().await.unwrap());
    let now = kids(&keys.jwks());
    assert_eq!((&now[0], &now[2]), (&second, &first));
    let after = issuer.issue(grant()).unwrap();
    assert_eq!(read_part(&after.token, 0)["kid"], second);
    for token in [&before.token, &after.token] {
        verifier.verify(token).unwrap();
    }

    // Twice more, and the first key is still known.
    keys.rotate().await.unwrap();
    keys.rotate().await.unwrap();
    clock.advance(DAY + Duration::from_secs(59));
    keys.reload().await.unwrap();
    verifier.verify(&before.token).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(verifier.verify(&before.token), Err(Refusal::Expired));

    // Once nobody can need it any more, it is gone.
    clock.advance(30 * DAY);
    assert!(keys.rotate_if_due().await.unwrap());
    assert_eq!(verifier.verify(&before.token), Err(Refusal::UnknownKey));
    assert_eq!(kids(&keys.jwks()).len(), 3);
}

#[tokio::test]
async fn of_many_gateways_one_rotates() {
    let (store, clock) = (memory(), clock());
    let first = keys(&store, &clock).await;
    clock.advance(30 * DAY);
    let mut gateways = JoinSet::new();
    for _ in 0..20 {
        let keys = keys(&store, &clock).await;
        gateways.spawn(async move { (keys.rotate_if_due().await.unwrap(), keys.jwks()) });
    }
    let outcomes = gateways.join_all().await;
    assert_eq!(outcomes.iter().filter(|(rotated, _)| *rotated).count(), 1);
    first.reload().await.unwrap();
    assert!(outcomes.iter().all(|(_, jwks)| *jwks == first.jwks()));
}

#[tokio::test]
async fn gateways_that_begin_at_once_have_the_same_keys() {
    let (store, clock) = (memory(), clock());
    let mut gateways = JoinSet::new();
    for _ in 0..20 {
        let (store, clock) = (Arc::clone(&store), clock.clone());
        gateways.spawn(async move { keys(&store, &clock).await.jwks() });
    }
    let mut sets = gateways.join_all().await;
    sets.dedup();
    assert_eq!(sets.len(), 1);
}

#[tokio::test]
async fn a_gateway_follows_the_rotation_of_another() {
    let (store, clock) = (memory(), clock());
    let (one, other) = (keys(&store, &clock).await, keys(&store, &clock).await);
    let following = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.follow().await }
    });
    one.rotate().await.unwrap();
    let token = issuer(&clock, Signer::Keys(Arc::clone(&one))).issue(grant());
    let token = token.unwrap().token;
    while other.jwks() != one.jwks() {
        tokio::task::yield_now().await;
    }
    let verifier = issuer(&clock, Signer::Keys(other)).verifier(["dashboard"]);
    verifier.verify(&token).unwrap();
    following.abort();
}

#[tokio::test]
async fn a_record_that_is_broken_leaves_the_keys_as_they_are() {
    let (store, clock) = (memory(), clock());
    let keys = keys(&store, &clock).await;
    let jwks = keys.jwks();
    let batch = crate::store::Batch::new().put("token/keys", "garbage");
    store.commit(batch).await.unwrap();
    assert!(matches!(keys.reload().await, Err(TokenError::Seal(_))));
    assert!(keys.rotate().await.is_err());
    assert_eq!(keys.jwks(), jwks);
    let issuer = issuer(&clock, Signer::Keys(keys));
    let token = issuer.issue(grant()).unwrap().token;
    issuer.verifier(["dashboard"]).verify(&token).unwrap();
}

#[tokio::test]
async fn a_dump_of_the_store_holds_no_key() {
    let (store, clock) = (memory(), clock());
    let keys = keys(&store, &clock).await;
    keys.rotate().await.unwrap();
    let record = store.get(b"token/keys").await.unwrap().unwrap().value;
    let master = MasterKey::parse(MASTER).unwrap();
    let ring: Value =
        serde_json::from_slice(&master.open(b"token/keys", &record).unwrap()).unwrap();
    let raw = raw(&*store).await;
    let holds = |part: &[u8]| raw.windows(part.len()).any(|window| window == part);
    for name in ["next", "current"] {
        let text = ring[name].as_str().unwrap();
        let seed = URL_SAFE_NO_PAD.decode(text).unwrap();
        assert_eq!(seed.len(), 32);
        assert!(!holds(&seed) && !holds(text.as_bytes()), "{name}");
        assert!(!String::from_utf8_lossy(&keys.jwks()).contains(text));
        assert!(!format!("{keys:?}").contains(text));
    }
    // Not even a public key stands there to be replaced.
    for key in serde_json::from_slice::<Value>(&keys.jwks()).unwrap()["keys"]
        .as_array()
        .unwrap()
    {
        assert!(!holds(key["x"].as_str().unwrap().as_bytes()));
    }
}
