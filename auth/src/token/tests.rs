//! Tokens of ours and of others, true and false.

mod cache;
mod foreign;
mod rotation;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::seal::MasterKey;
use crate::store::{ManualClock, MemoryStore, Range, Store};

const MASTER: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";
const SECRET: &str = "4f9c1e7ab2d8365091c4e7fa2b6d8035";
const START: u64 = 1_776_254_400;
const HOUR: Duration = Duration::from_secs(60 * 60);

fn clock() -> ManualClock {
    ManualClock::at(UNIX_EPOCH + Duration::from_secs(START))
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

async fn keys(store: &Arc<dyn Store>, clock: &ManualClock) -> Arc<Keys> {
    let master = Arc::new(MasterKey::parse(MASTER).unwrap());
    let clock = Arc::new(clock.clone());
    let keys = Keys::open(Arc::clone(store), master, clock, Rotation::default()).await;
    Arc::new(keys.unwrap())
}

fn issuer(clock: &ManualClock, signer: Signer) -> Issuer {
    Issuer::new(Arc::new(clock.clone()), "https://example.com", signer)
}

fn with_secret(clock: &ManualClock) -> Issuer {
    issuer(clock, Signer::Secret(Secret::parse(SECRET).unwrap()))
}

/// One issuer of each kind.
async fn issuers(clock: &ManualClock) -> [Issuer; 2] {
    let keys = keys(&memory(), clock).await;
    [with_secret(clock), issuer(clock, Signer::Keys(keys))]
}

fn grant() -> Grant {
    Grant {
        subject: "u1".to_owned(),
        audience: "dashboard".to_owned(),
        lasts: HOUR,
        provider: Some("github".to_owned()),
        username: Some("alice".to_owned()),
        rest: [("role".to_owned(), json!("viewer"))].into_iter().collect(),
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn read_part(token: &str, place: usize) -> Value {
    let part = token.split('.').nth(place).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_says_what_was_granted_and_is_accepted() {
    let clock = clock();
    for issuer in issuers(&clock).await {
        let issued = issuer.issue(grant()).unwrap();
        let claims = issuer
            .verifier(["dashboard"])
            .verify(&issued.token)
            .unwrap();
        assert_eq!(claims.iss.as_deref(), Some("https://example.com"));
        assert_eq!(claims.sub.as_deref(), Some("u1"));
        assert_eq!(claims.aud, Some(Audience::One("dashboard".to_owned())));
        assert_eq!(claims.provider.as_deref(), Some("github"));
        assert_eq!(claims.username.as_deref(), Some("alice"));
        assert_eq!(claims.rest["role"], "viewer");
        assert_eq!(claims.jti.as_deref(), Some(&*issued.id));
        assert_eq!(claims.expires(), Some(issued.expires));
        let body = read_part(&issued.token, 1);
        assert_eq!((&body["iat"], &body["nbf"]), (&json!(START), &json!(START)));
        assert_eq!(body["exp"], START + 3600);
        assert_eq!(read_part(&issued.token, 0)["typ"], "JWT");
        assert!(read_part(&issued.token, 0)["kid"].is_string());
        assert_ne!(issuer.issue(grant()).unwrap().id, issued.id);
        assert!(!format!("{issued:?}").contains(&issued.token));
    }
}

#[tokio::test]
async fn a_token_is_good_from_a_minute_before_to_a_minute_after() {
    let clock = clock();
    for issuer in issuers(&clock).await {
        let token = issuer.issue(grant()).unwrap().token;
        let at = |millis: i64| {
            let start = i64::try_from(START).unwrap() * 1000;
            let now = Duration::from_millis(u64::try_from(start + millis).unwrap());
            let verifier =
                Verifier::new(Arc::new(ManualClock::at(UNIX_EPOCH + now)), ["dashboard"])
                    .algorithms([Algorithm::HS256, Algorithm::EdDSA]);
            OwnVerifierAt(&issuer, verifier).verify(&token)
        };
        assert_eq!(at(-60_001), Err(Refusal::NotYet));
        at(-60_000).unwrap();
        at(0).unwrap();
        at(3_600_000 + 59_999).unwrap();
        assert_eq!(at(3_600_000 + 60_000), Err(Refusal::Expired));
    }
}

/// The issuer's keys with a clock of another time.
struct OwnVerifierAt<'a>(&'a Issuer, Verifier);

impl OwnVerifierAt<'_> {
    fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.1.verify(token, &self.0.checks())
    }
}

#[tokio::test]
async fn a_token_for_or_by_somebody_else_is_refused() {
    let clock = clock();
    for issuer in issuers(&clock).await {
        let token = issuer.issue(grant()).unwrap().token;
        let verify = |audiences: &[&str]| issuer.verifier(audiences.iter().copied()).verify(&token);
        assert_eq!(verify(&["api"]), Err(Refusal::Audience));
        assert_eq!(verify(&["Dashboard"]), Err(Refusal::Audience));
        assert_eq!(verify(&[]), Err(Refusal::Audience));
        verify(&["api", "dashboard"]).unwrap();
    }
    let other = Issuer::new(
        Arc::new(clock.clone()),
        "https://example.com/",
        Signer::Secret(Secret::parse(SECRET).unwrap()),
    );
    let token = other.issue(grant()).unwrap().token;
    let refused = with_secret(&clock).verifier(["dashboard"]).verify(&token);
    assert_eq!(refused, Err(Refusal::Issuer));
}

#[tokio::test]
async fn a_token_with_any_character_changed_is_refused() {
    let clock = clock();
    for issuer in issuers(&clock).await {
        let token = issuer.issue(grant()).unwrap().token;
        let verifier = issuer.verifier(["dashboard"]);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(verifier.verify(&changed).is_err(), "{place}");
            assert!(verifier.verify(&token[..place]).is_err(), "cut at {place}");
        }
        let signature = token.rsplit_once('.').unwrap().1;
        for added in [
            format!("{token}="),
            format!("{token}.{signature}"),
            format!(" {token}"),
        ] {
            assert!(verifier.verify(&added).is_err());
        }
    }
}

