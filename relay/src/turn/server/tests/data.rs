//! Data in both directions.

use std::num::NonZeroU64;

use super::*;

/// A client with an allocation and a permission for the peer.
fn permitted(world: &mut World, client: &Client) -> SocketAddr {
    let relayed = world.allocate(client);
    assert_eq!(world.permit(client, peer()), 0);
    relayed
}

#[test]
fn a_send_indication_goes_to_the_peer() {
    let mut world = World::new();
    let client = Client::at(1);
    let relayed = permitted(&mut world, &client);
    let relay = world.relay(relayed);
    let indication = world.indication(peer(), b"hello");
    let output = world
        .server
        .handle_client(&client.tuple, &indication, world.now);
    let expected = Output::ToPeer {
        relay,
        to: peer(),
        dont_fragment: false,
        payload: b"hello",
    };
    assert_eq!(output, expected);
}

#[test]
fn dont_fragment_is_passed_on() {
    let mut world = World::new();
    let client = Client::at(1);
    permitted(&mut world, &client);
    let transaction = world.transaction();
    let to = xor(peer(), transaction);
    let message_type = MessageType::from_class_method(MessageClass::Indication, SEND);
    let attributes: [(u16, &[u8]); 3] = [(0x0012, &to), (0x001A, &[]), (0x0013, b"x")];
    let message = write(message_type, transaction, &attributes, None);
    let output = world
        .server
        .handle_client(&client.tuple, &message, world.now);
    assert!(matches!(
        output,
        Output::ToPeer {
            dont_fragment: true,
            ..
        }
    ));
}

#[test]
fn a_peer_without_a_channel_becomes_a_data_indication() {
    let mut world = World::new();
    let client = Client::at(1);
    let relayed = permitted(&mut world, &client);
    // Permissions are for addresses, not for ports.
    let from = SocketAddr::new(peer().ip(), 1);
    let (to, bytes) = world.receive(relayed, from, b"hello").unwrap();
    assert_eq!(to, client.tuple);
    let message = Message::from_bytes(&bytes).unwrap();
    assert!(message.has_class(MessageClass::Indication));
    let address = message.attribute::<XorPeerAddress>().unwrap();
    assert_eq!(address.addr(message.transaction_id()), from);
    let data = message
        .attribute::<turn_types::attribute::Data<'_>>()
        .unwrap();
    assert_eq!(data.data(), b"hello");
}

#[test]
fn channel_data_goes_both_ways_without_a_copy() {
    let mut world = World::new();
    let client = Client::at(1);
    let relayed = world.allocate(&client);
    world.bind(&client, 0x4000, peer());
    let relay = world.relay(relayed);
    let message = channel_message(0x4000, b"hello");
    let output = world
        .server
        .handle_client(&client.tuple, &message, world.now);
    let Output::ToPeer {
        payload,
        to,
        relay: from,
        ..
    } = output
    else {
        panic!("{output:?}");
    };
    assert_eq!(
        (payload.as_ptr(), to, from),
        (message[4..].as_ptr(), peer(), relay)
    );
    let (to, bytes) = world.receive(relayed, peer(), b"world").unwrap();
    assert_eq!(
        (to, bytes),
        (client.tuple, channel_message(0x4000, b"world"))
    );
}

#[test]
fn on_streams_channel_data_is_padded() {
    let mut world = World::new();
    let client = Client::at(1).over(Transport::Tls);
    let relayed = world.allocate(&client);
    world.bind(&client, 0x4000, peer());
    let (_, bytes) = world.receive(relayed, peer(), b"hello").unwrap();
    assert_eq!(
        bytes,
        [&channel_message(0x4000, b"hello")[..], &[0; 3]].concat()
    );
    assert_eq!(crate::turn::frame_len(&bytes), Ok(Some(bytes.len())));
}

#[test]
fn strangers_on_either_side_are_not_relayed() {
    let mut world = World::new();
    let client = Client::at(1);
    let relayed = permitted(&mut world, &client);
    world.bind(&client, 0x4000, peer());
    assert_eq!(
        world.receive(relayed, "9.9.9.8:4000".parse().unwrap(), b"hello"),
        None
    );
    let unknown = world.indication("9.9.9.8:4000".parse().unwrap(), b"hello");
    for (from, message) in [
        (&client, unknown),
        (&client, channel_message(0x4001, b"hello")),
        (&Client::at(2), channel_message(0x4000, b"hello")),
        (&client, b"\x40\x00\x00\x09short".to_vec()),
    ] {
        let output = world.server.handle_client(&from.tuple, &message, world.now);
        assert_eq!(output, Output::Nothing);
    }
    assert_eq!(world.server.stats().not_permitted, 5);
}

#[test]
fn data_does_not_keep_permissions_and_channels_alive() {
    let mut world = World::new();
    let client = Client::at(1);
    let relayed = world.allocate(&client);
    world.bind(&client, 0x4000, peer());
    world.advance(299);
    assert!(world.receive(relayed, peer(), b"hello").is_some());
    world.advance(1);
    assert!(
        world.receive(relayed, peer(), b"hello").is_none(),
        "the permission has ended"
    );
    let message = channel_message(0x4000, b"hello");
    let sent = |world: &mut World| {
        let output = world
            .server
            .handle_client(&client.tuple, &message, world.now);
        matches!(output, Output::ToPeer { .. })
    };
    assert!(sent(&mut world), "the channel has not");
    world.call(&client, REFRESH, &[]);
    world.advance(299);
    assert!(sent(&mut world));
    world.advance(1);
    assert!(!sent(&mut world));
    assert_eq!(world.server.allocations().next().unwrap().channels, 0);
}

