//! Tokens that we make, and whether a token is one of ours.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::claims::{Audience, Claims, OWN};
use super::error::{Refusal, TokenError};
use super::key_set::KeySet;
use super::keys::Keys;
use super::secret::Secret;
use super::verifier::Verifier;
use crate::store::Clock;

/// Random bytes of a token's id.
const ID_LEN: usize = 16;

/// What tokens are signed with.
#[derive(Clone, Debug)]
pub enum Signer {
    /// HS256: whoever checks our tokens can make them as well.
    Secret(Secret),
    /// EdDSA with keys that are rotated.
    Keys(Arc<Keys>),
}

/// Issues tokens under one name.
#[derive(Clone, Debug)]
pub struct Issuer {
    clock: Arc<dyn Clock>,
    name: String,
    signs: Signs,
}

/// A [`Signer`] made ready.
#[derive(Clone)]
enum Signs {
    Secret {
        kid: String,
        signs: EncodingKey,
        checks: Arc<KeySet>,
    },
    Keys(Arc<Keys>),
}

/// What a token shall say. Everything else the issuer sets.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// Whom it is about.
    pub subject: String,
    /// Who shall accept it.
    pub audience: String,
    /// How long; at most a day, or what [`Rotation::longest_token`](super::Rotation) says.
    pub lasts: Duration,
    /// Who vouched for the user.
    pub provider: Option<String>,
    pub username: Option<String>,
    /// Further claims.
    pub rest: Map<String, Value>,
}

/// A token as its bearer has it.
#[derive(Clone)]
pub struct Issued {
    /// The token itself: a credential, never to be logged.
    pub token: String,
    /// Its id, `jti`: for the audit trail, or to refuse it later.
    pub id: String,
    pub expires: SystemTime,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({}, ***)", self.id)
    }
}

impl Issuer {
    /// How long a token lasts at most that is signed with a secret: it can only be taken back by
    /// changing the secret.
    pub const LONGEST_BY_SECRET: Duration = Duration::from_secs(24 * 60 * 60);

    /// An issuer whose tokens have `name`, usually its https address, as `iss`.
    pub fn new(clock: Arc<dyn Clock>, name: impl Into<String>, signer: Signer) -> Self {
        let signs = match signer {
            Signer::Keys(keys) => Signs::Keys(keys),
            Signer::Secret(secret) => {
                let mut checks = KeySet::default();
                checks.add_secret(Some(secret.id()), &secret);
                Signs::Secret {
                    kid: secret.id(),
                    signs: EncodingKey::from_secret(secret.as_bytes()),
                    checks: Arc::new(checks),
                }
            }
        };
        Self {
            clock,
            name: name.into(),
            signs,
        }
    }

    /// Also accepts tokens signed with the secret that was in use before, until it is left out
    /// again. Only for an issuer that signs with a secret.
    #[must_use]
    pub fn also_accept(mut self, before: &Secret) -> Self {
        if let Signs::Secret { checks, .. } = &mut self.signs {
            Arc::make_mut(checks).add_secret(Some(before.id()), before);
        }
        self
    }

    /// Makes a token.
    pub fn issue(&self, grant: Grant) -> Result<Issued, TokenError> {
        if let Some(name) = OWN.iter().find(|name| grant.rest.contains_key(**name)) {
            return Err(TokenError::ReservedClaim((*name).to_owned()));
        }
        let longest = match &self.signs {
            Signs::Secret { .. } => Self::LONGEST_BY_SECRET,
            Signs::Keys(keys) => keys.longest_token(),
        };
        if grant.lasts > longest {
            return Err(TokenError::TooLong {
                asked: grant.lasts.as_secs(),
                longest: longest.as_secs(),
            });
        }
        let now = self.clock.now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let end = now.saturating_add(grant.lasts.as_secs());
        let id = new_id()?;
        let claims = Claims {
            iss: Some(self.name.clone()),
            sub: Some(grant.subject),
            aud: Some(Audience::One(grant.audience)),
            iat: Some(now.into()),
            nbf: Some(now.into()),
            exp: Some(end.into()),
            jti: Some(id.clone()),
            provider: grant.provider,
            username: grant.username,
            rest: grant.rest,
        };
        Ok(Issued {
            token: self.sign(&claims)?,
            id,
            expires: UNIX_EPOCH
                .checked_add(Duration::from_secs(end))
                .ok_or(TokenError::Crypto)?,
        })
    }

    /// What accepts the tokens of this issuer that are for one of `audiences`.
    pub fn verifier(&self, audiences: impl IntoIterator<Item = impl Into<String>>) -> OwnVerifier {
        let algorithm = match &self.signs {
            Signs::Secret { .. } => Algorithm::HS256,
            Signs::Keys(_) => Algorithm::EdDSA,
        };
        OwnVerifier {
            verifier: Verifier::new(Arc::clone(&self.clock), audiences)
                .issuers([self.name.clone()])
                .algorithms([algorithm]),
            signs: self.signs.clone(),
        }
    }

    #[cfg(test)]
    pub(super) fn checks(&self) -> KeySet {
        match &self.signs {
            Signs::Secret { checks, .. } => KeySet::clone(checks),
            Signs::Keys(keys) => keys.snapshot().checks.clone(),
        }
    }

    fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let signed = match &self.signs {
            Signs::Secret { kid, signs, .. } => {
                encode(&header(Algorithm::HS256, kid), claims, signs)
            }
            Signs::Keys(keys) => {
                let snapshot = keys.snapshot();
                encode(
                    &header(Algorithm::EdDSA, &snapshot.kid),
                    claims,
                    &snapshot.signs,
                )
            }
        };
        signed.map_err(|_| TokenError::Crypto)
    }
}

/// Accepts the tokens of one [`Issuer`]. Cheap to use: nothing is read but memory.
#[derive(Clone, Debug)]
pub struct OwnVerifier {
    verifier: Verifier,
    signs: Signs,
}

impl OwnVerifier {
    /// The claims of `token`, if it is ours, for this audience, and in time.
    pub fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        match &self.signs {
            Signs::Secret { checks, .. } => self.verifier.verify(token, checks),
            Signs::Keys(keys) => self.verifier.verify(token, &keys.snapshot().checks),
        }
    }
}

impl fmt::Debug for Signs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { kid, .. } => write!(f, "Secret({kid}, ***)"),
            Self::Keys(keys) => keys.fmt(f),
        }
    }
}

fn header(algorithm: Algorithm, kid: &str) -> Header {
    let mut header = Header::new(algorithm.library());
    header.kid = Some(kid.to_owned());
    header
}

fn new_id() -> Result<String, TokenError> {
    let mut bytes = [0; ID_LEN];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| TokenError::Crypto)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
