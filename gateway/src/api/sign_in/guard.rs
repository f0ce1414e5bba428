//! Whether a request was made by a page of ours: what stands against cross-site request forgery.
//!
//! Two things that each would be enough. Browsers say where a request comes from (`Origin`, or
//! `Sec-Fetch-Site` where they leave it out), and that must be the gateway's own origin. And a form
//! brings a token that only its page could know: for somebody signed in it is bound to the
//! session, for everybody else to a cookie that no other site can set.

use std::time::Duration;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use url::Url;

use super::cookies;

/// How long a form may lie open in a tab.
const FORM_AGE: Duration = Duration::from_secs(12 * 60 * 60);
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether the browser says that a page of `origin` made the request.
pub(in crate::api) fn is_ours(headers: &HeaderMap, origin: &Url) -> bool {
    match headers.get(header::ORIGIN) {
        Some(from) => from.as_bytes() == origin.origin().ascii_serialization().as_bytes(),
        None => headers
            .get(SEC_FETCH_SITE)
            .is_some_and(|site| site == "same-origin"),
    }
}

/// Whether another site led here, as far as the browser says. A link that somebody opened from a
/// bookmark or typed is nobody's.
pub(super) fn is_led_here(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_SITE) {
        Some(site) => site != "same-origin" && site != "none",
        None => false,
    }
}

/// What a form is for. A token of one is no good with another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Login,
    SetUp,
}

/// The secret half of the tokens of a browser's forms, for the cookie [`cookies::FORM`].
pub(super) struct FormNonce(String);

impl FormNonce {
    /// That of the request, or a new one. Fails if the system has no random bytes.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, NoRandom> {
        if let Some(nonce) = cookies::read(headers, cookies::FORM).filter(|nonce| is_formed(nonce))
        {
            return Ok(Self(nonce.to_owned()));
        }
        let mut bytes = [0; 32];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| NoRandom)?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The token for the form's hidden field.
    pub(super) fn token(&self, form: Form) -> String {
        token(&self.0, form)
    }

    pub(super) fn set(&self, headers: &mut HeaderMap) {
        cookies::set(headers, cookies::FORM, &self.0, FORM_AGE);
    }
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gave no random bytes for a form's token")]
pub(super) struct NoRandom;

/// Whether `presented` is the token of `form` in the browser that sent the request.
pub(super) fn is_token(headers: &HeaderMap, form: Form, presented: &str) -> bool {
    let nonce = cookies::read(headers, cookies::FORM).filter(|nonce| is_formed(nonce));
    nonce.is_some_and(|nonce| {
        verify_slices_are_equal(token(nonce, form).as_bytes(), presented.as_bytes()).is_ok()
    })
}

fn token(nonce: &str, form: Form) -> String {
    let text = format!("portunus form {form:?} {nonce}");
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

fn is_formed(nonce: &str) -> bool {
    nonce.len() == 43
        && nonce
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    #[test]
    fn only_a_page_of_ours_makes_our_requests() {
        let origin = Url::parse("https://gw.example.com:8443/").unwrap();
        for ours in [
            headers(&[("origin", "https://gw.example.com:8443")]),
            headers(&[("sec-fetch-site", "same-origin")]),
        ] {
            assert!(is_ours(&ours, &origin), "{ours:?}");
        }
        for other in [
            headers(&[]),
            headers(&[("origin", "null")]),
            headers(&[("origin", "https://gw.example.com")]),
            headers(&[("origin", "http://gw.example.com:8443")]),
            headers(&[("origin", "https://gw.example.com:8443.example.net")]),
            headers(&[
                ("origin", "https://example.com"),
                ("sec-fetch-site", "same-origin"),
            ]),
            headers(&[("sec-fetch-site", "same-site")]),
            headers(&[("sec-fetch-site", "cross-site")]),
            headers(&[("sec-fetch-site", "none")]),
        ] {
            assert!(!is_ours(&other, &origin), "{other:?}");
        }
    }

    #[test]
    fn a_token_is_of_one_browser_and_one_form() {
        let nonce = FormNonce::of(&HeaderMap::new()).unwrap();
        let token = nonce.token(Form::Login);
        let cookie = format!("{}={}", cookies::FORM, nonce.0);
        let mut browser = HeaderMap::new();
        browser.insert(header::COOKIE, cookie.parse().unwrap());
        assert!(is_token(&browser, Form::Login, &token));
        assert!(!is_token(&browser, Form::SetUp, &token));
        assert!(!is_token(&browser, Form::Login, ""));
        assert!(!is_token(&browser, Form::Login, &nonce.0));
        assert!(!is_token(&HeaderMap::new(), Form::Login, &token));
        assert_eq!(FormNonce::of(&browser).unwrap().0, nonce.0);
    }

    #[test]
    fn a_made_up_cookie_is_replaced() {
        for made_up in ["", "short", &"a".repeat(44), &"%".repeat(43)] {
            let mut browser = HeaderMap::new();
            let cookie = format!("{}={made_up}", cookies::FORM);
            browser.insert(header::COOKIE, cookie.parse().unwrap());
            assert_ne!(FormNonce::of(&browser).unwrap().0, made_up);
        }
    }

    #[test]
    fn a_link_from_elsewhere_is_told_from_ones_own() {
        for (site, led) in [
            ("same-origin", false),
            ("none", false),
            ("same-site", true),
            ("cross-site", true),
        ] {
            assert_eq!(is_led_here(&headers(&[("sec-fetch-site", site)])), led);
        }
        assert!(!is_led_here(&HeaderMap::new()));
    }
}
