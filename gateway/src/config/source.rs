//! The text of one configuration file, and places in it.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::diagnostic::Diagnostic;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// 0 is the main file, then the included ones in the order they are read.
    pub(super) order: usize,
}

impl Source {
    pub(super) fn read(path: &Path, order: usize) -> Result<Self, Diagnostic> {
        let bytes = fs::read(path).map_err(|error| {
            Diagnostic::of_file(path, format!("cannot be read: {}", reason(&error)))
        })?;
        let source = |text| Self {
            path: path.to_path_buf(),
            text,
            order,
        };
        match String::from_utf8(bytes) {
            // Editors on Windows write a byte order mark that means nothing here.
            Ok(text) => Ok(source(match text.strip_prefix('\u{feff}') {
                Some(rest) => rest.to_owned(),
                None => text,
            })),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let lossy = source(String::from_utf8_lossy(error.as_bytes()).into_owned());
                Err(lossy.diagnostic(at..at + 1, "this is not UTF-8 text".into(), None))
            }
        }
    }

    /// The directory that relative paths in this file start from.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The line of a byte offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset.min(self.text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    }

    /// As [`diagnostic`](Self::diagnostic), for a span that is a secret itself.
    pub(super) fn secret_diagnostic(
        &self,
        span: Range<usize>,
        message: String,
        hint: Option<String>,
    ) -> Diagnostic {
        let mut diagnostic = self.diagnostic(span, message, hint);
        let from = diagnostic.column - 1;
        let until = from + diagnostic.length;
        let characters = diagnostic.text.chars().enumerate();
        diagnostic.text = characters
            .map(|(at, c)| if (from..until).contains(&at) { '*' } else { c })
            .collect();
        diagnostic
    }

    pub(super) fn diagnostic(
        &self,
        span: Range<usize>,
        message: String,
        hint: Option<String>,
    ) -> Diagnostic {
        let start = self.character_border(span.start);
        let end = self.character_border(span.end).max(start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |at| start + at);
        Diagnostic {
            file: self.path.clone(),
            line: self.line(start),
            column: self.text[line_start..start].chars().count() + 1,
            text: masked(self.text[line_start..line_end].trim_end_matches('\r')),
            length: self.text[start..end.min(line_end)].chars().count().max(1),
            message,
            hint,
        }
    }

    fn character_border(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// What a key is called whose value nobody should see on a terminal.
const SECRET: [&str; 4] = ["secr", "passw", "master_key", "store"];

/// A line to be shown, with the strings that are secrets starred out, character by character so
/// that the carets stay where they belong: the values of keys that are called so, hashes of
/// passwords, and what is listed as `users`.
fn masked(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    let mut users = false;
    while let Some(at) = rest.find(['"', '\'', '}']) {
        let (before, found) = rest.split_at(at);
        shown.push_str(before);
        let quote = &found[..1];
        shown.push_str(quote);
        rest = &found[1..];
        if quote == "}" {
            users = false;
            continue;
        }
        let end = rest.find(quote).unwrap_or(rest.len());
        let (content, after) = rest.split_at(end);
        let key = before.rsplit(['{', ',', '[']).next().unwrap_or_default();
        let is_value = key.trim_end().ends_with('=') || key.trim().is_empty();
        users |= before
            .rfind("users")
            .is_some_and(|at| before[at..].contains('{'));
        let secret = SECRET.iter().any(|name| key.contains(name));
        let variable = content.starts_with("${") && content.find('}') == Some(content.len() - 1);
        if content.starts_with("$argon2") || (is_value && (secret || users) && !variable) {
            shown.extend(content.chars().map(|_| '*'));
        } else {
            shown.push_str(content);
        }
        if let Some(after) = after.strip_prefix(quote) {
            shown.push_str(quote);
            rest = after;
        } else {
            rest = after;
        }
    }
    shown + rest
}

/// Why a file could not be read, without the "(os error 2)" that helps nobody.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn what_follows_the_name_of_a_secret_is_not_shown() {
        for (line, shown) in [
            ("hosts = [\"a\"]", "hosts = [\"a\"]"),
            ("client_secret = \"abc\"", "client_secret = \"***\""),
            (
                "github = { client_id = \"x\", client_secret = 'abc' }",
                "github = { client_id = \"x\", client_secret = '***' }",
            ),
            ("master_key = \"${KEY}\"", "master_key = \"${KEY}\""),
            ("master_key = \"a${KEY}\"", "master_key = \"*******\""),
            ("alice = \"$argon2id$x\"", "alice = \"***********\""),
            ("secret = \"abc", "secret = \"***"),
            (
                "secret = \"a\", files = \"b\"",
                "secret = \"*\", files = \"b\"",
            ),
            ("files = \"secret.txt\"", "files = \"secret.txt\""),
            (
                "users = { a = \"p\", b = 'q' }, realm = \"r\"",
                "users = { a = \"*\", b = '*' }, realm = \"r\"",
            ),
        ] {
            assert_eq!(masked(line), shown);
        }
    }
}
