//! Answers and refusals, as bytes.

use std::net::SocketAddr;

use stun_types::{
    attribute::{AlternateServer, ErrorCode, XorMappedAddress},
    message::{Method, TransactionId},
};
use turn_types::{
    AddressFamily,
    attribute::{AddressErrorCode, Lifetime, ReservationToken, XorRelayedAddress},
};

use super::Server;
use crate::turn::{
    allocation::{Family, Ticket},
    codec::{BadValue, Incoming, Reply, Unknown, attribute},
    command::{FiveTuple, Now, Output},
    integrity::{Integrity, Key},
};

/// Error codes (RFC 8489 §14.8, RFC 8656 §19).
pub(super) mod code {
    pub(crate) const TRY_ALTERNATE: u16 = 300;
    pub(crate) const BAD_REQUEST: u16 = 400;
    pub(crate) const UNAUTHENTICATED: u16 = 401;
    pub(crate) const FORBIDDEN: u16 = 403;
    pub(crate) const MOBILITY_FORBIDDEN: u16 = 405;
    pub(crate) const UNKNOWN_ATTRIBUTE: u16 = 420;
    pub(crate) const ALLOCATION_MISMATCH: u16 = 437;
    pub(crate) const STALE_NONCE: u16 = 438;
    pub(crate) const FAMILY_NOT_SUPPORTED: u16 = 440;
    pub(crate) const WRONG_CREDENTIALS: u16 = 441;
    pub(crate) const UNSUPPORTED_TRANSPORT: u16 = 442;
    pub(crate) const PEER_FAMILY_MISMATCH: u16 = 443;
    pub(crate) const QUOTA_REACHED: u16 = 486;
    pub(crate) const INSUFFICIENT_CAPACITY: u16 = 508;
}

/// What PASSWORD-ALGORITHMS says: SHA-256 and then MD5, without parameters.
pub(super) const ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// Why a request fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) unknown: Unknown,
    pub(super) alternate: Option<SocketAddr>,
}

impl Refusal {
    pub(super) fn new(code: u16) -> Self {
        Self {
            code,
            unknown: Unknown::default(),
            alternate: None,
        }
    }

    pub(super) fn unknown(unknown: Unknown) -> Self {
        Self {
            unknown,
            ..Self::new(code::UNKNOWN_ATTRIBUTE)
        }
    }

    /// With REALM and NONCE, to try again (RFC 8489 §9.2.4).
    fn is_challenge(&self) -> bool {
        matches!(self.code, code::UNAUTHENTICATED | code::STALE_NONCE)
    }
}

impl From<BadValue> for Refusal {
    fn from(_: BadValue) -> Self {
        Self::new(code::BAD_REQUEST)
    }
}

/// What a success says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    pub(super) relayed: [Option<SocketAddr>; 2],
    pub(super) family_error: Option<(Family, u16)>,
    pub(super) lifetime: Option<u32>,
    pub(super) token: Option<[u8; 8]>,
    pub(super) mapped: Option<SocketAddr>,
    pub(super) ticket: Option<Ticket>,
}

impl Answer {
    /// Writes the response and says how long it is.
    pub(super) fn write(
        &self,
        method: Method,
        transaction: TransactionId,
        signature: Option<(&Key, Integrity)>,
        buffer: &mut [u8],
    ) -> usize {
        let mut reply = Reply::success(method, transaction, buffer);
        for address in self.relayed.into_iter().flatten() {
            reply.add(&XorRelayedAddress::new(address, transaction));
        }
        if let Some((family, code)) = self.family_error
            && let Ok(error) = ErrorCode::new(code, "")
        {
            let family = match family {
                Family::V4 => AddressFamily::IPV4,
                Family::V6 => AddressFamily::IPV6,
            };
            reply.add(&AddressErrorCode::new(family, error));
        }
        if let Some(lifetime) = self.lifetime {
            reply.add(&Lifetime::new(lifetime));
        }
        if let Some(token) = self.token {
            reply.add(&ReservationToken::new(u64::from_be_bytes(token)));
        }
        if let Some(mapped) = self.mapped {
            reply.add(&XorMappedAddress::new(mapped, transaction));
        }
        if let Some(ticket) = self.ticket {
            reply.add_raw(attribute::MOBILITY_TICKET, &ticket);
        }
        reply.finish(signature, true)
    }
}

impl Server {
    /// Writes a refusal to the scratch and says how long it is.
    pub(super) fn write_refusal(
        &mut self,
        to: &FiveTuple,
        (method, transaction): (Method, TransactionId),
        refusal: &Refusal,
        signature: Option<(&Key, Integrity)>,
        now: Now,
    ) -> usize {
        let scratch = &mut self.scratch[..];
        let mut reply = Reply::error(method, transaction, refusal.code, scratch);
        if !refusal.unknown.is_empty() {
            reply.add_unknown(refusal.unknown);
        }
        if let Some(alternate) = refusal.alternate {
            reply.add(&AlternateServer::new(alternate));
        }
        if refusal.is_challenge() {
            let nonce = self.shared.nonces.issue(to.client().ip(), now.unix);
            reply.add_raw(attribute::REALM, self.config.credentials.realm.as_bytes());
            reply.add_raw(attribute::NONCE, &nonce);
            reply.add_raw(attribute::PASSWORD_ALGORITHMS, &ALGORITHMS);
        }
        reply.finish(signature, true)
    }

    /// A refusal to somebody who has not proven who they are, unless they ask too often.
    pub(super) fn refuse_stranger(
        &mut self,
        to: &FiveTuple,
        message: &Incoming<'_>,
        refusal: &Refusal,
        now: Now,
    ) -> Output<'_> {
        let rate = self.config.limits.stranger_rate;
        if !self.strangers.admit(to.client().ip(), rate, now.instant) {
            self.stats.strangers_ignored += 1;
            return Output::Nothing;
        }
        self.stats.strangers += 1;
        let question = (message.method(), message.transaction());
        let length = self.write_refusal(to, question, refusal, None, now);
        Output::Reply(&self.scratch[..length])
    }
}
