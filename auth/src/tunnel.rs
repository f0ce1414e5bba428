//! Tunnels: a name under the tunnel domain that belongs to a user.

mod name;
mod words;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::name::{InvalidName, MAX_NAME, check_name};
pub use self::words::three_words;
use crate::record::{Record, id, millis};
use crate::user::UserId;

id! {
    /// The number of a tunnel. Numbers are never given twice.
    TunnelId
}

/// A tunnel, as kept.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Tunnel {
    pub id: TunnelId,
    pub owner: UserId,
    /// Its label under the tunnel domain, in lower case.
    pub name: String,
    #[serde(with = "millis")]
    pub created: SystemTime,
    /// What else is configured for it; the identity core does not look inside.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub policy: Value,
}

impl Record for Tunnel {
    const VERSION: u32 = 1;
}
