//! The keys we sign with, over time: the next, the current, and those before it.
//!
//! The next key is published before anybody signs with it, so a verifier that fetched our keys a
//! while ago knows it by then. Of a key that was replaced only the public half is kept, until the
//! last token that it signed has ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::TokenError;
use crate::signing::{PUBLIC_LEN, SEED_LEN, SigningKey};

/// The keys in one record, which is sealed as a whole: whoever could add a public key to it could
/// sign tokens.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ring {
    v: u8,
    /// Seeds, in base64url.
    next: String,
    current: String,
    /// Milliseconds since 1970 when the current key became it.
    since: u64,
    retired: Vec<Retired>,
}

/// A key that signs no more.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retired {
    pub(super) public: String,
    /// Milliseconds since 1970 when it checks no more.
    pub(super) until: u64,
}

impl Ring {
    pub(super) fn begin(now: SystemTime) -> Result<Self, TokenError> {
        Ok(Self {
            v: 1,
            next: new_seed()?,
            current: new_seed()?,
            since: millis(now),
            retired: Vec::new(),
        })
    }

    /// The ring after the current key is replaced by the next. Tokens of the one that was current
    /// stay good for `still`.
    pub(super) fn rotate(self, now: SystemTime, still: Duration) -> Result<Self, TokenError> {
        let public = key_of(&self.current).ok_or(TokenError::Crypto)?;
        let mut retired = self.retired;
        retired.push(Retired {
            public: URL_SAFE_NO_PAD.encode(public.public().as_bytes()),
            until: millis(now.checked_add(still).unwrap_or(now)),
        });
        retired.retain(|key| key.until > millis(now));
        Ok(Self {
            v: 1,
            next: new_seed()?,
            current: self.next,
            since: millis(now),
            retired,
        })
    }

    /// When the current key is to be replaced, if each is used for `every`.
    pub(super) fn due(&self, every: Duration) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.since))
            .and_then(|since| since.checked_add(every))
            .unwrap_or(UNIX_EPOCH)
    }

    pub(super) fn current(&self) -> Option<SigningKey> {
        key_of(&self.current)
    }

    /// The public keys that tokens may be signed with now: current, next, and retired ones.
    pub(super) fn publics(&self, now: SystemTime) -> Option<Vec<[u8; PUBLIC_LEN]>> {
        let public = |seed: &str| Some(*key_of(seed)?.public().as_bytes());
        let mut publics = vec![public(&self.current)?, public(&self.next)?];
        let retired = self.retired.iter().filter(|key| key.until > millis(now));
        for key in retired {
            publics.push(decode(&key.public)?);
        }
        Some(publics)
    }
}

/// The name of a key: its thumbprint (RFC 7638), so that it is the same wherever it is made.
pub(super) fn kid(public: &[u8; PUBLIC_LEN]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
}

/// The public keys as a JWKS document (RFC 7517, RFC 8037).
pub(super) fn jwks(publics: &[[u8; PUBLIC_LEN]]) -> String {
    let keys = publics.iter().map(|public| {
        json!({
            "alg": "EdDSA",
            "crv": "Ed25519",
            "kid": kid(public),
            "kty": "OKP",
            "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(public),
        })
    });
    json!({"keys": keys.collect::<Vec<_>>()}).to_string()
}

fn new_seed() -> Result<String, TokenError> {
    let key = SigningKey::generate()?;
    Ok(URL_SAFE_NO_PAD.encode(key.seed()?))
}

fn key_of(seed: &str) -> Option<SigningKey> {
    SigningKey::from_seed(&decode::<SEED_LEN>(seed)?).ok()
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and thumbprint of RFC 8037, appendices A.2 and A.3.
    #[test]
    fn a_key_has_the_name_of_the_rfc() {
        let public = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(kid(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_replaced_key_is_kept_without_its_secret_and_not_for_ever() {
        let start = UNIX_EPOCH + Duration::from_secs(1000);
        let ring = Ring::begin(start).unwrap();
        let (seed, next) = (ring.current.clone(), ring.next.clone());
        let publics = ring.publics(start).unwrap();
        let ring = ring.rotate(start, Duration::from_secs(10)).unwrap();
        assert_eq!(ring.current, next);
        assert!(!serde_json::to_string(&ring).unwrap().contains(&seed));
        let now = start + Duration::from_secs(9);
        assert!(ring.publics(now).unwrap().contains(&publics[0]));
        let now = start + Duration::from_secs(10);
        assert!(!ring.publics(now).unwrap().contains(&publics[0]));
        let ring = ring.rotate(now, Duration::from_secs(10)).unwrap();
        assert_eq!(ring.retired.len(), 1);
    }
}
