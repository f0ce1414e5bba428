//! The columns of a row that are about a person, kept so that they can be erased.
//!
//! They stand in a record beside the row, together with 32 random bytes. The row has the record's
//! SHA-256 and so vouches for it; without the record nobody can tell from the hash what it was, since
//! the random bytes are gone with it.

use std::net::IpAddr;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::canonical::canonical;
use super::error::AuditError;
use super::row::{hash_of, hex};

/// Longest name or user agent that is kept, in bytes.
const MAX_TEXT: usize = 512;
const SALT_LEN: usize = 32;

/// Who it was, as people can tell.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Personal {
    /// The actor's name at that time.
    pub name: Option<String>,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
}

impl Personal {
    /// The record to be kept, or none if there is nothing to keep.
    pub(super) fn hide(self) -> Result<Option<Hidden>, AuditError> {
        if self == Self::default() {
            return Ok(None);
        }
        let mut salt = [0; SALT_LEN];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| AuditError::Random)?;
        let record = Record {
            ip: self.ip,
            name: self.name.map(cut),
            salt: hex(&salt),
            user_agent: self.user_agent.map(cut),
        };
        let value = serde_json::to_value(record).expect("names of members are texts");
        let record = canonical(&value);
        Ok(Some(Hidden {
            commitment: hash_of(&record),
            record,
        }))
    }

    /// What was kept, if `record` is the one that `commitment` is about.
    pub(super) fn reveal(record: &[u8], commitment: &str) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?;
        if hash_of(text) != commitment {
            return None;
        }
        let record: Record = serde_json::from_str(text).ok()?;
        Some(Self {
            name: record.name,
            ip: record.ip,
            user_agent: record.user_agent,
        })
    }
}

/// Personal columns with their salt, and what the row has of them.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    pub(super) record: String,
    pub(super) commitment: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    ip: Option<IpAddr>,
    name: Option<String>,
    salt: String,
    user_agent: Option<String>,
}

fn cut(mut text: String) -> String {
    let end = (0..=MAX_TEXT.min(text.len())).rfind(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Personal {
        Personal {
            name: Some("Alice".to_owned()),
            ip: Some("192.0.2.1".parse().unwrap()),
            user_agent: Some("curl/8".to_owned()),
        }
    }

    #[test]
    fn what_is_hidden_is_revealed_by_its_record_only() {
        let hidden = alice().hide().unwrap().unwrap();
        let reveal = |record: &str| Personal::reveal(record.as_bytes(), &hidden.commitment);
        assert_eq!(reveal(&hidden.record), Some(alice()));
        assert_eq!(reveal(&hidden.record.replace("Alice", "Mallory")), None);
        assert_eq!(Personal::reveal(b"\xff", &hidden.commitment), None);
    }

    #[test]
    fn the_same_columns_never_have_the_same_commitment() {
        let commitment = || alice().hide().unwrap().unwrap().commitment;
        assert_ne!(commitment(), commitment());
    }

    #[test]
    fn nothing_is_kept_of_nothing_and_little_of_much() {
        assert!(Personal::default().hide().unwrap().is_none());
        let agent = Personal {
            user_agent: Some("ä".repeat(5000)),
            ..Personal::default()
        };
        let hidden = agent.hide().unwrap().unwrap();
        let kept = Personal::reveal(hidden.record.as_bytes(), &hidden.commitment).unwrap();
        assert_eq!(kept.user_agent.unwrap(), "ä".repeat(MAX_TEXT / 2));
    }
}
