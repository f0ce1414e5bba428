//! What must be true between any two calls, for the model test and the fuzz target.

use super::{Server, relays::Relay};
use crate::turn::ports::PortMode;

impl Server {
    /// Panics if the tables contradict each other.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        assert_eq!(self.allocations.len(), self.by_client.len());
        assert_eq!(self.allocations.len(), self.deadlines.len());
        let tickets = self
            .allocations
            .iter()
            .filter(|(_, it)| it.ticket.is_some());
        assert_eq!(tickets.count(), self.by_ticket.len());
        let mut legs = 0;
        for (slot, allocation) in &self.allocations {
            assert_eq!(self.by_client.get(&allocation.client), Some(&slot));
            assert!(self.deadlines.contains(&(allocation.armed, slot)));
            assert!(allocation.armed <= allocation.next_deadline());
            assert!(allocation.legs.iter().any(Option::is_some));
            if let Some(ticket) = allocation.ticket {
                assert_eq!(self.by_ticket.get(&ticket), Some(&slot));
            }
            allocation.channels.check_invariants();
            let limits = &self.config.limits;
            assert!(allocation.permissions.addresses().count() <= limits.permissions.into());
            assert!(allocation.channels.iter().count() <= limits.channels.into());
            for ip in allocation.permissions.addresses() {
                assert!(self.config.peers.allows(ip), "{ip}");
            }
            for leg in allocation.legs.iter().flatten() {
                legs += 1;
                let relay = self.relays.get(leg.relay);
                let tenants = relay.map(Relay::tenants);
                assert!(tenants.is_some_and(|tenants| tenants.contains(&slot)));
                assert!(relay.is_some_and(|relay| relay.open != leg.opening));
            }
        }
        let mut tenants = 0;
        for (id, relay) in self.relays.iter() {
            relay.check_invariants();
            tenants += relay.tenants().len();
            assert_eq!(self.relays.by_external(relay.external), Some(id));
            assert!(self.config.ports.contains(relay.port));
        }
        assert_eq!(legs, tenants);
        if self.shared.shards == 1 {
            self.check_shared(legs);
        }
    }

    /// A single shard accounts for everything that is shared.
    fn check_shared(&self, legs: usize) {
        assert_eq!(self.allocations.len(), self.shared.allocations() as usize);
        let reserved = self.shared.reservations.lock().len();
        if self.config.port_mode == PortMode::Exclusive {
            assert_eq!(self.shared.ports_taken(), legs + reserved);
        } else {
            assert_eq!(self.shared.ports_taken(), self.relays.iter().count());
        }
    }
}
