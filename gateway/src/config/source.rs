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
            text: self.text[line_start..line_end]
                .trim_end_matches('\r')
                .to_owned(),
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
