//! API keys: what one looks like, and what is kept of it.
//!
//! A key is `ptn_`, 30 characters of `0-9A-Za-z` from the system's random source (178 bits), and 6
//! such characters of the CRC-32 of all that stands before. The checksum tells a mistyped key, or
//! something else altogether, from an unknown one without asking the store. At rest there is only
//! [`KeyHash`], and the first characters for people to recognise a key by.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

const BRAND: &str = "ptn_";
const RANDOM_LEN: usize = 30;
const CHECKSUM_LEN: usize = 6;
const BODY_LEN: usize = BRAND.len() + RANDOM_LEN;
/// Characters, and bytes, of a key.
const KEY_LEN: usize = BODY_LEN + CHECKSUM_LEN;
/// Characters of a key that are shown, the brand included.
const PREFIX_LEN: usize = 8;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key in full, as its owner has it. Never kept and never logged.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// Makes a key. Fails only if the system has no random bytes to give.
    pub fn mint() -> Result<Self, MintError> {
        let mut key = String::with_capacity(KEY_LEN);
        key.push_str(BRAND);
        random_characters(&mut key, RANDOM_LEN)?;
        key.extend(checksum(key.as_bytes()).map(char::from));
        Ok(Self(key))
    }

    /// Takes `text` for a key if it is formed like one and its checksum is right. Whether anybody
    /// was given it, the store has to say.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        check_form(text)?;
        Ok(Self(text.to_owned()))
    }

    /// What is kept of the key.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// The first 8 characters, for lists and logs.
    pub fn prefix(&self) -> &str {
        &self.0[..PREFIX_LEN]
    }

    /// The key itself, to be shown once to whom it was made for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}***)", self.prefix())
    }
}

/// The SHA-256 of a key. A slow hash would add nothing: nobody guesses 178 bits.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// What is kept of the key `text`, if it is formed like one; without a copy of it.
    pub(crate) fn of_presented(text: &str) -> Result<Self, MalformedKey> {
        check_form(text)?;
        Ok(Self::of(text))
    }

    pub(crate) fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// A hash that was kept.
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash, to be kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Takes the same time wherever the two differ.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(***)")
    }
}

/// The text is no API key: too short or long, another character, or a wrong checksum.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is no API key of this gateway; a key is ptn_ and 36 letters and digits")]
pub struct MalformedKey;

/// No key could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system gave no random bytes to make an API key from")]
pub struct MintError;

fn check_form(text: &str) -> Result<(), MalformedKey> {
    let bytes = text.as_bytes();
    let random = bytes.strip_prefix(BRAND.as_bytes()).ok_or(MalformedKey)?;
    let formed = bytes.len() == KEY_LEN && random.iter().all(u8::is_ascii_alphanumeric);
    if !formed || bytes[BODY_LEN..] != checksum(&bytes[..BODY_LEN]) {
        return Err(MalformedKey);
    }
    Ok(())
}

/// Adds `count` characters of `0-9A-Za-z` to `text`, each as likely as any other.
pub(crate) fn random_characters(text: &mut String, count: usize) -> Result<(), MintError> {
    let random = SystemRandom::new();
    let end = text.len() + count;
    while text.len() < end {
        let mut bytes = [0; 64];
        random.fill(&mut bytes).map_err(|_| MintError)?;
        let missing = end - text.len();
        text.extend(bytes.into_iter().filter_map(character).take(missing));
    }
    Ok(())
}

/// The character for a random byte, or none: 256 is no multiple of 62, and taking the rest would
/// make some characters more frequent than others.
fn character(random: u8) -> Option<char> {
    const FAIR: u8 = u8::MAX - u8::MAX % 62;
    (random < FAIR).then(|| char::from(ALPHABET[usize::from(random % 62)]))
}

/// The CRC-32 of `body` in base 62, most significant character first.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(body);
    let mut characters = [ALPHABET[0]; CHECKSUM_LEN];
    for character in characters.iter_mut().rev() {
        *character = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    characters
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_back() {
        for _ in 0..200 {
            let key = ApiKey::mint().unwrap();
            let read = ApiKey::parse(key.reveal()).unwrap();
            assert_eq!(read.reveal(), key.reveal());
            assert_eq!(read.hash(), key.hash());
            assert_eq!(key.reveal().len(), 40);
        }
    }

    /// Written down, so that keys that were given out stay good.
    #[test]
    fn the_form_of_a_key_never_changes() {
        let key = ApiKey::parse("ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA").unwrap();
        let hash: String = key
            .hash()
            .as_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            hash,
            "8892cd6df41bd7a303a4585bd0ec029ac0f943d90793e53af229459975681e61"
        );
        assert_eq!(key.prefix(), "ptn_0123");
    }

    #[test]
    fn no_two_keys_are_the_same() {
        let keys: HashSet<_> = (0..1000).map(|_| ApiKey::mint().unwrap().0).collect();
        assert_eq!(keys.len(), 1000);
    }

    #[test]
    fn random_bytes_become_characters_without_a_favourite() {
        let mut count = [0; 128];
        for byte in 0..=u8::MAX {
            if let Some(character) = character(byte) {
                count[character as usize] += 1;
            }
        }
        for &character in ALPHABET {
            assert_eq!(count[usize::from(character)], 4);
        }
        assert_eq!(count.iter().sum::<i32>(), 248);
    }

    #[test]
    fn any_one_character_changed_is_noticed() {
        let key = ApiKey::mint().unwrap();
        for place in 0..KEY_LEN {
            for other in 0..128 {
                let mut changed = key.reveal().as_bytes().to_vec();
                if changed[place] == other {
                    continue;
                }
                changed[place] = other;
                let changed = String::from_utf8(changed).unwrap();
                assert!(ApiKey::parse(&changed).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn two_neighbours_exchanged_are_noticed() {
        let key = ApiKey::mint().unwrap();
        for place in 0..KEY_LEN - 1 {
            let mut changed = key.reveal().as_bytes().to_vec();
            changed.swap(place, place + 1);
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == key.reveal() || ApiKey::parse(&changed).is_err());
        }
    }

    #[test]
    fn garbage_is_refused() {
        let key = ApiKey::mint().unwrap();
        let text = key.reveal();
        for length in 0..KEY_LEN {
            assert_eq!(ApiKey::parse(&text[..length]).unwrap_err(), MalformedKey);
        }
        for other in [format!("{text}0"), format!(" {text}"), format!("{text}\n")] {
            assert!(ApiKey::parse(&other).is_err());
        }
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..5000 {
            let length = random.usize(0..50);
            let noise: String = (0..length).map(|_| random.char(..)).collect();
            assert!(ApiKey::parse(&noise).is_err());
            assert!(ApiKey::parse(&format!("ptn_{noise}")).is_err());
        }
    }

    #[test]
    fn hashes_compare_by_all_their_bytes() {
        let hash = ApiKey::mint().unwrap().hash();
        assert_eq!(KeyHash::from_bytes(*hash.as_bytes()), hash);
        for place in 0..32 {
            let mut other = *hash.as_bytes();
            other[place] ^= 1;
            assert_ne!(KeyHash::from_bytes(other), hash);
        }
    }

    #[test]
    fn nothing_but_the_prefix_is_printed() {
        let key = ApiKey::mint().unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("ApiKey({}***)", &key.reveal()[..8])
        );
        assert_eq!(format!("{:?}", key.hash()), "KeyHash(***)");
    }
}
