//! Users: people who signed in with a provider, or have a local account.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::record::{Record, id, millis};

id! {
    /// The number of a user. Numbers are never given twice.
    UserId
}

/// What a user may do; see [`permit`](crate::permit).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            _ => Err(UnknownWord("a role is user or admin")),
        }
    }
}

/// Who vouches for a user.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    GitHub,
    GitLab,
    /// This gateway, by a password.
    Local,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Local => "local",
        })
    }
}

impl FromStr for Provider {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            "local" => Ok(Self::Local),
            _ => Err(UnknownWord("a provider is github, gitlab or local")),
        }
    }
}

/// A word that is none of those known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownWord(&'static str);

/// A user, as kept.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct User {
    pub id: UserId,
    pub provider: Provider,
    /// The provider's unchanging id of the account; the name of a local one.
    pub subject: String,
    /// What the user is called, which may change and is not unique among providers.
    pub username: String,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub avatar_url: Option<String>,
    pub role: Role,
    /// A disabled user can neither sign in nor use a key.
    pub disabled: bool,
    #[serde(with = "millis")]
    pub created: SystemTime,
    #[serde(with = "millis::option")]
    pub last_sign_in: Option<SystemTime>,
    /// The role is admin because the configuration lists the account; it goes when the list does.
    #[serde(default)]
    pub admin_by_list: bool,
    /// The deletion of the user has begun; nothing new can be theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deleting: bool,
}

impl Record for User {
    const VERSION: u32 = 1;
}

/// What a provider says of somebody who signed in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignIn {
    pub provider: Provider,
    pub subject: String,
    pub username: String,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub avatar_url: Option<String>,
    /// The configuration lists the account as an administrator's.
    pub admin: bool,
}
