//! `access` and `deprecated` of a route: who may use it, and until when.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use time::Date;
use url::Url;

use super::{route::UpstreamUrl, value::Secret};

/// Who may use a route: a client in [`ip`](Self::ip), if there are networks, who also passes any
/// one of the other kinds, if there are others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    pub ip: Vec<IpNet>,
    pub basic: Option<Basic>,
    pub key: Option<KeyAccess>,
    pub session: Option<SessionAccess>,
    pub jwt: Option<JwtAccess>,
    pub forward_auth: Option<ForwardAuth>,
    /// Whoever passes by `key` or `session` is told to the upstream by a signed token as well.
    pub assertion: bool,
}

impl Access {
    /// Whether users, keys or sessions of the gateway's own are asked for.
    pub fn needs_identity(&self) -> bool {
        self.key.is_some() || self.session.is_some()
    }

    /// Whether anything but the client's address counts.
    pub fn asks_who(&self) -> bool {
        self.needs_identity()
            || self.basic.is_some()
            || self.jwt.is_some()
            || self.forward_auth.is_some()
    }
}

/// `basic = { users = { alice = "$argon2id$…" }, realm = "staff" }` (RFC 7617)
#[derive(Clone, Debug, PartialEq)]
pub struct Basic {
    /// Names and the argon2id hashes of their passwords, in PHC form.
    pub users: BTreeMap<String, Secret>,
    /// What the browser shows when it asks.
    pub realm: String,
}

/// `key = { scope = "route:access:NAME" }`: an API key in `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAccess {
    /// The `NAME` a scope of the key must cover; `None` is the label of the route, `site/route`.
    pub name: Option<String>,
}

/// `session = { roles = ["admin"], users = ["github:alice"], emails = ["*@example.com"] }`:
/// somebody who signed in and is in any of the lists, or anybody who did when all are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionAccess {
    pub roles: Vec<Role>,
    pub users: Vec<Account>,
    pub emails: Vec<EmailPattern>,
}

impl SessionAccess {
    pub fn is_open(&self) -> bool {
        self.roles.is_empty() && self.users.is_empty() && self.emails.is_empty()
    }
}

/// `"user"` or `"admin"`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Admin => "admin",
        })
    }
}

/// `"github:alice"`, `"local:alice"`; user names have no case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `github`, `gitlab` or `local`
    pub provider: &'static str,
    /// In lower case.
    pub name: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.name)
    }
}

/// `"alice@example.com"`, or `"*@example.com"` for all of a domain; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmailPattern {
    Exact(String),
    Domain(String),
}

impl EmailPattern {
    /// Whether it covers an address; letters have no case.
    pub fn covers(&self, address: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(address),
            Self::Domain(domain) => address
                .rsplit_once('@')
                .is_some_and(|(_, own)| own.eq_ignore_ascii_case(domain)),
        }
    }
}

impl fmt::Display for EmailPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(address) => f.write_str(address),
            Self::Domain(domain) => write!(f, "*@{domain}"),
        }
    }
}

/// `jwt = { issuer = "https://id.example.com", audience = ["app"] }`: a token that somebody else
/// signed, in `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtAccess {
    /// `jwks`: where the keys are; `None` is where the issuer's discovery document says.
    pub jwks: Option<Url>,
    /// The `iss` a token must have.
    pub issuer: Option<String>,
    /// A token must have one of these in its `aud`.
    pub audience: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// `claims = { sub = "x-user" }`: claims and the request headers they become.
    pub claims: Vec<(String, HeaderName)>,
}

/// A way to sign tokens with a key of which others know the public half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [(&'static str, Self); 9] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];
    /// What most issuers sign with.
    pub const DEFAULT: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, algorithm)| algorithm == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// `forward_auth = { url = "http://authelia:9091/api/authz/forward-auth", dialect = "traefik" }`:
/// another service decides.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardAuth {
    pub upstream: UpstreamUrl,
    /// The path and query that are asked for.
    pub target: String,
    pub dialect: Dialect,
    /// Headers of the service's answer that the upstream gets, and that the client's own request
    /// never brings.
    pub copy_headers: Vec<HeaderName>,
    /// For the whole question; 504 beyond.
    pub timeout: Duration,
}

impl ForwardAuth {
    /// Every request waits for it.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
}

/// How a service is asked and understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `auth_request`: `X-Original-URL` and `X-Original-Method`; 401 and 403 are refusals, what is
    /// neither they nor 2xx is a failure.
    Nginx,
    /// `forward_auth`: `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`; what is not 2xx
    /// is the answer to the client.
    Caddy,
    /// `ForwardAuth`: as Caddy, and the cookies of a 2xx reach the client.
    Traefik,
}

impl Dialect {
    pub const ALL: [(&'static str, Self); 3] = [
        ("nginx", Self::Nginx),
        ("caddy", Self::Caddy),
        ("traefik", Self::Traefik),
    ];
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, dialect)| dialect == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// `deprecated = { since = "2026-01-01", sunset = "2027-01-01", link = "https://…" }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecated {
    /// `Deprecation: @unix` (RFC 9745), from the beginning of this day (UTC).
    pub since: Date,
    /// `Sunset` (RFC 8594): from the beginning of this day (UTC) the route answers 410.
    pub sunset: Option<Date>,
    /// `Link: <…>; rel="deprecation"`: what to do instead.
    pub link: Option<HeaderValue>,
}

/// The beginning of a day in UTC.
pub fn start_of(day: Date) -> SystemTime {
    day.midnight().assume_utc().into()
}
