//! One client's allocation: its relay addresses, permissions and channels (RFC 8656 §3).
//!
//! In go what the client asked for and the time, out comes what still holds. Entries that have
//! ended do not count, whether or not the sweep has removed them yet.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use stun_types::message::TransactionId;

use super::{
    command::{FiveTuple, RelayId},
    integrity::{Integrity, Key, PasswordAlgorithm},
    limits::{Bucket, Limits, User},
    ports::Wish,
};

/// How long a permission lives (RFC 8656 §9).
const PERMISSION: Duration = Duration::from_secs(300);
/// How long a channel lives (RFC 8656 §12).
const CHANNEL: Duration = Duration::from_secs(600);

/// An unguessable name of an allocation that may move.
pub(crate) type Ticket = [u8; 16];

/// IPv4 or IPv6, as an index of [`Allocation::legs`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    V4 = 0,
    V6 = 1,
}

impl Family {
    pub(crate) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) client: FiveTuple,
    pub(crate) username: Box<str>,
    pub(crate) user: Arc<User>,
    pub(crate) key: Key,
    pub(crate) algorithm: PasswordAlgorithm,
    /// Of the Allocate request, to know it when it is sent again.
    pub(crate) transaction: TransactionId,
    /// When the credential ends, in seconds since 1970.
    pub(crate) credential_expires: Option<u64>,
    /// The IPv4 and the IPv6 relay address.
    pub(crate) legs: [Option<Leg>; 2],
    /// What the answer waits for.
    pub(crate) opening: Option<Opening>,
    /// Which of two families that were asked for could not be had, and why (RFC 8656 §7.2).
    pub(crate) family_error: Option<(Family, u16)>,
    /// The token for the port after ours.
    pub(crate) token: Option<[u8; 8]>,
    /// What lets the client move (RFC 8016).
    pub(crate) ticket: Option<Ticket>,
    pub(crate) lifetime: u32,
    pub(crate) expires: Instant,
    /// When the server will look at this allocation next.
    pub(crate) armed: Instant,
    pub(crate) permissions: Permissions,
    pub(crate) channels: Channels,
    pub(crate) bucket: Bucket,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// One relay address of an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    pub(crate) relay: RelayId,
    /// As peers see it.
    pub(crate) address: SocketAddr,
    /// Its socket is not known to be open yet.
    pub(crate) opening: bool,
}

/// An Allocate request that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) integrity: Integrity,
    pub(crate) wish: Wish,
    /// Sockets that may still fail before the client is refused.
    pub(crate) tries: u8,
}

impl Allocation {
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        now < self.expires
    }

    /// The relay address for peers of this address, if its socket is open.
    pub(crate) fn leg(&self, peer: IpAddr) -> Option<Leg> {
        self.legs[Family::of(peer) as usize].filter(|leg| !leg.opening)
    }

    /// Whether the client may send to peers of this family.
    pub(crate) fn has_family(&self, peer: IpAddr) -> bool {
        self.legs[Family::of(peer) as usize].is_some()
    }

    /// The addresses for the client, the one that was asked for first, first.
    pub(crate) fn addresses(&self) -> [Option<SocketAddr>; 2] {
        self.legs.map(|leg| leg.map(|leg| leg.address))
    }

    /// Counts payload bytes against the limits.
    pub(crate) fn admit(&mut self, bytes: usize, limits: &Limits, now: Instant) -> bool {
        self.bucket.admit(bytes, limits.allocation_rate, now)
            && self.user.admit(bytes, limits.user_rate, now)
    }

    /// Allows a peer for as long as a permission lives.
    pub(crate) fn permit(&mut self, ip: IpAddr, limits: &Limits, now: Instant) -> Result<(), Full> {
        self.permissions.permit(ip, limits.permissions.into(), now)
    }

    /// Binds a channel or renews it, and permits the peer.
    pub(crate) fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), BindError> {
        if self.channels.conflicts(number, peer, now) {
            return Err(BindError::Taken);
        }
        self.channels
            .bind(number, peer, limits.channels.into(), now)?;
        self.permit(peer.ip(), limits, now)?;
        Ok(())
    }

    /// When something of it ends next.
    pub(crate) fn next_deadline(&self) -> Instant {
        let permission = self.permissions.0.iter().map(|(_, expires)| *expires).min();
        let channel = self
            .channels
            .by_number
            .iter()
            .map(|channel| channel.expires)
            .min();
        [permission, channel]
            .into_iter()
            .flatten()
            .fold(self.expires, Instant::min)
    }

    /// Removes the permissions and channels that have ended. True if any permission has.
    pub(crate) fn sweep(&mut self, now: Instant) -> bool {
        let before = self.permissions.0.len();
        self.permissions.0.retain(|(_, expires)| now < *expires);
        self.channels.retain(|channel| now < channel.expires);
        self.permissions.0.len() < before
    }
}

