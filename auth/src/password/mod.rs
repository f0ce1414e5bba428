//! Passwords, hashed with argon2id (RFC 9106).
//!
//! [`Passwords`] makes a [`Hash`](struct@Hash) of a password and checks one, on threads for blocking work and few
//! at a time: each takes 64 MiB, so a hundred sign-ins at once must wait in line and not take six
//! gigabytes. Who is unknown costs as much time as who is known, so the time tells nobody's name.
//!
//! A password is what its bytes are: 10 characters at least, 1024 bytes at most, and no rule about
//! which. The same letter written with other code points is another password.

mod hash;

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

pub use self::hash::{Hash, HashError};

/// In characters.
pub const MIN_LENGTH: usize = 10;
/// In bytes: more than any passphrase, and little to hash.
pub const MAX_BYTES: usize = 1024;
/// How many wait in line behind those that are hashed. With one at a time and the default cost, the
/// last of them waits about six seconds.
const WAITING: usize = 32;

/// What a hash costs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cost {
    /// In KiB.
    pub memory: u32,
    /// How often the memory is gone over.
    pub passes: u32,
}

/// The memory of RFC 9106 §4's second choice and its three passes, in one lane, for a hash has one
/// thread. It takes 0.16 s on one core of an AMD EPYC; the least that OWASP recommends (19 MiB and
/// two passes) takes 0.03 s there. `cargo run --release -p auth --example password-cost` measures.
impl Default for Cost {
    fn default() -> Self {
        Self {
            memory: 64 * 1024,
            passes: 3,
        }
    }
}

/// Hashes and checks passwords. Clones share the line.
#[derive(Clone, Debug)]
pub struct Passwords {
    hasher: Argon2<'static>,
    /// Of nobody's password.
    dummy: Hash,
    /// Those that are hashed.
    work: Arc<Semaphore>,
    /// Those and whoever waits.
    line: Arc<Semaphore>,
}

/// What a check says.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// With a new hash to be kept if the old one was made at another cost.
    Right {
        rehashed: Option<Hash>,
    },
    Wrong,
}

impl Passwords {
    /// At most `at_once` are hashed at the same time; half of the cores is a good choice.
    pub fn new(cost: Cost, at_once: usize) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory, cost.passes, 1, None);
        let params = params.map_err(|_| PasswordError::Cost(cost))?;
        let at_once = at_once.max(1);
        Ok(Self {
            dummy: Hash::dummy(&params),
            hasher: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            work: Arc::new(Semaphore::new(at_once)),
            line: Arc::new(Semaphore::new(at_once + WAITING)),
        })
    }

    /// The hash of a new password.
    pub async fn hash(&self, password: &str) -> Result<Hash, PasswordError> {
        check(password)?;
        self.work(password, Self::make).await?
    }

    /// Whether `password` is the one `hash` was made of. Give None for somebody who is unknown: it
    /// takes as long, and is wrong.
    pub async fn verify_or_dummy(
        &self,
        hash: Option<&Hash>,
        password: &str,
    ) -> Result<Verdict, PasswordError> {
        if password.len() > MAX_BYTES {
            // Nobody's: so this gives nobody away.
            return Ok(Verdict::Wrong);
        }
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.dummy).clone();
        self.work(password, move |this, password| {
            let right = this.hasher.verify_password(password, &hash.parsed());
            if right.is_err() || !known {
                return Verdict::Wrong;
            }
            // Without a new hash the old one stays good.
            let rehashed = this.is_outdated(&hash).then(|| this.make(password).ok());
            Verdict::Right {
                rehashed: rehashed.flatten(),
            }
        })
        .await
    }

    fn is_outdated(&self, hash: &Hash) -> bool {
        let params = self.hasher.params();
        !hash.is_made_at(params)
    }

    fn make(&self, password: &[u8]) -> Result<Hash, PasswordError> {
        let made: Result<PasswordHash, _> = self.hasher.hash_password(password);
        let made = made.map_err(|_| PasswordError::Failed)?;
        Ok(Hash::made(&made))
    }

    /// Waits for a place and does `job` on a thread for blocking work. The place is taken until the
    /// thread is done, also if whoever waits for it goes away.
    async fn work<T: Send + 'static>(
        &self,
        password: &str,
        job: impl FnOnce(&Self, &[u8]) -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = self.place().await?;
        let (this, password) = (self.clone(), Zeroizing::new(password.as_bytes().to_vec()));
        let done = tokio::task::spawn_blocking(move || {
            let done = job(&this, &password);
            drop(place);
            done
        });
        done.await.map_err(|_| PasswordError::Failed)
    }

    async fn place(&self) -> Result<[OwnedSemaphorePermit; 2], PasswordError> {
        let in_line = Arc::clone(&self.line).try_acquire_owned();
        let in_line = in_line.map_err(|_| PasswordError::Busy)?;
        let at_work = Arc::clone(&self.work).acquire_owned().await;
        Ok([in_line, at_work.map_err(|_| PasswordError::Failed)?])
    }
}

fn check(password: &str) -> Result<(), PasswordError> {
    if password.len() > MAX_BYTES {
        return Err(PasswordError::TooLong);
    }
    if password.chars().count() < MIN_LENGTH {
        return Err(PasswordError::TooShort);
    }
    Ok(())
}

