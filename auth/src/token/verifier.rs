//! Whether a token is to be believed.
//!
//! In this order: its length, its form, its algorithm against the list of those that are accepted, a
//! key that is known under its `kid` and for that algorithm, the signature, and only then what it
//! says. Of the header nothing else counts: a key, a certificate or an address in it is not looked
//! at, and an extension it calls critical is refused (RFC 7515 §4.1.11).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::algorithm::Algorithm;
use super::claims::{Claims, LEEWAY};
use super::error::Refusal;
use super::key_set::KeySet;
use crate::store::Clock;

/// Bytes of a token that is read at all, unless it is set otherwise.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// What a token has to be to be accepted.
#[derive(Clone, Debug)]
pub struct Verifier {
    clock: Arc<dyn Clock>,
    audiences: Vec<String>,
    issuers: Vec<String>,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    max_bytes: usize,
}

impl Verifier {
    /// Accepts tokens for one of `audiences`, signed with a public-key algorithm, by any issuer
    /// whose key is given. With no audience nothing is accepted.
    pub fn new(
        clock: Arc<dyn Clock>,
        audiences: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            clock,
            audiences: audiences.into_iter().map(Into::into).collect(),
            issuers: Vec::new(),
            algorithms: Algorithm::ASYMMETRIC.to_vec(),
            leeway: LEEWAY,
            max_bytes: MAX_TOKEN_BYTES,
        }
    }

    /// Only tokens whose `iss` is one of these, to the letter.
    #[must_use]
    pub fn issuers(mut self, issuers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.issuers = issuers.into_iter().map(Into::into).collect();
        self
    }

    /// Only these algorithms.
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far the issuer's clock may be apart from ours: 60 s unless it is set.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The longest token that is read, in bytes: 8 KiB unless it is set.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The claims of `token`, if one of `keys` signed it and everything that is asked of it holds.
    ///
    /// [`Refusal::UnknownKey`] may be worth fetching the keys again; see
    /// [`KeyCache`](super::KeyCache).
    pub fn verify(&self, token: &str, keys: &KeySet) -> Result<Claims, Refusal> {
        if token.len() > self.max_bytes {
            return Err(Refusal::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refusal::Malformed)?;
        if payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        let header: Header = decode(header)?;
        let algorithm = Algorithm::parse(&header.alg).ok_or(Refusal::Algorithm)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(Refusal::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Refusal::Critical);
        }
        let kid = header.kid.as_deref();
        keys.verify(kid, algorithm, message.as_bytes(), signature)?;
        let claims: Claims = decode(payload)?;
        let now = self.clock.now();
        claims.check(&self.issuers, &self.audiences, self.leeway, now)?;
        Ok(claims)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T, Refusal> {
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::Malformed)
}
