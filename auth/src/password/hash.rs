//! The hash of a password, as a PHC string: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.

use std::fmt;
use std::str::FromStr;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash;

/// More than anybody configures; a hash from elsewhere must not take all memory or an hour.
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

/// What is kept of a password.
#[derive(Clone)]
pub struct Hash(String);

impl Hash {
    /// The hash as it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn made(parsed: &PasswordHash) -> Self {
        Self(parsed.to_string())
    }

    /// A hash that costs what `params` say, and is of no password anybody knows.
    pub(super) fn dummy(params: &Params) -> Self {
        // 16 bytes of salt and 32 of output, all zero.
        let (salt, output) = ("A".repeat(22), "A".repeat(43));
        let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
        Self(format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${output}"))
    }

    pub(super) fn parsed(&self) -> PasswordHash {
        PasswordHash::new(&self.0).expect("made here, or checked when it was read")
    }

    pub(super) fn is_made_at(&self, params: &Params) -> bool {
        let made = Params::try_from(&self.parsed());
        made.is_ok_and(|made| {
            (made.m_cost(), made.t_cost(), made.p_cost())
                == (params.m_cost(), params.t_cost(), params.p_cost())
        })
    }
}

impl FromStr for Hash {
    type Err = HashError;

    /// Takes a hash that was kept, or comes from elsewhere.
    fn from_str(text: &str) -> Result<Self, HashError> {
        let parsed = PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
        if parsed.algorithm.as_str() != "argon2id" || parsed.version != Some(0x13) {
            return Err(HashError::Algorithm);
        }
        if parsed.salt.is_none() || parsed.hash.is_none() {
            return Err(HashError::Malformed);
        }
        let params = Params::try_from(&parsed).map_err(|_| HashError::Malformed)?;
        let affordable = params.m_cost() <= MAX_MEMORY
            && params.t_cost() <= MAX_PASSES
            && params.p_cost() <= MAX_LANES;
        if !affordable {
            return Err(HashError::Cost);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(***)")
    }
}

/// Why a text is no hash of a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HashError {
    #[error("this is no hash of a password; one begins with $argon2id$v=19$")]
    Malformed,
    #[error("the hash of a password is not argon2id, version 19")]
    Algorithm,
    #[error("checking the hash of a password would cost more than 256 MiB or 16 passes")]
    Cost,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHRzb21lc2FsdA$\
                        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_hash_that_was_kept_is_read() {
        let hash: Hash = KEPT.parse().unwrap();
        assert_eq!(hash.as_str(), KEPT);
        assert_eq!(format!("{hash:?}"), "Hash(***)");
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let refusal = |text: &str| text.parse::<Hash>().unwrap_err();
        for cut in 0..KEPT.len() - 40 {
            refusal(&KEPT[..cut]);
        }
        let with = |from: &str, to: &str| KEPT.replace(from, to);
        assert_eq!(refusal(&with("argon2id", "argon2i")), HashError::Algorithm);
        assert_eq!(refusal(&with("argon2id", "scrypt")), HashError::Algorithm);
        assert_eq!(refusal(&with("v=19", "v=16")), HashError::Algorithm);
        assert_eq!(refusal(&with("m=65536", "m=262145")), HashError::Cost);
        assert_eq!(refusal(&with("t=3", "t=17")), HashError::Cost);
        assert_eq!(refusal(&with("m=65536", "m=1")), HashError::Malformed);
        assert_eq!(
            refusal("$2b$12$abcdefghijklmnopqrstuv"),
            HashError::Malformed
        );
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let parts = [
            "$", "argon2id", "v=19", "m=65536", ",", "t=3", "p=1", "AAAA", "=", "é", "\0",
        ];
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..20_000 {
            let count = random.usize(0..14);
            let text: String = (0..count).filter_map(|_| random.choice(parts)).collect();
            drop(text.parse::<Hash>());
        }
    }
}
