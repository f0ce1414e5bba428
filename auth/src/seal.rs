//! Secrets at rest, sealed with AES-256-GCM under the master key.
//!
//! A [`MasterKey`] comes from 64 hexadecimal digits that the caller read from a file or the
//! environment. [`MasterKey::seal`] turns a secret into a blob for the store, [`MasterKey::open`]
//! turns it back. The context, which is the key of the record, is authenticated with it, so a blob
//! that was moved to another record does not open.
//!
//! A blob is one byte of version, four bytes that tell master keys apart, the nonce of 96 random
//! bits, the ciphertext and its tag of 128 bits. One key is good for 2³² seals before nonces may
//! repeat; what a gateway seals in its life is far from it.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

/// Hexadecimal digits of a master key.
const DIGITS: usize = 64;
const VERSION: u8 = 1;
const ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + ID_LEN;
/// Of 32 random bytes about 30 are different from each other; fewer than this is not chance.
const MIN_DIFFERENT_BYTES: usize = 16;

/// The key that all secrets in the store are sealed under. It is never printed.
pub struct MasterKey {
    key: RandomizedNonceKey,
    id: [u8; ID_LEN],
}

impl MasterKey {
    /// Reads a key of 64 hexadecimal digits; white space around them is no part of it.
    ///
    /// Refuses what nobody made by chance: one byte repeated, a short pattern, counting up. Errors
    /// never contain any of the text.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(MasterKeyError::Missing);
        }
        let bytes = decode(text)?;
        if is_placeholder(&bytes) {
            return Err(MasterKeyError::Placeholder);
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes);
        Ok(Self {
            key: key.map_err(|_| MasterKeyError::Unusable)?,
            id: id_of(&bytes),
        })
    }

    /// Seals `secret` for the record `context`. Two seals of the same secret are different.
    pub fn seal(&self, context: &[u8], secret: &[u8]) -> Result<Bytes, SealError> {
        let header = self.header();
        let mut sealed = secret.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(authenticated(header, context), &mut sealed)
            .map_err(|_| SealError::Failed)?;
        Ok([&header[..], nonce.as_ref(), &sealed].concat().into())
    }

    /// What was sealed into `blob` for the record `context`.
    pub fn open(&self, context: &[u8], blob: &[u8]) -> Result<Vec<u8>, SealError> {
        let (header, rest) = blob
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(SealError::Tampered)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Tampered)?;
        match header {
            [VERSION, id @ ..] if *id == self.id => {}
            [VERSION, ..] => return Err(SealError::OtherKey),
            _ => return Err(SealError::Tampered),
        }
        let mut opened = sealed.to_vec();
        let length = self
            .key
            .open_in_place(
                Nonce::from(nonce),
                authenticated(*header, context),
                &mut opened,
            )
            .map_err(|_| SealError::Tampered)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [VERSION; HEADER_LEN];
        header[1..].copy_from_slice(&self.id);
        header
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

/// Why a text is no master key. Says nothing of what the text was.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MasterKeyError {
    #[error("the master key is missing; make one with `openssl rand -hex 32` and keep a copy")]
    Missing,
    #[error("the master key has to be 64 hexadecimal digits, this one has {0} characters")]
    Length(usize),
    #[error("the master key has to be 64 hexadecimal digits, its character {0} is none")]
    Digit(usize),
    #[error("the master key is a placeholder; make one with `openssl rand -hex 32`")]
    Placeholder,
    #[error("the cryptography library does not take the master key")]
    Unusable,
}

/// Why a secret was not sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    #[error("the system gave no random bytes to seal a secret with")]
    Failed,
    #[error("a secret was sealed under another master key; start with the key it was sealed under")]
    OtherKey,
    #[error("a sealed secret was changed, cut or moved since it was written")]
    Tampered,
}

fn authenticated(header: [u8; HEADER_LEN], context: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([&header[..], context].concat())
}

/// Tells keys apart in a message; too short to help in guessing one.
fn id_of(key: &[u8; DIGITS / 2]) -> [u8; ID_LEN] {
    let hash = digest(&SHA256, &[b"portunus master key id ", &key[..]].concat());
    let mut id = [0; ID_LEN];
    id.copy_from_slice(&hash.as_ref()[..ID_LEN]);
    id
}

fn decode(text: &str) -> Result<[u8; DIGITS / 2], MasterKeyError> {
    let count = text.chars().count();
    if count != DIGITS {
        return Err(MasterKeyError::Length(count));
    }
    let mut bytes = [0; DIGITS / 2];
    for (place, digit) in text.chars().enumerate() {
        let value = digit
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok());
        let value = value.ok_or(MasterKeyError::Digit(place + 1))?;
        bytes[place / 2] = bytes[place / 2] << 4 | value;
    }
    Ok(bytes)
}

