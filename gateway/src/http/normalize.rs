//! One host and one path per request, used for matching, for access decisions and upstream.
//!
//! The path's normal form: dot segments resolved, doubled slashes merged, percent-encoded
//! unreserved characters decoded, other percent-encodings with upper-case digits, everything a
//! path cannot hold encoded (RFC 3986 §6.2.2). `%2F` stays as it is: an encoded slash is data,
//! not a separator. The query is never touched.

use std::borrow::Cow;

use http::{HeaderMap, Uri, Version, header::HOST};

/// Why a request's target cannot be understood in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the request has no Host")]
    NoHost,
    #[error("the request names several hosts")]
    SeveralHosts,
    #[error("the request's host is malformed")]
    BadHost,
    #[error("the request's path is malformed")]
    BadPath,
    #[error("the request's path leaves the root")]
    PathEscapes,
}

/// The authority a request is for, as sent: from the target if it has one (HTTP/2, absolute
/// form), else from `Host`. Both, when both are there, must agree.
pub fn authority<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<&'a str, Rejection> {
    let mut hosts = headers.get_all(HOST).iter();
    let header = match hosts.next() {
        Some(value) => Some(value.to_str().map_err(|_| Rejection::BadHost)?),
        None => None,
    };
    if hosts.next().is_some() {
        return Err(Rejection::SeveralHosts);
    }
    match (uri.authority(), header) {
        (Some(target), Some(host)) if !target.as_str().eq_ignore_ascii_case(host) => {
            Err(Rejection::SeveralHosts)
        }
        (Some(target), _) => Ok(target.as_str()),
        // RFC 9112 §3.2: a 1.1 request without Host is an error even with an absolute target,
        // but the target says as much as Host would.
        (None, Some(host)) if !host.is_empty() => Ok(host),
        (None, _) => {
            tracing::debug!(?version, "request without a host");
            Err(Rejection::NoHost)
        }
    }
}

/// The host of an authority in lower case, without port, brackets or a trailing dot.
pub fn host(authority: &str) -> Result<Cow<'_, str>, Rejection> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or(Rejection::BadHost)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| Rejection::BadHost)?;
            (host, rest)
        }
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let port_is_sound = match rest.strip_prefix(':') {
        Some(port) => port.len() <= 5 && port.bytes().all(|digit| digit.is_ascii_digit()),
        None => rest.is_empty(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if !port_is_sound || host.is_empty() || host.len() > 253 {
        return Err(Rejection::BadHost);
    }
    let mut upper = false;
    for byte in host.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' => {}
            b'A'..=b'Z' => upper = true,
            _ => return Err(Rejection::BadHost),
        }
    }
    Ok(if upper {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// The normal form of a path. Borrows when the path is already in it, as nearly all are.
pub fn path(raw: &str) -> Result<Cow<'_, str>, Rejection> {
    if !raw.starts_with('/') {
        return Err(Rejection::BadPath);
    }
    if is_normal(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = decode_unreserved(raw.as_bytes())?;
    Ok(Cow::Owned(resolve_segments(&decoded)?))
}

/// True when nothing in the path can need a change. May be false for paths that are normal.
fn is_normal(path: &[u8]) -> bool {
    let mut after_slash = false;
    for &byte in path {
        match byte {
            b'%' | b'\\' => return false,
            b'/' | b'.' if after_slash => return false,
            0x21..=0x7e => after_slash = byte == b'/',
            _ => return false,
        }
    }
    true
}

fn decode_unreserved(raw: &[u8]) -> Result<String, Rejection> {
    let mut out = String::with_capacity(raw.len() + 8);
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || {
                    let digit = bytes.next().ok_or(Rejection::BadPath)?;
                    hex_value(digit).ok_or(Rejection::BadPath)
                };
                let value = digit()? << 4 | digit()?;
                match value {
                    0 => return Err(Rejection::BadPath),
                    _ if is_unreserved(value) => out.push(char::from(value)),
                    _ => push_encoded(&mut out, value),
                }
            }
            0x21..=0x7e if byte != b'\\' => out.push(char::from(byte)),
            0 => return Err(Rejection::BadPath),
            _ => push_encoded(&mut out, byte),
        }
    }
    Ok(out)
}

