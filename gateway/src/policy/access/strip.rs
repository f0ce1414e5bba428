//! Headers that say who is calling: only the gateway writes them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Names that applications believe in when a proxy in front of them signs people in.
const NAMES: [&str; 7] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-webauth-user",
    "x-remote-user",
];
const PREFIXES: [&str; 3] = ["x-auth-request-", "remote-", "x-portunus-"];

/// The headers a route's own configuration adds to those that are well known.
#[derive(Debug)]
pub(super) struct IdentityHeaders(Vec<HeaderName>);

impl IdentityHeaders {
    pub(super) fn new(own: impl Iterator<Item = HeaderName>) -> Self {
        Self(own.collect())
    }

    /// Removes what the client says of itself. `X_Portunus_User` too: to CGI, WSGI and Rack it is
    /// the same variable as `X-Portunus-User`.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        let said: Vec<HeaderName> = headers
            .keys()
            .filter(|name| self.covers(name))
            .cloned()
            .collect();
        for name in said {
            headers.remove(name);
        }
    }

    fn covers(&self, name: &HeaderName) -> bool {
        let dashed;
        let name = match name.as_str().contains('_') {
            true => {
                dashed = name.as_str().replace('_', "-");
                dashed.as_str()
            }
            false => name.as_str(),
        };
        // `Authorization` may be copied from a service; the client's own is a question to it.
        NAMES.contains(&name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || self
                .0
                .iter()
                .any(|own| *own != header::AUTHORIZATION && own.as_str().replace('_', "-") == name)
    }
}

/// Removes the header `name`, also when it is spelled with `_`.
pub(super) fn spelled(headers: &mut HeaderMap, name: &HeaderName) {
    let dashed = |byte| if byte == b'_' { b'-' } else { byte };
    let name = name.as_str();
    let is_it = |other: &&HeaderName| {
        other.as_str().len() == name.len() && other.as_str().bytes().map(dashed).eq(name.bytes())
    };
    while let Some(said) = headers.keys().find(is_it).cloned() {
        headers.remove(said);
    }
}

/// Removes the cookie `name` and leaves the others as they are.
pub(super) fn cookie(headers: &mut HeaderMap, name: &str) {
    let is_it = |pair: &[u8]| {
        let own = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        own.trim_ascii() == name.as_bytes()
    };
    let present = headers
        .get_all(header::COOKIE)
        .iter()
        .any(|value| value.as_bytes().split(|byte| *byte == b';').any(is_it));
    if !present {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| {
            let pairs = value.as_bytes().split(|byte| *byte == b';');
            let kept: Vec<_> = pairs
                .map(<[u8]>::trim_ascii)
                .filter(|pair| !pair.is_empty() && !is_it(pair))
                .collect();
            let mut value = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok()?;
            value.set_sensitive(true);
            (!kept.is_empty()).then_some(value)
        })
        .collect();
    headers.remove(header::COOKIE);
    for value in kept {
        headers.append(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_itself_goes() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-Forwarded-User",
            "x-auth-request-email",
            "Remote-User",
            "Remote_User",
            "X-Portunus-Role",
            "x_portunus_role",
            "X-Portunus-Assertion",
            "x-portunus_assertion",
            "x-team",
            "x_team",
            "x-kept",
            "x-forwarded-for",
            "authorization",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static("1"));
        }
        let own = [HeaderName::from_static("x-team"), header::AUTHORIZATION];
        IdentityHeaders::new(own.into_iter()).strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-forwarded-for", "x-kept"]);
    }

    #[test]
    fn one_header_goes_however_it_is_spelled() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-one-two",
            "x_one_two",
            "x-one_two",
            "x-one",
            "x-one-two-3",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static("1"));
        }
        spelled(&mut headers, &HeaderName::from_static("x-one-two"));
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-one", "x-one-two-3"]);
    }

    #[test]
    fn one_cookie_goes_and_the_others_stay() {
        for (given, left) in [
            (vec!["a=1; s=2; b=3"], vec!["a=1; b=3"]),
            (vec!["s=2"], vec![]),
            (vec!["s=2", "a=1"], vec!["a=1"]),
            (vec!["a=1;ss=2"], vec!["a=1;ss=2"]),
            (vec![" s = 2 ;a=1"], vec!["a=1"]),
        ] {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(header::COOKIE, HeaderValue::from_static(value));
            }
            cookie(&mut headers, "s");
            let kept: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(kept, left);
        }
    }
}
