//! Signing in with GitHub and GitLab: the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636).
//!
//! [`Logins::begin`] gives the address at the provider a browser is sent to, [`Logins::complete`]
//! takes what the browser brings back and asks the provider who that was: an [`Identity`].
//! [`Logins::exchange`] does the same for a program that has a token of the provider already.
//!
//! A sign-in that was begun costs no memory and no write: all of it is in the `state` parameter,
//! sealed under the master key, and in a cookie (`state.rs`). So a flood of them fills nothing, and
//! another gateway with the same key can complete what this one began. Completing it writes one
//! record, under the condition that it is not there: of two requests with one state, one loses.
//!
//! Nothing of a provider's token is kept, and none of it is in an error or a log.

mod api;
mod callback;
mod error;
mod github;
mod gitlab;
mod provider;
mod state;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use self::api::Api;
use self::provider::Provider;
use self::state::Pending;
use crate::Secret;
use crate::fetch::Fetch;
use crate::redirect::{Allowed, Target};
use crate::seal::MasterKey;
use crate::store::{Clock, Store, StoreError};

pub use self::callback::Callback;
pub use self::error::{LoginError, Problem, SettingsError, Step};
pub use self::provider::{Identity, Kind, ProviderConfig};
pub use self::state::{BrowserNonce, STATE_TTL, StateError};

/// Sign-ins and exchanges that talk to providers at once; one more is [`LoginError::Busy`]. It
/// bounds the connections, and how fast somebody who makes up codes can write records.
const AT_ONCE: usize = 32;
/// In bytes. Those of both providers are shorter than 300; signed ones would be about 1000.
const MAX_TOKEN: usize = 4096;

/// Which providers there are, and the names around them.
#[derive(Debug)]
pub struct Settings {
    /// The gateway's own origin, such as `https://gw.example.com`. Callbacks are under it, whatever
    /// `Host` a request has.
    pub origin: Url,
    pub providers: Vec<ProviderConfig>,
    /// Where a browser may be sent after it signed in.
    pub return_to: Allowed,
}

/// What sign-ins rest on.
#[derive(Clone, Debug)]
pub struct Foundation {
    pub fetch: Fetch,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub master_key: Arc<MasterKey>,
}

/// Signs people in with the providers of the configuration.
#[derive(Debug)]
pub struct Logins {
    providers: Vec<Provider>,
    return_to: Allowed,
    foundation: Foundation,
    at_once: Semaphore,
}

/// A sign-in that was begun.
pub struct Begun {
    /// Where to send the browser.
    pub authorize_url: Url,
    /// To be set as a cookie for [`STATE_TTL`]: `HttpOnly`, `Secure`, `SameSite=Lax`, and a name that
    /// begins with `__Host-`, so that no other host of the domain can plant one.
    pub browser: BrowserNonce,
}

/// Without the state in the address.
impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.authorize_url.host_str();
        f.debug_struct("Begun")
            .field("at", &host)
            .finish_non_exhaustive()
    }
}

/// A sign-in that came to its end.
#[derive(Clone, Debug)]
pub struct Completed {
    pub identity: Identity,
    /// Where the browser wanted to go.
    pub return_to: Target,
}

impl Logins {
    pub fn new(settings: Settings, foundation: Foundation) -> Result<Self, SettingsError> {
        let origin = &settings.origin;
        let providers = settings.providers.into_iter();
        Ok(Self {
            providers: providers
                .map(|config| Provider::new(config, origin, &foundation.fetch))
                .collect::<Result<_, _>>()?,
            return_to: settings.return_to,
            foundation,
            at_once: Semaphore::new(AT_ONCE),
        })
    }

