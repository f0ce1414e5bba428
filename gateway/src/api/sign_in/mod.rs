//! Signing in and out, by a browser: the pages under `/auth` and the gateway's first page.
//!
//! Requests of the own domain come in as for all of [`api`](super); out go pages and redirects that
//! work without scripts. [`auth::oauth`] speaks with GitHub and GitLab, [`auth::identity`] knows the
//! users and keeps the sessions. What is here is the part in between: cookies (`cookies.rs`), where
//! requests come from (`guard.rs`), what a failure is called (`problem.rs`), how it looks (`pages`).
//!
//! Addresses are made of the configured `domain`, never of a request's `Host`.

mod account;
mod cookies;
pub(super) mod guard;
mod local;
mod logout;
mod me;
pub(super) mod pages;
pub(super) mod problem;
mod provider;
pub(super) mod request;
mod session;
mod set_up;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use auth::{
    Secret,
    fetch::{Fetch, FetchSettings, TrustError},
    identity::Identity,
    oauth::{self, Foundation, Kind, LoginError, Logins, ProviderConfig, Settings, SettingsError},
    redirect::{Allowed, NoOrigin},
    token::TokenError,
};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Origin, Vouching, caller::Attempts};
use crate::{
    config::{self, Config},
    identity::{Issuing, Opened},
    tunnel::Tunnels,
};

/// How often sign-ins that were used and are expired are forgotten.
const SWEEP: Duration = Duration::from_secs(5 * 60);

/// Steps of signing in, the provider's answers among them, that one client may take, and their
/// window. A household or a class behind one address takes a few dozen.
const STEPS: (u64, Duration) = (300, Duration::from_secs(60));

/// What signing in rests on. A reload swaps what the configuration says of it.
#[derive(Debug)]
pub struct SignIn {
    /// The gateway's own host.
    domain: String,
    identity: Identity,
    issuing: Option<Arc<Issuing>>,
    /// The agents there may be, for who looks at their tunnels.
    tunnels: Option<Arc<Tunnels>>,
    fetch: Fetch,
    ways: ArcSwap<Ways>,
}

/// The ways to sign in, as configured.
#[derive(Debug)]
pub struct Ways {
    /// Such as `https://gw.example.com:8443`.
    origin: Url,
    logins: Logins,
    /// Accounts with a password of their own may sign in.
    local: bool,
    /// Where a browser may be sent afterwards.
    return_to: Allowed,
    /// How long a session lives.
    lifetime: Duration,
}

/// What [`Ways`] are made of.
struct Rests<'a> {
    config: &'a Config,
    origin: Url,
    identity: &'a Identity,
    fetch: &'a Fetch,
}

