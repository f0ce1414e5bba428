//! The directory beside a store that changes, lags and fails.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::apikey::ApiKey;
use crate::key::{Key, KeyId};
use crate::record::{self, layout};
use crate::store::{Batch, MAX_PENDING_CHANGES, ManualClock, MemoryStore, Store};
use crate::user::{Provider, User};

const IDLE: Duration = Duration::from_secs(60);

struct Fixture {
    store: Arc<dyn Store>,
    directory: Directory,
    clock: ManualClock,
    _feeder: Feeder,
}

async fn fixture() -> Fixture {
    let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
    let (directory, feeder) = start(&store, &clock).await;
    Fixture {
        store,
        directory,
        clock,
        _feeder: feeder,
    }
}

async fn start(store: &Arc<dyn Store>, clock: &ManualClock) -> (Directory, Feeder) {
    Feeder::start(store, Arc::new(clock.clone()), IDLE)
        .await
        .unwrap()
}

fn put_user(batch: Batch, id: u64) -> Batch {
    let user = User {
        id: UserId(id),
        provider: Provider::GitHub,
        subject: id.to_string(),
        username: format!("user-{id}"),
        display_name: None,
        email: None,
        avatar_url: None,
        role: Role::User,
        disabled: false,
        created: UNIX_EPOCH,
        last_sign_in: None,
        admin_by_list: false,
        deleting: false,
    };
    batch.put(layout::user(user.id), record::encode(&user))
}

fn key(id: u64, owner: u64) -> (Key, ApiKey) {
    let secret = ApiKey::mint().unwrap();
    let key = Key {
        id: KeyId(id),
        owner: UserId(owner),
        name: "key".to_owned(),
        prefix: secret.prefix().to_owned(),
        scopes: Scopes::least(),
        created: UNIX_EPOCH,
        expires: None,
        revoked: None,
        tunnel: None,
        successor: None,
        hash: secret.hash(),
    };
    (key, secret)
}

fn put_key(batch: Batch, key: &Key) -> Batch {
    batch.put(layout::key(key.id), record::encode(key))
}

impl Fixture {
    fn check(&self, secret: &ApiKey) -> Result<Arc<Caller>, Refused> {
        self.directory.by_key(secret.reveal(), self.clock.now())
    }

    async fn commit(&self, batch: Batch) {
        let revision = self.store.commit(batch).await.unwrap();
        self.directory.caught_up(revision).await;
    }
}

#[tokio::test]
async fn what_is_there_at_the_start_is_loaded() {
    let f = fixture().await;
    let mut batch = Batch::new();
    let mut secrets = Vec::new();
    for id in 1..=400 {
        let (key, secret) = key(id, id);
        batch = put_key(put_user(batch, id), &key);
        secrets.push(secret);
    }
    f.store.commit(batch).await.unwrap();
    let more: Batch = (401..=1300).fold(Batch::new(), put_user);
    f.store.commit(more).await.unwrap();
    let (directory, _feeder) = start(&f.store, &f.clock).await;
    for (place, secret) in secrets.iter().enumerate() {
        let caller = directory.by_key(secret.reveal(), f.clock.now()).unwrap();
        assert_eq!(caller.user.id, UserId(place as u64 + 1));
    }
    assert!(directory.user(UserId(1300)).is_some());
    assert!(directory.user(UserId(1301)).is_none());
}

#[tokio::test]
async fn a_directory_that_lagged_reads_everything_again() {
    let f = fixture().await;
    let (stays, stays_secret) = key(1, 1);
    let (goes, goes_secret) = key(2, 1);
    f.commit(put_key(put_key(put_user(Batch::new(), 1), &stays), &goes))
        .await;
    let mut revocations = f.directory.revocations();
    let gone = f.check(&goes_secret).unwrap();
    let ended = f.directory.ended(&gone);
    // None of this is seen before the next await that is pending: the runtime has one thread.
    f.store
        .commit(Batch::new().delete(layout::key(goes.id)))
        .await
        .unwrap();
    let mut last = Revision::default();
    let mut id = 1000;
    while id < 1000 + 2 * MAX_PENDING_CHANGES as u64 {
        let batch = (id..id + 900).fold(Batch::new(), put_user);
        last = f.store.commit(batch).await.unwrap();
        id += 900;
    }
    f.directory.caught_up(last).await;
    ended.await;
    assert_eq!(f.check(&goes_secret).unwrap_err(), Refused::Unknown);
    f.check(&stays_secret).unwrap();
    assert!(f.directory.user(UserId(id - 1)).is_some());
    let mut told = Vec::new();
    while told.last() != Some(&Some(Revoked::Everything)) {
        told.push(revocations.next().await);
    }
    assert!(told.contains(&Some(Revoked::Key(goes.id))) || told.len() == 1);
}

