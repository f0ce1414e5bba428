//! Allocations come and go.

use super::*;

const EVEN: (u16, &[u8]) = (0x0018, &[0x00]);
const EVEN_AND_NEXT: (u16, &[u8]) = (0x0018, &[0x80]);
const V4: (u16, &[u8]) = (0x0017, &[1, 0, 0, 0]);
const V6: (u16, &[u8]) = (0x0017, &[2, 0, 0, 0]);
const BOTH: (u16, &[u8]) = (0x8000, &[2, 0, 0, 0]);

#[test]
fn an_allocation_is_what_the_answer_says() {
    let mut world = World::new();
    let client = Client::at(5000);
    let answer = world.call(&client, ALLOCATE, &[TRANSPORT_UDP]);
    let relayed = answer.address(0x0016);
    assert_eq!(relayed.ip(), IpAddr::from([8, 8, 4, 4]));
    assert!((49160..=49200).contains(&relayed.port()));
    assert_eq!(answer.address(0x0020), client.tuple.client());
    assert_eq!(answer.lifetime(), 600);
    assert_eq!(world.open.values().collect::<Vec<_>>(), [&relayed]);
    let view = world.server.allocations().next().unwrap();
    assert_eq!((view.user, view.relayed[0]), ("alice", Some(relayed)));
    assert!(matches!(&world.events[..], [Event::Allocated { .. }]));
}

#[test]
fn behind_a_nat_clients_are_told_the_outside_and_sockets_bind_the_inside() {
    let mut world = World::with(|config| {
        config.relays = vec![RelayAddress {
            bind: IpAddr::from([10, 0, 0, 5]),
            external: IpAddr::from([8, 8, 4, 4]),
        }];
    });
    let relayed = world.allocate(&Client::at(1));
    assert_eq!(relayed.ip(), IpAddr::from([8, 8, 4, 4]));
    let bound = *world.open.values().next().unwrap();
    assert_eq!(
        bound,
        SocketAddr::new(IpAddr::from([10, 0, 0, 5]), relayed.port())
    );
}

#[test]
fn the_same_request_again_is_answered_the_same() {
    let mut world = World::new();
    let client = Client::at(1);
    let request = client.request(&world, ALLOCATE, 99.into(), &[TRANSPORT_UDP]);
    let first = world.send(&client.tuple, &request).unwrap();
    assert_eq!(world.send(&client.tuple, &request), Some(first));
    assert_eq!(world.server.allocations().count(), 1);
    let another = world.call(&client, ALLOCATE, &[TRANSPORT_UDP]);
    assert_eq!(another.code, 437);
}

#[test]
fn the_answer_waits_for_the_socket() {
    let mut world = World::new();
    let client = Client::at(1);
    let request = client.request(&world, ALLOCATE, 99.into(), &[TRANSPORT_UDP]);
    let output = world
        .server
        .handle_client(&client.tuple, &request, world.now);
    assert_eq!(output, Output::Nothing);
    let output = world
        .server
        .handle_client(&client.tuple, &request, world.now);
    assert_eq!(output, Output::Nothing, "sent again while it waits");
    let answer = Answered::of(&world.settle().unwrap(), &client);
    assert_eq!(answer.code, 0);
    assert_eq!(world.open.len(), 1);
}

#[test]
fn a_port_that_cannot_be_bound_is_not_the_last_one() {
    let mut world = World::with(|config| config.ports = "5000-5003".parse().unwrap());
    world.broken = vec![5000, 5001, 5002];
    assert_eq!(world.allocate(&Client::at(1)).port(), 5003);
    assert_eq!(world.server.shared.ports_taken(), 1);
    world.broken.push(5003);
    world.call(&Client::at(1), REFRESH, &[(0x000D, &[0; 4])]);
    let answer = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP]);
    assert_eq!(answer.code, 508);
    assert_eq!(world.server.shared.ports_taken(), 0);
    assert_eq!(world.server.shared.allocations(), 0);
}

#[test]
fn all_41_ports_are_used_and_the_42nd_client_is_508() {
    let mut world = World::with(|config| config.limits.allocations_per_user = 100);
    let mut ports: Vec<_> = (0..41)
        .map(|n| world.allocate(&Client::at(1000 + n)).port())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, (49160..=49200).collect::<Vec<_>>());
    let answer = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP]);
    assert_eq!(answer.code, 508);
    assert_eq!(world.events.last(), Some(&Event::PortsExhausted));
    assert_eq!(
        world
            .call(&Client::at(1007), REFRESH, &[(0x000D, &[0; 4])])
            .code,
        0
    );
    world.allocate(&Client::at(1));
}

#[test]
fn quotas_are_486() {
    let mut world = World::with(|config| {
        config.limits.allocations_per_user = 2;
        config.limits.allocations = 3;
    });
    world.allocate(&Client::at(1));
    world.allocate(&Client::at(2));
    assert_eq!(
        world.call(&Client::at(3), ALLOCATE, &[TRANSPORT_UDP]).code,
        486
    );
    world.allocate(&Client::at(3).named("bob"));
    assert_eq!(
        world
            .call(&Client::at(4).named("bob"), ALLOCATE, &[TRANSPORT_UDP])
            .code,
        486
    );
    world.server.client_gone(&Client::at(1).tuple);
    world.allocate(&Client::at(4).named("bob"));
}

