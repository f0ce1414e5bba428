//! How the pages look, and what they say when something is not done.

use std::time::SystemTime;

use auth::{identity::IdentityError, tunnel::Tunnel};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maud::html;
use time::OffsetDateTime;

use super::{
    super::super::sign_in::{
        pages::{Field, Message, Need, Page, Way, agent_command, alert, token_field},
        problem,
    },
    KEY_NAME,
};

/// The form for a new tunnel.
pub(super) struct TunnelForm<'a> {
    /// Of the form.
    pub(super) token: &'a str,
    pub(super) name: &'a str,
    /// What was wrong with the last attempt.
    pub(super) alert: Option<&'a str>,
}

impl TunnelForm<'_> {
    pub(super) fn page(&self) -> Page {
        let name = Field {
            name: "name",
            label: "Name",
            kind: "text",
            autocomplete: "off",
            value: self.name,
            hint: Some("a-z, 0-9 and -; three words are chosen if you leave it empty"),
            need: Need::Optional,
            wrong: self.alert.is_some(),
            first: true,
        };
        let content = html! {
            h1 { "New tunnel" }
            p class="quiet last" { "The name becomes part of its public address." }
            (alert(self.alert))
            form class="stack" method="post" action="/tunnels/create" {
                (token_field(self.token))
                (name.html())
                button class="main" type="submit" { "Create the tunnel" }
                a class="button" href="/" { "Cancel" }
            }
        };
        Page::new("New tunnel", content)
    }
}

/// The form for a new key.
pub(super) struct KeyForm<'a> {
    /// Of the form.
    pub(super) token: &'a str,
    /// The only tunnel it shall be good for.
    pub(super) tunnel: Option<&'a Tunnel>,
    pub(super) name: &'a str,
    /// What was wrong with the last attempt.
    pub(super) alert: Option<&'a str>,
}

impl<'a> KeyForm<'a> {
    pub(super) fn new(token: &'a str, tunnel: Option<&'a Tunnel>) -> Self {
        Self {
            token,
            tunnel,
            name: KEY_NAME,
            alert: None,
        }
    }

    pub(super) fn page(&self) -> Page {
        let name = Field {
            name: "name",
            label: "Name",
            kind: "text",
            autocomplete: "off",
            value: self.name,
            hint: Some("For you to tell it from other keys, such as the machine it is for"),
            need: Need::Required,
            wrong: self.alert.is_some(),
            first: true,
        };
        let action = match self.tunnel {
            Some(tunnel) => format!("/tunnels/{}/keys/generate", tunnel.id),
            None => "/api/keys/generate".to_owned(),
        };
        let content = html! {
            h1 { "New key" }
            @match self.tunnel {
                Some(tunnel) => p class="quiet last" {
                    "It connects agents of " strong { (tunnel.name) } " and nothing else. The key "
                    "made here before for this tunnel stops working."
                },
                None => p class="quiet last" { "It connects agents of your tunnels." },
            }
            (alert(self.alert))
            form class="stack" method="post" action=(action) {
                (token_field(self.token))
                (name.html())
                button class="main" type="submit" { "Make the key" }
                a class="button" href="/" { "Cancel" }
            }
        };
        Page::new("New key", content)
    }
}

/// A key that was just made, the one time that it is shown.
pub(super) struct NewKeyShown<'a> {
    pub(super) name: &'a str,
    pub(super) secret: &'a str,
    pub(super) origin: &'a str,
    pub(super) tunnel: Option<&'a str>,
    pub(super) expires: Option<SystemTime>,
}

impl NewKeyShown<'_> {
    pub(super) fn page(&self) -> Page {
        let content = html! {
            h1 { "Your new key" }
            p { "This is " strong { (self.name) } ". Copy it now: it is not shown again." }
            pre { code { (self.secret) } }
            @if let Some(expires) = self.expires {
                p class="quiet small" { "It is good until " (OffsetDateTime::from(expires).date()) "." }
            }
            h2 { "Beside the service" }
            p class="quiet" { "Put the key into " code { "PORTUNUS_KEY" } ", and run:" }
            (agent_command(self.origin, self.tunnel))
            nav class="stack" aria-label="Go on" {
                a class="button main" href="/" { "I have copied it" }
            }
        };
        Page::new("Your new key", content)
    }
}

/// Why something was not done.
pub(super) enum Refusal {
    /// The form did not come from its page, which is there.
    Forged(String),
    /// It is not there, or somebody else's.
    NotTheirs,
    /// An ordinary user has one tunnel, and has this one.
    HasOne(String),
    Failed(IdentityError),
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::NotFound(_) => Self::NotTheirs,
            IdentityError::Exists(tunnel) => Self::HasOne(tunnel.name),
            other => Self::Failed(other),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let one;
        let (status, heading, explanation) = match &self {
            Self::Forged(page) => return problem::forged(page),
            Self::NotTheirs => (
                StatusCode::NOT_FOUND,
                "Not found",
                "There is no such tunnel or key, or it is not yours.",
            ),
            Self::HasOne(name) => {
                one = format!("You have the tunnel {name}, and may have one. Nothing was changed.");
                (StatusCode::FORBIDDEN, "You have a tunnel", one.as_str())
            }
            Self::Failed(error) => {
                tracing::warn!(%error, "a page could not do what it was asked");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "This is not working",
                    "This does not work right now. Please try again later.",
                )
            }
        };
        let message = Message {
            status,
            heading,
            explanation,
            advice: None,
            ways: &[Way {
                text: "Go to the first page",
                href: "/",
            }],
        };
        message.page().into_response()
    }
}
