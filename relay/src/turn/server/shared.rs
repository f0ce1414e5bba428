//! What all shards of a server have in common. Locked when an allocation comes or goes.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

use crate::turn::{config::Config, entropy::Entropy, limits::Users, nonce::NonceKey, ports::Ports};

/// Ports, quotas, reserved ports and the nonces' key.
#[derive(Debug)]
pub struct Shared {
    pub(super) nonces: NonceKey,
    pub(super) shards: usize,
    /// One for each relay address.
    pub(super) ports: Mutex<Vec<Ports>>,
    pub(super) users: Mutex<Users>,
    pub(super) reservations: Mutex<Vec<Reservation>>,
}

/// A port that is kept for a client that asked for two in a row (RFC 8656 §7.2).
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) token: [u8; 8],
    pub(super) user: Box<str>,
    /// Which relay address.
    pub(super) address: usize,
    pub(super) port: u16,
    pub(super) expires: Instant,
}

impl Shared {
    /// For as many shards as there will be; 0 counts as 1.
    pub fn new(config: &Config, shards: usize, entropy: &mut dyn Entropy) -> Arc<Self> {
        let ports = config.relays.iter().map(|_| Ports::new(config.ports));
        Arc::new(Self {
            nonces: NonceKey::new(entropy),
            shards: shards.max(1),
            ports: Mutex::new(ports.collect()),
            users: Mutex::default(),
            reservations: Mutex::default(),
        })
    }

    /// Live allocations among all shards.
    pub fn allocations(&self) -> u32 {
        self.users.lock().total()
    }

    /// Relay ports in use or reserved, of all relay addresses.
    pub fn ports_taken(&self) -> usize {
        self.ports.lock().iter().map(Ports::taken).sum()
    }

    /// Gives back the ports that nobody came for.
    pub(super) fn expire_reservations(&self, now: Instant) {
        self.reservations.lock().retain(|reservation| {
            let live = now < reservation.expires;
            if !live {
                self.release(reservation.address, reservation.port);
            }
            live
        });
    }

    pub(super) fn release(&self, address: usize, port: u16) {
        if let Some(ports) = self.ports.lock().get_mut(address) {
            ports.release(port);
        }
    }
}
