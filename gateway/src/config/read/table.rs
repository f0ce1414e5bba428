//! A TOML table that is asked for its keys by name.
//!
//! Asking never fails: what is wrong is recorded and the key counts as absent. `finish` reports
//! the keys nobody asked for, so a reader lists its keys simply by asking for them.

use std::{cell::RefCell, time::Duration};

use toml::de::DeTable;

use super::{
    context::{Context, Fault, Place},
    later,
    text::Text,
    units,
    value::Value,
};

/// One table of a file.
pub(super) struct Table<'a> {
    pub(super) place: Place<'a>,
    /// As the manual names it: `listen.limits`, `site.route`; empty at the top.
    section: &'static str,
    entries: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(section: &'static str, entries: &'a DeTable<'a>, place: Place<'a>) -> Self {
        Self {
            place,
            section,
            entries,
            asked: RefCell::default(),
        }
    }

    pub(super) fn context(&self) -> &'a Context<'a> {
        self.place.context
    }

    /// Whether the key is there, without reading it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.ask(key);
        let value = self.entries.get(key)?;
        Some(Value::new(value, self.place))
    }

    /// The place of the key itself, when it is there.
    pub(super) fn key(&self, key: &'static str) -> Option<Place<'a>> {
        self.ask(key);
        let (key, _) = self.entries.get_key_value(key)?;
        Some(Place {
            start: key.span().start,
            end: key.span().end,
            ..self.place
        })
    }

    fn ask(&self, key: &'static str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.context()
            .known
            .borrow_mut()
            .insert((self.section, key));
    }

    pub(super) fn text(&self, key: &'static str) -> Option<Text<'a>> {
        self.get(key)?.text()
    }

    /// A string that a variable of the environment stands for when the key is not there. The file
    /// wins, and a variable that would have said something else is warned about.
    pub(super) fn text_or_variable(
        &self,
        key: &'static str,
        variable: &'static str,
    ) -> Option<Text<'a>> {
        let value = self.variable(variable);
        if !self.has(key) {
            self.ask(key);
            return Some(Text::of_variable(variable, value?, self.place));
        }
        let text = self.text(key)?;
        self.not_used(key, variable, value.filter(|value| *value != text.value));
        Some(text)
    }

    /// The same for a list; the variable separates its items by commas.
    pub(super) fn texts_or_variable(
        &self,
        key: &'static str,
        variable: &'static str,
    ) -> Option<Vec<Text<'a>>> {
        let value = self.variable(variable);
        if self.has(key) {
            self.not_used(key, variable, value);
            return self.texts(key);
        }
        self.ask(key);
        let value = value?;
        let items = value.split(',').map(str::trim);
        let items = items.filter(|item| !item.is_empty());
        Some(
            items
                .map(|item| Text::of_variable(variable, item.to_owned(), self.place))
                .collect(),
        )
    }

    /// A variable of the environment; an empty one counts as unset.
    pub(super) fn variable(&self, variable: &str) -> Option<String> {
        (self.context().environment)(variable).filter(|value| !value.is_empty())
    }

    fn not_used(&self, key: &'static str, variable: &'static str, value: Option<String>) {
        if let (Some(_), Some(place)) = (value, self.key(key)) {
            place.warn(
                format!("the environment variable `{variable}` is set and not used"),
                format!("the file wins; remove `{key}` to use the variable"),
            );
        }
    }

    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<Text<'a>>> {
        self.get(key)?.texts()
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        self.get(key)?.flag()
    }

    pub(super) fn integer(
        &self,
        key: &'static str,
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        self.get(key)?.integer(allowed)
    }

    /// A duration above zero.
    pub(super) fn duration(&self, key: &'static str) -> Option<Duration> {
        self.parse(key, |text| match units::duration(text)? {
            Duration::ZERO => Err(Fault::hint(
                format!("`{key}` must be longer than zero"),
                "such as `30s`",
            )),
            duration => Ok(duration),
        })
    }

    /// Reads one string and records why it is not what it should be.
    pub(super) fn parse<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Text<'a>) -> Result<T, Fault>,
    ) -> Option<T> {
        self.text(key)?.parse(parse)
    }

    /// Reads a list of strings; those that are wrong are recorded and left out.
    pub(super) fn parse_list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&Text<'a>) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(key)?;
        Some(texts.iter().filter_map(|text| text.parse(&parse)).collect())
    }

    /// A nested table, empty when it is absent.
    pub(super) fn table(&self, key: &'static str, section: &'static str) -> Table<'a> {
        let table = self.get(key).and_then(|value| value.table(section));
        table.unwrap_or_else(|| Table::new(section, &self.context().empty, self.place))
    }

    /// `[[key]]` tables, or a list of inline tables.
    pub(super) fn tables(&self, key: &'static str, section: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        if value.is_table() {
            value.place.error_hint(
                format!("`{key}` is a list of tables"),
                format!("write `[[{section}]]`, or put the tables into a list: `[{{ … }}]`"),
            );
            return Vec::new();
        }
        let list = value.list("tables").unwrap_or_default();
        list.iter()
            .filter_map(|value| value.table(section))
            .collect()
    }

    /// All keys with their values in the order of the file, for tables whose keys are free.
    pub(super) fn entries(&self) -> Vec<(&'a str, Place<'a>, Value<'a>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let place = Place {
                    start: key.span().start,
                    end: key.span().end,
                    ..self.place
                };
                (key.get_ref().as_ref(), place, Value::new(value, self.place))
            })
            .collect();
        entries.sort_by_key(|(_, place, _)| place.start);
        entries
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, place, _) in self.entries() {
            if asked.contains(&key) {
                continue;
            }
            match later::hint(self.section, key) {
                Some(hint) => {
                    place.error_hint(format!("`{key}` is not available in this version"), hint);
                }
                None => {
                    place.error_hint(format!("unknown key `{key}`"), suggestion(key, &asked));
                }
            }
        }
    }
}

/// The closest of `known`, or all of them.
fn suggestion(key: &str, known: &[&str]) -> String {
    match closest(key, known) {
        Some(close) => format!("did you mean `{close}`?"),
        None if known.len() == 1 => format!("the only key here is {}", list(known)),
        None => {
            let mut known = known.to_vec();
            known.sort_unstable();
            format!("the keys here are {}", list(&known))
        }
    }
}

/// The name that `given` was probably meant to be.
pub(super) fn closest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    // One slip in three characters is a typing error; more is another word.
    let allowed = (given.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&given.to_lowercase(), name),
                *name,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// `` `a`, `b`, `c` ``
pub(super) fn list(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
