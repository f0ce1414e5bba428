//! Changing the path on the way to a handler, and filling redirect targets.

use std::borrow::Cow;

use crate::config::Rewrite;

/// The path a handler sees. Borrows unless the route changes it.
pub fn path<'a>(rewrite: Option<&Rewrite>, host: &str, path: &'a str) -> Cow<'a, str> {
    match rewrite {
        None => Cow::Borrowed(path),
        Some(Rewrite::StripPrefix(prefix)) => strip(path, prefix),
        Some(Rewrite::Replace(template)) => Cow::Owned(target(template, host, path, None)),
    }
}

/// Removes a prefix on a segment border; a path outside the prefix stays whole.
fn strip<'a>(path: &'a str, prefix: &str) -> Cow<'a, str> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    match path.strip_prefix(prefix) {
        Some("") => Cow::Borrowed("/"),
        Some(rest) if rest.starts_with('/') => Cow::Borrowed(rest),
        _ => Cow::Borrowed(path),
    }
}

/// A redirect target with `{host}`, `{path}` and `{query}` (with its `?`) filled in.
pub fn target(template: &str, host: &str, path: &str, query: Option<&str>) -> String {
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let mut out = String::with_capacity(template.len() + path.len() + query.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let value = [("{host}", host), ("{path}", path), ("{query}", &query)]
            .into_iter()
            .find(|(name, _)| rest.starts_with(name));
        match value {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_stripped_on_segment_borders() {
        let strip = Rewrite::StripPrefix("/api".into());
        for (from, to) in [
            ("/api/users", "/users"),
            ("/api", "/"),
            ("/api/", "/"),
            ("/apis", "/apis"),
            ("/other", "/other"),
        ] {
            assert_eq!(path(Some(&strip), "h", from), to);
        }
    }

    #[test]
    fn replacement_holds_the_path() {
        let replace = Rewrite::Replace("/v2{path}".into());
        assert_eq!(path(Some(&replace), "h", "/users"), "/v2/users");
        let by_host = Rewrite::Replace("/{host}{path}".into());
        assert_eq!(path(Some(&by_host), "a.example", "/x"), "/a.example/x");
        let fixed = Rewrite::Replace("/index.php".into());
        assert_eq!(path(Some(&fixed), "h", "/users"), "/index.php");
    }

    #[test]
    fn targets_are_filled_once() {
        assert_eq!(
            target("https://www.{host}{path}{query}", "a.example", "/{query}", Some("x=1")),
            "https://www.a.example/{query}?x=1"
        );
        assert_eq!(target("/fixed{", "h", "/p", None), "/fixed{");
    }
}
