//! The gateway's first page, for strangers and for people who are signed in.

use maud::{Markup, html};

use super::{Message, Page, Way, alert, token_field};

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
    /// Where agents and browsers reach the gateway, without a slash at the end.
    pub(in super::super) origin: &'a str,
    pub(in super::super) username: &'a str,
    /// As people write it: `GitHub`, `GitLab`, `A local account`.
    pub(in super::super) provider: &'a str,
    pub(in super::super) admin: bool,
    /// What was just done.
    pub(in super::super) notice: Option<&'a str>,
    /// `None` if the store does not answer.
    pub(in super::super) own: Option<&'a Own>,
    /// Of the page's forms.
    pub(in super::super) token: &'a str,
}

/// What belongs to somebody.
#[derive(Debug)]
pub(in super::super) struct Own {
    pub(in super::super) tunnels: Vec<TunnelShown>,
    /// Those that are good.
    pub(in super::super) keys: Vec<KeyShown>,
}

#[derive(Debug)]
pub(in super::super) struct TunnelShown {
    pub(in super::super) id: u64,
    pub(in super::super) name: String,
    /// Where visitors reach it; `None` if this gateway serves no tunnels.
    pub(in super::super) url: Option<String>,
    /// An agent is there.
    pub(in super::super) connected: bool,
}

#[derive(Debug)]
pub(in super::super) struct KeyShown {
    pub(in super::super) id: u64,
    pub(in super::super) name: String,
    pub(in super::super) prefix: String,
}

impl Account<'_> {
    pub(in super::super) fn page(&self) -> Page {
        let content = html! {
            h1 { "Hello, " (self.username) }
            p class="quiet last" { "You are signed in to " strong { (self.domain) } "." }
            @if let Some(notice) = self.notice {
                p class="notice" role="status" { (notice) }
            }
            dl class="facts" {
                dt { "Account" } dd { (self.provider) }
                dt { "Role" } dd { @if self.admin { "Administrator" } @else { "User" } }
            }
            @match self.own {
                Some(own) => { (self.tunnels(&own.tunnels)) (self.keys(&own.keys)) }
                None => (alert(Some("Your tunnels and keys cannot be shown right now."))),
            }
            form class="stack" method="post" action="/auth/logout" {
                (token_field(self.token))
                button type="submit" { "Sign out" }
            }
        };
        Page::new("Account", content)
    }

    fn tunnels(&self, tunnels: &[TunnelShown]) -> Markup {
        html! {
            h2 { "Tunnels" }
            @if tunnels.is_empty() {
                p class="quiet" { "A tunnel gives a service on your machine a public address." }
            }
            @for tunnel in tunnels {
                p {
                    strong { (tunnel.name) } br;
                    @if let Some(url) = &tunnel.url { a href=(url) { (url) } br; }
                    span class="quiet small" {
                        @if tunnel.connected { "Its agent is connected." }
                        @else { "No agent is connected. Beside the service, run:" }
                    }
                }
                @if !tunnel.connected { (agent_command(self.origin, Some(&tunnel.name))) }
                p { a href={ "/tunnels/" (tunnel.id) "/keys/new" } { "New key for " (tunnel.name) } }
            }
            // An ordinary user has one.
            @if self.admin || tunnels.is_empty() {
                a class="button" href="/tunnels/new" { "New tunnel" }
            }
        }
    }

    fn keys(&self, keys: &[KeyShown]) -> Markup {
        html! {
            h2 { "API keys" }
            @for key in keys {
                form class="row" method="post" action={ "/api/keys/" (key.id) "/revoke" } {
                    (token_field(self.token))
                    span { (key.name) " " code class="quiet" { (key.prefix) "…" } }
                    button type="submit" aria-label={ "Revoke " (key.name) } { "Revoke" }
                }
            }
            a class="button" href="/api/keys/new" { "New key" }
        }
    }
}

/// What to type beside a service. The key is not in it: it is read from `PORTUNUS_KEY`.
pub(in crate::api) fn agent_command(origin: &str, tunnel: Option<&str>) -> Markup {
    html! {
        pre { code {
            "portunus-agent http 3000 --server " (origin)
            @if let Some(tunnel) = tunnel { " --name " (tunnel) }
        } }
    }
}
