//! Measures the directory with many users and keys.
//!
//! `directory-load build FILE USERS KEYS` makes a store; `directory-load measure FILE` opens it in a
//! process of its own and prints how long that took, the memory it takes, what a check of a key
//! costs, alone and while keys are revoked, and how long after its commit a revocation is seen.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use auth::apikey::ApiKey;
use auth::identity::{Identity, NoAudit, Parts, Settings};
use auth::key::KeyId;
use auth::password::{Cost, Passwords};
use auth::seal::MasterKey;
use auth::store::{Batch, RedbStore, Store, SystemClock};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Keys whose text is kept beside the store, to be checked.
const KNOWN: u64 = 1000;
const CHECKS: u32 = 1_000_000;
const REVOCATIONS: u64 = 200;
const MASTER: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["build", file, users, keys] => build(Path::new(file), users.parse()?, keys.parse()?).await,
        ["measure", file] => measure(Path::new(file)).await,
        _ => Err("directory-load build FILE USERS KEYS | measure FILE".into()),
    }
}

async fn build(file: &Path, users: u64, keys: u64) -> Outcome<()> {
    const AT_ONCE: u64 = 500;
    let store = RedbStore::open(file).await?;
    let users_at = |id: u64| {
        let record = serde_json::json!({"v": 1, "data": {
            "id": id, "provider": "github", "subject": id.to_string(),
            "username": format!("user-{id}"), "display_name": "Some Body",
            "email": format!("user-{id}@example.com"), "avatar_url": null, "role": "user",
            "disabled": false, "created": 1_700_000_000_000_u64, "last_sign_in": null,
        }});
        (format!("identity/user/{id:016x}"), record.to_string())
    };
    for first in (1..=users).step_by(AT_ONCE as usize) {
        let last = users.min(first + AT_ONCE - 1);
        let batch = (first..=last).map(users_at);
        let batch = batch.fold(Batch::new(), |batch, (key, value)| batch.put(key, value));
        store.commit(batch).await?;
    }
    let mut known = String::new();
    for first in (1..=keys).step_by(AT_ONCE as usize) {
        let mut batch = Batch::new();
        for id in first..=keys.min(first + AT_ONCE - 1) {
            let secret = ApiKey::mint()?;
            let (owner, hash) = (id % users.max(1) + 1, hex(secret.hash().as_bytes()));
            let record = serde_json::json!({"v": 1, "data": {
                "id": id, "owner": owner, "name": format!("key number {id}"),
                "prefix": secret.prefix(), "scopes": "tunnel:connect",
                "created": 1_700_000_000_000_u64, "expires": 4_000_000_000_000_u64,
                "revoked": null, "tunnel": null, "successor": null, "hash": hash,
            }});
            batch = batch.put(format!("identity/key/{id:016x}"), record.to_string());
            if id <= KNOWN {
                known.push_str(secret.reveal());
                known.push('\n');
            }
        }
        store.commit(batch).await?;
    }
    std::fs::write(file.with_extension("keys"), known)?;
    println!("{users} users, {keys} keys");
    Ok(())
}

async fn measure(file: &Path) -> Outcome<()> {
    let known = std::fs::read_to_string(file.with_extension("keys"))?;
    let known: Arc<[String]> = known.lines().map(str::to_owned).collect();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(file).await?);
    println!("memory with the store open     {:>8} KiB", memory()?);
    let begun = Instant::now();
    let parts = Parts {
        store,
        seal: Arc::new(MasterKey::parse(MASTER)?),
        clock: Arc::new(SystemClock),
        passwords: Arc::new(Passwords::new(Cost::default(), 1)?),
        audit: Arc::new(NoAudit),
    };
    let identity = Identity::open(parts, Settings::default()).await?;
    println!("opened in                      {:>8.2?}", begun.elapsed());
    println!("memory with everything loaded  {:>8} KiB", memory()?);
    println!("{:?}", identity.directory());

    // The first hundred stay good; the others are revoked while checks go on.
    let good = &known[..100.min(known.len())];
    let unknown: Vec<_> = (0..100)
        .map(|_| ApiKey::mint().map(|key| key.reveal().to_owned()))
        .collect::<Result<_, _>>()?;
    let malformed: Vec<_> = good.iter().map(|key| format!("{}!", &key[..39])).collect();
    println!(
        "known key                      {:>8} ns",
        check(&identity, good)
    );
    println!(
        "unknown key                    {:>8} ns",
        check(&identity, &unknown)
    );
    println!(
        "malformed key                  {:>8} ns",
        check(&identity, &malformed)
    );
    while_revoking(&identity, &known).await?;
    println!("memory at the end              {:>8} KiB", memory()?);
    identity.close().await?;
    Ok(())
}

/// Two threads check keys while others are revoked.
async fn while_revoking(identity: &Identity, known: &Arc<[String]>) -> Outcome<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (identity, known, stop) = (identity.clone(), Arc::clone(known), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut costs = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    costs.push(check(&identity, &known[..100.min(known.len())]));
                }
                costs
            })
        })
        .collect();
    let mut waits = Vec::new();
    for (place, key) in known
        .iter()
        .enumerate()
        .skip(100)
        .take(REVOCATIONS as usize)
    {
        waits.push(revoke(identity, place as u64 + 1, key).await?);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let costs = thread.join().map_err(|_| "a thread panicked")?;
        println!("known key, beside revocations  {costs:>8?} ns");
    }
    waits.sort_unstable();
    let most = waits.last().copied().unwrap_or_default();
    let median = waits.get(waits.len() / 2).copied().unwrap_or_default();
    println!(
        "commit to refusal, in {} revocations: median {median:.2?}, most {most:.2?}",
        waits.len()
    );
    Ok(())
}

/// How long after the answer to its commit a revocation is seen. The commit is made past `identity`,
/// as another gateway would.
async fn revoke(identity: &Identity, id: u64, key: &str) -> Outcome<Duration> {
    let stored = identity.key(KeyId(id)).await?;
    let at = format!("identity/key/{id:016x}");
    let found = identity
        .store()
        .get(at.as_bytes())
        .await?
        .ok_or("no such key")?;
    let mut record: serde_json::Value = serde_json::from_slice(&found.value)?;
    record["data"]["revoked"] = 1_700_000_000_001_u64.into();
    let batch = Batch::new().if_revision(at.clone(), stored.revision);
    identity
        .store()
        .commit(batch.put(at, record.to_string()))
        .await?;
    let committed = Instant::now();
    while identity.directory().by_key(key, SystemTime::now()).is_ok() {
        tokio::task::yield_now().await;
    }
    Ok(committed.elapsed())
}

/// Nanoseconds a check takes.
fn check(identity: &Identity, keys: &[String]) -> u128 {
    let now = SystemTime::now();
    let directory = identity.directory();
    let begun = Instant::now();
    for place in 0..CHECKS as usize {
        let _ = std::hint::black_box(directory.by_key(&keys[place % keys.len()], now));
    }
    begun.elapsed().as_nanos() / u128::from(CHECKS)
}

/// Resident memory of this process, in KiB.
fn memory() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
