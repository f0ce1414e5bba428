//! Path patterns, rewrites and the placeholders in them.

use super::{
    super::{PathPattern, Rewrite},
    context::Fault,
    table::Table,
    text::Text,
};

/// `"/ws"` or `"/api/*"`
pub(super) fn pattern(text: &Text<'_>) -> Result<PathPattern, Fault> {
    let Some((before, after)) = text.value.split_once('*') else {
        plain(&text.value, text)?;
        return Ok(PathPattern::Exact(text.value.clone()));
    };
    if !after.is_empty() {
        return Err(Fault::hint(
            format!("`{text}` has a star before its end"),
            "a star stands for the rest of the path: `/api/*`",
        ));
    }
    plain(before, text)?;
    if !before.ends_with('/') {
        return Err(Fault::hint(
            format!("`{text}` has a star within a segment"),
            if text.injected {
                "a star follows a `/`".to_owned()
            } else {
                format!(
                    "`{before}/*` is everything below, `{before}` the path itself; list both to have both"
                )
            },
        ));
    }
    Ok(PathPattern::Prefix(before.to_owned()))
}

/// `strip_prefix` or `rewrite`, but not both.
pub(super) fn rewrite(route: &Table<'_>) -> Option<Rewrite> {
    let strip = route.parse("strip_prefix", strip_prefix);
    let replace = route.parse("rewrite", replacement);
    match (route.key("strip_prefix"), route.key("rewrite")) {
        (Some(_), Some(place)) => {
            place.error_hint(
                "a route has `strip_prefix` or `rewrite`, not both",
                "keep the one that is meant",
            );
            None
        }
        _ => strip.or(replace),
    }
}

fn strip_prefix(text: &Text<'_>) -> Result<Rewrite, Fault> {
    plain(&text.value, text)?;
    if text.value.ends_with('/') {
        return Err(Fault::hint(
            format!("`{text}` ends with `/`"),
            "leave it out: `/api` leaves `/users` of `/api/users`",
        ));
    }
    Ok(Rewrite::StripPrefix(text.value.clone()))
}

fn replacement(text: &Text<'_>) -> Result<Rewrite, Fault> {
    placeholders(text)?;
    if text.value.contains(['?', '#']) || text.value.contains("{query}") {
        return Err(Fault::hint(
            format!("`{text}` changes the query"),
            "a rewrite is of the path; the query is kept as it is",
        ));
    }
    // As it will be for some request, to see that what comes out is a path.
    let sample = text.value.replace("{path}", "/a").replace("{host}", "a");
    plain(&sample, text)?;
    Ok(Rewrite::Replace(text.value.clone()))
}

/// What stands for a part of the request in `redirect` and `rewrite`.
const PLACEHOLDERS: [&str; 3] = ["path", "query", "host"];

/// Refuses braces that are not one of the known placeholders.
pub(super) fn placeholders(text: &Text<'_>) -> Result<(), Fault> {
    const HINT: &str = "there are `{path}`, `{query}` and `{host}`";
    let mut rest = text.value.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..]
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let Some((name, after)) = name else {
            return Err(Fault::hint(
                format!("`{text}` has a brace without its other half"),
                HINT,
            ));
        };
        if !PLACEHOLDERS.contains(&name) {
            let message = if text.injected {
                format!("`{text}` has an unknown placeholder")
            } else {
                format!("unknown placeholder `{{{name}}}`")
            };
            return Err(Fault::hint(message, HINT));
        }
        rest = after;
    }
    Ok(())
}

/// Refuses what the path of a request never has once it is in normal form.
pub(super) fn plain(path: &str, text: &Text<'_>) -> Result<(), Fault> {
    if !path.starts_with('/') {
        return Err(Fault::hint(
            format!("`{text}` does not start with `/`"),
            "paths are absolute: `/`, `/ws`, `/api/*`",
        ));
    }
    if path.contains(['?', '#']) {
        return Err(Fault::hint(
            format!("`{text}` has a query or fragment"),
            "conditions on the query go into `query`",
        ));
    }
    if path
        .split('/')
        .any(|segment| segment == "." || segment == "..")
    {
        return Err(Fault::hint(
            format!("`{text}` has a `.` or `..` segment"),
            "requests never have them once they are matched",
        ));
    }
    if path.contains("//") {
        return Err(Fault::new(format!("`{text}` has an empty segment")));
    }
    if path.contains('*') {
        return Err(Fault::hint(
            format!("`{text}` has a star"),
            "stars go into `path`",
        ));
    }
    let mut rest = path;
    while let Some(at) = rest.find(|c: char| !is_path_character(c)) {
        rest = &rest[at..];
        let Some(byte) = escape(rest) else {
            return Err(Fault::hint(
                format!("`{text}` has a character that a path cannot have"),
                "write it as `%` and two hexadecimal digits of each of its UTF-8 bytes",
            ));
        };
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            return Err(Fault::hint(
                format!("`{text}` escapes a character that needs none"),
                "requests are matched with such characters unescaped; write it as it is",
            ));
        }
        rest = &rest[3..];
    }
    Ok(())
}

/// RFC 3986 `pchar` without escapes, and the slash.
fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c)
}

/// The byte that `%2F…` starts with; upper case, the normal form (RFC 3986 §6.2.2.1).
fn escape(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('%')?.get(..2)?;
    let normal = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    normal
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}