fn resolve_segments(path: &str) -> Result<String, Rejection> {
    let mut out = String::with_capacity(path.len());
    let mut ends_in_directory = true;
    for segment in path.split('/') {
        match segment {
            "" | "." => ends_in_directory = true,
            ".." => {
                let parent = out.rfind('/').ok_or(Rejection::PathEscapes)?;
                out.truncate(parent);
                ends_in_directory = true;
            }
            _ => {
                out.push('/');
                out.push_str(segment);
                ends_in_directory = false;
            }
        }
    }
    if ends_in_directory {
        out.push('/');
    }
    Ok(out)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn push_encoded(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_borrowed() {
        for plain in ["/", "/api/v1/users", "/a.b/c", "/~me/x-y_z", "/a/b/"] {
            assert!(matches!(path(plain), Ok(Cow::Borrowed(same)) if same == plain));
        }
    }

    #[test]
    fn paths_have_one_normal_form() {
        for (raw, normal) in [
            ("//api///x", "/api/x"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%61pi", "/api"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%5cb", "/a%5Cb"),
            ("/a\\..\\b", "/a%5C..%5Cb"),
            ("/a%252e%252e/b", "/a%252e%252e/b"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/.well-known/x", "/.well-known/x"),
            ("/.../x", "/.../x"),
            ("/a;b=1/c", "/a;b=1/c"),
        ] {
            assert_eq!(path(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn what_has_no_safe_meaning_is_refused() {
        for raw in ["/..", "/a/../../b", "/%2e%2e/etc", "/%2e./x", "//..//"] {
            assert_eq!(path(raw), Err(Rejection::PathEscapes), "{raw}");
        }
        for raw in ["", "x", "*", "/%", "/%4", "/%zz", "/%00", "/a%0"] {
            assert_eq!(path(raw), Err(Rejection::BadPath), "{raw}");
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing() {
        let mut rng = fastrand::Rng::with_seed(7);
        let pieces = [
            "/", ".", "..", "%2e", "%2F", "%", "a", "%41", "\\", "//", "%00", "\u{e9}", " ", "?",
            "%25", "~", ";",
        ];
        for _ in 0..50_000 {
            let raw: String = std::iter::once("/")
                .chain((0..rng.usize(..12)).map(|_| pieces[rng.usize(..pieces.len())]))
                .collect();
            let Ok(once) = path(&raw) else { continue };
            assert_eq!(path(&once).as_deref(), Ok(&*once), "{raw}");
            assert!(!once.contains("//"), "{raw}");
            assert!(
                once.split('/')
                    .all(|segment| segment != ".." && segment != ".")
            );
        }
    }

    #[test]
    fn hosts_are_lower_case_without_port_and_dot() {
        for (authority, expected) in [
            ("Example.COM", "example.com"),
            ("example.com:443", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:8443", "example.com"),
            ("[::1]:8443", "::1"),
            ("127.0.0.1", "127.0.0.1"),
            ("a_b.example", "a_b.example"),
        ] {
            assert_eq!(host(authority).as_deref(), Ok(expected), "{authority}");
        }
        for bad in [
            "",
            ".",
            ":80",
            "a b",
            "user@host",
            "a/b",
            "[::1",
            "[x]",
            "a:b",
            "a:123456",
            "é.com",
            "a:80:90",
        ] {
            assert_eq!(host(bad), Err(Rejection::BadHost), "{bad}");
        }
    }

    #[test]
    fn target_and_host_must_agree() {
        let mut headers = HeaderMap::new();
        let absolute: Uri = "http://a.example/x".parse().unwrap();
        let origin: Uri = "/x".parse().unwrap();
        let find = |uri: &Uri, headers: &HeaderMap| {
            authority(Version::HTTP_11, uri, headers).map(str::to_owned)
        };
        assert_eq!(find(&origin, &headers), Err(Rejection::NoHost));
        assert_eq!(find(&absolute, &headers).as_deref(), Ok("a.example"));
        headers.insert(HOST, "A.example".parse().unwrap());
        assert_eq!(find(&absolute, &headers).as_deref(), Ok("a.example"));
        assert_eq!(find(&origin, &headers).as_deref(), Ok("A.example"));
        headers.insert(HOST, "b.example".parse().unwrap());
        assert_eq!(find(&absolute, &headers), Err(Rejection::SeveralHosts));
        headers.append(HOST, "b.example".parse().unwrap());
        assert_eq!(find(&origin, &headers), Err(Rejection::SeveralHosts));
    }
}