/// There are as many as the limits allow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

/// Peers by address, sorted, and when each permission ends.
#[derive(Debug, Default)]
pub(crate) struct Permissions(Vec<(IpAddr, Instant)>);

impl Permissions {
    pub(crate) fn allows(&self, ip: IpAddr, now: Instant) -> bool {
        self.place(ip).is_ok_and(|place| now < self.0[place].1)
    }

    /// How many more there may be, with those that have ended out of the way.
    pub(crate) fn room(&mut self, most: usize, now: Instant) -> usize {
        self.0.retain(|(_, expires)| now < *expires);
        most.saturating_sub(self.0.len())
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().map(|(ip, _)| *ip)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.0.retain(|(ip, _)| keep(*ip));
    }

    fn permit(&mut self, ip: IpAddr, most: usize, now: Instant) -> Result<(), Full> {
        let expires = now + PERMISSION;
        if let Ok(place) = self.place(ip) {
            self.0[place].1 = expires;
            return Ok(());
        }
        if self.0.len() >= most && self.room(most, now) == 0 {
            return Err(Full);
        }
        let place = self.place(ip).unwrap_or_else(|place| place);
        self.0.insert(place, (ip, expires));
        Ok(())
    }

    fn place(&self, ip: IpAddr) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(&ip))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub(crate) number: u16,
    pub(crate) peer: SocketAddr,
    pub(crate) expires: Instant,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BindError {
    /// The number has another peer, or the peer another number.
    Taken,
    Full,
}

impl From<Full> for BindError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// Channels, to be found from either side.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    by_number: Vec<Channel>,
    by_peer: Vec<(SocketAddr, u16)>,
}

impl Channels {
    /// The peer of a channel.
    pub(crate) fn peer(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let channel = &self.by_number[self.place(number).ok()?];
        (now < channel.expires).then_some(channel.peer)
    }

    /// The channel of a peer.
    pub(crate) fn number(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let (_, number) = self.by_peer[self.peer_place(peer).ok()?];
        self.peer(number, now).map(|_| number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.by_number.iter()
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Channel) -> bool) {
        self.by_number.retain(keep);
        let Self { by_number, by_peer } = self;
        by_peer.retain(|(_, number)| {
            by_number
                .binary_search_by_key(number, |channel| channel.number)
                .is_ok()
        });
    }

    /// Whether the number has another peer, or the peer another number.
    pub(crate) fn conflicts(&self, number: u16, peer: SocketAddr, now: Instant) -> bool {
        self.peer(number, now).is_some_and(|bound| bound != peer)
            || self.number(peer, now).is_some_and(|bound| bound != number)
    }

