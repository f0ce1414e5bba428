//! A provider of the configuration, and what is the same about all of them.

use std::fmt;

use oauth2::PkceCodeVerifier;
use url::Url;

use super::api::Api;
use super::token::Application;
use super::{LoginError, Problem, SettingsError, github, gitlab};
use crate::Secret;
use crate::fetch::Fetch;

/// Which provider.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    GitHub,
    GitLab,
}

impl Kind {
    /// `github` or `gitlab`: in paths, in the store and in answers of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
        }
    }

    /// The provider of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::GitHub, Self::GitLab]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// The path the provider sends browsers back to: `/auth/github/callback`. This is what has to be
    /// registered there, behind the gateway's origin.
    pub fn callback_path(self) -> &'static str {
        match self {
            Self::GitHub => "/auth/github/callback",
            Self::GitLab => "/auth/gitlab/callback",
        }
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Self::GitHub => 1,
            Self::GitLab => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::GitHub, Self::GitLab]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// As people write it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
        })
    }
}

/// A provider as the configuration has it.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    pub kind: Kind,
    pub client_id: String,
    pub client_secret: Secret,
    /// Logins at this provider, in any case, who may administer the gateway.
    pub admins: Vec<String>,
    /// None is `https://github.com` or `https://gitlab.com`. Otherwise a GitHub Enterprise Server,
    /// whose API is under `/api/v3`, or a GitLab of one's own, also under a path.
    pub base_url: Option<Url>,
}

/// Who somebody is at a provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    pub provider: Kind,
    /// The provider's id of the account. It stays when the login changes, and is never given out again.
    pub subject: String,
    /// The name the account goes by. Its owner can change it, and somebody else can take it then.
    pub login: String,
    pub name: Option<String>,
    /// The primary address, if the provider has verified it.
    pub email: Option<String>,
    pub avatar_url: Option<String>,
}

/// Where a provider is asked what.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) authorize: Url,
    pub(super) token: Url,
    pub(super) audience: Url,
    pub(super) user: Url,
    pub(super) emails: Url,
}

/// A provider that people can sign in with.
#[derive(Debug)]
pub(super) struct Provider {
    config: ProviderConfig,
    endpoints: Endpoints,
    application: Application,
}

impl Provider {
    pub(super) fn new(
        config: ProviderConfig,
        origin: &Url,
        fetch: &Fetch,
    ) -> Result<Self, SettingsError> {
        let kind = config.kind;
        if config.client_id.trim().is_empty() {
            return Err(SettingsError::ClientId(kind));
        }
        if config.client_secret.expose().trim().is_empty() {
            return Err(SettingsError::ClientSecret(kind));
        }
        let (endpoints, scopes) = match kind {
            Kind::GitHub => (github::endpoints(&config), github::SCOPES),
            Kind::GitLab => (gitlab::endpoints(&config), gitlab::SCOPES),
        };
        let endpoints = endpoints.ok_or(SettingsError::BaseUrl(kind))?;
        fetch
            .check(&endpoints.token)
            .map_err(|_| SettingsError::PlainHttp(kind))?;
        let callback = under(origin, kind.callback_path());
        let callback = callback.ok_or(SettingsError::Origin(kind))?;
        Ok(Self {
            application: Application::new(&config, &endpoints, callback, scopes),
            config,
            endpoints,
        })
    }

    pub(super) fn kind(&self) -> Kind {
        self.config.kind
    }

    pub(super) fn lists_admin(&self, login: &str) -> bool {
        let mut admins = self.config.admins.iter();
        admins.any(|admin| admin.eq_ignore_ascii_case(login))
    }

    pub(super) fn blame(&self, problem: Problem) -> LoginError {
        LoginError::Provider {
            provider: self.config.kind,
            problem,
        }
    }

    pub(super) fn authorize_url(&self, state: String, verifier: &PkceCodeVerifier) -> Url {
        self.application.authorize_url(state, verifier)
    }

    /// The token that `code` stands for.
    pub(super) async fn redeem(
        &self,
        api: &Api<'_>,
        code: &Secret,
        verifier: &PkceCodeVerifier,
    ) -> Result<Secret, Problem> {
        self.application.redeem(api, code, verifier).await
    }

    /// Refuses a token that was given to another application, or to none.
    pub(super) async fn check_audience(
        &self,
        api: &Api<'_>,
        token: &Secret,
    ) -> Result<(), Problem> {
        match self.config.kind {
            Kind::GitHub => github::check_audience(api, &self.endpoints, &self.config, token).await,
            Kind::GitLab => gitlab::check_audience(api, &self.endpoints, &self.config, token).await,
        }
    }

    /// Who the owner of `token` is.
    pub(super) async fn identity(
        &self,
        api: &Api<'_>,
        token: &Secret,
    ) -> Result<Identity, Problem> {
        match self.config.kind {
            Kind::GitHub => github::identity(api, &self.endpoints, token).await,
            Kind::GitLab => gitlab::identity(api, &self.endpoints, token).await,
        }
    }
}

/// `path` behind `base`, which may have a path itself. None if `base` is no address of a server.
pub(super) fn under(base: &Url, path: &str) -> Option<Url> {
    let usable = matches!(base.scheme(), "https" | "http")
        && base.has_host()
        && base.username().is_empty()
        && base.password().is_none()
        && base.query().is_none()
        && base.fragment().is_none();
    let mut url = usable.then(|| base.clone())?;
    let joined = format!("{}{path}", base.path().trim_end_matches('/'));
    url.set_path(&joined);
    Some(url)
}
