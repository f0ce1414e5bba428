//! `basic`: names and passwords in the configuration (RFC 7617).

use std::{collections::BTreeMap, fmt, time::Duration};

use auth::password::{Hash, Passwords, Verdict};
use aws_lc_rs::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    config::{self, Secret},
    http::Failure,
};

/// Credentials that are remembered. A few hundred people use a site at once.
const REMEMBERED: usize = 1024;
/// When to try again while too many passwords are being checked.
const BUSY: Duration = Duration::from_secs(5);

/// The users of one route.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<String, (Secret, Hash)>,
}

impl Users {
    pub(super) fn new(config: &config::access::Basic) -> Self {
        let users = config.users.iter();
        let read = |(name, hash): (&String, &Secret)| {
            let parsed = hash.expose().parse().ok()?;
            Some((name.clone(), (hash.clone(), parsed)))
        };
        Self {
            hashes: users.filter_map(read).collect(),
        }
    }

    /// Who `credentials` (the base64 part of the header) are of, if the password is right.
    ///
    /// Somebody unknown takes as long as somebody known with a wrong password: the hash of
    /// another is computed for them. `admit` is asked before anything slow is done.
    pub(super) async fn check(
        &self,
        credentials: &str,
        known: &Known,
        admit: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Option<String>, Failure> {
        let Some((name, password)) = decoded(credentials) else {
            return Ok(None);
        };
        let user = self.hashes.get(&name);
        let Some((text, hash)) = user.or_else(|| self.hashes.values().next()) else {
            return Ok(None);
        };
        let tag = known.tag(text, &password);
        if user.is_some() && known.contains(&tag) {
            return Ok(Some(name));
        }
        admit()?;
        let verdict = known.passwords.verify_or_dummy(Some(hash), &password).await;
        let verdict = verdict.map_err(|_| Failure::TooManyRequests { retry_after: BUSY })?;
        let right = matches!(verdict, Verdict::Right { .. }) && user.is_some();
        Ok(right.then(|| {
            known.remember(tag);
            name
        }))
    }
}

fn decoded(credentials: &str) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Passwords that were right, so that not every request costs a slow hash. What is kept is an
/// HMAC of hash and password under a key that only this process has.
pub(super) struct Known {
    passwords: Passwords,
    key: hmac::Key,
    tags: papaya::HashMap<[u8; 32], ()>,
}

impl Known {
    /// `None` if the system has no random bytes.
    pub(super) fn new(passwords: Passwords) -> Option<Self> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).ok()?;
        Some(Self {
            passwords,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            tags: papaya::HashMap::new(),
        })
    }

    fn tag(&self, hash: &Secret, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(hash.expose().as_bytes());
        context.update(&[0]);
        context.update(password.as_bytes());
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn contains(&self, tag: &[u8; 32]) -> bool {
        self.tags.pin().contains_key(tag)
    }

    fn remember(&self, tag: [u8; 32]) {
        let tags = self.tags.pin();
        if tags.len() >= REMEMBERED {
            tags.clear();
        }
        tags.insert(tag, ());
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}