fn is_placeholder(bytes: &[u8; DIGITS / 2]) -> bool {
    let mut seen = [false; 256];
    for &byte in bytes {
        seen[usize::from(byte)] = true;
    }
    let different = seen.iter().filter(|&&seen| seen).count();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut steps = bytes.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let step = steps.next();
    different < MIN_DIFFERENT_BYTES || first == second || steps.all(|other| Some(other) == step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";
    const OTHER: &str = "1d94b6f3027ac8e55b3f60d97e21c48af6830b5dc9e7a2146b8d50f3c71e9a28";

    fn key() -> MasterKey {
        MasterKey::parse(KEY).unwrap()
    }

    #[test]
    fn what_is_sealed_opens() {
        for length in [0, 1, 15, 16, 17, 5000] {
            let secret = vec![7; length];
            let blob = key().seal(b"users/1", &secret).unwrap();
            assert_eq!(key().open(b"users/1", &blob).unwrap(), secret);
            assert!(length < 15 || !blob.windows(length).any(|part| part == secret));
        }
    }

    #[test]
    fn a_key_may_stand_among_white_space_and_in_capitals() {
        let capitals = format!(" {}\r\n", KEY.to_uppercase());
        let blob = key().seal(b"", b"secret").unwrap();
        let opened = MasterKey::parse(&capitals).unwrap().open(b"", &blob);
        assert_eq!(opened.unwrap(), b"secret");
    }

    #[test]
    fn two_seals_of_one_secret_differ() {
        assert_ne!(
            key().seal(b"c", b"s").unwrap(),
            key().seal(b"c", b"s").unwrap()
        );
    }

    #[test]
    fn a_blob_with_any_bit_changed_does_not_open() {
        let blob = key().seal(b"context", b"secret").unwrap();
        for bit in 0..blob.len() * 8 {
            let mut changed = blob.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(key().open(b"context", &changed).is_err(), "bit {bit}");
        }
        for length in 0..blob.len() {
            let opened = key().open(b"context", &blob[..length]);
            assert_eq!(opened, Err(SealError::Tampered), "cut to {length}");
        }
    }

    #[test]
    fn a_blob_does_not_open_elsewhere() {
        let blob = key().seal(b"users/1", b"secret").unwrap();
        assert_eq!(key().open(b"users/2", &blob), Err(SealError::Tampered));
        let other = MasterKey::parse(OTHER).unwrap();
        assert_eq!(other.open(b"users/1", &blob), Err(SealError::OtherKey));
    }

    #[test]
    fn garbage_does_not_open() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let mut blob = vec![0; random.usize(0..80)];
            random.fill(&mut blob);
            assert!(key().open(b"", &blob).is_err());
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_refused() {
        let refusal = |text: &str| MasterKey::parse(text).unwrap_err();
        assert_eq!(refusal(" \n"), MasterKeyError::Missing);
        assert_eq!(refusal(&KEY[1..]), MasterKeyError::Length(63));
        assert_eq!(refusal(&format!("{KEY}0")), MasterKeyError::Length(65));
        assert_eq!(refusal(&"ä".repeat(32)), MasterKeyError::Length(32));
        assert_eq!(refusal(&"ä".repeat(64)), MasterKeyError::Digit(1));
        assert_eq!(refusal(&KEY.replace('6', "g")), MasterKeyError::Digit(5));
        assert_eq!(refusal("CHANGE_ME"), MasterKeyError::Length(9));
    }

    #[test]
    fn a_placeholder_is_refused() {
        let counting: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
        let placeholders = [
            "0".repeat(64),
            "f".repeat(64),
            "deadbeef".repeat(8),
            "0123456789abcdef".repeat(4),
            KEY[..32].repeat(2),
            counting,
        ];
        for text in placeholders {
            assert_eq!(
                MasterKey::parse(&text).unwrap_err(),
                MasterKeyError::Placeholder
            );
        }
    }

    #[test]
    fn no_text_of_the_key_is_ever_printed() {
        assert_eq!(format!("{:?}", key()), "MasterKey(***)");
        let broken = format!("{}zz", &KEY[..62]);
        let error = MasterKey::parse(&broken).unwrap_err();
        for part in [&broken[..4], &broken[58..], "zz"] {
            assert!(!format!("{error} {error:?}").contains(part));
        }
    }
}