#[tokio::test]
async fn a_token_of_another_secret_or_key_is_refused() {
    let clock = clock();
    let other = Secret::parse("c70b5e2a9d4f81360e7ac2b95d1f8463").unwrap();
    let other = [
        issuer(&clock, Signer::Secret(other)),
        issuer(&clock, Signer::Keys(keys(&memory(), &clock).await)),
    ];
    for (ours, theirs) in issuers(&clock).await.iter().zip(&other) {
        let token = theirs.issue(grant()).unwrap().token;
        let verifier = ours.verifier(["dashboard"]);
        assert_eq!(verifier.verify(&token), Err(Refusal::UnknownKey));

        // Under our kid the signature is still theirs.
        let mut header = read_part(&token, 0);
        header["kid"] = read_part(&ours.issue(grant()).unwrap().token, 0)["kid"].clone();
        let (_, rest) = token.split_once('.').unwrap();
        let renamed = format!("{}.{rest}", part(&header));
        assert_eq!(verifier.verify(&renamed), Err(Refusal::Signature));
    }
}

#[test]
fn a_secret_is_changed_without_ending_sessions() {
    let clock = clock();
    let before = with_secret(&clock).issue(grant()).unwrap().token;
    let secret = Secret::parse("c70b5e2a9d4f81360e7ac2b95d1f8463").unwrap();
    let issuer = issuer(&clock, Signer::Secret(secret));
    let alone = issuer.verifier(["dashboard"]);
    assert_eq!(alone.verify(&before), Err(Refusal::UnknownKey));
    let issuer = issuer.also_accept(&Secret::parse(SECRET).unwrap());
    let now = issuer.issue(grant()).unwrap().token;
    for token in [&before, &now] {
        issuer.verifier(["dashboard"]).verify(token).unwrap();
    }
    alone.verify(&now).unwrap();
}

#[test]
fn what_the_issuer_sets_cannot_be_granted() {
    let issuer = with_secret(&clock());
    let mut own = grant();
    own.rest.insert("exp".to_owned(), json!(1));
    let refused = issuer.issue(own);
    assert!(matches!(refused, Err(TokenError::ReservedClaim(name)) if name == "exp"));
    let long = Grant {
        lasts: 24 * HOUR + Duration::from_secs(1),
        ..grant()
    };
    assert!(matches!(
        issuer.issue(long),
        Err(TokenError::TooLong { .. })
    ));
}

#[test]
fn a_secret_is_printed_by_nothing() {
    let issuer = with_secret(&clock());
    let verifier = issuer.verifier(["dashboard"]);
    let keys = KeySet::of_secret(&Secret::parse(SECRET).unwrap());
    let printed = format!("{issuer:?} {verifier:?} {keys:?}");
    assert!(!printed.contains(&SECRET[..8]), "{printed}");
    let bytes = format!("{:?}", &SECRET.as_bytes()[..4]);
    assert!(
        !printed.contains(bytes.trim_matches(['[', ']'])),
        "{printed}"
    );
}

/// Every key and value there is.
async fn raw(store: &dyn Store) -> Vec<u8> {
    let page = store.range(Range::all()).await.unwrap();
    assert!(page.next.is_none());
    let records = page.entries.iter();
    records
        .flat_map(|entry| [&entry.key[..], &entry.value[..]].concat())
        .collect()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
