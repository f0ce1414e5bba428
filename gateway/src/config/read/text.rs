//! Strings: `${NAME}` from the environment and `{ file = "path" }`.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    super::source::reason,
    context::{Fault, Place},
    table::Table,
};

/// A string of the configuration. `Display` prints it for messages: as it was written, so that
/// what came from the environment or a file is never repeated on a terminal or in a log.
pub(super) struct Text<'a> {
    pub(super) value: String,
    written: String,
    pub(super) place: Place<'a>,
    /// It came from the environment or a file and may be a secret.
    pub(super) injected: bool,
}

impl<'a> Text<'a> {
    /// What a variable of the environment says in place of a key.
    pub(super) fn of_variable(variable: &str, value: String, near: Place<'a>) -> Self {
        Self {
            value,
            written: format!("${{{variable}}}"),
            place: near.outside_text(),
            injected: true,
        }
    }

    pub(super) fn parse<T>(&self, parse: impl FnOnce(&Self) -> Result<T, Fault>) -> Option<T> {
        parse(self).map_err(|fault| self.place.fault(fault)).ok()
    }

    /// A file name, taken from the directory of the file it is written in.
    pub(super) fn path(&self) -> Result<PathBuf, Fault> {
        if self.value.is_empty() || self.value.contains('\0') {
            return Err(Fault::new("this is not the name of a file"));
        }
        Ok(absolute(&self.place.source.directory().join(&self.value)))
    }

    /// Why the file or directory of this name is of no use.
    pub(super) fn unreadable(&self, failure: &str, path: &Path) -> Fault {
        let hint = if self.injected {
            "check its name".into()
        } else {
            format!("looked for {}", path.display())
        };
        Fault::hint(format!("`{self}` cannot be read: {failure}"), hint)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A device that never ends must not fill the memory.
const LARGEST: u64 = 1024 * 1024;

/// Absolute without looking at the disk: a symbolic link in it is followed when it is used.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Reads a string of the file itself.
pub(super) fn expand<'a>(raw: &str, place: Place<'a>) -> Option<Text<'a>> {
    match substitute(raw, place.context.environment) {
        Ok((value, injected)) => Some(Text {
            value,
            written: raw.to_owned(),
            place,
            injected,
        }),
        Err(fault) => {
            place.fault(fault);
            None
        }
    }
}

/// Reads `{ file = "path" }`; one line end at the end of the file is not part of the string.
pub(super) fn read_file<'a>(table: &Table<'a>) -> Option<Text<'a>> {
    let place = table.place;
    let read = table.parse("file", |name| {
        let path = name.path()?;
        let mut value = String::new();
        let read =
            File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut value));
        match read {
            Ok(length) if length as u64 <= LARGEST => {}
            Ok(_) => return Err(name.unreadable("it is larger than 1 MiB", &path)),
            Err(error) => return Err(name.unreadable(&reason(&error), &path)),
        }
        if value.ends_with('\n') {
            value.pop();
            if value.ends_with('\r') {
                value.pop();
            }
        }
        Ok(Text {
            value,
            written: format!("{{ file = \"{name}\" }}"),
            place,
            injected: true,
        })
    });
    table.finish();
    read
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$${` stands for `${`. Says whether it replaced any.
fn substitute(
    raw: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, bool), Fault> {
    let mut value = String::with_capacity(raw.len());
    let mut injected = false;
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            value.push_str(before);
            value.push_str("${");
            rest = after;
            continue;
        }
        value.push_str(before);
        let Some((variable, after)) = after.split_once('}') else {
            return Err(Fault::hint(
                "`${` without a closing `}`",
                "`$${` stands for a literal `${`",
            ));
        };
        value.push_str(&resolve(variable, environment)?);
        injected = true;
        rest = after;
    }
    value.push_str(rest);
    Ok((value, injected))
}

fn resolve(variable: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Fault::hint(
            format!("`{name}` is not the name of an environment variable"),
            "letters, digits and `_`; `$${` stands for a literal `${`",
        ));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(Fault::new("a default cannot hold another `${…}`"));
    }
    match environment(name) {
        // As in a shell, an empty variable takes the default too.
        Some(value) if default.is_none() || !value.is_empty() => Ok(value),
        _ => default.map(str::to_owned).ok_or_else(|| {
            Fault::hint(
                format!("the environment variable `{name}` is not set"),
                format!("set it, or give a default: `${{{name}:-…}}`"),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substituted(raw: &str) -> Result<String, String> {
        let environment = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        substitute(raw, &environment)
            .map(|(value, _)| value)
            .map_err(|fault| fault.message)
    }

    #[test]
    fn replaces_variables_and_defaults() {
        for (raw, expected) in [
            ("plain $A {A}", "plain $A {A}"),
            ("x${A}y${A}", "x1y1"),
            ("${B:-two}", "two"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-two}", "two"),
            ("${A:-two}", "1"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
        ] {
            assert_eq!(substituted(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn names_what_is_wrong_with_a_variable() {
        for (raw, expected) in [
            ("${B}", "the environment variable `B` is not set"),
            ("${A", "`${` without a closing `}`"),
            ("${}", "`` is not the name of an environment variable"),
            ("${1A}", "`1A` is not the name of an environment variable"),
            ("${B:-${A}}", "a default cannot hold another `${…}`"),
        ] {
            assert_eq!(substituted(raw).unwrap_err(), expected, "{raw}");
        }
    }
}
