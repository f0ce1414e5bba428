//! Sessions: what a browser that signed in holds a cookie for.
//!
//! A token is `ptns_` and 43 characters of `0-9A-Za-z` from the system's random source (256 bits).
//! At rest there is only its SHA-256. A session ends when nobody used it for a while (idle), at the
//! end of its life (absolute), or when it is revoked.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::apikey::{KeyHash, MintError, random_characters};
use crate::record::{Record, id, millis};
use crate::user::UserId;

const BRAND: &str = "ptns_";
const RANDOM_LEN: usize = 43;

id! {
    /// The number of a session. Numbers are never given twice.
    SessionId
}

/// A session, as kept: everything but the token.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    #[serde(with = "millis")]
    pub created: SystemTime,
    /// When it was used last, to the minute.
    #[serde(with = "millis")]
    pub last_seen: SystemTime,
    /// When it ends however often it is used.
    #[serde(with = "millis")]
    pub expires: SystemTime,
    /// Where it was used from last.
    pub ip: Option<IpAddr>,
    /// At most 200 characters of the `User-Agent`.
    pub user_agent: Option<String>,
    #[serde(with = "crate::key::digits")]
    pub(crate) hash: KeyHash,
}

impl Record for Session {
    const VERSION: u32 = 1;
}

/// The value of a session's cookie. Shown once, never kept.
#[derive(Clone)]
pub struct SessionToken(String);

impl SessionToken {
    pub(crate) fn mint() -> Result<Self, MintError> {
        let mut token = BRAND.to_owned();
        random_characters(&mut token, RANDOM_LEN)?;
        Ok(Self(token))
    }

    /// The value itself, for the cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(***)")
    }
}

/// What is kept of the token `presented`, or none if it is not formed like one.
pub(crate) fn presented_hash(presented: &str) -> Option<KeyHash> {
    let random = presented.strip_prefix(BRAND)?;
    let formed = random.len() == RANDOM_LEN && random.bytes().all(|b| b.is_ascii_alphanumeric());
    formed.then(|| KeyHash::of(presented))
}
