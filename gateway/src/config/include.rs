//! `include = ["sites/*.toml"]`: which files a pattern names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The files that match `pattern`, sorted. A `*` stands for any characters within one name and
/// never for a leading dot. A pattern without a star is itself, whether it exists or not.
pub(super) fn expand(directory: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![if pattern.starts_with('/') {
        PathBuf::from("/")
    } else {
        directory.to_path_buf()
    }];
    for segment in pattern.split('/').filter(|segment| !segment.is_empty()) {
        if !segment.contains('*') {
            for path in &mut found {
                path.push(segment);
            }
            continue;
        }
        let mut deeper = Vec::new();
        for path in &found {
            deeper.extend(matching_entries(path, segment)?);
        }
        found = deeper;
    }
    if pattern.contains('*') {
        found.retain(|path| path.is_file());
    }
    found.sort();
    Ok(found)
}

fn matching_entries(directory: &Path, segment: &str) -> io::Result<Vec<PathBuf>> {
    // The empty path is the current directory to everything but `read_dir`.
    let opened = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let entries = match fs::read_dir(opened) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| matches(segment, name)) {
            found.push(directory.join(name));
        }
    }
    Ok(found)
}

fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    // Taking the first place each middle part fits leaves the most for what follows.
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", false),
            ("*.toml", ".a.toml", false),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("exact", "exact", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
