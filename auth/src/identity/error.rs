//! What can go wrong, said to the person who asked.

use std::fmt;
use std::time::Duration;

use crate::apikey::MintError;
use crate::audit::AuditError;
use crate::key::KeyId;
use crate::password::PasswordError;
use crate::permit::Denied;
use crate::record::RecordError;
use crate::seal::SealError;
use crate::store::StoreError;
use crate::tunnel::{InvalidName, Tunnel};

/// How long to wait when too many passwords are being checked.
const LINE_MOVES: Duration = Duration::from_secs(5);

/// The kind of thing an error is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    User,
    Key,
    Session,
    Tunnel,
    Thing,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Key => "key",
            Self::Session => "session",
            Self::Tunnel => "tunnel",
            Self::Thing => "thing",
        })
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    #[error("there is no such {0}")]
    NotFound(What),
    #[error("sign in first, or send an API key")]
    Unauthenticated,
    #[error("{0}")]
    Forbidden(Denied),
    #[error("a key without an end needs an administrator; say when it shall expire")]
    NeverNeedsAdmin,
    #[error("a key cannot make a key that may do more than itself")]
    BeyondOwnScopes,
    #[error("the {0} was changed since it was read; read it again and repeat the change")]
    Changed(What),
    #[error("the name '{0}' is taken")]
    NameTaken(String),
    #[error("there is a tunnel already, '{}'; an ordinary user has one", .0.name)]
    Exists(Box<Tunnel>),
    #[error("the key was rotated already, key {0} took its place")]
    Rotated(KeyId),
    #[error("the key was revoked or has expired")]
    NotActive,
    #[error("{field}: {problem}")]
    Invalid {
        field: &'static str,
        problem: String,
    },
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    #[error("the name or the password is wrong")]
    BadCredentials,
    #[error("this account is disabled; ask an administrator")]
    Disabled,
    #[error("too many attempts; try again in {} seconds", .retry_after.as_secs().max(1))]
    TooMany { retry_after: Duration },
    #[error("the set-up is finished, or this link is not the one that was given out")]
    SetupClosed,
    #[error("too many change the same at once; try again")]
    Busy,
    #[error(transparent)]
    Password(PasswordError),
    /// Without its audit row nothing is changed.
    #[error(transparent)]
    Audit(AuditError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IdentityError {
    /// Whether another change came between, so that trying again may succeed.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_conflict())
    }

    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            problem: problem.into(),
        }
    }
}

/// What the person can mend is said as such.
impl From<PasswordError> for IdentityError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::TooShort | PasswordError::TooLong => {
                Self::invalid("password", error.to_string())
            }
            PasswordError::Busy => Self::TooMany {
                retry_after: LINE_MOVES,
            },
            error => Self::Password(error),
        }
    }
}

/// A change and its rows are one commit, so the store's errors come this way too.
impl From<AuditError> for IdentityError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => Self::Store(error),
            error => Self::Audit(error),
        }
    }
}

/// What is somebody else's is not there.
impl From<Denied> for IdentityError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::Unauthenticated,
            Denied::NotYours => Self::NotFound(What::Thing),
            denied @ Denied::Forbidden { .. } => Self::Forbidden(denied),
        }
    }
}
