//! What a token says, and whether it says it to us and now (RFC 7519 §4.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::error::Refusal;

/// How far the clocks of issuer and verifier may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// Claims that have a field of their own in [`Claims`], and are the issuer's to set.
pub(super) const OWN: [&str; 9] = [
    "iss", "sub", "aud", "iat", "nbf", "exp", "jti", "provider", "username",
];

/// The claims of a token whose signature and conditions hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// Times are seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Who vouched for the user at log-in; in our tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The user's name there; in our tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// All other claims.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One or several recipients.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self, wanted: &[String]) -> bool {
        match self {
            Self::One(name) => wanted.contains(name),
            Self::Several(names) => names.iter().any(|name| wanted.contains(name)),
        }
    }
}

impl Claims {
    /// The end of the token, to the second.
    pub fn expires(&self) -> Option<SystemTime> {
        let seconds = seconds(self.exp.as_ref()?).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs_f64(seconds.floor()))
    }

    pub(super) fn check(
        &self,
        issuers: &[String],
        audiences: &[String],
        leeway: Duration,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (now, leeway) = (now.as_secs_f64(), leeway.as_secs_f64());
        let end = seconds(self.exp.as_ref().ok_or(Refusal::NoExpiry)?)?;
        if now >= end + leeway {
            return Err(Refusal::Expired);
        }
        for start in [&self.nbf, &self.iat].into_iter().flatten() {
            if now + leeway < seconds(start)? {
                return Err(Refusal::NotYet);
            }
        }
        let issued = self.iss.as_ref().is_some_and(|iss| issuers.contains(iss));
        if !issuers.is_empty() && !issued {
            return Err(Refusal::Issuer);
        }
        let meant = self.aud.as_ref().is_some_and(|aud| aud.names(audiences));
        if !meant {
            return Err(Refusal::Audience);
        }
        Ok(())
    }
}

/// A `NumericDate`: seconds, of which there may be parts.
fn seconds(date: &Number) -> Result<f64, Refusal> {
    /// The year 9999.
    const LAST: f64 = 253_402_300_799.0;
    let seconds = date
        .as_f64()
        .filter(|seconds| (0.0..=LAST).contains(seconds));
    seconds.ok_or(Refusal::Malformed)
}
