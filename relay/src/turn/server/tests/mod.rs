//! A world of one server, clients and peers without sockets, and a clock that stands still.

mod allocate;
mod auth;
mod data;
mod manage;
mod mobility;
mod model;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use stun_types::{
    attribute::{AttributeType, ErrorCode, RawAttribute, XorMappedAddress},
    message::{
        IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass,
        MessageIntegrityCredentials, MessageType, MessageWrite, MessageWriteVec, Method,
        TransactionId,
    },
    prelude::{AttributeFromRaw, AttributeStaticType, MessageWriteExt},
};
use turn_types::attribute::XorPeerAddress;

use super::*;
use crate::turn::{Credentials, PortMode, RelayAddress, Secret, Transport, entropy::tests::Seeded};

pub(super) const UNIX: u64 = 1_800_000_000;
const TRANSPORT_UDP: (u16, &[u8]) = (0x0019, &[17, 0, 0, 0]);

/// A peer on the public internet.
pub(super) fn peer() -> SocketAddr {
    "9.9.9.9:4000".parse().unwrap()
}

pub(super) struct World {
    pub(super) server: Server,
    pub(super) config: Config,
    pub(super) now: Now,
    /// Relay sockets by number, and where they are bound.
    pub(super) open: BTreeMap<RelayId, SocketAddr>,
    pub(super) events: Vec<Event>,
    /// Ports that cannot be bound.
    pub(super) broken: Vec<u16>,
    transaction: u128,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let credentials = Credentials {
            realm: "example.com".into(),
            users: [
                ("alice".to_owned(), Secret::new("pw")),
                ("bob".to_owned(), Secret::new("pw")),
            ]
            .into(),
            secrets: vec![Secret::new("s3cret")],
            strict_expiry: false,
        };
        let relays = ["8.8.4.4", "2a00::1"].map(|ip| RelayAddress::new(ip.parse().unwrap()));
        let mut config = Config::new(credentials, relays.to_vec());
        config.limits.stranger_rate = None;
        change(&mut config);
        let now = Now {
            instant: Instant::now(),
            unix: UNIX,
        };
        let shared = Shared::new(&config, 1, &mut Seeded::new(1));
        let server = Server::new(&config, shared, 0, Box::new(Seeded::new(2)), now);
        Self {
            server,
            config,
            now,
            open: BTreeMap::new(),
            events: Vec::new(),
            broken: Vec::new(),
            transaction: 0,
        }
    }

    pub(super) fn advance(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.unix += seconds;
        self.server.handle_timeout(self.now);
        self.settle();
        self.server.check_invariants();
    }

    pub(super) fn transaction(&mut self) -> TransactionId {
        self.transaction += 1;
        self.transaction.into()
    }

    /// Sends bytes and returns the answer to them.
    pub(super) fn send(&mut self, from: &FiveTuple, bytes: &[u8]) -> Option<Vec<u8>> {
        let reply = match self.server.handle_client(from, bytes, self.now) {
            Output::Reply(reply) => Some(reply.to_vec()),
            _ => None,
        };
        let later = self.settle();
        self.server.check_invariants();
        reply.or(later)
    }

    /// Does the commands and returns the answer among them.
    fn settle(&mut self) -> Option<Vec<u8>> {
        let mut answer = None;
        while let Some(command) = self.server.next_command() {
            match command {
                Command::OpenRelay { relay, address } if self.broken.contains(&address.port()) => {
                    self.server.relay_failed(relay, self.now);
                }
                Command::OpenRelay { relay, address } => {
                    assert!(
                        !self.open.values().any(|open| *open == address),
                        "{address}"
                    );
                    assert_eq!(self.open.insert(relay, address), None);
                    self.server.relay_opened(relay, self.now);
                }
                Command::CloseRelay { relay } => assert!(self.open.remove(&relay).is_some()),
                Command::Send { bytes, .. } => answer = Some(bytes.into()),
                Command::Event(event) => self.events.push(event),
            }
        }
        answer
    }

    /// A request with credentials, and its answer.
    pub(super) fn call(
        &mut self,
        client: &Client,
        method: Method,
        attributes: &[(u16, &[u8])],
    ) -> Answered {
        let transaction = self.transaction();
        let request = client.request(self, method, transaction, attributes);
        let reply = self.send(&client.tuple, &request).expect("an answer");
        Answered::of(&reply, client)
    }

    pub(super) fn allocate(&mut self, client: &Client) -> SocketAddr {
        let answer = self.call(client, ALLOCATE, &[TRANSPORT_UDP]);
        assert_eq!(answer.code, 0);
        answer.address(0x0016)
    }

    pub(super) fn permit(&mut self, client: &Client, peer: SocketAddr) -> u16 {
        let transaction = self.transaction();
        let peer = xor(peer, transaction);
        let request = client.request(self, CREATE_PERMISSION, transaction, &[(0x0012, &peer)]);
        let reply = self.send(&client.tuple, &request).expect("an answer");
        Answered::of(&reply, client).code
    }

    pub(super) fn bind(&mut self, client: &Client, number: u16, peer: SocketAddr) -> u16 {
        let transaction = self.transaction();
        let number = [&number.to_be_bytes()[..], &[0, 0]].concat();
        let attributes: [(u16, &[u8]); 2] = [(0x000C, &number), (0x0012, &xor(peer, transaction))];
        let request = client.request(self, CHANNEL_BIND, transaction, &attributes);
        let reply = self.send(&client.tuple, &request).expect("an answer");
        Answered::of(&reply, client).code
    }

    /// A Send indication with this payload.
    pub(super) fn indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let transaction = self.transaction();
        let peer = xor(peer, transaction);
        let message_type = MessageType::from_class_method(MessageClass::Indication, SEND);
        write(
            message_type,
            transaction,
            &[(0x0012, &peer), (0x0013, payload)],
            None,
        )
    }

    /// The relay socket bound to this address.
    pub(super) fn relay(&self, address: SocketAddr) -> RelayId {
        let mut open = self.open.iter();
        *open
            .find(|(_, bound)| **bound == address)
            .expect("an open relay")
            .0
    }

    /// What a client gets of a payload that comes to a relay address.
    pub(super) fn receive(
        &mut self,
        relayed: SocketAddr,
        from: SocketAddr,
        payload: &[u8],
    ) -> Option<(FiveTuple, Vec<u8>)> {
        let relay = self.relay(relayed);
        let output = self.server.handle_peer(relay, from, payload, self.now);
        to_client(&output)
    }
}

