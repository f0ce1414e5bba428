//! What can go wrong with the audit trail.

use super::verify::Reason;
use crate::seal::SealError;
use crate::store::StoreError;

/// Why a row was not written, or the trail not read. Cheap to clone: rows share commits.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    #[error("the audit event's {what} is not allowed: {why}")]
    Event {
        what: &'static str,
        why: &'static str,
    },

    #[error(
        "'{0}' cannot name an audit chain: use 1 to 64 of a-z, 0-9, '-', '_' and '.', as in 'main'"
    )]
    Name(String),

    #[error(
        "the audit chain '{chain}' is broken ({reason}); verify it, keep a copy, and begin another chain"
    )]
    Broken { chain: String, reason: Reason },

    #[error("there is no audit chain '{0}' in the store")]
    Absent(String),

    #[error(
        "the audit chain '{0}' was changed by others faster than this process could follow; try again"
    )]
    Busy(String),

    #[error("the audit trail's writer has stopped; nothing more is recorded by this process")]
    Stopped,

    #[error(
        "this is no audit checkpoint; give the whole text that was logged, from the chain's name to the signature"
    )]
    Checkpoint,

    #[error("the system gave no random bytes to hide an audit row's personal columns with")]
    Random,

    #[error("the key of the audit chain '{chain}': {source}")]
    Key { chain: String, source: SealError },

    #[error("the audit trail: {0}")]
    Store(#[from] StoreError),
}
