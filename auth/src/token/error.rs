//! Why a token was not made, and why one is not accepted.

use crate::seal::SealError;
use crate::store::StoreError;

/// Why no token or key could be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error(
        "the token secret has {0} bytes and needs 32 or more; make one with `openssl rand -hex 32`"
    )]
    ShortSecret(usize),

    #[error(
        "the token secret is a placeholder that everybody knows; make one with `openssl rand -hex 32`"
    )]
    PlaceholderSecret,

    #[error("a token for {asked} s was asked for; the longest that is issued is {longest} s")]
    TooLong { asked: u64, longest: u64 },

    #[error("the token's claim '{0}' is set by the issuer")]
    ReservedClaim(String),

    #[error("the cryptography library could not make a token or its key")]
    Crypto,

    #[error(
        "'{key}' in the store does not hold token keys; restore a backup, or delete it to have new keys made"
    )]
    Damaged { key: &'static str },

    #[error("a token key: {0}")]
    Seal(#[from] SealError),

    #[error("the token keys: {0}")]
    Store(#[from] StoreError),
}

/// Why a token is not accepted. For the log; a client learns only that it is not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("the token is longer than is accepted")]
    TooLong,
    #[error("this is no signed JWT")]
    Malformed,
    #[error("the token's algorithm is not accepted, or not for its key")]
    Algorithm,
    #[error("the token asks for an extension that is not known here (crit)")]
    Critical,
    #[error("no key is known by the token's kid")]
    UnknownKey,
    #[error("the token names no key, and more than one could be meant")]
    NoKeyNamed,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token does not say when it ends")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token was not issued by an accepted issuer")]
    Issuer,
    #[error("the token was issued for another audience")]
    Audience,
}

/// Why a set of keys cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    #[error("the key set has {size} bytes, more than the {limit} that are read")]
    TooLarge { size: usize, limit: usize },
    #[error("this is no JSON Web Key Set (RFC 7517): an object with a list `keys` was expected")]
    Malformed,
    #[error("the key set has no public key for signatures of a kind that is supported")]
    NoUsableKey,
}
