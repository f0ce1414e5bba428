//! A row: what its hash is over, and how it lies in the store.
//!
//! The value is `{"hash":"…","row":…}`, where the row is canonical JSON with all columns, the chain's
//! name, the row's number and the hash of the row before among them, and the hash is the SHA-256 of
//! exactly these bytes. Nothing stands outside of the hash, and no two rows have the same text.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::canonical::canonical;
use super::event::{Actor, Draft, Resource};
use super::verify::Reason;

/// What stands for the hash before the first row.
pub(super) const GENESIS: &str = "genesis";
/// Changes when a column is added.
const VERSION: u8 = 1;
/// Hexadecimal digits of a hash.
const HASH_LEN: usize = 64;
const BEFORE_HASH: &str = "{\"hash\":\"";
const BEFORE_ROW: &str = "\",\"row\":";
const AFTER_ROW: &str = "}";

/// The number of a row in its chain. The first is 1, and none is left out.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A row as it was written, without what can be erased.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub actor: Actor,
    pub chain: String,
    pub event: String,
    pub id: Id,
    pub payload: Map<String, Value>,
    /// SHA-256 of the personal columns and their salt, if there were any.
    pub personal: Option<String>,
    /// The hash of the row before, `genesis` for the first.
    pub prev: String,
    pub resource: Option<Resource>,
    /// When it was recorded: UTC to the millisecond, by the clock of the process that did it.
    pub time: String,
    v: u8,
}

impl Row {
    pub(super) fn new(draft: &Draft, chain: &str, id: Id, prev: &str, time: &str) -> Self {
        Self {
            actor: draft.actor.clone(),
            chain: chain.to_owned(),
            event: draft.event.clone(),
            id,
            payload: draft.payload.clone(),
            personal: draft
                .hidden
                .as_ref()
                .map(|hidden| hidden.commitment.clone()),
            prev: prev.to_owned(),
            resource: draft.resource.clone(),
            time: time.to_owned(),
            v: VERSION,
        }
    }

    /// The value for the store, and the hash in it.
    pub(super) fn encode(&self) -> (Bytes, String) {
        let value = serde_json::to_value(self).expect("names of members are texts");
        let row = canonical(&value);
        let hash = hash_of(&row);
        let value = [BEFORE_HASH, &hash, BEFORE_ROW, &row, AFTER_ROW].concat();
        (value.into(), hash)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(value: &[u8]) -> Result<(Self, String), Reason> {
        let (hash, text) = split(value).ok_or(Reason::RowUnreadable)?;
        if hash_of(text) != hash {
            return Err(Reason::RowEdited);
        }
        let row = serde_json::from_str(text).map_err(|_| Reason::RowUnreadable)?;
        Ok((row, hash.to_owned()))
    }
}

/// The hash and the text of the row in a stored value.
pub(super) fn split(value: &[u8]) -> Option<(&str, &str)> {
    let rest = std::str::from_utf8(value).ok()?;
    let rest = rest.strip_prefix(BEFORE_HASH)?;
    let (hash, rest) = rest.split_at_checked(HASH_LEN)?;
    let row = rest.strip_prefix(BEFORE_ROW)?.strip_suffix(AFTER_ROW)?;
    Some((hash, row))
}

/// SHA-256 in hexadecimal digits.
pub(super) fn hash_of(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Event;

    fn row() -> Row {
        let event = Event::new("user.deleted", Actor::user("u1"))
            .on("user", "u2")
            .with("reason", "asked");
        let draft = Draft::new(event).unwrap();
        Row::new(&draft, "main", Id(7), GENESIS, "2026-04-15T12:00:00.000Z")
    }

    /// Written down, so that chains of older versions stay valid.
    #[test]
    fn the_form_of_a_row_never_changes() {
        let (value, hash) = row().encode();
        let text = r#"{"actor":{"id":"u1","kind":"user"},"chain":"main","event":"user.deleted","id":7,"payload":{"reason":"asked"},"personal":null,"prev":"genesis","resource":{"id":"u2","kind":"user"},"time":"2026-04-15T12:00:00.000Z","v":1}"#;
        assert_eq!(
            hash,
            "d152b2a6a6f0096959bf484633e78f990f0e282d652cc7bc88ff065b9a42ba18"
        );
        assert_eq!(value, format!("{{\"hash\":\"{hash}\",\"row\":{text}}}"));
        assert_eq!(Row::decode(&value), Ok((row(), hash)));
    }

    #[test]
    fn every_column_is_under_the_hash() {
        let changes: [fn(&mut Row); 12] = [
            |row| row.actor.id.push('x'),
            |row| row.actor.kind = crate::audit::ActorKind::Key,
            |row| row.chain.push('x'),
            |row| row.event.push('x'),
            |row| row.id = Id(8),
            |row| drop(row.payload.insert("more".to_owned(), Value::Null)),
            |row| row.personal = Some(String::new()),
            |row| row.prev.push('x'),
            |row| row.resource = None,
            |row| row.resource.as_mut().unwrap().id.push('x'),
            |row| row.time.push('x'),
            |row| row.v = 2,
        ];
        let mut hashes = vec![row().encode().1];
        for change in changes {
            let mut row = row();
            change(&mut row);
            hashes.push(row.encode().1);
        }
        let count = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn a_value_with_any_bit_changed_is_no_row() {
        let (value, _) = row().encode();
        for bit in 0..value.len() * 8 {
            let mut changed = value.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Row::decode(&changed).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(Row::decode(&value[..length]).is_err(), "cut to {length}");
        }
    }
}
