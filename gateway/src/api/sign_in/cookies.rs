//! The cookies of sign-in. All are `__Host-` cookies: over HTTPS only, for this host and no other,
//! and no other host of the domain can plant one.

use std::time::Duration;

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

/// Holds the token of a session.
pub(super) const SESSION: &str = "__Host-portunus_session";
/// Ties the end of a sign-in at a provider to its beginning.
pub(super) const BROWSER: &str = "__Host-portunus_login";
/// Ties a form for somebody who is not signed in to the page it was on.
pub(super) const FORM: &str = "__Host-portunus_form";

/// The value of the request's cookie of this name. One that is there twice is not there: nobody
/// could say which of the two is ours.
pub(super) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Sets a cookie for as long.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str, age: Duration) {
    let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    add(
        headers,
        name,
        value,
        cookie::time::Duration::seconds(seconds),
    );
}

/// Makes the browser forget a cookie.
pub(super) fn forget(headers: &mut HeaderMap, name: &'static str) {
    add(headers, name, "", cookie::time::Duration::ZERO);
}

fn add(headers: &mut HeaderMap, name: &'static str, value: &str, age: cookie::time::Duration) {
    let cookie = Cookie::build((name, value))
        .path("/")
        .secure(true)
        .http_only(true)
        // Not Strict: people come back from the provider, and follow links to the dashboard.
        .same_site(SameSite::Lax)
        .max_age(age)
        .build()
        .to_string();
    // All values are of letters, digits, `-` and `_`.
    if let Ok(mut line) = HeaderValue::try_from(cookie) {
        line.set_sensitive(true);
        headers.append(header::SET_COOKIE, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_bound_to_this_host_over_https() {
        let mut headers = HeaderMap::new();
        set(&mut headers, SESSION, "token", Duration::from_secs(60));
        assert_eq!(
            headers[header::SET_COOKIE],
            "__Host-portunus_session=token; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60"
        );
        forget(&mut headers, BROWSER);
        let lines: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(
            lines[1],
            "__Host-portunus_login=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_not_there() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; b=2;c=3".parse().unwrap());
        assert_eq!(read(&headers, "a"), Some("1"));
        assert_eq!(read(&headers, "c"), Some("3"));
        assert_eq!(read(&headers, "d"), None);
        headers.append(header::COOKIE, "b=4".parse().unwrap());
        assert_eq!(read(&headers, "b"), None);
    }
}
