//! UDP sockets: received in batches, sent as segments.
//!
//! What is sent to one address in one turn and has one size leaves with one system call, as a
//! super-packet that the kernel (or the network card) cuts (GSO). Nothing waits for a batch to
//! fill: a turn ends when everything received has been looked at.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
};

use nix::sys::socket::{
    setsockopt,
    sockopt::{Ipv6DontFrag, UdpGroSegment},
};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};

use super::poll::Source;
use crate::turn::RelayId;

/// Room for a super-packet of what the kernel has put together (GRO).
const SUPER_PACKET: usize = 65_536;
/// The largest UDP payload, and the most segments Linux cuts.
const LONGEST: usize = 65_507;
const SEGMENTS: usize = 64;

/// A socket that clients send to.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: UdpSocket,
    pub(super) offload: UdpSocketState,
    local: SocketAddr,
}

impl Listener {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let offload = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        let_fragment(&socket, local)?;
        Ok(Self {
            socket,
            offload,
            local,
        })
    }

    /// The address a datagram was sent to. On a wildcard socket the kernel says it.
    pub(super) fn asked(&self, meta: &RecvMeta) -> SocketAddr {
        match meta.dst_ip {
            Some(ip) if self.local.ip().is_unspecified() => SocketAddr::new(ip, self.local.port()),
            _ => self.local,
        }
    }

    /// Whether answers from `server` leave here.
    pub(super) fn answers_for(&self, server: SocketAddr) -> bool {
        self.local == server
            || (self.local.port() == server.port()
                && self.local.ip().is_unspecified()
                && (self.local.is_ipv4() == server.is_ipv4()))
    }

    /// The source to name for an answer from `server`, if the socket is a wildcard.
    pub(super) fn source(&self, server: SocketAddr) -> Option<IpAddr> {
        self.local.ip().is_unspecified().then_some(server.ip())
    }
}

/// Makes a socket that peers send to ready.
pub(super) fn prepare_relay(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Older kernels do without.
    let _ = setsockopt(socket, UdpGroSegment, &true);
    let_fragment(socket, socket.local_addr()?)
}

/// What a peer or client sent is passed on whole: large datagrams may be fragmented, unless the
/// client asks for the DF bit.
fn let_fragment(socket: &UdpSocket, local: SocketAddr) -> io::Result<()> {
    if local.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?;
    } else {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?;
        setsockopt(socket, Ipv6DontFrag, &false)?;
    }
    Ok(())
}

/// Sends one datagram with the DF bit. A rare wish, so the option is set and taken back.
pub(super) fn send_unfragmented(
    socket: &UdpSocket,
    to: SocketAddr,
    payload: &[u8],
) -> io::Result<()> {
    if to.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO)?;
    }
    let sent = socket.send_to(payload, to);
    if to.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?;
    }
    sent.map(|_| ())
}

/// Buffers for one system call's worth of datagrams.
pub(super) struct Inbox {
    buffers: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
    received: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            buffers: vec![0; SUPER_PACKET * BATCH_SIZE].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            received: 0,
        }
    }

    /// Receives up to `most` super-packets. False if there is nothing more.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        offload: &UdpSocketState,
        most: usize,
    ) -> bool {
        let mut chunks = self.buffers.chunks_exact_mut(SUPER_PACKET);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let most = most.min(BATCH_SIZE);
        let received = offload.recv(
            UdpSockRef::from(socket),
            &mut slices[..most],
            &mut self.metas[..most],
        );
        // Errors are those of datagrams sent before: a peer that is not there.
        self.received = received.unwrap_or(0);
        self.received == most
    }

    /// The datagrams, and where each is from.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&RecvMeta, &[u8])> {
        let metas = self.metas[..self.received].iter();
        metas
            .zip(self.buffers.chunks_exact(SUPER_PACKET))
            .flat_map(|(meta, buffer)| {
                let bytes = &buffer[..meta.len.min(SUPER_PACKET)];
                // A datagram may be empty.
                let empty = bytes.is_empty().then_some(bytes);
                let datagrams = bytes.chunks(meta.stride.max(1)).chain(empty);
                datagrams.map(move |datagram| (meta, datagram))
            })
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inbox({} of {BATCH_SIZE})", self.received)
    }
}

/// Where a datagram leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Route {
    pub(super) exit: Source,
    pub(super) to: SocketAddr,
    /// The source to name, on a wildcard socket.
    pub(super) source: Option<IpAddr>,
}

/// Runs that are open at a time. Two routes that fall on one place take turns.
const RUNS: usize = 64;

/// What leaves in one turn, by route. The order of a route's datagrams is kept.
#[derive(Debug)]
pub(super) struct Runs {
    places: Vec<Run>,
    /// Places that have something, in the order they got it.
    used: Vec<usize>,
}

impl Runs {
    pub(super) fn new() -> Self {
        Self {
            places: std::iter::repeat_with(Run::new).take(RUNS).collect(),
            used: Vec::with_capacity(RUNS),
        }
    }

    /// Adds a datagram. What has to leave before, is given to `send`.
    pub(super) fn push(
        &mut self,
        route: Route,
        pieces: [&[u8]; 2],
        padding: usize,
        send: impl FnOnce(&mut Run),
    ) {
        let index = route.place();
        let run = &mut self.places[index];
        if run.count == 0 {
            self.used.push(index);
        } else if !run.takes(&route, pieces[0].len() + pieces[1].len() + padding) {
            send(run);
        }
        run.push(route, pieces, padding);
    }