#[test]
fn other_transports_are_442_and_none_is_400() {
    let mut world = World::new();
    assert_eq!(world.call(&Client::at(1), ALLOCATE, &[]).code, 400);
    assert_eq!(
        world
            .call(&Client::at(1), ALLOCATE, &[(0x0019, &[6, 0, 0, 0])])
            .code,
        442
    );
    assert_eq!(
        world
            .call(&Client::at(1), ALLOCATE, &[(0x0019, &[17])])
            .code,
        400
    );
}

#[test]
fn the_family_that_is_asked_for_is_given() {
    let mut world = World::new();
    let answer = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, V6]);
    assert!(answer.address(0x0016).is_ipv6());
    let answer = world.call(&Client::at(2), ALLOCATE, &[TRANSPORT_UDP, V4]);
    assert!(answer.address(0x0016).is_ipv4());
    let unknown = (0x0017, &[3, 0, 0, 0][..]);
    assert_eq!(
        world
            .call(&Client::at(3), ALLOCATE, &[TRANSPORT_UDP, unknown])
            .code,
        440
    );
}

#[test]
fn a_family_that_is_not_there_is_440_but_browsers_do_not_ask() {
    let only = |ip: &str| {
        let relay = RelayAddress::new(ip.parse().unwrap());
        World::with(|config| config.relays = vec![relay])
    };
    assert_eq!(
        only("8.8.4.4")
            .call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, V6])
            .code,
        440
    );
    assert_eq!(
        only("2a00::1")
            .call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, V4])
            .code,
        440
    );
    assert!(only("2a00::1").allocate(&Client::at(1)).is_ipv6());
}

#[test]
fn both_families_are_given_at_once() {
    let mut world = World::new();
    let client = Client::at(1);
    let answer = world.call(&client, ALLOCATE, &[TRANSPORT_UDP, BOTH]);
    let relayed = answer.addresses(0x0016);
    assert!(relayed[0].is_ipv4() && relayed[1].is_ipv6());
    assert_eq!(world.open.len(), 2);
    // One of them can be deleted.
    let gone = world.call(&client, REFRESH, &[(0x000D, &[0; 4]), V4]);
    assert_eq!((gone.code, world.open.len()), (0, 1));
    assert_eq!(world.call(&client, REFRESH, &[V4]).code, 443);
    assert_eq!(world.permit(&client, peer()), 443);
    assert_eq!(
        world.call(&client, REFRESH, &[(0x000D, &[0; 4]), V6]).code,
        0
    );
    assert_eq!(world.server.allocations().count(), 0);
}

#[test]
fn coturns_number_for_the_additional_family_is_known() {
    let mut world = World::new();
    let both = (0x8032, &[2, 0, 0, 0][..]);
    let answer = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, both]);
    assert_eq!(answer.addresses(0x0016).len(), 2);
}

#[test]
fn the_additional_family_may_fail_alone() {
    let mut world = World::with(|config| {
        config.relays = vec![RelayAddress::new(IpAddr::from([8, 8, 4, 4]))];
    });
    let answer = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, BOTH]);
    assert_eq!(answer.addresses(0x0016).len(), 1);
    assert_eq!(answer.raw(0x8001).unwrap()[..4], [2, 0, 4, 40]);
}

#[test]
fn contradictions_are_400() {
    let mut world = World::new();
    let token = (0x0022, &[0; 8][..]);
    let only_v4 = (0x8000, &[1, 0, 0, 0][..]);
    for wrong in [
        &[EVEN, token][..],
        &[V6, token],
        &[BOTH, token],
        &[BOTH, V6],
        &[BOTH, EVEN_AND_NEXT],
        &[only_v4],
    ] {
        let attributes = [&[TRANSPORT_UDP], wrong].concat();
        let answer = world.call(&Client::at(1), ALLOCATE, &attributes);
        assert_eq!(answer.code, 400, "{wrong:?}");
    }
}

#[test]
fn even_ports_and_reserved_neighbours() {
    let mut world = World::with(|config| config.ports = "5001-5005".parse().unwrap());
    let even = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, EVEN]);
    assert_eq!(even.address(0x0016).port() % 2, 0);
    let pair = world.call(&Client::at(2), ALLOCATE, &[TRANSPORT_UDP, EVEN_AND_NEXT]);
    let port = pair.address(0x0016).port();
    assert_eq!(port % 2, 0);
    let none_left = world.call(&Client::at(3), ALLOCATE, &[TRANSPORT_UDP, EVEN_AND_NEXT]);
    assert_eq!(none_left.code, 508);

    let token = pair.raw(0x0022).unwrap();
    let with_token = [TRANSPORT_UDP, (0x0022, &token[..])];
    let thief = world.call(&Client::at(3).named("bob"), ALLOCATE, &with_token);
    assert_eq!(thief.code, 508);
    let next = world.call(&Client::at(3), ALLOCATE, &with_token);
    assert_eq!(next.address(0x0016).port(), port + 1);
    let twice = world.call(&Client::at(4), ALLOCATE, &with_token);
    assert_eq!(twice.code, 508);
}

