//! `assertion`: who passed, signed, so that a service believes it whatever way it came.
//!
//! A caller and the host they asked for go in, the value of [`HEADER`] comes out: a JSON Web Token
//! whose `aud` is the host. Signing costs more than all else that is done for a request, so a token
//! is used again, for the same user at the same host, while at least a minute of it is left. It is
//! made anew at once when something about the user changes. Neither a lock nor the store is on this
//! path.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::directory::{Caller, UserEntry};
use http::{HeaderName, HeaderValue};
use papaya::Equivalent;

use crate::identity::Issuing;

/// The header.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-portunus-assertion");
/// How long an assertion is good, and for how long it is used.
const LASTS: Duration = Duration::from_secs(120);
const USED: Duration = Duration::from_secs(60);
/// Assertions that are kept, each of some 500 bytes.
const MOST: usize = 8192;

/// Makes assertions, for all routes.
pub(super) struct Assertions {
    issuing: Arc<Issuing>,
    made: papaya::HashMap<(u64, Box<str>), Made>,
}

/// An assertion that is used again.
struct Made {
    /// As they were when it was signed.
    user: Arc<UserEntry>,
    value: HeaderValue,
    since: SystemTime,
}

impl Made {
    fn is_good(&self, now: SystemTime) -> bool {
        // A clock that was put back makes it one of the future.
        now.duration_since(self.since).is_ok_and(|age| age < USED)
    }
}

/// What an assertion is looked up by.
#[derive(Hash)]
struct Of<'a>(u64, &'a str);

impl Equivalent<(u64, Box<str>)> for Of<'_> {
    fn equivalent(&self, key: &(u64, Box<str>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

impl Assertions {
    pub(super) fn new(issuing: Arc<Issuing>) -> Self {
        Self {
            issuing,
            made: papaya::HashMap::new(),
        }
    }

    /// What says to the service at `host` that it is `caller`. `None`, and a line in the log, if
    /// nothing can be signed: a service that needs it refuses.
    pub(super) fn of(&self, caller: &Caller, host: &str) -> Option<HeaderValue> {
        let now = self.issuing.now();
        let user = &caller.user;
        let made = self.made.pin();
        if let Some(found) = made.get(&Of(user.id.0, host))
            && found.is_good(now)
            && found.user == *user
        {
            return Some(found.value.clone());
        }
        let issued = self.issuing.issue(user, host, LASTS);
        let issued = issued
            .inspect_err(|error| tracing::error!(%error, "no assertion could be signed"))
            .ok()?;
        let mut value = HeaderValue::try_from(issued.token).ok()?;
        value.set_sensitive(true);
        if made.len() >= MOST {
            made.retain(|_, kept| kept.is_good(now));
            if made.len() >= MOST {
                made.clear();
            }
        }
        made.insert(
            (user.id.0, host.into()),
            Made {
                user: Arc::clone(user),
                value: value.clone(),
                since: now,
            },
        );
        Some(value)
    }
}

impl fmt::Debug for Assertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assertions({})", self.made.len())
    }
}
