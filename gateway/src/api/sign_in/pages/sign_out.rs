//! The page that asks before it signs somebody out.

use maud::html;

use super::{Page, token_field};

/// Asks whether to sign `username` out, because another site led here.
pub(in super::super) fn sign_out(username: &str, token: &str, return_to: Option<&str>) -> Page {
    let content = html! {
        h1 { "Sign out?" }
        p class="quiet last" {
            "Another site sent you here. You are signed in as " strong { (username) } "."
        }
        form class="stack" method="post" action="/auth/logout" {
            (token_field(token))
            @if let Some(to) = return_to { input type="hidden" name="return_to" value=(to); }
            button class="main" type="submit" { "Sign out" }
            a class="button" href="/" { "Stay signed in" }
        }
    };
    let target = return_to.and_then(|to| url::Url::parse(to).ok());
    Page::new("Sign out", content).leading_to(target)
}
