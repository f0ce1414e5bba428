//! Where a browser may be sent after a sign-in or a sign-out.
//!
//! The text comes from a query anybody can write, so a link to the gateway must not become a link to
//! anywhere else. [`Allowed::check`] takes a path of the gateway itself, or a URL of an origin that the
//! configuration lists, and gives back what to put into `Location`. What browsers and servers could
//! read differently is refused rather than repaired: control characters, white space, backslashes,
//! two slashes at the beginning (in any encoding), user names, anything that is not ASCII.

use std::fmt;

use url::{Origin, Url};

/// Longer than any page of the dashboard; the target travels through the provider and back.
const MAX_LEN: usize = 1024;

/// The origins beside the gateway's own that a browser may be sent to.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    origins: Vec<Origin>,
}

impl Allowed {
    /// Only paths of the gateway.
    pub fn own_paths() -> Self {
        Self::default()
    }

    /// Paths of the gateway, and every URL of the `origins`, such as `https://app.example.com`.
    /// Whatever an origin has after its port is refused: it would look like a limit and be none.
    pub fn with_origins<'a>(origins: impl IntoIterator<Item = &'a Url>) -> Result<Self, NoOrigin> {
        let origins = origins.into_iter().map(|url| match url.scheme() {
            "http" | "https" if is_bare(url) => Ok(url.origin()),
            _ => Err(NoOrigin(url.origin().ascii_serialization())),
        });
        Ok(Self {
            origins: origins.collect::<Result<_, _>>()?,
        })
    }

    /// `target` as a browser may be sent there.
    pub fn check(&self, target: &str) -> Result<Target, Refused> {
        if target.len() > MAX_LEN {
            return Err(Refused::TooLong);
        }
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
        if !target.as_bytes().iter().all(plain) {
            return Err(Refused::Ambiguous);
        }
        if target.starts_with('/') {
            return own_path(target);
        }
        let url = Url::parse(target).map_err(|_| Refused::NeitherPathNorUrl)?;
        // The parser repairs `https:/example.com` and `https:example.com`; browsers do as well, and
        // others do not.
        let (scheme, rest) = target.split_once("://").unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(url.scheme()) || rest.starts_with('/') {
            return Err(Refused::NeitherPathNorUrl);
        }
        if !url.username().is_empty() || url.password().is_some() || has_user_info(target) {
            return Err(Refused::Ambiguous);
        }
        if !self.origins.contains(&url.origin()) {
            return Err(Refused::Elsewhere);
        }
        Ok(Target(url.into()))
    }
}

/// A place a browser may be sent to, printable as it is into `Location`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target(String);

impl Target {
    /// The gateway's first page.
    pub fn home() -> Self {
        Self("/".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a browser is not sent where it was asked to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("the address to return to is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("the address to return to has characters that browsers read differently")]
    Ambiguous,
    #[error("the address to return to is neither a path that begins with / nor a URL")]
    NeitherPathNorUrl,
    #[error("the address to return to is of another site that is not allowed")]
    Elsewhere,
}

/// An origin of the configuration that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "an origin is http:// or https://, a host and maybe a port, without user, path or query; {0} is not given like that"
)]
pub struct NoOrigin(String);

fn is_bare(url: &Url) -> bool {
    url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// A path that stays one after a proxy or a page has decoded it once or twice, or resolved its dots.
fn own_path(target: &str) -> Result<Target, Refused> {
    let path = target.split(['?', '#']).next().unwrap_or(target);
    let decoded = decode(&decode(path.as_bytes()));
    let plain = |byte: &u8| !byte.is_ascii_control() && *byte != b'\\';
    if !decoded.iter().all(plain) {
        return Err(Refused::Ambiguous);
    }
    // Dots before a second slash disappear on the way: `/.//host`, `/a/..//host`.
    if decoded.windows(2).any(|pair| pair == b"//") {
        return Err(Refused::Elsewhere);
    }
    Ok(Target(target.to_owned()))
}

/// Percent-decoded once; what is no escape stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digit = |at: usize| tail.get(at).and_then(|&b| char::from(b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high << 4 | low));
                rest = &tail[2..];
            }
            _ => decoded.push(*first),
        }
    }
    decoded
}

