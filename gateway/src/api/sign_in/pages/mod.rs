//! The pages of sign-in, one file each: what is shown goes in, HTML comes out.
//!
//! Here is what all have in common: the frame, the style, and the headers that go with them. A page is HTML from the gateway alone: no script, no style and no picture from elsewhere, no
//! inline style, and a content security policy that says so. Nobody may frame it, store it, or
//! learn its address from `Referer`.

mod account;
mod login;
mod message;
mod set_up;
mod sign_out;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use url::Url;

pub(in crate::api) use self::{
    account::agent_command,
    message::{Message, Way},
};
pub(super) use self::{
    account::{Account, KeyShown, Own, TunnelShown, welcome},
    login::Login,
    set_up::SetUp,
    sign_out::sign_out,
};

/// Where the style is served. The number changes with the style, so that browsers can keep it.
pub(super) const STYLE_PATH: &str = "/auth/style-3.css";
const STYLE: &str = include_str!("style.css");

/// The form field that [`token_field`] makes.
pub(in crate::api) const TOKEN_FIELD: &str = "csrf";

/// A page, ready to be answered with.
#[derive(Debug)]
pub(in crate::api) struct Page {
    status: StatusCode,
    title: String,
    content: Markup,
    leads_to: Option<Url>,
}

impl Page {
    /// `title` is in the browser's tab; the heading belongs to `content`.
    pub(in crate::api) fn new(title: impl Into<String>, content: Markup) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            content,
            leads_to: None,
        }
    }

    pub(in crate::api) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The answer to this page's form may redirect to that origin, besides the gateway's own.
    /// Browsers hold `form-action` against redirects too.
    pub(super) fn leading_to(self, target: Option<Url>) -> Self {
        Self {
            leads_to: target,
            ..self
        }
    }

    fn policy(&self) -> String {
        let mut policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
                          base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
            .to_owned();
        if let Some(url) = &self.leads_to {
            policy.push(' ');
            policy.push_str(&url.origin().ascii_serialization());
        }
        policy
    }

    fn html(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (self.title) " · Portunus" }
                    link rel="icon" href=(ICON);
                    link rel="stylesheet" href=(STYLE_PATH);
                }
                body {
                    main { (brand()) (self.content) }
                }
            }
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let policy = HeaderValue::try_from(self.policy());
        let html = self.html().into_string();
        let mut response = (self.status, html).into_response();
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, html);
        // An origin serialises to ASCII without line breaks; should it ever not, the browser gets
        // a page that may do nothing.
        let nothing = HeaderValue::from_static("default-src 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.unwrap_or(nothing));
        protect(headers);
        response
    }
}

/// What every answer of sign-in says about itself, pages and redirects alike.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "strict-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            http::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The style, for [`STYLE_PATH`].
pub(super) async fn style() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, STYLE)
}

/// A key on a door's blue.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E\
    %3Crect width='32' height='32' rx='8' fill='%232f5bd8'/%3E\
    %3Cg fill='none' stroke='white' stroke-width='3' stroke-linecap='round'%3E\
    %3Ccircle cx='11.5' cy='16' r='4.5'/%3E%3Cpath d='M16 16h9M21 16v4M25 16v3'/%3E%3C/g%3E%3C/svg%3E";

/// A field of a form, with its label tied to it.
pub(in crate::api) struct Field<'a> {
    pub(in crate::api) name: &'a str,
    pub(in crate::api) label: &'a str,
    pub(in crate::api) kind: &'a str,
    pub(in crate::api) autocomplete: &'a str,
    pub(in crate::api) value: &'a str,
    pub(in crate::api) hint: Option<&'a str>,
    pub(in crate::api) need: Need,
    /// What was sent in it was not taken.
    pub(in crate::api) wrong: bool,
    /// Where typing begins.
    pub(in crate::api) first: bool,
}

/// Whether a field may be left empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::api) enum Need {
    Required,
    Optional,
}

impl Field<'_> {
    pub(in crate::api) fn html(&self) -> Markup {
        let hint_id = format!("{}-hint", self.name);
        let hint = self.hint.map(|_| hint_id.as_str());
        html! {
            div class="field" {
                label for=(self.name) { (self.label) }
                @if let Some(hint) = self.hint {
                    span class="hint" id=(hint_id) { (hint) }
                }
                input id=(self.name) name=(self.name) type=(self.kind) value=(self.value)
                    autocomplete=(self.autocomplete) autocapitalize="none" spellcheck="false"
                    aria-describedby=[hint] aria-invalid=[self.wrong.then_some("true")]
                    required[self.need == Need::Required] maxlength="256" autofocus[self.first];
            }
        }
    }
}

/// What went wrong with the form below it; read out at once by screen readers.
pub(in crate::api) fn alert(text: Option<&str>) -> Markup {
    html! {
        @if let Some(text) = text {
            p class="alert" role="alert" { (text) }
        }
    }
}

/// The hidden field that shows that a form came from its page.
pub(in crate::api) fn token_field(token: &str) -> Markup {
    html! { input type="hidden" name=(TOKEN_FIELD) value=(token); }
}

fn brand() -> Markup {
    html! {
        header class="brand" {
            svg viewBox="0 0 32 32" width="36" height="36" aria-hidden="true" {
                rect class="door" width="32" height="32" rx="8" {}
                g class="key" {
                    circle cx="11.5" cy="16" r="4.5" {}
                    path d="M16 16h9M21 16v4M25 16v3" {}
                }
            }
            span { "Portunus" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers()[name].to_str().unwrap()
    }

    #[test]
    fn a_page_allows_nothing_from_elsewhere_and_is_not_stored() {
        let response = Page::new("Sign in", html! { h1 { "Sign in" } }).into_response();
        let policy = header(&response, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"));
        assert!(policy.ends_with("frame-ancestors 'none'; form-action 'self'"));
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("cache-control", "no-store"),
            ("content-type", "text/html; charset=utf-8"),
            ("referrer-policy", "strict-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(header(&response, name), value);
        }
    }

    #[test]
    fn a_form_may_lead_to_one_more_origin() {
        let to = Url::parse("https://app.example.com:8443/a;b?c=d").unwrap();
        let response = Page::new("Sign in", html! {})
            .leading_to(Some(to))
            .into_response();
        let policy = header(&response, "content-security-policy");
        assert!(policy.ends_with("form-action 'self' https://app.example.com:8443"));
    }

    #[test]
    fn text_in_a_page_is_text() {
        let hostile = "<script>alert(1)</script>";
        let page = Page::new(hostile, html! { p title=(hostile) { (hostile) } });
        assert!(!page.html().into_string().contains("<script"));
    }

    #[test]
    fn the_style_loads_nothing() {
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