#[test]
fn a_reserved_port_waits_thirty_seconds() {
    let mut world = World::with(|config| config.ports = "5000-5001".parse().unwrap());
    let pair = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, EVEN_AND_NEXT]);
    assert_eq!(
        world.call(&Client::at(2), ALLOCATE, &[TRANSPORT_UDP]).code,
        508
    );
    world.advance(30);
    let token = pair.raw(0x0022).unwrap();
    let late = world.call(&Client::at(2), ALLOCATE, &[TRANSPORT_UDP, (0x0022, &token)]);
    assert_eq!(late.code, 508);
    assert_eq!(world.allocate(&Client::at(2)).port(), 5001);
}

#[test]
fn lifetimes_are_kept_within_the_settings() {
    let mut world = World::new();
    for (port, (asked, given)) in (1..).zip([(1, 600), (601, 601), (u32::MAX, 3600)]) {
        let lifetime = (0x000D, &u32::to_be_bytes(asked)[..]);
        let answer = world.call(&Client::at(port), ALLOCATE, &[TRANSPORT_UDP, lifetime]);
        assert_eq!(answer.lifetime(), given);
        let answer = world.call(&Client::at(port), REFRESH, &[lifetime]);
        assert_eq!(answer.lifetime(), given);
    }
}

#[test]
fn an_allocation_ends_when_nobody_refreshes_it() {
    let mut world = World::new();
    world.allocate(&Client::at(1));
    world.advance(599);
    assert_eq!(world.call(&Client::at(1), REFRESH, &[]).lifetime(), 600);
    world.advance(599);
    assert_eq!(world.server.allocations().count(), 1);
    world.advance(1);
    assert_eq!(
        (world.server.allocations().count(), world.open.len()),
        (0, 0)
    );
    assert_eq!(world.server.poll_timeout(), None);
    let ended = world.events.last();
    assert!(matches!(
        ended,
        Some(Event::Ended {
            reason: EndReason::Expired,
            ..
        })
    ));
    assert_eq!(world.call(&Client::at(1), REFRESH, &[]).code, 437);
}

#[test]
fn a_deleted_and_a_kicked_allocation_are_gone() {
    let mut world = World::new();
    world.allocate(&Client::at(1));
    assert_eq!(
        world
            .call(&Client::at(1), REFRESH, &[(0x000D, &[0; 4])])
            .lifetime(),
        0
    );
    assert_eq!(
        world
            .call(&Client::at(1), REFRESH, &[(0x000D, &[0; 4])])
            .code,
        437
    );
    world.allocate(&Client::at(2));
    world.allocate(&Client::at(3).named("bob"));
    assert_eq!(world.server.kick(|allocation| allocation.user == "bob"), 1);
    world.settle();
    assert_eq!(
        (world.server.allocations().count(), world.open.len()),
        (1, 1)
    );
    assert!(matches!(
        world.events.last(),
        Some(Event::Ended {
            reason: EndReason::Kicked,
            ..
        })
    ));
}

#[test]
fn draining_sends_clients_elsewhere_and_keeps_those_who_are_here() {
    let mut world = World::new();
    world.allocate(&Client::at(1));
    world.config.draining = true;
    world.server.set_config(&world.config, world.now);
    assert_eq!(
        world.call(&Client::at(2), ALLOCATE, &[TRANSPORT_UDP]).code,
        508
    );
    world.config.alternates = vec![
        "[2a00::2]:3478".parse().unwrap(),
        "8.8.4.5:3478".parse().unwrap(),
    ];
    world.server.set_config(&world.config, world.now);
    let answer = world.call(&Client::at(2), ALLOCATE, &[TRANSPORT_UDP]);
    assert_eq!(answer.code, 300);
    assert_eq!(answer.raw(0x8023).unwrap(), [0, 1, 0x0d, 0x96, 8, 8, 4, 5]);
    assert_eq!(world.call(&Client::at(1), REFRESH, &[]).code, 0);
}

#[test]
fn a_shared_port_serves_more_clients_than_there_are_ports() {
    let mut world = World::with(|config| {
        config.port_mode = PortMode::Shared;
        config.ports = "5000-5001".parse().unwrap();
        config.limits.allocations_per_user = 100;
    });
    let ports: Vec<_> = (1..=10)
        .map(|port| world.allocate(&Client::at(port)).port())
        .collect();
    assert_eq!(ports.iter().filter(|port| **port == 5000).count(), 5);
    assert_eq!(world.open.len(), 2);
    assert_eq!(
        world
            .call(&Client::at(11), ALLOCATE, &[TRANSPORT_UDP, EVEN_AND_NEXT])
            .code,
        508
    );
    for port in 1..=10 {
        world.server.client_gone(&Client::at(port).tuple);
    }
    world.settle();
    assert_eq!(world.open.len(), 0);
    assert_eq!(world.server.shared.ports_taken(), 0);
}
