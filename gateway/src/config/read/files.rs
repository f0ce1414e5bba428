//! Reads the keys of a `files` route.

use std::{fs, path::PathBuf};

use super::{
    super::{Files, source::reason},
    context::Fault,
    path,
    table::Table,
    text::Text,
};

/// The keys that only a `files` route has.
pub(super) const KEYS: [&str; 4] = ["index", "fallback", "precompressed", "dotfiles"];

pub(super) fn read(table: &Table<'_>) -> Option<Files> {
    table.key("files")?;
    let root = table.parse("files", directory);
    let fallback = table.parse("fallback", |text| fallback(text, root.as_ref()));
    let index = table.parse_list("index", file_name);
    let (precompressed, dotfiles) = (table.flag("precompressed"), table.flag("dotfiles"));
    Some(Files {
        root: root?,
        index: index.unwrap_or_else(|| vec!["index.html".into()]),
        fallback,
        precompressed: precompressed.unwrap_or(false),
        dotfiles: dotfiles.unwrap_or(false),
    })
}

fn directory(text: &Text<'_>) -> Result<PathBuf, Fault> {
    let path = text.path()?;
    let failure = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Ok(path),
        Ok(_) => "it is not a directory".to_owned(),
        Err(error) => reason(&error).replace("file", "directory"),
    };
    Err(text.unreadable(&failure, &path))
}

/// `root` is `None` when it is wrong itself, which has been said.
fn fallback(text: &Text<'_>, root: Option<&PathBuf>) -> Result<String, Fault> {
    path::plain(&text.value, text)?;
    let Some(root) = root else {
        return Ok(text.value.clone());
    };
    let file = root.join(text.value.trim_start_matches('/'));
    if file.is_file() {
        return Ok(text.value.clone());
    }
    let hint = if text.injected {
        "check its name".into()
    } else {
        format!("looked for {}", file.display())
    };
    Err(Fault::hint(
        format!("there is no file `{text}` in the directory of `files`"),
        hint,
    ))
}

fn file_name(text: &Text<'_>) -> Result<String, Fault> {
    match text.value.as_str() {
        "" | "." | ".." => Err(Fault::hint(
            format!("`{text}` is not the name of a file"),
            "such as `index.html`",
        )),
        name if name.contains(['/', '\0']) => Err(Fault::hint(
            format!("`{text}` is a path"),
            "an index is a file name; it is looked for in every directory",
        )),
        name => Ok(name.to_owned()),
    }
}
