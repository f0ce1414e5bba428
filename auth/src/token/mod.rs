//! JSON Web Tokens: those we issue, and those of others that routes accept.
//!
//! An [`Issuer`] signs with a configured [`Secret`] (HS256) or with [`Keys`] (EdDSA) that are made
//! here, lie sealed in the store and are rotated; [`Keys::jwks`] is what others check our tokens
//! with. A [`Verifier`] believes a token only by a key of a [`KeySet`] and by an algorithm that this
//! key is for (RFC 8725). A [`KeyCache`] says when somebody else's keys should be fetched; fetching
//! is its caller's.
//!
//! Issuing and verifying read memory only. The time comes from a clock that is given.

mod algorithm;
mod cache;
mod claims;
mod error;
mod issuer;
mod key_set;
mod keys;
mod ring;
mod secret;
#[cfg(test)]
mod tests;
mod verifier;

pub use self::algorithm::Algorithm;
pub use self::cache::{Cause, Fetch, KeyCache, Refresh};
pub use self::claims::{Audience, Claims, LEEWAY};
pub use self::error::{KeySetError, Refusal, TokenError};
pub use self::issuer::{Grant, Issued, Issuer, OwnVerifier, Signer};
pub use self::key_set::{KeySet, MAX_KEY_SET_BYTES};
pub use self::keys::{Keys, Rotation};
pub use self::secret::Secret;
pub use self::verifier::{MAX_TOKEN_BYTES, Verifier};