    /// The providers there are, in the order of the configuration.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.providers.iter().map(Provider::kind)
    }

    /// Begins a sign-in. `cookie` is the one this browser already has, if any: sign-ins that it
    /// began in other tabs stay good. `return_to` is what the query asked for.
    pub fn begin(
        &self,
        kind: Kind,
        return_to: Option<&str>,
        cookie: Option<&str>,
    ) -> Result<Begun, LoginError> {
        let provider = self.provider(kind)?;
        let return_to = match return_to {
            Some(text) => self.return_to.check(text)?,
            None => Target::home(),
        };
        let browser = match cookie.and_then(BrowserNonce::parse) {
            Some(browser) => browser,
            None => BrowserNonce::mint()?,
        };
        let pending = Pending::new(kind, &return_to, &browser, self.now())?;
        let state = pending.seal(&self.foundation.master_key)?;
        let authorize_url = provider.authorize_url(state, &pending.verifier(&browser));
        Ok(Begun {
            authorize_url,
            browser,
        })
    }

    /// Completes the sign-in that the browser with `cookie` came back from. `kind` is the provider
    /// whose callback was called.
    ///
    /// The state is used up before the provider is asked, so whatever comes of it, a second request
    /// with it is refused.
    pub async fn complete(
        &self,
        kind: Kind,
        callback: &Callback,
        cookie: Option<&str>,
    ) -> Result<Completed, LoginError> {
        let provider = self.provider(kind)?;
        let state = callback.state.as_ref().ok_or(StateError::Missing)?;
        let browser = cookie
            .and_then(BrowserNonce::parse)
            .ok_or(StateError::OtherBrowser)?;
        let key = &self.foundation.master_key;
        let pending = Pending::open(state.expose(), key, kind, &browser, self.now())?;
        let _place = self.place()?;
        pending.claim(&*self.foundation.store).await?;
        let identity = self.identify(provider, callback, &pending, &browser).await;
        let identity = identity.map_err(|problem| provider.blame(problem))?;
        // What was allowed when the sign-in began may not be any more.
        let return_to = self.return_to.check(pending.return_to());
        Ok(Completed {
            identity,
            return_to: return_to.unwrap_or_else(|_| Target::home()),
        })
    }

    /// Who the owner of `token` is, if the provider gave it to this gateway's own application.
    /// Another site's token is refused: its operator could sign in here as its visitors.
    pub async fn exchange(&self, kind: Kind, token: &Secret) -> Result<Identity, LoginError> {
        let provider = self.provider(kind)?;
        if token.expose().len() > MAX_TOKEN {
            return Err(provider.blame(Problem::InvalidToken));
        }
        let _place = self.place()?;
        let api = self.api();
        let identity = match provider.check_audience(&api, token).await {
            Ok(()) => provider.identity(&api, token).await,
            Err(problem) => Err(problem),
        };
        identity.map_err(|problem| provider.blame(problem))
    }

    /// Whether the configuration lists this login as an administrator of this provider. A login at
    /// one provider says nothing of the same at another.
    pub fn is_admin(&self, identity: &Identity) -> bool {
        self.provider(identity.provider)
            .is_ok_and(|provider| provider.lists_admin(&identity.login))
    }

    /// Forgets the states that were used and are expired by now; how many. To be called every few
    /// minutes by one gateway or all.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        state::sweep(&*self.foundation.store, self.now()).await
    }

    async fn identify(
        &self,
        provider: &Provider,
        callback: &Callback,
        pending: &Pending,
        browser: &BrowserNonce,
    ) -> Result<Identity, Problem> {
        if let Some(code) = &callback.error {
            return Err(Problem::of_code(Step::Authorize, code));
        }
        let Some(code) = &callback.code else {
            return Err(Problem::Missing {
                step: Step::Authorize,
                field: "code",
            });
        };
        let api = self.api();
        let token = provider
            .redeem(&api, code, &pending.verifier(browser))
            .await?;
        provider.identity(&api, &token).await
    }

    fn provider(&self, kind: Kind) -> Result<&Provider, LoginError> {
        self.providers
            .iter()
            .find(|provider| provider.kind() == kind)
            .ok_or(LoginError::NotConfigured(kind))
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, LoginError> {
        self.at_once.try_acquire().map_err(|_| LoginError::Busy)
    }

    fn api(&self) -> Api<'_> {
        Api {
            fetch: &self.foundation.fetch,
            now: self.now(),
        }
    }

    /// Since 1970. A clock before that is as good as one that says 1970.
    fn now(&self) -> Duration {
        since_epoch(self.foundation.clock.now())
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