/// An `@` in the authority: also an empty user, which the parser forgets.
fn has_user_info(target: &str) -> bool {
    let after_scheme = target.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next();
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Allowed {
        let app = Url::parse("https://app.example.com").unwrap();
        let local = Url::parse("http://127.0.0.1:3000/").unwrap();
        Allowed::with_origins([&app, &local]).unwrap()
    }

    #[test]
    fn own_paths_and_listed_origins_are_taken() {
        for target in [
            "/",
            "/tunnels",
            "/tunnels/new?name=a%2Fb&next=https://example.com//x",
            "/a/b/../c",
            "/a#b//c",
            "/%7Ealice/",
            "/mail@example.com",
            "/javascript:alert(1)",
            "https://app.example.com/",
            "https://app.example.com/a//b?c=d#e",
            "http://127.0.0.1:3000/x",
        ] {
            assert_eq!(allowed().check(target).unwrap().as_str(), target);
        }
        let short = allowed().check("HTTPS://APP.example.com:443").unwrap();
        assert_eq!(short.as_str(), "https://app.example.com/");
    }

    #[test]
    fn everything_that_leads_elsewhere_is_refused() {
        for target in [
            // Other origins, and what looks like a listed one.
            "https://example.com/",
            "http://app.example.com/",
            "https://app.example.com:8443/",
            "https://app.example.com.example.com/",
            "https://app.example.com%2eexample.com/",
            "https://app.example.com@example.com/",
            "https://app.example.com:x@example.com/",
            "https://@app.example.com/",
            "https://:@app.example.com/",
            "https://alice@app.example.com/",
            "https://example.com#@app.example.com/",
            "https://example.com?@app.example.com/",
            "https://example.com/@app.example.com",
            "https://xapp.example.com/",
            "https://sub.app.example.com/",
            "https://app.example.com./",
            "http://127.0.0.1/",
            "http://localhost:3000/",
            "http://[::1]:3000/",
            // Without a scheme.
            "//example.com",
            "//app.example.com",
            "///example.com",
            "////example.com",
            "/\\example.com",
            "\\/example.com",
            "\\\\example.com",
            "/\\/example.com",
            "\\example.com",
            // Encoded, once and twice.
            "/%2Fexample.com",
            "/%2f%2fexample.com",
            "/%5Cexample.com",
            "/%5c%5cexample.com",
            "/%252Fexample.com",
            "/%255Cexample.com",
            "%2F%2Fexample.com",
            "/%09/example.com",
            "/%0d%0aset-cookie:a=b",
            "/%250d%250a",
            "/%00",
            // Dots that disappear.
            "/.//example.com",
            "/..//example.com",
            "/a/..//example.com",
            "/%2e//example.com",
            "/a/%2e%2e/%2fexample.com",
            // White space and control characters that browsers drop.
            "/\t/example.com",
            "\t//example.com",
            "/\n/example.com",
            "/\r\n/example.com",
            " //example.com",
            " /tunnels",
            "/tunnels ",
            "/a b",
            "/\0",
            "/\u{7f}",
            "ht\ttps://app.example.com/",
            "https://app.example.com/\r\nset-cookie: a=b",
            // Letters that become others.
            "/\u{2215}example.com",
            "/\u{ff0f}example.com",
            "https://app\u{3002}example.com/",
            "https://\u{430}pp.example.com/",
            // Other schemes, and a scheme alone.
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "java\nscript:alert(1)",
            "javascript://app.example.com/%0aalert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://app.example.com/x",
            "ftp://app.example.com/",
            "ws://app.example.com/",
            "https:app.example.com",
            "https:/app.example.com",
            "https:example.com",
            "https:///app.example.com/",
            "https:\\\\app.example.com",
            "http:",
            "://app.example.com",
            // No path at all.
            "",
            "tunnels",
            "./tunnels",
            "../tunnels",
            "?a=b",
            "#a",
            "@example.com",
            ".example.com",
            ":80",
        ] {
            assert!(allowed().check(target).is_err(), "{target:?} was taken");
            assert!(Allowed::own_paths().check(target).is_err());
        }
    }

    #[test]
    fn too_long_an_address_is_refused() {
        let path = |length: usize| format!("/{}", "a".repeat(length - 1));
        assert!(allowed().check(&path(MAX_LEN)).is_ok());
        assert_eq!(allowed().check(&path(MAX_LEN + 1)), Err(Refused::TooLong));
    }

    /// Whatever is taken, a browser that stands on the gateway lands on it or on a listed origin.
    #[test]
    fn whatever_is_taken_stays_where_it_may() {
        let base = Url::parse("https://gw.example.com/auth/callback").unwrap();
        let parts = [
            "/",
            "\\",
            "//",
            "%2f",
            "%5c",
            ".",
            "..",
            "@",
            ":",
            "?",
            "#",
            "\t",
            "\n",
            "%09",
            "https:",
            "http://",
            "javascript:",
            "example.com",
            "app.example.com",
            "a",
            " ",
            "[",
            "é",
        ];
        let mut random = fastrand::Rng::with_seed(11);
        let mut taken = 0;
        for _ in 0..200_000 {
            let count = random.usize(1..7);
            let target: String = (0..count).filter_map(|_| random.choice(parts)).collect();
            let Ok(target) = allowed().check(&target) else {
                continue;
            };
            taken += 1;
            let landed = base.join(target.as_str()).unwrap();
            let own = landed.origin() == base.origin();
            assert!(
                own || allowed().origins.contains(&landed.origin()),
                "{target}"
            );
        }
        assert!(taken > 1000, "only {taken}");
    }

    #[test]
    fn an_origin_with_more_than_an_origin_is_refused() {
        for text in [
            "https://example.com/app",
            "https://example.com/?a",
            "https://alice@example.com",
            "https://example.com/#a",
            "ftp://example.com",
            "data:x",
        ] {
            let url = Url::parse(text).unwrap();
            assert!(Allowed::with_origins([&url]).is_err(), "{text}");
        }
    }
}
