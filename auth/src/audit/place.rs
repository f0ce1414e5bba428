//! Under which keys a chain lies in the store.
//!
//! What is signed stands apart from what it signs: rows, tail, checkpoints, personal columns, and
//! the numbers of rows that erased some, each under a prefix of its own.

use bytes::Bytes;

use super::error::AuditError;
use super::row::Id;

/// Longest name of a chain, in characters.
const MAX_NAME: usize = 64;
/// Digits of a row's number in a key, so that keys order as numbers do.
const DIGITS: usize = 20;

/// The keys of one chain.
#[derive(Clone, Debug)]
pub(super) struct Place {
    chain: String,
}

impl Place {
    pub(super) fn of(chain: &str) -> Result<Self, AuditError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if chain.is_empty() || chain.len() > MAX_NAME || !chain.chars().all(allowed) {
            return Err(AuditError::Name(chain.chars().take(MAX_NAME).collect()));
        }
        Ok(Self {
            chain: chain.to_owned(),
        })
    }

    pub(super) fn chain(&self) -> &str {
        &self.chain
    }

    pub(super) fn signing_key(&self) -> Bytes {
        format!("audit-key/{}", self.chain).into()
    }

    pub(super) fn tail(&self) -> Bytes {
        format!("audit/{}/tail", self.chain).into()
    }

    pub(super) fn rows(&self) -> Bytes {
        format!("audit/{}/row/", self.chain).into()
    }

    pub(super) fn row(&self, id: Id) -> Bytes {
        numbered(&self.rows(), id)
    }

    pub(super) fn personals(&self) -> Bytes {
        format!("audit-personal/{}/", self.chain).into()
    }

    pub(super) fn personal(&self, id: Id) -> Bytes {
        numbered(&self.personals(), id)
    }

    pub(super) fn checkpoints(&self) -> Bytes {
        format!("audit-checkpoint/{}/", self.chain).into()
    }

    pub(super) fn checkpoint(&self, count: u64) -> Bytes {
        numbered(&self.checkpoints(), Id(count))
    }

    pub(super) fn erasures(&self) -> Bytes {
        format!("audit-erasure/{}/", self.chain).into()
    }

    pub(super) fn erasure(&self, id: Id) -> Bytes {
        numbered(&self.erasures(), id)
    }
}

/// The number at the end of `key`, if it stands there as this module writes it.
pub(super) fn number(prefix: &[u8], key: &[u8]) -> Option<Id> {
    let digits = key.strip_prefix(prefix)?;
    if digits.len() != DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().map(Id)
}

fn numbered(prefix: &[u8], id: Id) -> Bytes {
    let mut key = prefix.to_vec();
    key.extend_from_slice(format!("{:0DIGITS$}", id.0).as_bytes());
    key.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_order_as_keys_do_and_come_back() {
        let place = Place::of("main").unwrap();
        let ids = [0, 1, 9, 10, 99_999, u64::MAX].map(Id);
        let keys = ids.map(|id| place.row(id));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| number(&place.rows(), &key)), ids.map(Some));
        for key in [
            "audit/main/row/1",
            "audit/main/row/x0000000000000000001",
            "",
        ] {
            assert_eq!(number(&place.rows(), key.as_bytes()), None);
        }
    }

    #[test]
    fn a_name_that_would_reach_into_another_chain_is_refused() {
        for name in ["", "a/row", "Main", "a b", "\0", &"a".repeat(65)] {
            assert!(
                matches!(Place::of(name), Err(AuditError::Name(_))),
                "{name}"
            );
        }
        Place::of(&"a".repeat(64)).unwrap();
    }
}