#[test]
fn two_clients_reach_each_other_inside_the_server_with_permissions() {
    let mut world = World::new();
    let (alice, bob) = (Client::at(1), Client::at(2).named("bob"));
    let (at_alice, at_bob) = (world.allocate(&alice), world.allocate(&bob));
    assert_eq!(world.bind(&alice, 0x4000, at_bob), 0);
    let message = channel_message(0x4000, b"hello");
    let output = world
        .server
        .handle_client(&alice.tuple, &message, world.now);
    assert_eq!(output, Output::Nothing, "bob has not permitted alice");
    assert_eq!(world.bind(&bob, 0x4007, at_alice), 0);
    let output = world
        .server
        .handle_client(&alice.tuple, &message, world.now);
    assert_eq!(
        to_client(&output),
        Some((bob.tuple, channel_message(0x4007, b"hello")))
    );
    world.server.client_gone(&bob.tuple);
    let output = world
        .server
        .handle_client(&alice.tuple, &message, world.now);
    assert_eq!(output, Output::Nothing, "bob is gone");
}

#[test]
fn bytes_are_counted_and_limited() {
    let mut world = World::with(|config| config.limits.allocation_rate = NonZeroU64::new(1000));
    let client = Client::at(1);
    let relayed = permitted(&mut world, &client);
    let payload = [0; 100];
    let received = (0..100).filter(|_| {
        let relay = world.relay(relayed);
        let output = world.server.handle_peer(relay, peer(), &payload, world.now);
        matches!(output, Output::ToClient { .. })
    });
    assert_eq!(received.count(), 11);
    let view = world.server.allocations().next().unwrap();
    assert_eq!((view.sent, view.received), (0, 1100));
    assert_eq!(world.server.stats().rate_limited, 89);
    assert_eq!(world.server.stats().received_bytes, 1100);
}

/// Two clients on one port.
fn sharing() -> (World, [Client; 2], SocketAddr) {
    let mut world = World::with(|config| {
        config.port_mode = PortMode::Shared;
        config.ports = "5000".parse().unwrap();
    });
    let clients = [Client::at(1), Client::at(2)];
    let relayed = clients.clone().map(|client| world.allocate(&client));
    assert_eq!(relayed[0], relayed[1]);
    (world, clients, relayed[0])
}

#[test]
fn on_a_shared_port_a_peer_belongs_to_who_bound_it() {
    let (mut world, [one, two], relayed) = sharing();
    let other = SocketAddr::new(peer().ip(), 4001);
    assert_eq!(world.bind(&one, 0x4000, peer()), 0);
    assert_eq!(world.bind(&two, 0x4000, peer()), 508);
    assert_eq!(world.bind(&two, 0x4000, other), 0);
    assert_eq!(
        world.receive(relayed, peer(), b"hello").unwrap().0,
        one.tuple
    );
    assert_eq!(
        world.receive(relayed, other, b"hello").unwrap().0,
        two.tuple
    );
    // Both permit the address; whose the port is cannot be known.
    let third = SocketAddr::new(peer().ip(), 4002);
    assert_eq!(world.receive(relayed, third, b"hello"), None);
    world.server.client_gone(&one.tuple);
    world.settle();
    assert_eq!(
        world.receive(relayed, third, b"hello").unwrap().0,
        two.tuple
    );
    let newcomer = world.call(&one, ALLOCATE, &[TRANSPORT_UDP]);
    assert_eq!(newcomer.code, 0);
    assert_eq!(world.bind(&one, 0x4000, peer()), 0);
}

#[test]
fn on_a_shared_port_a_peer_is_claimed_by_sending_to_it() {
    let (mut world, [one, two], relayed) = sharing();
    world.permit(&one, peer());
    world.permit(&two, peer());
    assert_eq!(world.receive(relayed, peer(), b"hello"), None);
    for (client, sent) in [(&two, true), (&one, false)] {
        let indication = world.indication(peer(), b"hello");
        let output = world
            .server
            .handle_client(&client.tuple, &indication, world.now);
        assert_eq!(matches!(output, Output::ToPeer { .. }), sent);
    }
    assert_eq!(
        world.receive(relayed, peer(), b"hello").unwrap().0,
        two.tuple
    );
    // The claim ends with the permission.
    world.advance(300);
    world.permit(&one, peer());
    assert_eq!(
        world.receive(relayed, peer(), b"hello").unwrap().0,
        one.tuple
    );
}

#[test]
fn garbage_from_clients_and_peers_changes_nothing() {
    let mut world = World::new();
    let client = Client::at(1);
    let relayed = permitted(&mut world, &client);
    let relay = world.relay(relayed);
    let mut rng = fastrand::Rng::with_seed(11);
    let request = client.request(&world, REFRESH, 77.into(), &[(0x000D, &[0; 4])]);
    for _ in 0..20_000 {
        let mut bytes = request.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] ^= rng.u8(1..);
        }
        if rng.u8(..4) == 0 {
            bytes.truncate(rng.usize(..bytes.len()));
        }
        // Flipped twice at one place it would be the request.
        if bytes != request {
            world.server.handle_client(&client.tuple, &bytes, world.now);
            world
                .server
                .handle_peer(relay, "9.9.9.8:1".parse().unwrap(), &bytes, world.now);
        }
    }
    world.server.check_invariants();
    assert_eq!(world.server.allocations().count(), 1);
    assert!(world.settle().is_none());
}
