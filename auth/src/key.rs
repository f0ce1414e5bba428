//! API keys as they are kept; [`apikey`](crate::apikey) is what one looks like.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::apikey::KeyHash;
use crate::record::{Record, hex, id, millis, unhex};
use crate::scope::Scopes;
use crate::tunnel::TunnelId;
use crate::user::UserId;

id! {
    /// The number of a key. Numbers are never given twice.
    KeyId
}

/// A key, as kept: everything but the key itself.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Key {
    pub id: KeyId,
    pub owner: UserId,
    /// What its owner calls it.
    pub name: String,
    /// The first 8 characters of the key.
    pub prefix: String,
    pub scopes: Scopes,
    #[serde(with = "millis")]
    pub created: SystemTime,
    /// When it stops working; `None` is never.
    #[serde(with = "millis::option")]
    pub expires: Option<SystemTime>,
    #[serde(with = "millis::option")]
    pub revoked: Option<SystemTime>,
    /// The only tunnel it speaks for, if it is bound to one.
    pub tunnel: Option<TunnelId>,
    /// The key that took its place by rotation.
    pub successor: Option<KeyId>,
    #[serde(with = "digits")]
    pub(crate) hash: KeyHash,
}

impl Key {
    /// Whether the key itself is good at `now`; its owner or tunnel may be gone all the same.
    pub fn is_active(&self, now: SystemTime) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Record for Key {
    const VERSION: u32 = 1;
}

/// When, from where and by what a key was used last.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct LastUsed {
    #[serde(with = "millis")]
    pub at: SystemTime,
    pub ip: Option<IpAddr>,
    /// At most 200 characters of the `User-Agent`.
    pub user_agent: Option<String>,
}

impl Record for LastUsed {
    const VERSION: u32 = 1;
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What its owner calls it, 1 to 100 characters.
    pub name: String,
    pub scopes: Scopes,
    pub lifetime: Lifetime,
    /// The only tunnel it shall speak for. A tunnel has one such key: the one before is revoked.
    pub tunnel: Option<TunnelId>,
}

/// How long something is good for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Lifetime {
    /// As long as the settings say, 90 days if they do not.
    #[default]
    Default,
    For(Duration),
    /// For ever, which only an administrator may grant.
    Never,
}

/// A [`KeyHash`] as hexadecimal digits.
pub(crate) mod digits {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        hash: &KeyHash,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(hash.as_bytes()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<KeyHash, D::Error> {
        deserializer.deserialize_str(Digits)
    }

    struct Digits;

    impl Visitor<'_> for Digits {
        type Value = KeyHash;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("64 hexadecimal digits")
        }

        fn visit_str<E: Error>(self, digits: &str) -> Result<KeyHash, E> {
            let hash = unhex(digits).ok_or_else(|| E::custom("this is no hash"))?;
            Ok(KeyHash::from_bytes(hash))
        }
    }
}