/// Everything that goes to a client.
pub(super) fn to_client(output: &Output<'_>) -> Option<(FiveTuple, Vec<u8>)> {
    let Output::ToClient { to, head, payload } = output else {
        return None;
    };
    let mut bytes = [&head[..], payload].concat();
    bytes.resize(bytes.len() + head.padding(), 0);
    Some((**to, bytes))
}

pub(super) fn channel_message(number: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    [&number.to_be_bytes()[..], &length.to_be_bytes(), payload].concat()
}

pub(super) fn xor(peer: SocketAddr, transaction: TransactionId) -> Vec<u8> {
    let raw = XorPeerAddress::new(peer, transaction);
    RawAttribute::from(&raw).value.to_vec()
}

fn write(
    message_type: MessageType,
    transaction: TransactionId,
    attributes: &[(u16, &[u8])],
    key: Option<(&MessageIntegrityCredentials, IntegrityAlgorithm)>,
) -> Vec<u8> {
    let mut message = Message::builder(message_type, transaction, MessageWriteVec::new());
    for (kind, value) in attributes {
        let attribute = RawAttribute::new(AttributeType::new(*kind), value);
        message.add_attribute(&attribute).unwrap();
    }
    if let Some((credentials, algorithm)) = key {
        message
            .add_message_integrity(credentials, algorithm)
            .unwrap();
    }
    message.finish()
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) tuple: FiveTuple,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) sha256: bool,
}

