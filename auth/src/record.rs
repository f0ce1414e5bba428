//! Records: what stands in the store for users, keys, sessions and tunnels.
//!
//! A record is JSON, `{"v":1,"data":{…}}`. A record of an older version is brought up to date while
//! it is read and written back with the next change; one of a newer version is refused, for writing
//! it back would lose what this program does not know. Numbers name records ([`Id`] types), times
//! are milliseconds since 1970.
//!
//! `layout` says under which keys they stand.

pub(crate) mod layout;
pub(crate) mod millis;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::Revision;

/// Something that stands in the store.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The version that is written.
    const VERSION: u32;

    /// Makes the data of version `from` that of the version after it.
    fn migrate(from: u32, data: Value) -> Result<Value, String> {
        let _ = data;
        Err(format!("nothing is known of version {from}"))
    }
}

/// A record and the commit that wrote it: what an entity tag is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored<T> {
    pub record: T,
    pub revision: Revision,
}

impl<T> std::ops::Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.record
    }
}

/// A record cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the record '{key}' cannot be read: {detail}; restore a backup, or run the newer version of this program that wrote it"
)]
pub struct RecordError {
    key: String,
    detail: String,
}

#[derive(Deserialize, Serialize)]
struct Envelope<T> {
    v: u32,
    data: T,
}

#[derive(Serialize)]
struct EnvelopeRef<'a, T> {
    v: u32,
    data: &'a T,
}

/// The record as it stands in the store.
pub(crate) fn encode<T: Record>(record: &T) -> Bytes {
    let envelope = EnvelopeRef {
        v: T::VERSION,
        data: record,
    };
    let json = serde_json::to_vec(&envelope);
    json.expect("records have text keys and no fallible parts")
        .into()
}

/// The record that stands under `key`.
pub(crate) fn decode<T: Record>(key: &[u8], value: &[u8]) -> Result<T, RecordError> {
    if let Ok(Envelope { v, data }) = serde_json::from_slice::<Envelope<T>>(value)
        && v == T::VERSION
    {
        return Ok(data);
    }
    let data = migrated::<T>(key, value)?;
    serde_json::from_value(data).map_err(|error| unreadable(key, error))
}

/// A part of the record `T`, which may borrow from `value`.
///
/// Where the record is of an older version it is read as a whole first.
pub(crate) fn view<'a, T, V>(key: &[u8], value: &'a [u8]) -> Result<V, RecordError>
where
    T: Record,
    V: Deserialize<'a> + From<T>,
{
    match serde_json::from_slice::<Envelope<V>>(value) {
        Ok(Envelope { v, data }) if v == T::VERSION => Ok(data),
        _ => decode::<T>(key, value).map(V::from),
    }
}

fn migrated<T: Record>(key: &[u8], value: &[u8]) -> Result<Value, RecordError> {
    let Envelope { mut v, mut data } =
        serde_json::from_slice::<Envelope<Value>>(value).map_err(|error| unreadable(key, error))?;
    if v > T::VERSION {
        let newer = format!(
            "it has version {v}, this program knows up to {}",
            T::VERSION
        );
        return Err(unreadable(key, newer));
    }
    while v < T::VERSION {
        data = T::migrate(v, data).map_err(|detail| unreadable(key, detail))?;
        v += 1;
    }
    Ok(data)
}

pub(crate) fn unreadable(key: &[u8], detail: impl fmt::Display) -> RecordError {
    RecordError {
        key: key.escape_ascii().to_string(),
        detail: detail.to_string(),
    }
}

/// 32 bytes as 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The 32 bytes that `text` is the digits of.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

/// At most `most` characters of `text`.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(text[..end].to_owned()),
        None => Cow::Borrowed(text),
    }
}

/// Declares the number that names a kind of record.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd,
            serde::Deserialize, serde::Serialize,
        )]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}
pub(crate) use id;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
    struct Pet {
        name: String,
        legs: u8,
    }

    /// Version 1 had no legs, version 2 called them feet.
    impl Record for Pet {
        const VERSION: u32 = 3;

        fn migrate(from: u32, mut data: Value) -> Result<Value, String> {
            let members = data.as_object_mut().ok_or("it is no object")?;
            match from {
                1 => {
                    members.insert("feet".to_owned(), 4.into());
                }
                2 => {
                    let feet = members.remove("feet").ok_or("it has no feet")?;
                    members.insert("legs".to_owned(), feet);
                }
                other => return Err(format!("nothing is known of version {other}")),
            }
            Ok(data)
        }
    }

    fn read(json: &str) -> Result<Pet, RecordError> {
        decode(b"pet/1", json.as_bytes())
    }

    #[test]
    fn a_record_is_read_back() {
        let pet = Pet {
            name: "rex".to_owned(),
            legs: 3,
        };
        let json = encode(&pet);
        assert_eq!(&*json, br#"{"v":3,"data":{"name":"rex","legs":3}}"#);
        assert_eq!(decode::<Pet>(b"pet/1", &json).unwrap(), pet);
    }

    #[test]
    fn older_versions_are_brought_up_to_date() {
        let expected = |legs| Pet {
            name: "rex".to_owned(),
            legs,
        };
        assert_eq!(read(r#"{"v":1,"data":{"name":"rex"}}"#), Ok(expected(4)));
        assert_eq!(
            read(r#"{"v":2,"data":{"name":"rex","feet":2}}"#),
            Ok(expected(2))
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_and_never_guessed_at() {
        for (json, part) in [
            (r#"{"v":4,"data":{"name":"rex","legs":3}}"#, "version 4"),
            (r#"{"v":0,"data":{}}"#, "version 0"),
            (r#"{"v":2,"data":{"name":"rex"}}"#, "no feet"),
            (r#"{"v":3,"data":{"name":"rex"}}"#, "legs"),
            (r#"{"name":"rex","legs":3}"#, "missing field"),
            ("", "EOF"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("pet/1"),
                "{json}: {error}"
            );
        }
    }

    #[test]
    fn hexadecimal_digits_are_read_back_and_nothing_else_is() {
        let bytes = std::array::from_fn(|place| u8::try_from(place * 7 % 256).unwrap_or(0));
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for text in ["", "0", &"0".repeat(63), &"g".repeat(64), &"ä".repeat(32)] {
            assert_eq!(unhex(text), None);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("", 3), "");
    }
}
