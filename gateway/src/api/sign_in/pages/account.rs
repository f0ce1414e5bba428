//! The gateway's first page, for strangers and for people who are signed in.

use maud::html;

use super::{Message, Page, Way, token_field};

/// The first page for somebody who is not signed in.
pub(in super::super) fn welcome(domain: &str) -> Page {
    let explanation = format!("This is the gateway at {domain}. Sign in to see what is yours.");
    let message = Message {
        status: http::StatusCode::OK,
        heading: "Welcome",
        explanation: &explanation,
        advice: None,
        ways: &[Way {
            text: "Sign in",
            href: "/auth/login",
        }],
    };
    message.page()
}

/// Somebody who is signed in, as their first page shows them.
#[derive(Debug)]
pub(in super::super) struct Account<'a> {
    pub(in super::super) domain: &'a str,
    pub(in super::super) username: &'a str,
    /// As people write it: `GitHub`, `GitLab`, `A local account`.
    pub(in super::super) provider: &'a str,
    pub(in super::super) admin: bool,
    /// Of the form that signs out.
    pub(in super::super) token: &'a str,
}

impl Account<'_> {
    pub(in super::super) fn page(&self) -> Page {
        let content = html! {
            h1 { "Hello, " (self.username) }
            p class="quiet last" { "You are signed in to " strong { (self.domain) } "." }
            dl class="facts" {
                dt { "Account" } dd { (self.provider) }
                dt { "Role" } dd { @if self.admin { "Administrator" } @else { "User" } }
            }
            form class="stack" method="post" action="/auth/logout" {
                (token_field(self.token))
                button type="submit" { "Sign out" }
            }
        };
        Page::new("Account", content)
    }
}