/// Why nobody can sign in as configured.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error("auth.{0}")]
    Provider(#[from] SettingsError),
    #[error("auth.redirects: {0}")]
    Redirects(#[from] NoOrigin),
    #[error("the domain makes no address: {0}")]
    Domain(#[from] url::ParseError),
    #[error("auth.jwt: {0}")]
    Token(#[from] TokenError),
    #[error("cannot call out to providers: {0}")]
    Trust(#[from] TrustError),
}

impl SignIn {
    /// For the own host `domain`. `https_port` is where browsers reach it.
    pub fn new(
        config: &Config,
        domain: &str,
        https_port: Option<u16>,
        opened: &Opened,
    ) -> Result<Self, SignInError> {
        let fetch = Fetch::new(&FetchSettings::default())?;
        let clock = Arc::clone(opened.identity.clock());
        let address = origin(config, domain, https_port)?;
        let keys = opened.tokens.as_ref();
        let issuing = Issuing::new(config, domain, &address, keys, clock)?;
        let ways = Ways::new(&Rests {
            config,
            origin: address,
            identity: &opened.identity,
            fetch: &fetch,
        })?;
        Ok(Self {
            domain: domain.to_owned(),
            identity: opened.identity.clone(),
            issuing: issuing.map(Arc::new),
            tunnels: None,
            fetch,
            ways: ArcSwap::from_pointee(ways),
        })
    }

    /// With the agents that people bring.
    pub fn with_tunnels(self, tunnels: Option<Arc<Tunnels>>) -> Self {
        Self { tunnels, ..self }
    }

    /// Users, sessions, keys and tunnels.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where browsers reach the gateway now, such as `https://gw.example.com:8443`.
    pub(super) fn origin(&self) -> Url {
        self.ways.load().origin.clone()
    }

    /// The ways of another configuration, to be [`replace`](Self::replace)d.
    pub fn prepare(&self, config: &Config, https_port: Option<u16>) -> Result<Ways, SignInError> {
        Ways::new(&Rests {
            config,
            origin: origin(config, &self.domain, https_port)?,
            identity: &self.identity,
            fetch: &self.fetch,
        })
    }

    /// From now on people sign in by these.
    pub fn replace(&self, ways: Ways) {
        if let Some(issuing) = &self.issuing {
            issuing.rename(&ways.origin);
        }
        self.ways.store(Arc::new(ways));
    }

    /// What signs tokens about users; `None` as long as there are no keys.
    pub fn issuing(&self) -> Option<Arc<Issuing>> {
        self.issuing.clone()
    }

    /// The link that makes the first account, as long as there is none and nobody vouches for
    /// people. It is a secret.
    pub async fn set_up_link(&self) -> Option<Secret> {
        let ways = self.ways.load_full();
        if ways.logins.kinds().next().is_some() || !ways.local {
            return None;
        }
        let token = match self.identity.setup_link().await {
            Ok(token) => token?,
            Err(error) => {
                tracing::error!(%error, "no set-up link could be made");
                return None;
            }
        };
        let mut link = ways.origin.join("/auth/setup").ok()?;
        link.query_pairs_mut().append_pair("token", token.expose());
        Some(Secret::new(link))
    }

    /// Forgets what is over, now and then.
    pub async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        let mut every = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = stop.cancelled() => return,
            }
            let ways = self.ways.load_full();
            if let Err(error) = ways.logins.sweep().await {
                tracing::warn!(%error, "used sign-ins are not forgotten; trying again later");
            }
        }
    }
}

impl Ways {
    fn new(rests: &Rests<'_>) -> Result<Self, SignInError> {
        let auth = &rests.config.auth;
        let redirects: Vec<Url> = auth
            .redirects
            .iter()
            .map(|origin| origin.parse())
            .collect::<Result<_, _>>()?;
        let return_to = Allowed::with_origins(&redirects)?;
        let providers = [(Kind::GitHub, &auth.github), (Kind::GitLab, &auth.gitlab)];
        let settings = Settings {
            origin: rests.origin.clone(),
            providers: providers
                .into_iter()
                .filter_map(|(kind, config)| Some(provider(kind, config.as_ref()?)))
                .collect(),
            return_to: return_to.clone(),
        };
        let foundation = Foundation {
            fetch: rests.fetch.clone(),
            store: Arc::clone(rests.identity.store()),
            clock: Arc::clone(rests.identity.clock()),
            master_key: Arc::clone(rests.identity.seal()),
        };
        Ok(Self {
            origin: rests.origin.clone(),
            logins: Logins::new(settings, foundation)?,
            local: auth.local,
            return_to,
            lifetime: auth.session.lifetime,
        })
    }

    fn kinds(&self) -> Vec<Kind> {
        self.logins.kinds().collect()
    }
}

fn provider(kind: Kind, config: &config::auth::Provider) -> ProviderConfig {
    ProviderConfig {
        kind,
        client_id: config.client_id.clone(),
        client_secret: Secret::new(config.client_secret.expose()),
        admins: config.admins.clone(),
        base_url: config.base_url.clone(),
    }
}

/// Where browsers reach the gateway. Without an HTTPS listener of its own, a proxy that it trusts
/// speaks HTTPS for it, or else nobody does.
fn origin(config: &Config, domain: &str, https_port: Option<u16>) -> Result<Url, url::ParseError> {
    let origin = match https_port {
        Some(443) => format!("https://{domain}"),
        Some(port) => format!("https://{domain}:{port}"),
        None if config.listen.trusted_proxies.is_empty() => format!("http://{domain}"),
        None => format!("https://{domain}"),
    };
    Url::parse(&origin)
}

#[async_trait]
impl Vouching for SignIn {
    async fn owner_of(
        &self,
        provider: Kind,
        token: &Secret,
    ) -> Result<(oauth::Identity, bool), LoginError> {
        let ways = self.ways.load_full();
        ways.logins.owner_of(provider, token).await
    }
}

/// The pages, for any router.
pub(super) fn routes<S>(sign_in: Arc<SignIn>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let steps = Arc::new(Attempts::new(STEPS));
    // What costs a call to a provider, a hash or a look at something secret.
    let limited = Router::new()
        .route("/auth/me", get(me::me))
        .route("/auth/setup", get(set_up::page).post(set_up::finish))
        .route("/auth/github", get(provider::begin_github))
        .route("/auth/gitlab", get(provider::begin_gitlab))
        .route("/auth/github/callback", get(provider::complete_github))
        .route("/auth/gitlab/callback", get(provider::complete_gitlab))
        .route("/auth/github/authorize", get(provider::authorize))
        .route("/auth/gitlab/authorize", get(provider::authorize))
        .route_layer(middleware::from_fn_with_state(steps, limit));
    Router::new()
        .route("/", get(account::home))
        // Passwords have limits of their own, by account as well.
        .route("/auth/login", get(local::page).post(local::sign_in))
        .route("/auth/logout", get(logout::page).post(logout::sign_out))
        .route(pages::STYLE_PATH, get(pages::style))
        .merge(limited)
        .with_state(sign_in)
}

/// Counts a step of signing in, and asks a client that takes too many to wait.
async fn limit(State(steps): State<Arc<Attempts>>, request: Request, next: Next) -> Response {
    let ip = Origin::of(request.extensions()).ip;
    match steps.count(ip) {
        Ok(()) => next.run(request).await,
        Err(wait) => problem::too_many(wait),
    }
}
