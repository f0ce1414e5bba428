//! `jwt`: a token that somebody else signed.
//!
//! The keys of the issuer are fetched in the background, again every hour, and when a token names
//! a key that is not among them; at most every 30 seconds whoever asks for it. A request waits for
//! keys only while there are none at all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use auth::{
    fetch::Fetch,
    store::Clock,
    token::{Algorithm, Cause, Claims, KeyCache, KeySet, Refresh, Refusal, Verifier},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use serde_json::Value;
use tokio::sync::Notify;

use super::{
    asked::{Passed, Until},
    who,
};
use crate::config::{self, access::Algorithm as Configured};

/// An issuer, as one route trusts it.
#[derive(Debug)]
pub(super) struct Jwt {
    verifier: Verifier,
    claims: Vec<(String, HeaderName)>,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
}

/// The keys of an issuer.
#[derive(Debug)]
struct Keys {
    source: Source,
    cache: KeyCache,
    fetch: Fetch,
    clock: Arc<dyn Clock>,
    running: AtomicBool,
    /// Rung when the task that may fetch has ended.
    done: Notify,
    /// The second in which the age of the keys was looked at last.
    looked: AtomicU64,
}

#[derive(Debug)]
enum Source {
    Jwks(String),
    /// The address of the discovery document (OpenID Connect Discovery 1.0 §4), and the issuer it
    /// must name.
    Issuer {
        document: String,
        issuer: String,
    },
}

/// Why a token is no proof.
#[derive(Debug)]
pub(super) enum Rejected {
    Token(Refusal),
    /// There are no keys, and none could be fetched.
    NoKeys,
}

impl Jwt {
    pub(super) fn new(
        config: &config::access::JwtAccess,
        fetch: Fetch,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let verifier = Verifier::new(Arc::clone(&clock), config.audience.iter().cloned())
            .issuers(config.issuer.iter().cloned())
            .algorithms(config.algorithms.iter().map(|algorithm| known(*algorithm)));
        let source = match (&config.jwks, &config.issuer) {
            (Some(url), _) => Source::Jwks(url.to_string()),
            (None, issuer) => {
                let issuer = issuer.clone().unwrap_or_default();
                let base = issuer.trim_end_matches('/');
                Source::Issuer {
                    document: format!("{base}/.well-known/openid-configuration"),
                    issuer,
                }
            }
        };
        Self {
            verifier,
            claims: config.claims.clone(),
            keys: Arc::new(Keys {
                source,
                cache: KeyCache::new(Refresh::default()),
                fetch,
                clock: Arc::clone(&clock),
                running: AtomicBool::new(false),
                done: Notify::new(),
                looked: AtomicU64::new(0),
            }),
            clock,
        }
    }

    /// Who `token` says it is.
    pub(super) async fn check(&self, token: &str) -> Result<Passed, Rejected> {
        let keys = self.keys.current().await.ok_or(Rejected::NoKeys)?;
        let claims = match self.verifier.verify(token, &keys) {
            Err(Refusal::UnknownKey) => {
                let fresh = self
                    .keys
                    .fetched(Cause::UnknownKey)
                    .await
                    .ok_or(Rejected::NoKeys)?;
                self.verifier.verify(token, &fresh)
            }
            other => other,
        };
        let claims = claims.map_err(Rejected::Token)?;
        Ok(Passed {
            headers: self.headers(&claims),
            until: match claims.expires() {
                Some(end) => Until::At(end, Arc::clone(&self.clock)),
                None => Until::Always,
            },
            ..Passed::default()
        })
    }

    fn headers(&self, claims: &Claims) -> Vec<(HeaderName, HeaderValue)> {
        if self.claims.is_empty() {
            return Vec::new();
        }
        let Ok(Value::Object(said)) = serde_json::to_value(claims) else {
            return Vec::new();
        };
        let headers = self.claims.iter().filter_map(|(claim, name)| {
            let value = said.get(claim).and_then(text)?;
            Some((name.clone(), who::value(&value)?))
        });
        headers.collect()
    }
}

impl Keys {
    /// The keys there are, fetched first if there are none.
    async fn current(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let now = self.clock.now();
        let Some(keys) = self.cache.keys(now) else {
            return self.fetched(Cause::Age).await;
        };
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.looked.swap(second, Ordering::Relaxed) != second {
            self.start(Cause::Age);
        }
        Some(keys)
    }

    /// The keys once somebody has fetched them; at once if it is too early to fetch them again.
    async fn fetched(self: &Arc<Self>, cause: Cause) -> Option<Arc<KeySet>> {
        let mut done = std::pin::pin!(self.done.notified());
        done.as_mut().enable();
        self.start(cause);
        done.await;
        self.cache.keys(self.clock.now())
    }

    /// Looks on a task of its own whether it is time to fetch, and does. It goes on when the
    /// request that was the reason is gone.
    fn start(self: &Arc<Self>, cause: Cause) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = Running(Arc::clone(self));
        tokio::spawn(async move {
            let keys = &task.0;
            let Some(fetch) = keys.cache.begin(cause, keys.clock.now()) else {
                return;
            };
            match keys.fetch().await {
                Ok(set) => fetch.succeeded(set, keys.clock.now()),
                Err(error) => {
                    drop(fetch);
                    tracing::warn!(%error, "the keys of an issuer of tokens cannot be fetched");
                }
            }
        });
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let url = match &self.source {
            Source::Jwks(url) => url.clone(),
            Source::Issuer { document, issuer } => {
                let said = self.get(document).await?;
                let said: Value =
                    serde_json::from_slice(&said).map_err(|_| format!("{document} is no JSON"))?;
                if said.get("issuer").and_then(Value::as_str) != Some(issuer) {
                    return Err(format!("{document} is of another issuer than {issuer}"));
                }
                let url = said.get("jwks_uri").and_then(Value::as_str);
                url.ok_or_else(|| format!("{document} names no jwks_uri"))?
                    .to_owned()
            }
        };
        let document = self.get(&url).await?;
        KeySet::parse(&document).map_err(|error| format!("{url}: {error}"))
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let request = Request::get(url)
            .header("accept", "application/json")
            .body(Bytes::new())
            .map_err(|_| format!("{url} is no URL"))?;
        let answer = self.fetch.send(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("{url} answered {}", answer.status().as_u16()));
        }
        Ok(answer.into_body())
    }
}

/// Tells who waits that the task has ended, however it did.
struct Running(Arc<Keys>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
        self.0.done.notify_waiters();
    }
}

/// A claim as a header: words as they are, lists with commas, anything else as JSON.
fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(text).collect();
            Some(items.join(","))
        }
        other => Some(other.to_string()),
    }
}

fn known(algorithm: Configured) -> Algorithm {
    match algorithm {
        Configured::Rs256 => Algorithm::RS256,
        Configured::Rs384 => Algorithm::RS384,
        Configured::Rs512 => Algorithm::RS512,
        Configured::Ps256 => Algorithm::PS256,
        Configured::Ps384 => Algorithm::PS384,
        Configured::Ps512 => Algorithm::PS512,
        Configured::Es256 => Algorithm::ES256,
        Configured::Es384 => Algorithm::ES384,
        Configured::EdDsa => Algorithm::EdDSA,
    }
}
