//! Which relay ports are taken.
//!
//! In goes the wish for a port of an address, out comes one that is free, drawn at random, as a
//! port that can be guessed invites forged packets (RFC 8656 §7.2). In shared mode several
//! allocations have the same port: the one with the fewest is given.

use std::{fmt, str::FromStr};

use super::entropy::{Entropy, below};

/// An inclusive range of ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A text is not a range of ports.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not a range of ports from 1 to 65535; write it as \"49160-49200\"")]
pub struct PortRangeError(String);

impl PortRange {
    /// None if there is no port in it, or port 0.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first > 0 && first <= last).then_some(Self { first, last })
    }

    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// How many ports there are.
    pub fn count(&self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    fn port(&self, index: usize) -> u16 {
        u16::try_from(usize::from(self.first) + index).unwrap_or(self.last)
    }
}

impl Default for PortRange {
    /// 49160-49200, what coturn's examples open in firewalls.
    fn default() -> Self {
        Self {
            first: 49160,
            last: 49200,
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse().ok();
        port(first)
            .zip(port(last))
            .and_then(|(first, last)| Self::new(first, last))
            .ok_or_else(|| PortRangeError(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Whether allocations share ports.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PortMode {
    /// One allocation has a port (RFC 8656). There are as many allocations as ports.
    #[default]
    Exclusive,
    /// Allocations have a port together and are told apart by the peer's address and port: one
    /// peer endpoint belongs to one of them, a second one is refused with 508. So is EVEN-PORT with a port to reserve.
    Shared,
}

/// What a client asks of its port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    Any,
    Even,
    /// Even, and the next one kept for later.
    EvenAndNext,
}

/// The ports of one relay address.
#[derive(Debug)]
pub(crate) struct Ports {
    range: PortRange,
    /// How many have each port. Shards of a shared mode have every n-th port for themselves, as
    /// the socket of a port belongs to one of them.
    users: Box<[u16]>,
}

impl Ports {
    pub(crate) fn new(range: PortRange) -> Self {
        Self {
            range,
            users: vec![0; range.count()].into_boxed_slice(),
        }
    }

    /// A free port.
    pub(crate) fn take(&mut self, wish: Wish, entropy: &mut dyn Entropy) -> Option<u16> {
        let start = self.start(entropy);
        let free = |index: usize| self.users.get(index) == Some(&0);
        let fits = |index: &usize| {
            let even = self.range.port(*index).is_multiple_of(2);
            free(*index)
                && match wish {
                    Wish::Any => true,
                    Wish::Even => even,
                    Wish::EvenAndNext => even && free(*index + 1),
                }
        };
        let count = self.users.len();
        let index = (start..count).chain(0..start).find(fits)?;
        self.users[index] = 1;
        if wish == Wish::EvenAndNext {
            self.users[index + 1] = 1;
        }
        Some(self.range.port(index))
    }

    /// The port with the fewest users among those of one of `shards` shards. None has a neighbour
    /// to keep.
    pub(crate) fn join(
        &mut self,
        wish: Wish,
        (shard, shards): (usize, usize),
        entropy: &mut dyn Entropy,
    ) -> Option<u16> {
        let start = self.start(entropy);
        let count = self.users.len();
        let index = (start..count)
            .chain(0..start)
            .filter(|index| index % shards == shard)
            .filter(|index| match wish {
                Wish::Any => true,
                Wish::Even => self.range.port(*index).is_multiple_of(2),
                Wish::EvenAndNext => false,
            })
            .min_by_key(|index| self.users[*index])?;
        self.users[index] = self.users[index].checked_add(1)?;
        Some(self.range.port(index))
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, port: u16) {
        let index = port.checked_sub(self.range.first).map(usize::from);
        if let Some(users) = index.and_then(|index| self.users.get_mut(index)) {
            *users = users.saturating_sub(1);
        }
    }

    /// How many ports are taken.
    pub(crate) fn taken(&self) -> usize {
        self.users.iter().filter(|users| **users > 0).count()
    }

    fn start(&self, entropy: &mut dyn Entropy) -> usize {
        let count = u32::try_from(self.users.len()).unwrap_or(u32::MAX);
        usize::try_from(below(entropy, count)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::entropy::tests::Seeded;

    fn ports(text: &str) -> Ports {
        Ports::new(text.parse().unwrap())
    }

    #[test]
    fn a_range_is_read_as_it_is_written() {
        assert_eq!("49160-49200".parse(), Ok(PortRange::default()));
        assert_eq!(PortRange::default().to_string(), "49160-49200");
        assert_eq!(PortRange::default().count(), 41);
        assert_eq!("5000".parse::<PortRange>().unwrap().count(), 1);
        for bad in ["", "-", "0-1", "2-1", "1-65536", "a-b", "1-2-3"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_port_is_given_once_and_again_when_it_is_back() {
        let mut entropy = Seeded::new(1);
        let mut ports = ports("49160-49200");
        let mut given: Vec<_> =
            std::iter::from_fn(|| ports.take(Wish::Any, &mut entropy)).collect();
        assert_ne!(given, (49160..=49200).collect::<Vec<_>>());
        given.sort_unstable();
        assert_eq!(given, (49160..=49200).collect::<Vec<_>>());
        ports.release(49177);
        assert_eq!(ports.take(Wish::Any, &mut entropy), Some(49177));
    }

    #[test]
    fn even_ports_are_even_and_the_next_is_kept() {
        let mut entropy = Seeded::new(2);
        let mut ports = ports("5001-5004");
        assert_eq!(ports.take(Wish::EvenAndNext, &mut entropy), Some(5002));
        assert_eq!(ports.take(Wish::EvenAndNext, &mut entropy), None);
        assert_eq!(ports.take(Wish::Even, &mut entropy), Some(5004));
        assert_eq!(ports.take(Wish::Any, &mut entropy), Some(5001));
        assert_eq!(ports.take(Wish::Any, &mut entropy), None);
        ports.release(5003);
        assert_eq!(ports.take(Wish::Even, &mut entropy), None);
        assert_eq!(ports.take(Wish::Any, &mut entropy), Some(5003));
    }

    #[test]
    fn shared_ports_fill_evenly_and_stay_with_their_shard() {
        let mut entropy = Seeded::new(3);
        let mut ports = ports("5000-5003");
        for _ in 0..3 {
            let mut given = [0, 0].map(|_| ports.join(Wish::Any, (0, 2), &mut entropy).unwrap());
            given.sort_unstable();
            assert_eq!(given, [5000, 5002]);
        }
        assert!(matches!(
            ports.join(Wish::Any, (1, 2), &mut entropy),
            Some(5001 | 5003)
        ));
        assert_eq!(ports.taken(), 3);
        assert_eq!(ports.join(Wish::Even, (1, 2), &mut entropy), None);
        assert!(ports.join(Wish::Even, (0, 2), &mut entropy).is_some());
        assert_eq!(ports.join(Wish::EvenAndNext, (0, 2), &mut entropy), None);
    }

    #[test]
    fn a_port_of_another_range_is_not_given_back() {
        let mut ports = ports("5000-5001");
        ports.release(4999);
        ports.release(5002);
        ports.release(5000);
        assert_eq!(ports.taken(), 0);
    }
}