/// Why a password was not hashed or checked. Holds nothing of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has at least {MIN_LENGTH} characters")]
    TooShort,
    #[error("a password has at most {MAX_BYTES} bytes")]
    TooLong,
    #[error("too many passwords are being checked; try again in a few seconds")]
    Busy,
    #[error("argon2 does not take this cost: {} KiB and {} passes", .0.memory, .0.passes)]
    Cost(Cost),
    #[error("a password could not be hashed: no memory or no random bytes")]
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse";

    /// As cheap as argon2 allows.
    fn passwords() -> Passwords {
        at_cost(8, 1)
    }

    fn at_cost(memory: u32, passes: u32) -> Passwords {
        Passwords::new(Cost { memory, passes }, 1).unwrap()
    }

    fn is_right(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Right { rehashed: None })
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash() {
        let passwords = passwords();
        let hash = passwords.hash(PASSWORD).await.unwrap();
        let kept: Hash = hash.as_str().parse().unwrap();
        let right = passwords.verify_or_dummy(Some(&kept), PASSWORD).await;
        assert!(is_right(&right.unwrap()));
        for wrong in ["", "correct horsf", "correct horse ", "Correct horse"] {
            let verdict = passwords.verify_or_dummy(Some(&kept), wrong).await;
            assert!(matches!(verdict, Ok(Verdict::Wrong)), "{wrong}");
        }
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let passwords = passwords();
        let first = passwords.hash(PASSWORD).await.unwrap();
        let second = passwords.hash(PASSWORD).await.unwrap();
        assert_ne!(first.as_str(), second.as_str());
    }

    #[tokio::test]
    async fn the_default_cost_is_in_the_hash() {
        let passwords = Passwords::new(Cost::default(), 1).unwrap();
        let hash = passwords.hash(PASSWORD).await.unwrap();
        let head = "$argon2id$v=19$m=65536,t=3,p=1$";
        assert!(hash.as_str().starts_with(head), "{}", hash.as_str());
        assert!(passwords.dummy.as_str().starts_with(head));
    }

    /// The same work for somebody who is unknown: the same cost, salt and output length.
    #[tokio::test]
    async fn nobody_is_as_much_work_as_somebody_and_never_right() {
        let passwords = at_cost(16, 2);
        let somebody = passwords.hash(PASSWORD).await.unwrap();
        let of_nobody = passwords.dummy.as_str();
        assert_eq!(somebody.as_str().len(), of_nobody.len());
        assert!(!passwords.is_outdated(&passwords.dummy));
        for password in ["", PASSWORD] {
            let verdict = passwords.verify_or_dummy(None, password).await;
            assert!(matches!(verdict, Ok(Verdict::Wrong)));
        }
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_renewed_by_the_right_password() {
        let old = at_cost(8, 1).hash(PASSWORD).await.unwrap();
        for passwords in [at_cost(16, 1), at_cost(8, 2)] {
            let verdict = passwords.verify_or_dummy(Some(&old), PASSWORD).await;
            let Ok(Verdict::Right {
                rehashed: Some(new),
            }) = verdict
            else {
                panic!("{verdict:?}");
            };
            let verdict = passwords.verify_or_dummy(Some(&new), PASSWORD).await;
            assert!(is_right(&verdict.unwrap()));
            let verdict = passwords.verify_or_dummy(Some(&old), "wrong horse").await;
            assert!(matches!(verdict, Ok(Verdict::Wrong)));
        }
    }

    #[tokio::test]
    async fn length_is_checked_before_anything_is_hashed() {
        let passwords = passwords();
        let refused = async |text: &str| passwords.hash(text).await.err();
        assert_eq!(refused("123456789").await, Some(PasswordError::TooShort));
        assert_eq!(refused(&"ä".repeat(9)).await, Some(PasswordError::TooShort));
        assert_eq!(refused(&"ä".repeat(10)).await, None);
        assert_eq!(refused(&"x".repeat(1024)).await, None);
        let long = "x".repeat(1025);
        assert_eq!(refused(&long).await, Some(PasswordError::TooLong));
        passwords.work.close();
        let verdict = passwords.verify_or_dummy(None, &long).await;
        assert!(matches!(verdict, Ok(Verdict::Wrong)));
    }

    #[tokio::test]
    async fn one_at_a_time_is_hashed_and_a_line_that_is_full_takes_no_more() {
        let passwords = passwords();
        let hash = passwords.hash(PASSWORD).await.unwrap();
        let at_work = Arc::clone(&passwords.work).acquire_owned().await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..=WAITING {
            let (passwords, hash) = (passwords.clone(), hash.clone());
            waiting.spawn(async move { passwords.verify_or_dummy(Some(&hash), PASSWORD).await });
        }
        while passwords.line.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let turned_away = passwords.verify_or_dummy(Some(&hash), PASSWORD).await;
        assert_eq!(turned_away.err(), Some(PasswordError::Busy));
        assert!(waiting.try_join_next().is_none(), "somebody did not wait");
        drop(at_work);
        for verdict in waiting.join_all().await {
            assert!(is_right(&verdict.unwrap()));
        }
        assert_eq!(passwords.work.available_permits(), 1);
        assert_eq!(passwords.line.available_permits(), 1 + WAITING);
    }

    #[tokio::test]
    async fn who_goes_away_while_hashing_keeps_the_place_until_it_is_done() {
        let passwords = passwords();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let task = tokio::spawn({
            let passwords = passwords.clone();
            async move {
                let job = move |_: &Passwords, _: &[u8]| {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                };
                passwords.work(PASSWORD, job).await
            }
        });
        tokio::task::spawn_blocking(move || has_begun.recv())
            .await
            .unwrap()
            .unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(passwords.work.available_permits(), 0);
        go_on.send(()).unwrap();
        drop(Arc::clone(&passwords.work).acquire_owned().await.unwrap());
    }

    #[test]
    fn a_cost_that_is_none_is_refused() {
        for (memory, passes) in [(0, 1), (7, 1), (64, 0)] {
            let cost = Cost { memory, passes };
            let refused = Passwords::new(cost, 1).err();
            assert_eq!(refused, Some(PasswordError::Cost(cost)));
        }
    }
}
