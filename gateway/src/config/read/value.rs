//! One TOML value of any type, and the question what it is.

use std::ops::RangeInclusive;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    context::Place,
    table::Table,
    text::{self, Text},
};

/// A value and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) place: Place<'a>,
    item: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// `near` gives the file.
    pub(super) fn new(value: &'a Spanned<DeValue<'a>>, near: Place<'a>) -> Self {
        let span = value.span();
        Self {
            place: Place {
                start: span.start,
                end: span.end,
                ..near
            },
            item: value.get_ref(),
        }
    }

    pub(super) fn is_table(&self) -> bool {
        self.item.is_table() && self.secret_file().is_none()
    }

    pub(super) fn is_text(&self) -> bool {
        self.item.is_str() || self.secret_file().is_some()
    }

    pub(super) fn is_empty_list(&self) -> bool {
        self.item.as_array().is_some_and(|items| items.is_empty())
    }

    pub(super) fn is_false(&self) -> bool {
        matches!(self.item, DeValue::Boolean(false))
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self.item, DeValue::Boolean(true))
    }

    /// A string, `"${EXPANDED}"`, or the content of `{ file = "path" }`.
    pub(super) fn text(&self) -> Option<Text<'a>> {
        match self.item {
            DeValue::String(raw) => text::expand(raw, self.place),
            _ => match self.secret_file() {
                Some(table) => text::read_file(&table),
                None => self.mismatch("a string"),
            },
        }
    }

    /// The same, and no message shows what it is.
    pub(super) fn secret(self) -> Self {
        Self {
            place: self.place.masked(),
            ..self
        }
    }

    fn secret_file(&self) -> Option<Table<'a>> {
        let table: &'a DeTable<'a> = self.item.as_table()?;
        table
            .contains_key("file")
            .then(|| Table::new("file", table, self.place))
    }

    pub(super) fn texts(&self) -> Option<Vec<Text<'a>>> {
        Some(
            self.list("strings")?
                .iter()
                .filter_map(Value::text)
                .collect(),
        )
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.item {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.mismatch("`true` or `false`"),
        }
    }

    pub(super) fn integer(&self, allowed: RangeInclusive<u64>) -> Option<u64> {
        let number = u64::try_from(self.whole_number()?).ok();
        let number = number.filter(|number| allowed.contains(number));
        if number.is_none() {
            self.place.error_hint(
                "this number is out of range",
                format!("allowed are {} to {}", allowed.start(), allowed.end()),
            );
        }
        number
    }

    /// Any whole number; one that does not fit is as far out of any range as the largest.
    pub(super) fn whole_number(&self) -> Option<i128> {
        let DeValue::Integer(integer) = self.item else {
            return self.mismatch("a whole number");
        };
        Some(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX))
    }

    pub(super) fn list(&self, of: &str) -> Option<Vec<Value<'a>>> {
        match self.item {
            DeValue::Array(items) => Some(
                items
                    .iter()
                    .map(|item| Value::new(item, self.place))
                    .collect(),
            ),
            DeValue::String(raw) if of == "strings" => {
                self.place.error_hint(
                    "expected a list of strings, found a string",
                    format!("put it in brackets: [{raw:?}]"),
                );
                None
            }
            _ => self.mismatch(&format!("a list of {of}")),
        }
    }

    pub(super) fn table(&self, section: &'static str) -> Option<Table<'a>> {
        match self.item {
            DeValue::Table(table) => Some(Table::new(section, table, self.place)),
            _ => self.mismatch("a table"),
        }
    }

    /// Records that the value has the wrong type.
    pub(super) fn mismatch<T>(&self, expected: &str) -> Option<T> {
        let message = format!("expected {expected}, found {}", self.kind());
        match self.item {
            DeValue::Integer(_) | DeValue::Float(_) if expected == "a string" => {
                self.place.error_hint(
                    message,
                    "put it in quotes, with its unit or address: \"30s\", \"50MB\", \"0.0.0.0:443\"",
                );
            }
            _ => self.place.error(message),
        }
        None
    }

    fn kind(&self) -> &'static str {
        match self.item {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(true) => "`true`",
            DeValue::Boolean(false) => "`false`",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}
