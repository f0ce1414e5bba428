//! The tokens that the gateway signs about its users.
//!
//! A user goes in, with whom the token is for and how long it is good; a JSON Web Token comes out
//! that others check with `/.well-known/jwks.json`, or with the shared secret. Its issuer is where
//! browsers reach the gateway, which a reload may change. Nothing here reads the store.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use auth::{
    directory::UserEntry,
    store::Clock,
    token::{
        Claims, Grant, Issued, Issuer, Keys, OwnVerifier, Refusal, Secret, Signer, TokenError,
    },
};
use serde_json::{Map, Value};
use url::Url;

use crate::config::{Config, auth::Signing};

/// Signs tokens about users, and knows them again.
#[derive(Debug)]
pub struct Issuing {
    clock: Arc<dyn Clock>,
    signer: Signer,
    audience: String,
    lifetime: Duration,
    named: ArcSwap<Named>,
}

/// Under the name of the gateway.
#[derive(Debug)]
struct Named {
    issuer: Issuer,
    verifier: OwnVerifier,
}

impl Issuing {
    /// As configured, for the own host `domain` that browsers reach at `origin`; `None` as long as
    /// there is nothing to sign with.
    pub fn new(
        config: &Config,
        domain: &str,
        origin: &Url,
        keys: Option<&Arc<Keys>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, TokenError> {
        let jwt = &config.auth.jwt;
        let signer = match (&jwt.signing, keys) {
            (Signing::EdDsa, None) => return Ok(None),
            (Signing::EdDsa, Some(keys)) => Signer::Keys(Arc::clone(keys)),
            (Signing::Hs256(secret), _) if config.dev => {
                Signer::Secret(Secret::for_development(secret.expose())?)
            }
            (Signing::Hs256(secret), _) => Signer::Secret(Secret::parse(secret.expose())?),
        };
        let audience = jwt.audience.clone().unwrap_or_else(|| domain.to_owned());
        let named = Named::new(&clock, &signer, &audience, origin);
        Ok(Some(Self {
            named: ArcSwap::from_pointee(named),
            lifetime: jwt.lifetime,
            clock,
            signer,
            audience,
        }))
    }

    /// From now on browsers reach the gateway at `origin`. Tokens of another name are not known
    /// again.
    pub fn rename(&self, origin: &Url) {
        let named = Named::new(&self.clock, &self.signer, &self.audience, origin);
        self.named.store(Arc::new(named));
    }

    /// Whom tokens are for unless it is said.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// How long tokens are good unless it is said.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// What the time is for tokens.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// A token about `user`, for `audience`.
    pub fn issue(
        &self,
        user: &UserEntry,
        audience: &str,
        lasts: Duration,
    ) -> Result<Issued, TokenError> {
        let mut rest = Map::new();
        rest.insert("role".to_owned(), Value::from(user.role.to_string()));
        if let Some(email) = user.email.as_deref() {
            rest.insert("email".to_owned(), Value::from(email));
        }
        self.named.load().issuer.issue(Grant {
            subject: user.id.to_string(),
            audience: audience.to_owned(),
            lasts,
            provider: Some(user.provider.to_string()),
            username: Some(user.username.to_string()),
            rest,
        })
    }

    /// The claims of `token`, if it is one of these and for [`audience`](Self::audience).
    pub fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.named.load().verifier.verify(token)
    }
}

impl Named {
    fn new(clock: &Arc<dyn Clock>, signer: &Signer, audience: &str, origin: &Url) -> Self {
        let name = origin.origin().ascii_serialization();
        let issuer = Issuer::new(Arc::clone(clock), name, signer.clone());
        Self {
            verifier: issuer.verifier([audience]),
            issuer,
        }
    }
}

#[cfg(test)]
mod tests {
    use auth::{
        store::ManualClock,
        user::{Provider, Role, UserId},
    };

    use super::*;

    fn issuing(clock: &ManualClock) -> Issuing {
        let secret = Secret::parse("0d5f8a71c2e94b36a7d0f1e2c3b4a59687766554").unwrap();
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let (signer, origin) = (Signer::Secret(secret), origin("https://gw.test"));
        let named = Named::new(&clock, &signer, "mesh", &origin);
        Issuing {
            clock,
            signer,
            audience: "mesh".to_owned(),
            lifetime: Duration::from_secs(900),
            named: ArcSwap::from_pointee(named),
        }
    }

    fn origin(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn alice() -> UserEntry {
        UserEntry {
            id: UserId(7),
            provider: Provider::GitHub,
            username: "alice".into(),
            email: None,
            role: Role::Admin,
            disabled: false,
        }
    }

    #[test]
    fn a_token_says_who_and_ends_with_its_lifetime() {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000));
        let issuing = issuing(&clock);
        let made = issuing.issue(&alice(), "mesh", issuing.lifetime()).unwrap();
        let claims = issuing.verify(&made.token).unwrap();
        assert_eq!(claims.sub.as_deref(), Some("7"));
        assert_eq!(claims.username.as_deref(), Some("alice"));
        assert_eq!(claims.rest["role"], "admin");
        assert!(!claims.rest.contains_key("email"));
        assert_eq!(claims.expires(), Some(made.expires));
        clock.advance(Duration::from_secs(900 + 59));
        assert!(issuing.verify(&made.token).is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!(issuing.verify(&made.token), Err(Refusal::Expired));
    }

    #[test]
    fn a_token_for_others_or_of_another_name_is_not_known_again() {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000));
        let issuing = issuing(&clock);
        let lasts = Duration::from_secs(60);
        let other = issuing.issue(&alice(), "app.test", lasts).unwrap();
        assert_eq!(issuing.verify(&other.token), Err(Refusal::Audience));
        let before = issuing.issue(&alice(), "mesh", lasts).unwrap();
        issuing.rename(&origin("https://gw.test:8443"));
        assert_eq!(issuing.verify(&before.token), Err(Refusal::Issuer));
        let after = issuing.issue(&alice(), "mesh", lasts).unwrap();
        assert!(issuing.verify(&after.token).is_ok());
    }
}