impl Client {
    /// Alice at 1.2.3.4 with this port.
    pub(super) fn at(port: u16) -> Self {
        let client = SocketAddr::new(IpAddr::from([1, 2, 3, 4]), port);
        let server = "8.8.4.4:3478".parse().unwrap();
        Self {
            tuple: FiveTuple::new(client, server, Transport::Udp),
            username: "alice".into(),
            password: "pw".into(),
            sha256: false,
        }
    }

    pub(super) fn named(mut self, username: &str) -> Self {
        self.username = username.into();
        self
    }

    pub(super) fn over(mut self, transport: Transport) -> Self {
        self.tuple = FiveTuple::new(self.tuple.client(), self.tuple.server(), transport);
        self
    }

    fn credentials(&self) -> (MessageIntegrityCredentials, IntegrityAlgorithm) {
        let (username, password) = (self.username.clone(), self.password.clone());
        let key = LongTermKeyCredentials::new(username, password, "example.com".into());
        let algorithm = if self.sha256 {
            IntegrityAlgorithm::Sha256
        } else {
            IntegrityAlgorithm::Sha1
        };
        (key.into(), algorithm)
    }

    /// A request with a fresh nonce.
    pub(super) fn request(
        &self,
        world: &World,
        method: Method,
        transaction: TransactionId,
        attributes: &[(u16, &[u8])],
    ) -> Vec<u8> {
        let nonces = &world.server.shared.nonces;
        let nonce = nonces.issue(self.tuple.client().ip(), world.now.unix);
        let mut all = attributes.to_vec();
        all.push((0x0006, self.username.as_bytes()));
        all.push((0x0014, b"example.com"));
        all.push((0x0015, &nonce));
        if self.sha256 {
            all.push((0x8002, &[0, 2, 0, 0, 0, 1, 0, 0]));
            all.push((0x001D, &[0, 2, 0, 0]));
        }
        let (credentials, algorithm) = self.credentials();
        let message_type = MessageType::from_class_method(MessageClass::Request, method);
        write(
            message_type,
            transaction,
            &all,
            Some((&credentials, algorithm)),
        )
    }
}

/// A response whose integrity and fingerprint hold.
#[derive(Debug)]
pub(super) struct Answered {
    bytes: Vec<u8>,
    /// 0 for a success.
    pub(super) code: u16,
}

impl Answered {
    pub(super) fn of(bytes: &[u8], client: &Client) -> Self {
        let answer = Self::unsigned(bytes);
        let message = Message::from_bytes(bytes).unwrap();
        let challenge = matches!(answer.code, 401 | 438);
        let (credentials, algorithm) = client.credentials();
        assert_eq!(
            message.validate_integrity(&credentials).ok(),
            (!challenge).then_some(algorithm)
        );
        answer
    }

    pub(super) fn unsigned(bytes: &[u8]) -> Self {
        let message = Message::from_bytes(bytes).unwrap();
        assert!(message.is_response());
        let code = message
            .attribute::<ErrorCode>()
            .map_or(0, |code| code.code());
        assert_eq!(message.has_class(MessageClass::Error), code != 0);
        Self {
            bytes: bytes.to_vec(),
            code,
        }
    }

    pub(super) fn raw(&self, kind: u16) -> Option<Vec<u8>> {
        let message = Message::from_bytes(&self.bytes).unwrap();
        message
            .raw_attribute(AttributeType::new(kind))
            .map(|attribute| attribute.value.to_vec())
    }

    /// An XORed address.
    pub(super) fn address(&self, kind: u16) -> SocketAddr {
        self.addresses(kind)[0]
    }

    pub(super) fn addresses(&self, kind: u16) -> Vec<SocketAddr> {
        let message = Message::from_bytes(&self.bytes).unwrap();
        message
            .iter_attributes()
            .filter(|(_, attribute)| attribute.header.get_type().value() == kind)
            .map(|(_, attribute)| {
                let raw = RawAttribute::new(XorMappedAddress::TYPE, &attribute.value);
                let address = XorMappedAddress::from_raw_ref(&raw).unwrap();
                address.addr(message.transaction_id())
            })
            .collect()
    }

    pub(super) fn lifetime(&self) -> u32 {
        u32::from_be_bytes(self.raw(0x000D).unwrap().try_into().unwrap())
    }
}
