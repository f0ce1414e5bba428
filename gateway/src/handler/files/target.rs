//! From a request path to a name below the root.
//!
//! In: a path in the gateway's normal form. Out: the decoded name, or nothing when no file may
//! ever be served for it. The rules do not rely on the normal form: dot segments, empty segments,
//! NUL, `\` and an encoded `/` are refused here too, so a rewrite that builds a strange path ends
//! as 404 and not as a surprise. Bytes are not required to be UTF-8; file names are not either.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// What a request asks for, relative to the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Without slashes at either end; empty for the root itself.
    pub(super) name: Cow<'a, [u8]>,
    /// The path ended with a slash: only a directory's index can answer.
    pub(super) directory: bool,
}

impl<'a> Target<'a> {
    /// `None` when the path names nothing that may be served.
    pub(super) fn parse(path: &'a str, dotfiles: bool) -> Option<Self> {
        let rest = path.strip_prefix('/')?;
        let (name, directory) = match rest.strip_suffix('/') {
            Some(name) => (name, true),
            None => (rest, rest.is_empty()),
        };
        if name.is_empty() {
            // What is left of "//" is empty too, and is not the root.
            return (path == "/").then_some(Self {
                name: Cow::Borrowed(b""),
                directory: true,
            });
        }
        for (position, segment) in name.split('/').enumerate() {
            let segment = decode(segment)?;
            let well_known = position == 0 && *segment == *b".well-known";
            if !is_plain(&segment) || (segment[0] == b'.' && !dotfiles && !well_known) {
                return None;
            }
        }
        Some(Self {
            name: decode(name)?,
            directory,
        })
    }

    /// The same for a thread that may wait.
    pub(super) fn to_owned(&self) -> Target<'static> {
        Target {
            name: Cow::Owned(self.name.to_vec()),
            directory: self.directory,
        }
    }
}

/// Every `%` must start a complete escape; the normal form has no others.
fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Some(Cow::Borrowed(bytes));
    }
    let complete = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| {
            bytes
                .get(at + 1..at + 3)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
        });
    complete.then(|| percent_decode(bytes).into())
}

fn is_plain(segment: &[u8]) -> bool {
    !matches!(segment, b"" | b"." | b"..")
        && !segment.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Option<(Vec<u8>, bool)> {
        Target::parse(path, false).map(|target| (target.name.into_owned(), target.directory))
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        let target = Target::parse("/a/b.txt", false).unwrap();
        assert!(matches!(target.name, Cow::Borrowed(b"a/b.txt")));
        assert!(!target.directory);
    }

    #[test]
    fn a_trailing_slash_asks_for_a_directory() {
        assert_eq!(parse("/"), Some((b"".to_vec(), true)));
        assert_eq!(parse("/a/b/"), Some((b"a/b".to_vec(), true)));
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(parse("/a%20b%25%32%30"), Some((b"a b%20".to_vec(), false)));
        assert_eq!(parse("/%252e%252e/x"), Some((b"%2e%2e/x".to_vec(), false)));
        assert_eq!(
            parse("/caf%C3%A9"),
            Some(("café".as_bytes().to_vec(), false))
        );
        assert_eq!(parse("/%FF"), Some((vec![0xff], false)));
    }

    #[test]
    fn what_could_leave_the_root_is_refused() {
        for path in [
            "",
            "a",
            "//",
            "//etc/passwd",
            "/a//b",
            "/a//",
            "/..",
            "/../etc/passwd",
            "/a/../b",
            "/a/..",
            "/.",
            "/./a",
            "/%2e%2e/etc/passwd",
            "/%2E%2E/",
            "/a/%2e%2e",
            "/..%2fetc",
            "/a%2Fb",
            "/a%2fb",
            "/%2F",
            "/a%5Cb",
            "/a\\b",
            "/..\\..\\x",
            "/%00",
            "/a%00.txt",
            "/a\0b",
            "/%",
            "/%4",
            "/%zz",
            "/a/%2",
        ] {
            assert_eq!(Target::parse(path, true), None, "{path:?}");
        }
    }

    #[test]
    fn dotfiles_are_refused_unless_allowed() {
        for path in [
            "/.env",
            "/.git/config",
            "/a/.git/config",
            "/%2Eenv",
            "/a/.b/",
            "/...",
        ] {
            assert_eq!(parse(path), None, "{path}");
            assert!(Target::parse(path, true).is_some(), "{path}");
        }
        assert_eq!(parse("/a/.well-known/x"), None);
        assert_eq!(parse("/.well-known/.env"), None);
        assert!(parse("/.well-known/security.txt").is_some());
        assert!(parse("/.well-known/").is_some());
    }

    #[test]
    fn no_text_makes_an_unsafe_name() {
        let pieces = [
            "/", "%2F", "%2f", "..", ".", "%2e", "%", "%00", "\\", "%5C", "a", "é", "%C0%AE", "%FF",
        ];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let path: String = (0..random.usize(0..9))
                .map(|_| pieces[random.usize(0..pieces.len())])
                .collect();
            let path = format!("/{path}");
            if let Some(target) = Target::parse(&path, true) {
                assert!(!target.name.contains(&0), "{path}");
                assert!(!target.name.contains(&b'\\'), "{path}");
                for segment in target.name.split(|byte| *byte == b'/') {
                    assert!(
                        target.name.is_empty() || !matches!(segment, b"" | b"." | b".."),
                        "{path}"
                    );
                }
                assert_eq!(
                    target.name.iter().filter(|byte| **byte == b'/').count()
                        + 1
                        + usize::from(target.directory && path != "/"),
                    path.matches('/').count(),
                    "{path}"
                );
            }
        }
    }
}
