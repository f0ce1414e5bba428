//! Ed25519 keys that live in the store, sealed.
//!
//! A [`SigningKey`] is made here, leaves as a sealed blob for the record it belongs to and comes
//! back from one. What signs is never printed and never stands in the store in the clear.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use bytes::Bytes;

use crate::seal::{MasterKey, SealError};

/// Bytes of a public key (RFC 8032 §5.1.5).
pub(crate) const PUBLIC_LEN: usize = 32;
/// Bytes of what a key pair is made from.
pub(crate) const SEED_LEN: usize = 32;

/// A key pair that signs with Ed25519.
pub(crate) struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a key.
    pub(crate) fn generate() -> Result<Self, SealError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SealError::Failed)?;
        Self::of(pair)
    }

    /// The key that is made from `seed`.
    pub(crate) fn from_seed(seed: &[u8]) -> Result<Self, SealError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SealError::Tampered)?;
        Self::of(pair)
    }

    /// The key that was sealed into `blob` for the record `context`.
    pub(crate) fn open(master: &MasterKey, context: &[u8], blob: &[u8]) -> Result<Self, SealError> {
        Self::from_seed(&master.open(context, blob)?)
    }

    /// The key as a blob for the record `context`.
    pub(crate) fn seal(&self, master: &MasterKey, context: &[u8]) -> Result<Bytes, SealError> {
        master.seal(context, &self.seed()?)
    }

    /// What the key is made from. Never to be kept unsealed.
    pub(crate) fn seed(&self) -> Result<[u8; SEED_LEN], SealError> {
        let seed = self.pair.seed().map_err(|_| SealError::Failed)?;
        let seed = seed.as_be_bytes().map_err(|_| SealError::Failed)?;
        seed.as_ref().try_into().map_err(|_| SealError::Failed)
    }

    /// The key as PKCS #8 (RFC 5958), for a library that wants it so. Never to be kept unsealed.
    pub(crate) fn pkcs8(&self) -> Result<Vec<u8>, SealError> {
        let document = self.pair.to_pkcs8().map_err(|_| SealError::Failed)?;
        Ok(document.as_ref().to_vec())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    fn of(pair: Ed25519KeyPair) -> Result<Self, SealError> {
        let mut bytes = [0; PUBLIC_LEN];
        bytes.copy_from_slice(pair.public_key().as_ref());
        let public = PublicKey::parse(bytes).ok_or(SealError::Failed)?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

/// What checks the signatures of a [`SigningKey`].
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    bytes: [u8; PUBLIC_LEN],
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// The key of these bytes, if they are a point of the curve.
    pub(crate) fn parse(bytes: [u8; PUBLIC_LEN]) -> Option<Self> {
        let parsed = ParsedPublicKey::new(&ED25519, bytes).ok()?;
        Some(Self { bytes, parsed })
    }

    pub(crate) fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        &self.bytes
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";

    #[test]
    fn a_key_comes_back_from_its_blob_and_from_no_other_place() {
        let master = MasterKey::parse(MASTER).unwrap();
        let key = SigningKey::generate().unwrap();
        let blob = key.seal(&master, b"here").unwrap();
        let opened = SigningKey::open(&master, b"here", &blob).unwrap();
        assert_eq!(opened.public().as_bytes(), key.public().as_bytes());
        assert!(SigningKey::open(&master, b"there", &blob).is_err());
        let short = master.seal(b"here", b"short").unwrap();
        assert!(SigningKey::open(&master, b"here", &short).is_err());
    }

    #[test]
    fn a_signature_is_good_for_its_message_and_key_only() {
        let (key, other) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(!key.public().verifies(b"message", &signature[1..]));
        assert!(!other.public().verifies(b"message", &signature));
        assert_eq!(format!("{key:?}"), "SigningKey(***)");
    }
}
