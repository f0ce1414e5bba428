//! Clients that change their address and keep their allocation (RFC 8016).
//!
//! In goes a Refresh from somewhere new with the ticket of an allocation, out comes the allocation,
//! which is at the new address from then on, with another ticket.

use super::{
    Server,
    auth::Caller,
    reply::{Refusal, code},
};
use crate::turn::{
    allocation::Ticket,
    codec::{Incoming, attribute},
    command::{FiveTuple, Now},
};

impl Server {
    /// Whether an Allocate request asks to be allowed to move.
    pub(super) fn wants_to_move(&self, message: &Incoming<'_>) -> Result<bool, Refusal> {
        match message.raw(attribute::MOBILITY_TICKET) {
            None => Ok(false),
            Some([]) if self.config.mobility => Ok(true),
            Some([]) => Err(Refusal::new(code::MOBILITY_FORBIDDEN)),
            Some(_) => Err(Refusal::new(code::BAD_REQUEST)),
        }
    }

    /// Gives an allocation a new ticket; the one before is worth nothing.
    pub(super) fn issue_ticket(&mut self, slot: usize) {
        let mut ticket = Ticket::default();
        self.entropy.fill(&mut ticket);
        if let Some(before) = self.allocations[slot].ticket.replace(ticket) {
            self.by_ticket.remove(&before);
        }
        self.by_ticket.insert(ticket, slot);
    }

    /// The allocation whose ticket a message has.
    pub(super) fn by_message_ticket(&self, message: &Incoming<'_>) -> Option<usize> {
        let ticket = message.raw(attribute::MOBILITY_TICKET)?;
        self.by_ticket.get(ticket).copied()
    }

    /// A request of a client without an allocation: 437, unless it brings one along.
    pub(super) fn arrive(
        &mut self,
        from: &FiveTuple,
        message: &Incoming<'_>,
        caller: &Caller<'_>,
        now: Now,
    ) -> Result<usize, Refusal> {
        let mismatch = Refusal::new(code::ALLOCATION_MISMATCH);
        let is_refresh = message.method() == turn_types::message::REFRESH;
        // An allocation of this client that waits for its sockets, or has ended and is not swept.
        if !is_refresh || self.by_client.contains_key(from) {
            return Err(mismatch);
        }
        let slot = self.by_message_ticket(message).ok_or(mismatch)?;
        let allocation = &mut self.allocations[slot];
        if !allocation.is_live(now.instant) || allocation.opening.is_some() {
            return Err(mismatch);
        }
        if *allocation.username != *caller.username {
            return Err(Refusal::new(code::WRONG_CREDENTIALS));
        }
        self.by_client.remove(&allocation.client);
        allocation.client = *from;
        self.by_client.insert(*from, slot);
        self.issue_ticket(slot);
        Ok(slot)
    }
}
