//! Lists, page by page.

use auth::{
    Stored,
    identity::{Listing, Page},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::{IntoParams, ToSchema};

/// Entries of a page if the client does not say, and at most.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// One page of a list, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    /// The `cursor` of the next page; null on the last. With a filter a page may have fewer entries
    /// than its limit, or none, and not be the last.
    pub(super) next: Option<String>,
}

impl<T> List<T> {
    pub(super) fn of<R>(listing: Listing<R>, show: impl Fn(Stored<R>) -> T) -> Self {
        Self {
            items: listing.items.into_iter().map(show).collect(),
            next: Self::next_of(listing.next),
        }
    }

    /// The cursor of what comes after `position`.
    pub(super) fn next_of(position: Option<String>) -> Option<String> {
        position.map(|position| Cursor::from_position(&position).0)
    }
}

/// Which page of a list that has owners.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfOwner {
    /// What `next` of the page before was.
    #[param(inline)]
    pub(super) cursor: Option<Cursor>,
    /// Entries of a page.
    #[param(inline)]
    pub(super) limit: Option<Limit>,
    /// Only those of this user. Ordinary users see their own.
    #[param(inline)]
    pub(super) owner: Option<Number>,
}

/// Where a page begins: what `next` of the page before was.
#[derive(Clone, Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
pub(super) struct Cursor(String);

impl Cursor {
    pub(super) fn from_number(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }

    pub(super) fn number(&self) -> u64 {
        u64::from_str_radix(&self.0, 16).unwrap_or_default()
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn from_position(position: &str) -> Self {
        Self::from_number(position.parse().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.len() == 16 && text.bytes().all(digit) {
            true => Ok(Self(text)),
            false => Err(D::Error::custom(
                "the cursor is not one that `next` of a page was",
            )),
        }
    }
}

/// How many entries a page has at most.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(value_type = u16, minimum = 1, maximum = 500, default = 50)]
pub(super) struct Limit(pub(super) usize);

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = usize::deserialize(deserializer)?;
        match (1..=MAX_LIMIT).contains(&limit) {
            true => Ok(Self(limit)),
            false => Err(D::Error::custom("the limit is from 1 to 500")),
        }
    }
}

/// The number of something, as queries name it.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(value_type = u64, maximum = 9_007_199_254_740_991_i64)]
pub(super) struct Number(pub(super) u64);

/// What every reader of JSON can hold exactly.
const MAX_NUMBER: u64 = 9_007_199_254_740_991;

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        match number <= MAX_NUMBER {
            true => Ok(Self(number)),
            false => Err(D::Error::custom("there is no number that large")),
        }
    }
}

/// A text to look for, of 256 characters at most.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.chars().count() <= 256 {
        true => Ok(Some(text)),
        false => Err(D::Error::custom("it has at most 256 characters")),
    }
}

pub(super) fn page(cursor: Option<&Cursor>, limit: Option<Limit>) -> Page {
    Page {
        cursor: cursor.map(|cursor| cursor.number().to_string()),
        limit: limit.unwrap_or_default().0,
    }
}
