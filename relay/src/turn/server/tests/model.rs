//! A simple model beside the server: the same random calls to both, with a clock that jumps.

use std::collections::BTreeMap;

use super::*;

const CLIENTS: u16 = 6;

/// What the server is supposed to know of one client.
#[derive(Debug)]
struct Modelled {
    relayed: SocketAddr,
    expires: Instant,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
}

struct Model {
    world: World,
    clients: BTreeMap<u16, Modelled>,
    rng: fastrand::Rng,
}

impl Model {
    fn new(seed: u64) -> Self {
        let world = World::with(|config| {
            config.limits.permissions = 3;
            config.limits.channels = 3;
            config.limits.allocations_per_user = u32::from(CLIENTS);
            config.ports = "5000-5003".parse().unwrap();
            config.relays.truncate(1);
        });
        Self {
            world,
            clients: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn step(&mut self) {
        let id = self.rng.u16(1..=CLIENTS);
        match self.rng.u8(..12) {
            0 | 1 => self.allocate(id),
            2 => self.refresh(id),
            3 => self.permit(id),
            4 | 5 => self.bind(id),
            6 | 7 => self.outbound(id),
            8 | 9 => self.inbound(id),
            10 if self.rng.u8(..8) == 0 => {
                self.world.server.client_gone(&Client::at(id).tuple);
                self.clients.remove(&id);
            }
            _ => self.advance(),
        }
        self.world.settle();
        self.world.server.check_invariants();
        assert_eq!(self.world.server.allocations().count(), self.clients.len());
        assert_eq!(self.world.open.len(), self.clients.len());
    }

    fn now(&self) -> Instant {
        self.world.now.instant
    }

    fn seconds(&self, seconds: u64) -> Instant {
        self.now() + Duration::from_secs(seconds)
    }

    fn peer(&mut self) -> SocketAddr {
        SocketAddr::new(
            IpAddr::from([9, 9, 9, self.rng.u8(1..6)]),
            self.rng.u16(1..3),
        )
    }

    fn advance(&mut self) {
        let seconds = [1, 29, 150, 299, 301][self.rng.usize(..5)];
        self.world.advance(seconds);
        let now = self.now();
        self.clients.retain(|_, client| now < client.expires);
        for client in self.clients.values_mut() {
            client.permissions.retain(|_, expires| now < *expires);
            client.channels.retain(|_, (_, expires)| now < *expires);
        }
    }

    fn allocate(&mut self, id: u16) {
        let answer = self.world.call(&Client::at(id), ALLOCATE, &[TRANSPORT_UDP]);
        let expected = match self.clients.len() {
            _ if self.clients.contains_key(&id) => 437,
            4 => 508,
            _ => 0,
        };
        assert_eq!(answer.code, expected);
        if answer.code == 0 {
            let modelled = Modelled {
                relayed: answer.address(0x0016),
                expires: self.seconds(600),
                permissions: BTreeMap::new(),
                channels: BTreeMap::new(),
            };
            self.clients.insert(id, modelled);
        }
    }

    fn refresh(&mut self, id: u16) {
        let lifetime = [0, 1, 1000, 100_000][self.rng.usize(..4)];
        let attribute = (0x000D, &u32::to_be_bytes(lifetime)[..]);
        let code = self.world.call(&Client::at(id), REFRESH, &[attribute]).code;
        assert_eq!(
            code,
            if self.clients.contains_key(&id) {
                0
            } else {
                437
            }
        );
        let expires = self.seconds(lifetime.clamp(600, 3600).into());
        if lifetime == 0 {
            self.clients.remove(&id);
        } else if let Some(client) = self.clients.get_mut(&id) {
            client.expires = expires;
        }
    }

    fn permit(&mut self, id: u16) {
        let (peer, expires) = (self.peer(), self.seconds(300));
        let code = self.world.permit(&Client::at(id), peer);
        let Some(client) = self.clients.get_mut(&id) else {
            return assert_eq!(code, 437);
        };
        assert_eq!(code, permit(client, peer.ip(), expires));
    }

    fn bind(&mut self, id: u16) {
        let (peer, number) = (self.peer(), self.rng.u16(0x4000..0x4004));
        let (permission, channel) = (self.seconds(300), self.seconds(600));
        let code = self.world.bind(&Client::at(id), number, peer);
        let Some(client) = self.clients.get_mut(&id) else {
            return assert_eq!(code, 437);
        };
        let conflict = client
            .channels
            .iter()
            .any(|(n, (p, _))| (*n == number) != (*p == peer));
        let known = client.channels.contains_key(&number);
        let expected = if conflict {
            400
        } else if !known && client.channels.len() == 3 {
            508
        } else {
            permit(client, peer.ip(), permission)
        };
        assert_eq!(code, expected);
        if code == 0 {
            client.channels.insert(number, (peer, channel));
        }
    }

    fn outbound(&mut self, id: u16) {
        let number = self.rng.u16(0x4000..0x4004);
        let client = self.clients.get(&id);
        let expected = client
            .and_then(|client| client.channels.get(&number))
            .map(|it| it.0);
        let message = channel_message(number, b"payload");
        let from = Client::at(id).tuple;
        let output = self
            .world
            .server
            .handle_client(&from, &message, self.world.now);
        let to = match output {
            Output::ToPeer { to, .. } => Some(to),
            _ => None,
        };
        assert_eq!(to, expected);
        let peer = self.peer();
        let indication = self.world.indication(peer, b"payload");
        let output = self
            .world
            .server
            .handle_client(&from, &indication, self.world.now);
        let sent = matches!(output, Output::ToPeer { .. });
        let client = self.clients.get(&id);
        assert_eq!(
            sent,
            client.is_some_and(|it| it.permissions.contains_key(&peer.ip()))
        );
    }

    fn inbound(&mut self, id: u16) {
        let peer = self.peer();
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let received = self.world.receive(client.relayed, peer, b"payload");
        let channel = client
            .channels
            .iter()
            .find(|(_, (bound, _))| *bound == peer);
        let permitted = client.permissions.contains_key(&peer.ip());
        assert_eq!(received.is_some(), permitted);
        if let Some((to, bytes)) = received {
            assert_eq!(to, Client::at(id).tuple);
            let number = channel.map(|(number, _)| number.to_be_bytes());
            assert_eq!(bytes[..2], number.unwrap_or([0x00, 0x17]));
        }
    }
}

/// What a permission for this address is answered with, and that it is there.
fn permit(client: &mut Modelled, ip: IpAddr, expires: Instant) -> u16 {
    if !client.permissions.contains_key(&ip) && client.permissions.len() == 3 {
        return 508;
    }
    client.permissions.insert(ip, expires);
    0
}

#[test]
fn the_server_does_what_the_model_does() {
    for seed in 0..40 {
        let mut model = Model::new(seed);
        for _ in 0..500 {
            model.step();
        }
    }
}
