//! Problems in configuration files, and how a person sees them.

use std::{fmt, path::PathBuf};

/// One problem or warning and the place it is about.
///
/// `Display` prints, without colour:
///
/// ```text
/// portunus.toml:12:3: unknown key `fallbak`
///     fallbak = "/index.html"
///     ^^^^^^^
/// hint: did you mean `fallback`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// As it was given: relative when the path to the configuration file was.
    pub file: PathBuf,
    /// Counted from 1; 0 when it is about the file as a whole, which has no column or text.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The line of the file, without its line end.
    pub text: String,
    /// Characters of `text` that are meant, from `column` on.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem with a file as a whole.
    pub(super) fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            text: String::new(),
            length: 0,
            message: message.into(),
            hint: None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.file.display().to_string()))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", printable(&self.message))?;
        if !self.text.trim().is_empty() {
            let text = printable(&self.text);
            // Tabs stay tabs, so that the carets stand where the terminal puts the text.
            let indent: String = text
                .chars()
                .take(self.column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let carets = "^".repeat(self.length.max(1));
            write!(f, "\n    {text}\n    {indent}{carets}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", printable(hint)),
            None => Ok(()),
        }
    }
}

/// Every problem of a configuration, in the order of the files and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Diagnostic>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A file must not be able to send escape sequences to the terminal it is reported on.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_span_with_carets() {
        let diagnostic = Diagnostic {
            line: 12,
            column: 2,
            text: "\tfallbak = 1".into(),
            length: 7,
            hint: Some("did you mean `fallback`?".into()),
            ..Diagnostic::of_file("portunus.toml", "unknown key `fallbak`")
        };
        assert_eq!(
            diagnostic.to_string(),
            "portunus.toml:12:2: unknown key `fallbak`\n    \tfallbak = 1\n    \t^^^^^^^\n\
             hint: did you mean `fallback`?"
        );
    }

    #[test]
    fn names_only_the_file_when_there_is_no_line() {
        let diagnostic = Diagnostic::of_file("portunus.toml", "cannot be read");
        assert_eq!(diagnostic.to_string(), "portunus.toml: cannot be read");
    }

    #[test]
    fn keeps_escape_sequences_from_the_terminal() {
        let diagnostic = Diagnostic {
            line: 1,
            column: 1,
            text: "\u{1b}[2J".into(),
            ..Diagnostic::of_file("a\u{7}.toml", "bad \u{1b}[31m")
        };
        assert!(!diagnostic.to_string().contains(['\u{1b}', '\u{7}']));
    }
}