    /// There is no [conflict](Self::conflicts).
    fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        most: usize,
        now: Instant,
    ) -> Result<(), Full> {
        let expires = now + CHANNEL;
        if self.peer(number, now).is_some() {
            if let Ok(place) = self.place(number) {
                self.by_number[place].expires = expires;
            }
            return Ok(());
        }
        // Ended ones may have the number or the peer.
        self.retain(|channel| now < channel.expires);
        if self.by_number.len() >= most {
            return Err(Full);
        }
        let (Err(place), Err(peer_place)) = (self.place(number), self.peer_place(peer)) else {
            return Err(Full);
        };
        self.by_number.insert(
            place,
            Channel {
                number,
                peer,
                expires,
            },
        );
        self.by_peer.insert(peer_place, (peer, number));
        Ok(())
    }

    fn place(&self, number: u16) -> Result<usize, usize> {
        self.by_number
            .binary_search_by_key(&number, |channel| channel.number)
    }

    fn peer_place(&self, peer: SocketAddr) -> Result<usize, usize> {
        self.by_peer.binary_search_by(|(other, _)| other.cmp(&peer))
    }

    /// Panics if the two sides disagree.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.by_number.len(), self.by_peer.len());
        assert!(
            self.by_number
                .is_sorted_by(|one, two| one.number < two.number)
        );
        assert!(self.by_peer.is_sorted_by(|one, two| one.0 < two.0));
        for channel in &self.by_number {
            let place = self.peer_place(channel.peer);
            assert_eq!(place.map(|place| self.by_peer[place].1), Ok(channel.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn permissions_end_after_five_minutes() {
        let start = Instant::now();
        let mut permissions = Permissions::default();
        let ip = peer("9.9.9.9:1").ip();
        permissions.permit(ip, 1, start).unwrap();
        let end = start + PERMISSION;
        assert!(permissions.allows(ip, end - Duration::from_nanos(1)));
        assert!(!permissions.allows(ip, end));
        permissions.permit(ip, 1, end).unwrap();
        assert!(permissions.allows(ip, end));
    }

    #[test]
    fn there_are_no_more_permissions_than_allowed_but_ended_ones_do_not_count() {
        let start = Instant::now();
        let mut permissions = Permissions::default();
        let ips = ["9.9.9.1:1", "9.9.9.2:1", "9.9.9.3:1"].map(|text| peer(text).ip());
        permissions.permit(ips[0], 2, start).unwrap();
        permissions.permit(ips[1], 2, start).unwrap();
        assert_eq!(permissions.permit(ips[2], 2, start), Err(Full));
        assert_eq!(permissions.permit(ips[2], 2, start + PERMISSION), Ok(()));
        assert_eq!(permissions.addresses().collect::<Vec<_>>(), [ips[2]]);
    }

    #[test]
    fn a_channel_is_found_from_both_sides_until_it_ends() {
        let start = Instant::now();
        let mut channels = Channels::default();
        let (one, two) = (peer("9.9.9.1:1"), peer("9.9.9.2:2"));
        channels.bind(0x4001, one, 8, start).unwrap();
        channels.bind(0x4000, two, 8, start).unwrap();
        channels.check_invariants();
        assert_eq!(channels.peer(0x4001, start), Some(one));
        assert_eq!(channels.number(two, start), Some(0x4000));
        assert!(channels.conflicts(0x4001, two, start));
        assert!(channels.conflicts(0x4002, one, start));
        assert!(!channels.conflicts(0x4001, one, start));

        let end = start + CHANNEL;
        assert_eq!(channels.peer(0x4001, end), None);
        assert_eq!(channels.number(one, end), None);
        assert!(!channels.conflicts(0x4002, one, end));
        channels.bind(0x4002, one, 8, end).unwrap();
        channels.check_invariants();
        assert_eq!(channels.number(one, end), Some(0x4002));
        assert_eq!(channels.iter().count(), 1);
    }

    #[test]
    fn there_are_no_more_channels_than_allowed() {
        let start = Instant::now();
        let mut channels = Channels::default();
        channels.bind(0x4000, peer("9.9.9.1:1"), 1, start).unwrap();
        assert_eq!(
            channels.bind(0x4001, peer("9.9.9.1:2"), 1, start),
            Err(Full)
        );
        channels.bind(0x4000, peer("9.9.9.1:1"), 1, start).unwrap();
    }
}
