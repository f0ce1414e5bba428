//! Long-term credentials (RFC 8489 §9.2.4).

use super::{
    Server,
    reply::{ALGORITHMS, Refusal, code},
};
use crate::turn::{
    codec::{Incoming, attribute},
    command::{FiveTuple, Now},
    integrity::{Integrity, Key, PasswordAlgorithm},
};

/// Somebody who has proven who they are.
#[derive(Debug)]
pub(super) struct Caller<'m> {
    pub(super) username: &'m str,
    /// The name without what changes between credentials.
    pub(super) user: Box<str>,
    pub(super) key: Key,
    pub(super) algorithm: PasswordAlgorithm,
    pub(super) integrity: Integrity,
    /// Of a timed credential, in seconds since 1970.
    pub(super) expires: Option<u64>,
}

impl Server {
    pub(super) fn authenticate<'m>(
        &self,
        from: &FiveTuple,
        message: &Incoming<'m>,
        now: Now,
    ) -> Result<Caller<'m>, Refusal> {
        let unauthenticated = Refusal::new(code::UNAUTHENTICATED);
        let integrity = message.integrity().ok_or(unauthenticated)?;
        let (Some(username), Some(realm), Some(nonce)) = (
            message.text(attribute::USERNAME),
            message.text(attribute::REALM),
            message.raw(attribute::NONCE),
        ) else {
            return Err(Refusal::new(code::BAD_REQUEST));
        };
        let algorithm = password_algorithm(message)?;
        let config = &self.config;
        let nonces = &self.shared.nonces;
        if !nonces.is_fresh(nonce, from.client().ip(), now.unix, config.nonce_lifetime) {
            return Err(Refusal::new(code::STALE_NONCE));
        }
        if realm != config.credentials.realm {
            return Err(unauthenticated);
        }
        if let Some(caller) =
            self.known_caller(from, message, (username, algorithm, integrity), now)
        {
            return Ok(caller);
        }
        let identity = config
            .credentials
            .identify(username, algorithm, now.unix, |key| {
                message.is_signed_by(key)
            })
            .ok_or(unauthenticated)?;
        Ok(Caller {
            username,
            user: identity.user,
            key: identity.key,
            algorithm,
            integrity,
            expires: identity.expires,
        })
    }

    /// Who has made the allocation and signs with its key. It stays good for it when secrets have
    /// been rotated and when the credential has ended.
    fn known_caller<'m>(
        &self,
        from: &FiveTuple,
        message: &Incoming<'m>,
        (username, algorithm, integrity): (&'m str, PasswordAlgorithm, Integrity),
        now: Now,
    ) -> Option<Caller<'m>> {
        let here = self.by_client.get(from).copied();
        let slot = here.or_else(|| self.by_message_ticket(message))?;
        let allocation = &self.allocations[slot];
        let known = allocation.is_live(now.instant)
            && *allocation.username == *username
            && allocation.algorithm == algorithm
            && message.is_signed_by(&allocation.key);
        known.then(|| Caller {
            username,
            user: allocation.user.name().into(),
            key: allocation.key,
            algorithm,
            integrity,
            expires: allocation.credential_expires,
        })
    }
}

/// The algorithm a client has chosen. One that knows none of this uses MD5; one that was told a
/// shorter list than ours has been lied to (RFC 8489 §9.2.4).
fn password_algorithm(message: &Incoming<'_>) -> Result<PasswordAlgorithm, Refusal> {
    let offered = message.raw(attribute::PASSWORD_ALGORITHMS);
    let chosen = message.raw(attribute::PASSWORD_ALGORITHM);
    match (offered, chosen) {
        (None, None) => Ok(PasswordAlgorithm::Md5),
        (Some(offered), Some(&[high, low, 0, 0])) if offered == ALGORITHMS => {
            let number = u16::from_be_bytes([high, low]);
            [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5]
                .into_iter()
                .find(|algorithm| algorithm.number() == number)
                .ok_or(Refusal::new(code::BAD_REQUEST))
        }
        _ => Err(Refusal::new(code::BAD_REQUEST)),
    }
}