    /// Gives everything to `send`.
    pub(super) fn flush(&mut self, mut send: impl FnMut(&mut Run)) {
        for index in self.used.drain(..) {
            send(&mut self.places[index]);
        }
    }
}

impl Route {
    fn place(&self) -> usize {
        let exit = match self.exit {
            Source::Listener(index) => index,
            Source::Relay(RelayId(id)) => id as usize,
        };
        (exit.wrapping_mul(7) ^ usize::from(self.to.port())) % RUNS
    }
}

/// Datagrams of one size for one address that leave together.
#[derive(Debug)]
pub(super) struct Run {
    route: Option<Route>,
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
    /// A shorter one has come, which can only be the last.
    closed: bool,
}

impl Run {
    fn new() -> Self {
        Self {
            route: None,
            bytes: Vec::new(),
            segment: 0,
            count: 0,
            closed: false,
        }
    }

    /// Whether a datagram can be part of the run; otherwise the run has to be sent before.
    fn takes(&self, route: &Route, length: usize) -> bool {
        self.count == 0
            || (self.route.as_ref() == Some(route)
                && !self.closed
                && length <= self.segment
                && length > 0
                && self.count < SEGMENTS
                && self.bytes.len() + length <= LONGEST)
    }

    /// Adds a datagram, which [`takes`](Self::takes) has to hold for.
    fn push(&mut self, route: Route, pieces: [&[u8]; 2], padding: usize) {
        let before = self.bytes.len();
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        self.bytes.extend_from_slice(&[0; 3][..padding.min(3)]);
        let length = self.bytes.len() - before;
        if self.count == 0 {
            self.segment = length;
            self.route = Some(route);
        }
        self.closed = length < self.segment;
        self.count += 1;
    }

    pub(super) fn route(&self) -> Option<Route> {
        self.route
    }

    /// Sends the run and empties it. What does not fit the socket's buffer is lost, as anywhere on
    /// the way of a datagram; the number of those is returned.
    pub(super) fn send(&mut self, socket: &UdpSocket, offload: &UdpSocketState) -> usize {
        let Some(route) = self.route.take() else {
            return 0;
        };
        let sent_alone = self.count == 1 && route.source.is_none();
        let lost = if sent_alone {
            usize::from(socket.send_to(&self.bytes, route.to).is_err())
        } else {
            self.send_segments(&route, socket, offload)
        };
        self.discard();
        lost
    }

    /// Empties the run and says how many datagrams it had.
    pub(super) fn discard(&mut self) -> usize {
        self.route = None;
        self.bytes.clear();
        self.closed = false;
        std::mem::take(&mut self.count)
    }

    fn send_segments(&self, route: &Route, socket: &UdpSocket, offload: &UdpSocketState) -> usize {
        let transmit = |contents, segment_size| Transmit {
            destination: route.to,
            ecn: None,
            contents,
            segment_size,
            src_ip: route.source,
        };
        let together = transmit(&self.bytes, (self.count > 1).then_some(self.segment));
        let fits = self.count <= offload.max_gso_segments();
        let socket = || UdpSockRef::from(socket);
        if fits {
            match offload.try_send(socket(), &together) {
                Ok(()) => return 0,
                Err(_) if self.count == 1 => return 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.count,
                Err(_) => (),
            }
        }
        // Without segmentation, or a network that does not take it.
        let segments = self.bytes.chunks(self.segment.max(1));
        let sent =
            segments.filter(|segment| offload.try_send(socket(), &transmit(segment, None)).is_ok());
        self.count - sent.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order_however_it_is_mixed() {
        let exit = Listener::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let peers = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut rng = fastrand::Rng::with_seed(3);
        let mut runs = Runs::new();
        let mut expected = [(); 3].map(|()| Vec::new());
        let mut lost = 0;
        for number in 0..150_u8 {
            let peer = rng.usize(..3);
            let payload = vec![number; [0, 20, 100, 100, 100][rng.usize(..5)]];
            let head = [number, 0, 0, 0];
            let route = Route {
                exit: Source::Listener(0),
                to: peers[peer].local_addr().unwrap(),
                source: None,
            };
            runs.push(route, [&head, &payload], 2, |run| {
                lost += run.send(&exit.socket, &exit.offload);
            });
            expected[peer].push([&head[..], &payload, &[0; 2]].concat());
        }
        runs.flush(|run| lost += run.send(&exit.socket, &exit.offload));
        assert_eq!(lost, 0);
        runs.flush(|_| panic!("nothing is left"));
        let mut buffer = [0; 256];
        for (peer, expected) in peers.iter().zip(expected) {
            for datagram in expected {
                let (length, _) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..length], datagram);
            }
        }
    }

    #[test]
    fn what_was_sent_together_is_received_one_by_one() {
        let [one, two] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let listener = Listener::new(two).unwrap();
        let mut inbox = Inbox::new();
        assert!(!inbox.receive(&listener.socket, &listener.offload, 8));
        assert_eq!(inbox.datagrams().count(), 0);
        for payload in [&b"first"[..], b"", b"third"] {
            one.send_to(payload, listener.local).unwrap();
        }
        let mut received = Vec::new();
        while received.len() < 3 {
            inbox.receive(&listener.socket, &listener.offload, 8);
            received.extend(inbox.datagrams().map(|(_, payload)| payload.to_vec()));
        }
        assert_eq!(received, [&b"first"[..], b"", b"third"]);
    }
}
