//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.5, §14.6), and the keys for them.
//!
//! `stun-types` can do this too, but keeps keys in types that print them and ties the digest that
//! makes a key to the HMAC that uses it, which RFC 8489 does not.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};
use md5::{Digest, Md5};

/// Which HMAC a message carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Integrity {
    Sha1,
    Sha256,
}

/// How a key is made of a password (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PasswordAlgorithm {
    Md5,
    Sha256,
}

impl PasswordAlgorithm {
    /// The number in PASSWORD-ALGORITHM.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }
}

/// A long-term key: the digest of `username:realm:password` (RFC 8489 §9.2.2).
#[derive(Clone, Copy)]
pub(crate) struct Key {
    bytes: [u8; 32],
    len: u8,
}

impl Key {
    pub(crate) fn new(
        algorithm: PasswordAlgorithm,
        username: &str,
        realm: &str,
        password: &[u8],
    ) -> Self {
        let parts: [&[u8]; 5] = [username.as_bytes(), b":", realm.as_bytes(), b":", password];
        let mut bytes = [0; 32];
        let len = match algorithm {
            PasswordAlgorithm::Md5 => {
                let mut md5 = Md5::new();
                parts.iter().for_each(|part| md5.update(part));
                bytes[..16].copy_from_slice(&md5.finalize());
                16
            }
            PasswordAlgorithm::Sha256 => {
                let mut sha256 = digest::Context::new(&digest::SHA256);
                parts.iter().for_each(|part| sha256.update(part));
                bytes.copy_from_slice(sha256.finish().as_ref());
                32
            }
        };
        Self { bytes, len }
    }

    /// A password of at most 32 bytes itself, as the vectors of RFC 5769 use it.
    #[cfg(test)]
    pub(crate) fn short_term(password: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..password.len()].copy_from_slice(password);
        let len = u8::try_from(password.len()).unwrap();
        Self { bytes, len }
    }

    /// Whether `value` is the HMAC of `parts`, in constant time.
    pub(crate) fn verify(&self, integrity: Integrity, parts: [&[u8]; 2], value: &[u8]) -> bool {
        let tag = self.compute(integrity, parts);
        constant_time::verify_slices_are_equal(tag.as_ref(), value).is_ok()
    }

    /// Writes the HMAC of `parts` to `place`, which has its length.
    pub(crate) fn sign(&self, integrity: Integrity, parts: [&[u8]; 2], place: &mut [u8]) {
        place.copy_from_slice(self.compute(integrity, parts).as_ref());
    }

    fn compute(&self, integrity: Integrity, parts: [&[u8]; 2]) -> hmac::Tag {
        let algorithm = match integrity {
            Integrity::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Integrity::Sha256 => hmac::HMAC_SHA256,
        };
        let key = hmac::Key::new(algorithm, &self.bytes[..self.len.into()]);
        let mut context = hmac::Context::with_key(&key);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown() {
        let key = Key::new(PasswordAlgorithm::Md5, "user", "realm", b"pass");
        assert_eq!(format!("{key:?}"), "Key(***)");
    }

    /// The example of RFC 5389 §15.4.
    #[test]
    fn md5_keys_are_those_of_rfc_5389() {
        let key = Key::new(PasswordAlgorithm::Md5, "user", "realm", b"pass");
        let expected = 0x8493_fbc5_3ba5_82fb_4c04_4c45_6bdc_40eb_u128.to_be_bytes();
        assert_eq!(key.bytes[..16], expected);
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let key = Key::new(PasswordAlgorithm::Sha256, "user", "realm", b"pass");
        for (integrity, length) in [(Integrity::Sha1, 20), (Integrity::Sha256, 32)] {
            let mut value = vec![0; length];
            key.sign(integrity, [b"one", b"two"], &mut value);
            assert!(key.verify(integrity, [b"onetw", b"o"], &value));
            assert!(!key.verify(integrity, [b"one", b"too"], &value));
            assert!(!key.verify(integrity, [b"one", b"two"], &value[..length - 4]));
        }
    }
}
