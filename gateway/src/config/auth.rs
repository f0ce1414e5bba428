//! Identity: where its state is, what it is sealed with, and how people sign in.

use std::time::Duration;

use time::Date;
use url::Url;

use super::value::Secret;

/// `store`, `master_key`, `expected_migration` and `[auth]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// `store = "postgres://…"`, a secret because it may hold a password; `None` is the embedded
    /// file under `data_dir`.
    pub store: Option<Secret>,
    /// 64 hexadecimal digits that [`auth::seal::MasterKey`] takes. `None` only with `dev`, or when
    /// nothing needs it.
    pub master_key: Option<Secret>,
    /// `expected_migration`: what the store must have been migrated to for the gateway to be ready.
    pub expected_migration: Option<String>,
    pub github: Option<Provider>,
    pub gitlab: Option<Provider>,
    /// `local`: accounts with a password of their own. On unless there is a provider.
    pub local: bool,
    /// `redirects`: origins besides the gateway's own that sign-in may send people back to, such
    /// as `https://app.example.com`, without a slash at the end.
    pub redirects: Vec<String>,
    pub session: SessionTimes,
    pub jwt: Tokens,
    pub legacy: Option<Legacy>,
    /// Whether anything in the configuration needs users, keys or sessions: `domain`, `[auth]`,
    /// or `access` by key or session.
    pub used: bool,
}

/// `github = { client_id = "…", client_secret = "…", admins = ["alice"] }`
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub client_id: String,
    pub client_secret: Secret,
    /// User names at the provider who are administrators here.
    pub admins: Vec<String>,
    /// `base_url` of an instance of one's own; `None` is the public one.
    pub base_url: Option<Url>,
}

/// `session = { idle = "12h", lifetime = "7d" }`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// A session that is not used for as long has ended.
    pub idle: Duration,
    /// A session ends after it, however much it is used.
    pub lifetime: Duration,
}

impl Default for SessionTimes {
    fn default() -> Self {
        Self {
            // A working day, with the night after it.
            idle: Duration::from_secs(12 * 3600),
            lifetime: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// `jwt = { … }`: the tokens that the gateway signs for others to verify.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    pub signing: Signing,
    /// How long a token is good.
    pub lifetime: Duration,
    /// How often the key that signs changes; not with [`Signing::Hs256`].
    pub rotate: Duration,
    /// The `aud` of the tokens; `None` is the gateway's domain.
    pub audience: Option<String>,
}

impl Tokens {
    /// Whoever is given a token cannot be told that it was revoked, so it is short-lived.
    pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
    pub const ROTATE: Duration = Duration::from_secs(30 * 24 * 3600);
}

/// How tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Keys of the gateway's own, published as a JWKS.
    EdDsa,
    /// A secret shared with whoever verifies.
    Hs256(Secret),
}

/// `legacy = { accept_body_user_id = true, sunset = "2027-06-30" }`: callers of before there were
/// keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// Takes the `user_id` in a body for who is calling.
    pub accept_body_user_id: bool,
    /// From the beginning of this day (UTC) they are refused.
    pub sunset: Option<Date>,
}
