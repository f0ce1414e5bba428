//! A signed statement of how many rows a chain has and which is the last.
//!
//! Every commit leaves one as the chain's tail. Others are kept as checkpoints, beside the rows and
//! in the log. The two are signed for different purposes: whoever can write to the store cannot put
//! a checkpoint in the place of the tail to make the chain end there.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::AuditError;
use super::row::hex;
use crate::signing::{PublicKey, SigningKey};

const SIGNATURE_LEN: usize = 64;

/// At a time, a chain had so many rows, of which the last had this hash.
///
/// As text, in one line, it is what the log has: chain, count, hash, time, public key, signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    chain: String,
    count: u64,
    head: String,
    time: String,
    key: String,
    signature: [u8; SIGNATURE_LEN],
}

/// What a statement is signed for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Tail,
    Checkpoint,
}

impl Checkpoint {
    /// The chain it is about.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// How many rows there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash of the last of them, or `genesis`.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// When that was: UTC to the millisecond.
    pub fn time(&self) -> &str {
        &self.time
    }

    pub(super) fn sign(
        key: &SigningKey,
        purpose: Purpose,
        chain: &str,
        (count, head): (u64, &str),
        time: String,
    ) -> Self {
        let mut statement = Self {
            chain: chain.to_owned(),
            count,
            head: head.to_owned(),
            time,
            key: hex(key.public().as_bytes()),
            signature: [0; SIGNATURE_LEN],
        };
        statement.signature = key.sign(statement.message(purpose).as_bytes());
        statement
    }

    pub(super) fn is_by(&self, key: &PublicKey) -> bool {
        self.key == hex(key.as_bytes())
    }

    pub(super) fn is_signed(&self, key: &PublicKey, purpose: Purpose) -> bool {
        key.verifies(self.message(purpose).as_bytes(), &self.signature)
    }

    /// What is signed. No field holds a line break, so no two statements have the same message.
    fn message(&self, purpose: Purpose) -> String {
        let purpose = match purpose {
            Purpose::Tail => "tail",
            Purpose::Checkpoint => "checkpoint",
        };
        let Self {
            chain,
            count,
            head,
            time,
            key,
            ..
        } = self;
        format!("portunus audit {purpose} 1\n{chain}\n{count}\n{head}\n{time}\n{key}")
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            chain,
            count,
            head,
            time,
            key,
            signature,
        } = self;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        write!(f, "{chain} {count} {head} {time} {key} {signature}")
    }
}

impl FromStr for Checkpoint {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        let mut parts = text.split_ascii_whitespace();
        let mut part = || parts.next().ok_or(AuditError::Checkpoint);
        let (chain, count, head) = (part()?, part()?, part()?);
        let (time, key, signature) = (part()?, part()?, part()?);
        let count = count.parse().map_err(|_| AuditError::Checkpoint)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        if parts.next().is_some() {
            return Err(AuditError::Checkpoint);
        }
        Ok(Self {
            chain: chain.to_owned(),
            count,
            head: head.to_owned(),
            time: time.to_owned(),
            key: key.to_owned(),
            signature: signature.ok_or(AuditError::Checkpoint)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &SigningKey) -> Checkpoint {
        let time = "2026-04-15T12:00:00.000Z".to_owned();
        Checkpoint::sign(key, Purpose::Checkpoint, "main", (7, "abc"), time)
    }

    #[test]
    fn a_checkpoint_is_read_back_from_its_line() {
        let key = SigningKey::generate().unwrap();
        let checkpoint = signed(&key);
        let read: Checkpoint = format!(" {checkpoint}\n").parse().unwrap();
        assert_eq!(read, checkpoint);
        assert!(read.is_by(key.public()));
        assert!(read.is_signed(key.public(), Purpose::Checkpoint));
    }

    /// Written down, so that checkpoints in old logs stay good.
    #[test]
    fn the_form_of_a_checkpoint_never_changes() {
        const LINE: &str = "main 7 abc 2026-04-15T12:00:00.000Z ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c Dwme9iWijQF96SWuj11i_L46_t9TTCeEX2q59wJnOAoFgR-I3TxpVkOSST5VpToaX1ppmHSzMMfsNLRHuS5MCA";
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        assert_eq!(signed(&key).to_string(), LINE);
        let key = key.public();
        let message = "portunus audit checkpoint 1\nmain\n7\nabc\n2026-04-15T12:00:00.000Z\n";
        let message = format!("{message}{}", hex(key.as_bytes()));
        let read: Checkpoint = LINE.parse().unwrap();
        assert!(key.verifies(message.as_bytes(), &read.signature));
    }

    #[test]
    fn a_checkpoint_is_no_tail_and_nobody_elses() {
        let (key, other) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        assert!(!signed(&key).is_signed(key.public(), Purpose::Tail));
        assert!(!signed(&key).is_signed(other.public(), Purpose::Checkpoint));
        assert!(!signed(&key).is_by(other.public()));
    }

    #[test]
    fn a_line_with_any_part_changed_is_not_signed() {
        let key = SigningKey::generate().unwrap();
        let line = signed(&key).to_string();
        let parts: Vec<_> = line.split(' ').collect();
        for place in 0..parts.len() {
            let mut parts = parts.clone();
            let changed = if place == 1 { "8" } else { "other" };
            parts[place] = changed;
            let read = parts.join(" ").parse::<Checkpoint>();
            assert!(
                read.is_err() || !read.unwrap().is_signed(key.public(), Purpose::Checkpoint),
                "part {place}"
            );
        }
        assert!(parts[..5].join(" ").parse::<Checkpoint>().is_err());
        assert!(format!("{line} more").parse::<Checkpoint>().is_err());
    }

    #[test]
    fn garbage_is_no_checkpoint() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let text: String = (0..random.usize(0..40)).map(|_| random.char(..)).collect();
            assert!(text.parse::<Checkpoint>().is_err());
        }
    }
}