#[tokio::test]
async fn a_subscriber_that_lags_is_told_to_check_everything() {
    let f = fixture().await;
    let mut slow = f.directory.revocations();
    let users = (1..=900).fold(Batch::new(), put_user);
    f.commit(users).await;
    let more = (901..=1500).fold(Batch::new(), put_user);
    f.commit(more).await;
    for ids in [1..=900, 901..=1500_u64] {
        let gone = ids.fold(Batch::new(), |batch, id| {
            batch.delete(layout::user(UserId(id)))
        });
        f.commit(gone).await;
    }
    assert_eq!(slow.next().await, Some(Revoked::Everything));
    assert!(matches!(slow.next().await, Some(Revoked::User(_))));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_lets_nobody_in() {
    let f = fixture().await;
    let (key, secret) = key(1, 1);
    f.commit(put_key(put_user(Batch::new(), 1), &key)).await;
    f.check(&secret).unwrap();
    let newer = br#"{"v":999,"data":{}}"#.to_vec();
    for garbage in [newer, b"{".to_vec(), b"\xff\x00".to_vec(), Vec::new()] {
        f.commit(put_key(Batch::new(), &key)).await;
        f.check(&secret).unwrap();
        f.commit(Batch::new().put(layout::key(key.id), garbage))
            .await;
        assert!(f.check(&secret).is_err());
    }
    // Nor does a gateway start that would not know who may come in.
    let started = Feeder::start(&f.store, Arc::new(f.clock.clone()), IDLE).await;
    let error = started.err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("identity/key/0000000000000001")));
}

#[tokio::test]
async fn a_key_whose_owner_is_gone_is_refused() {
    let f = fixture().await;
    let (key, secret) = key(1, 1);
    f.commit(put_key(put_user(Batch::new(), 1), &key)).await;
    let caller = f.check(&secret).unwrap();
    assert!(f.directory.still_good(&caller, f.clock.now()));
    f.commit(Batch::new().delete(layout::user(UserId(1)))).await;
    assert_eq!(f.check(&secret).unwrap_err(), Refused::Revoked);
    assert!(!f.directory.still_good(&caller, f.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn a_caller_ends_when_its_key_expires() {
    let f = fixture().await;
    let (mut key, secret) = key(1, 1);
    key.expires = Some(f.clock.now() + Duration::from_secs(90));
    f.commit(put_key(put_user(Batch::new(), 1), &key)).await;
    let caller = f.check(&secret).unwrap();
    let mut ended = f.directory.ended(&caller);
    let early = tokio::time::timeout(Duration::from_secs(600), &mut ended).await;
    assert!(early.is_err(), "the clock stood still");
    f.clock.advance(Duration::from_secs(89));
    let early = tokio::time::timeout(Duration::from_millis(900), &mut ended).await;
    assert!(early.is_err(), "a second is left");
    f.clock.advance(Duration::from_secs(1));
    ended.await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_brought_forward_is_noticed() {
    let f = fixture().await;
    let (mut key, secret) = key(1, 1);
    f.commit(put_key(put_user(Batch::new(), 1), &key)).await;
    let caller = f.check(&secret).unwrap();
    let ended = tokio::spawn(f.directory.ended(&caller));
    tokio::task::yield_now().await;
    key.expires = Some(f.clock.now() + Duration::from_secs(5));
    f.commit(put_key(Batch::new(), &key)).await;
    f.clock.advance(Duration::from_secs(5));
    ended.await.unwrap();
}

#[tokio::test]
async fn ten_thousand_wait_and_only_those_of_one_user_are_woken() {
    let f = fixture().await;
    let mut keys = Vec::new();
    let mut batch = Batch::new();
    for id in 1..=100 {
        let (key, secret) = key(id, id);
        batch = put_key(put_user(batch, id), &key);
        keys.push((key, secret));
    }
    f.commit(batch).await;
    let mut waiting = Vec::new();
    for (_, secret) in &keys {
        let caller = f.check(secret).unwrap();
        for _ in 0..100 {
            waiting.push((caller.user.id, tokio::spawn(f.directory.ended(&caller))));
        }
    }
    tokio::task::yield_now().await;
    f.commit(Batch::new().delete(layout::key(KeyId(7)))).await;
    for (user, ended) in waiting {
        if user == UserId(7) {
            ended.await.unwrap();
        } else {
            assert!(!ended.is_finished());
            ended.abort();
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_a_directory_that_is_fed_no_longer() {
    let clock = ManualClock::at(UNIX_EPOCH);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
    let (directory, feeder) = start(&store, &clock).await;
    feeder.stop();
    directory.caught_up(Revision::from(1000)).await;
}
