//! Keys that signatures are checked with, from a JWKS (RFC 7517) or made here.
//!
//! Each key knows which algorithms it is for, by its kind and its `alg`. A token's header chooses
//! among them; it never brings a key or an algorithm in. Keys that are secret, private, not for
//! signatures or of an unknown kind are left out, as RFC 7517 §5 has it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::error::{KeySetError, Refusal};
use super::secret::Secret;

/// The largest key set that is read, in bytes.
pub const MAX_KEY_SET_BYTES: usize = 256 * 1024;
/// More keys than this are not looked at.
const MAX_KEYS: usize = 100;
/// Keys of one kid that are tried.
const MAX_TRIES: usize = 4;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Keys to check signatures with.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a JWKS document. Never fetches anything.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetError::TooLarge {
                size: document.len(),
                limit: MAX_KEY_SET_BYTES,
            });
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|_| KeySetError::Malformed)?;
        let keys = document.keys.into_iter().take(MAX_KEYS);
        let keys: Vec<_> = keys.filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self { keys })
    }

    /// The key of HS256 that was shared with an issuer. Tokens need not name it.
    pub fn of_secret(secret: &Secret) -> Self {
        let mut keys = Self::default();
        keys.add_secret(None, secret);
        keys
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn add_ed25519(&mut self, kid: String, public: &[u8; 32]) {
        self.keys.push(Key {
            kid: Some(kid),
            algorithms: vec![Algorithm::EdDSA],
            key: DecodingKey::from_ed_der(public),
        });
    }

    pub(super) fn add_secret(&mut self, kid: Option<String>, secret: &Secret) {
        self.keys.push(Key {
            kid,
            algorithms: vec![Algorithm::HS256],
            key: DecodingKey::from_secret(secret.as_bytes()),
        });
    }

    /// Whether one of the keys that `kid` and `algorithm` choose signed `message`.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &str,
    ) -> Result<(), Refusal> {
        let signed = |key: &Key| {
            let verified =
                jsonwebtoken::crypto::verify(signature, message, &key.key, algorithm.library());
            matches!(verified, Ok(true))
        };
        // A key without a name may be meant by any.
        let named = |key: &&Key| kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid;
        let suited = |key: &&Key| key.algorithms.contains(&algorithm);
        if !self.keys.iter().any(|key| named(&key)) {
            return Err(Refusal::UnknownKey);
        }
        let mut chosen = self.keys.iter().filter(named).filter(suited).peekable();
        if chosen.peek().is_none() {
            return Err(Refusal::Algorithm);
        }
        if kid.is_none() && chosen.clone().nth(1).is_some() {
            return Err(Refusal::NoKeyNamed);
        }
        if chosen.take(MAX_TRIES).any(signed) {
            return Ok(());
        }
        Err(Refusal::Signature)
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// A JWK, as far as it matters here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

impl Key {
    /// The key, if it is one that signatures can be checked with.
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let verifies = |operations: &Vec<String>| operations.iter().any(|name| name == "verify");
        let for_signatures = jwk.r#use.as_ref().is_none_or(|name| name == "sig")
            && jwk.key_ops.as_ref().is_none_or(verifies);
        if !for_signatures || jwk.d.is_some() {
            return None;
        }
        let (mut algorithms, key) = jwk.material()?;
        if let Some(name) = &jwk.alg {
            let only = Algorithm::parse(name)?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        (!algorithms.is_empty()).then_some(Self {
            kid: jwk.kid,
            algorithms,
            key,
        })
    }
}

impl Jwk {
    /// The key itself and what its kind can be used with. A secret (`oct`) is never one: who can
    /// read the document could sign with it.
    fn material(&self) -> Option<(Vec<Algorithm>, DecodingKey)> {
        let part = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (part(&self.n)?, part(&self.e)?);
                let n = n
                    .iter()
                    .position(|&byte| byte != 0)
                    .map(|start| &n[start..])?;
                let formed = RSA_BYTES.contains(&n.len()) && (1..=8).contains(&e.len());
                let key = DecodingKey::from_rsa_raw_components(n, &e);
                formed.then(|| (Algorithm::RSA.to_vec(), key))
            }
            ("EC", Some(curve)) => {
                let (algorithm, length) = match curve {
                    "P-256" => (Algorithm::ES256, 32),
                    "P-384" => (Algorithm::ES384, 48),
                    _ => return None,
                };
                let (x, y) = (part(&self.x)?, part(&self.y)?);
                let point = [&[4], &x[..], &y[..]].concat();
                let formed = x.len() == length && y.len() == length;
                formed.then(|| (vec![algorithm], DecodingKey::from_ec_der(&point)))
            }
            ("OKP", Some("Ed25519")) => {
                let x = part(&self.x)?;
                let key = DecodingKey::from_ed_der(&x);
                (x.len() == 32).then(|| (vec![Algorithm::EdDSA], key))
            }
            _ => None,
        }
    }
}
