//! Permissions and channels.

use super::*;

#[test]
fn requests_without_an_allocation_are_437() {
    let mut world = World::new();
    let client = Client::at(1);
    assert_eq!(world.call(&client, REFRESH, &[]).code, 437);
    assert_eq!(world.permit(&client, peer()), 437);
    assert_eq!(world.bind(&client, 0x4000, peer()), 437);
}

#[test]
fn a_permission_needs_an_address_of_the_right_family() {
    let mut world = World::new();
    let client = Client::at(1);
    world.allocate(&client);
    assert_eq!(world.call(&client, CREATE_PERMISSION, &[]).code, 400);
    assert_eq!(
        world
            .call(&client, CREATE_PERMISSION, &[(0x0012, &[0, 1])])
            .code,
        400
    );
    assert_eq!(world.permit(&client, "[2a00::9]:1".parse().unwrap()), 443);
    assert_eq!(
        world.bind(&client, 0x4000, "[2a00::9]:1".parse().unwrap()),
        443
    );
}

#[test]
fn forbidden_peers_are_403_on_every_path() {
    let mut world = World::new();
    let (v4, v6) = (Client::at(1), Client::at(2));
    world.allocate(&v4);
    world.call(&v6, ALLOCATE, &[TRANSPORT_UDP, (0x0017, &[2, 0, 0, 0])]);
    let forbidden = [
        (&v4, "127.0.0.1:80"),
        (&v4, "10.0.0.1:80"),
        (&v4, "169.254.169.254:80"),
        (&v4, "224.0.0.1:80"),
        (&v4, "0.0.0.0:80"),
        (&v6, "[::1]:80"),
        (&v6, "[::ffff:127.0.0.1]:80"),
        (&v6, "[::ffff:9.9.9.9]:80"),
        (&v6, "[2002:7f00:1::]:80"),
        (&v6, "[64:ff9b::a9fe:a9fe]:80"),
        (&v6, "[ff02::1]:80"),
        (&v6, "[fe80::1]:80"),
    ];
    for (client, peer) in forbidden {
        let peer = peer.parse().unwrap();
        assert_eq!(world.permit(client, peer), 403, "{peer}");
        assert_eq!(world.bind(client, 0x4000, peer), 403, "{peer}");
        let indication = world.indication(peer, b"hello");
        let output = world
            .server
            .handle_client(&client.tuple, &indication, world.now);
        assert_eq!(output, Output::Nothing, "{peer}");
    }
    assert_eq!(world.server.stats().forbidden, 24);
}

#[test]
fn a_permission_is_for_all_addresses_or_none() {
    let mut world = World::new();
    let client = Client::at(1);
    world.allocate(&client);
    let transaction = world.transaction();
    let allowed = xor(peer(), transaction);
    let denied = xor("10.0.0.1:1".parse().unwrap(), transaction);
    let both: [(u16, &[u8]); 2] = [(0x0012, &allowed), (0x0012, &denied)];
    let request = client.request(&world, CREATE_PERMISSION, transaction, &both);
    let reply = world.send(&client.tuple, &request).unwrap();
    assert_eq!(Answered::of(&reply, &client).code, 403);
    assert_eq!(world.server.allocations().next().unwrap().permissions, 0);
}

#[test]
fn more_permissions_and_channels_than_allowed_are_508() {
    let mut world = World::with(|config| {
        config.limits.permissions = 2;
        config.limits.channels = 1;
    });
    let client = Client::at(1);
    world.allocate(&client);
    assert_eq!(world.permit(&client, "9.9.9.1:1".parse().unwrap()), 0);
    assert_eq!(world.permit(&client, "9.9.9.2:1".parse().unwrap()), 0);
    assert_eq!(world.permit(&client, "9.9.9.3:1".parse().unwrap()), 508);
    assert_eq!(world.permit(&client, "9.9.9.1:2".parse().unwrap()), 0);
    assert_eq!(world.bind(&client, 0x4000, "9.9.9.1:1".parse().unwrap()), 0);
    assert_eq!(
        world.bind(&client, 0x4001, "9.9.9.2:1".parse().unwrap()),
        508
    );
}

#[test]
fn a_channel_has_one_peer_and_a_peer_one_channel() {
    let mut world = World::new();
    let client = Client::at(1);
    world.allocate(&client);
    let other = "9.9.9.9:4001".parse().unwrap();
    assert_eq!(world.bind(&client, 0x4000, peer()), 0);
    assert_eq!(world.bind(&client, 0x4000, peer()), 0);
    assert_eq!(world.bind(&client, 0x4000, other), 400);
    assert_eq!(world.bind(&client, 0x4001, peer()), 400);
    assert_eq!(world.bind(&client, 0x4001, other), 0);
    for reserved in [0x0000, 0x3fff, 0x7fff, 0x8000, 0xffff] {
        assert_eq!(
            world.bind(&client, reserved, "9.9.9.8:1".parse().unwrap()),
            400
        );
    }
    assert_eq!(
        world
            .call(&client, CHANNEL_BIND, &[(0x000C, &[0x40, 5, 0, 0])])
            .code,
        400
    );
}

#[test]
fn own_listeners_are_403_and_own_relay_addresses_are_not() {
    let mut world = World::with(|config| {
        let own: IpAddr = "8.8.4.4".parse().unwrap();
        let listeners = ["0.0.0.0:443", "8.8.4.4:9100"].map(|text| text.parse().unwrap());
        config.peers = config.peers.clone().protect(listeners, [own]);
    });
    let client = Client::at(1);
    world.allocate(&client);
    let relayed = world.allocate(&Client::at(2));
    assert_eq!(
        world.bind(&client, 0x4000, "8.8.4.4:443".parse().unwrap()),
        403
    );
    assert_eq!(
        world.bind(&client, 0x4000, "8.8.4.4:9100".parse().unwrap()),
        403
    );
    assert_eq!(world.bind(&client, 0x4000, relayed), 0);
    assert_eq!(world.permit(&client, relayed), 0);
    // The permission is for the address, so each datagram is looked at.
    let indication = world.indication("8.8.4.4:443".parse().unwrap(), b"GET /");
    let output = world
        .server
        .handle_client(&client.tuple, &indication, world.now);
    assert_eq!(output, Output::Nothing);
}

#[test]
fn new_settings_end_what_they_forbid() {
    let mut world = World::new();
    let client = Client::at(1);
    let relayed = world.allocate(&client);
    world.bind(&client, 0x4000, peer());
    assert!(world.receive(relayed, peer(), b"hello").is_some());
    world.config.peers = world
        .config
        .peers
        .clone()
        .deny(["9.0.0.0/8".parse().unwrap()]);
    world.server.set_config(&world.config, world.now);
    world.server.check_invariants();
    assert!(world.receive(relayed, peer(), b"hello").is_none());
    let message = channel_message(0x4000, b"hello");
    let output = world
        .server
        .handle_client(&client.tuple, &message, world.now);
    assert_eq!(output, Output::Nothing);
    assert_eq!(world.call(&client, REFRESH, &[]).code, 0);
}
