//! Who passed, as the upstream is told, and whom `session` lets in.

use auth::directory::{Caller, UserEntry};
use auth::user::{Provider, Role};
use http::{HeaderName, HeaderValue};

use crate::config::access::{Role as NeededRole, SessionAccess};

pub(super) const USER: HeaderName = HeaderName::from_static("x-portunus-user");
pub(super) const ROLE: HeaderName = HeaderName::from_static("x-portunus-role");
pub(super) const EMAIL: HeaderName = HeaderName::from_static("x-portunus-email");

/// The headers that name a user.
pub(super) fn headers(caller: &Caller) -> Vec<(HeaderName, HeaderValue)> {
    let user = &caller.user;
    let name = format!("{}:{}", provider(user.provider), user.username);
    let mut headers = vec![];
    headers.extend(value(&name).map(|name| (USER, name)));
    headers.push((ROLE, HeaderValue::from_static(role(user.role))));
    let email = user.email.as_deref().and_then(value);
    headers.extend(email.map(|email| (EMAIL, email)));
    headers
}

/// A value for a header; none of what cannot be one.
pub(super) fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// Whether somebody who signed in is among those who may.
pub(super) fn is_among(allowed: &SessionAccess, user: &UserEntry) -> bool {
    let roles = allowed.roles.iter().any(|needed| match needed {
        NeededRole::User => true,
        NeededRole::Admin => user.role == Role::Admin,
    });
    let name = user.username.to_lowercase();
    let users = allowed
        .users
        .iter()
        .any(|account| account.provider == provider(user.provider) && account.name == name);
    let emails = user.email.as_deref().is_some_and(|email| {
        let mut patterns = allowed.emails.iter();
        patterns.any(|pattern| pattern.covers(email))
    });
    allowed.is_open() || roles || users || emails
}

fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::GitHub => "github",
        Provider::GitLab => "gitlab",
        Provider::Local => "local",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Admin => "admin",
    }
}
