//! How many connections there may be, in all and from one client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

/// Counts open connections. One lock, taken when a connection opens or closes, never per request.
#[derive(Debug, Default)]
pub struct Caps {
    total: AtomicUsize,
    per_client: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a connection was closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Total,
    PerClient,
}

impl Refusal {
    pub fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::PerClient => "per_ip",
        }
    }
}

impl Caps {
    /// Takes a place for a connection; it is given back when the [`Place`] is dropped.
    /// Connections without an IP address (Unix sockets) count in total only.
    pub fn enter(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        total: usize,
        per_client: usize,
    ) -> Result<Place, Refusal> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= total {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Total);
        }
        // From here on the drop of `place` gives back what was counted.
        let mut place = Place {
            caps: Arc::clone(self),
            client: None,
        };
        if let Some(client) = client.map(client_of) {
            let mut counts = self.per_client.lock();
            let count = counts.entry(client).or_insert(0);
            if *count >= per_client {
                drop(counts);
                return Err(Refusal::PerClient);
            }
            *count += 1;
            place.client = Some(client);
        }
        Ok(place)
    }

    /// Open connections now.
    pub fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

/// A connection's place under the caps.
#[derive(Debug)]
pub struct Place {
    caps: Arc<Caps>,
    client: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.caps.total.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut counts = self.caps.per_client.lock();
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber holds.
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_over_its_cap_is_refused_and_others_are_not() {
        let caps = Arc::new(Caps::default());
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let two: IpAddr = "192.0.2.2".parse().unwrap();
        let first = caps.enter(Some(one), 10, 1).unwrap();
        assert_eq!(
            caps.enter(Some(one), 10, 1).unwrap_err(),
            Refusal::PerClient
        );
        let _other = caps.enter(Some(two), 10, 1).unwrap();
        drop(first);
        assert!(caps.enter(Some(one), 10, 1).is_ok());
    }

    #[test]
    fn refusals_do_not_use_up_places() {
        let caps = Arc::new(Caps::default());
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff".parse().unwrap();
        let place = caps.enter(Some(client), 2, 1).unwrap();
        for _ in 0..5 {
            assert_eq!(
                caps.enter(Some(neighbour), 2, 1).unwrap_err(),
                Refusal::PerClient
            );
        }
        let unix = caps.enter(None, 2, 1).unwrap();
        assert_eq!(caps.enter(None, 2, 1).unwrap_err(), Refusal::Total);
        drop((place, unix));
        assert_eq!(caps.open(), 0);
        assert!(caps.per_client.lock().is_empty());
    }
}
