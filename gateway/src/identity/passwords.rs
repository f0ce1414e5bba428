//! How identity hashes passwords.

use async_trait::async_trait;
use auth::{
    identity::PasswordHasher,
    password::{Cost, Hash, PasswordError, Passwords, Verdict},
};

/// Hashes with argon2id, on half of the cores at most.
#[derive(Debug)]
pub(super) struct Argon2id(Passwords);

impl Argon2id {
    pub(super) fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords::new(Cost::default(), cores / 2).map(Self)
    }
}

#[async_trait]
impl PasswordHasher for Argon2id {
    async fn hash(&self, password: &str) -> Result<String, String> {
        let hashed = self.0.hash(password).await;
        let hashed = hashed.map_err(|error| error.to_string())?;
        Ok(hashed.as_str().to_owned())
    }

    /// What cannot be checked is wrong: a hash of no known form, or too many at once.
    async fn verify(&self, hash: Option<&str>, password: &str) -> bool {
        let hash = hash.and_then(|hash| hash.parse::<Hash>().ok());
        match self.0.verify_or_dummy(hash.as_ref(), password).await {
            Ok(verdict) => matches!(verdict, Verdict::Right { .. }),
            Err(error) => {
                tracing::warn!(%error, "a password was not checked");
                false
            }
        }
    }
}
