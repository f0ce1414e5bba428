//! A request as far as access is concerned, and what comes of asking.

use std::{pin::Pin, sync::Arc, time::SystemTime};

use auth::{directory::Caller, identity::Identity, store::Clock};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, header};

use crate::http::{Body, forwarded::Client};

/// A request before its handler. What is taken out of its headers reaches nobody behind.
#[derive(Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a mut HeaderMap,
    pub client: &'a Client,
    /// As the client sent it, with a port when it had one.
    pub authority: &'a HeaderValue,
    /// In normal form, without a port.
    pub host: &'a str,
    /// The path in normal form, not rewritten.
    pub path: &'a str,
    /// It wants to become a WebSocket.
    pub upgrade: bool,
}

impl Asked<'_> {
    pub(super) fn scheme(&self) -> &'static str {
        if self.client.https { "https" } else { "http" }
    }

    /// The path that routing looked at, with the query: nobody may be asked about another path
    /// than the one that is served.
    pub(super) fn target(&self) -> String {
        match self.uri.query() {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        }
    }

    /// Whether a person looks at what comes back, who can be shown a page to sign in.
    pub(super) fn is_navigation(&self) -> bool {
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        (self.method == Method::GET || self.method == Method::HEAD)
            && !self.upgrade
            && text("accept").is_some_and(|accept| accept.contains("text/html"))
            && text("x-requested-with").is_none()
            && text("sec-fetch-mode").is_none_or(|mode| mode == "navigate")
    }

    /// The value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.get_all(header::COOKIE).iter();
        cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .find(|(own, _)| own.trim() == name)
            .map(|(_, value)| value.trim())
    }

    pub(super) fn agent(&self) -> Option<&str> {
        self.headers.get(header::USER_AGENT)?.to_str().ok()
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Verdict {
    Pass(Passed),
    /// A redirect to sign-in, or what another service answered.
    Answer(Response<Body>),
}

/// Somebody who may.
#[derive(Debug, Default)]
pub struct Passed {
    /// Who it is, for the upstream.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Cookies for the client.
    pub cookies: Vec<HeaderValue>,
    pub until: Until,
}

/// How long whoever passed may stay: on a WebSocket, or while a long answer is sent.
#[derive(Clone, Debug, Default)]
pub enum Until {
    #[default]
    Always,
    /// Until the key or session ends.
    Ended(Identity, Arc<Caller>),
    /// Until then.
    At(SystemTime, Arc<dyn Clock>),
}

impl Until {
    /// Nothing ends it.
    pub fn is_always(&self) -> bool {
        matches!(self, Self::Always)
    }

    /// Resolves when they must go.
    pub fn wait(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        /// The machine's clock may be set; look at it now and then.
        const STEP: std::time::Duration = std::time::Duration::from_secs(1);
        match self {
            Self::Always => Box::pin(std::future::pending()),
            Self::Ended(identity, caller) => Box::pin(async move {
                identity.directory().ended(&caller).await;
            }),
            Self::At(end, clock) => Box::pin(async move {
                while let Ok(left) = end.duration_since(clock.now()) {
                    if left.is_zero() {
                        break;
                    }
                    tokio::time::sleep(left.min(STEP)).await;
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth::store::ManualClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_may_stay_until_then_goes_then() {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(3);
        let mut left = Until::At(end, Arc::new(clock.clone())).wait();
        let early = tokio::time::timeout(Duration::from_secs(60), &mut left).await;
        assert!(early.is_err(), "the clock stood still");
        clock.advance(Duration::from_secs(3));
        left.await;
        let mut always = Until::Always.wait();
        let never = tokio::time::timeout(Duration::from_secs(3600), &mut always).await;
        assert!(never.is_err());
    }
}
