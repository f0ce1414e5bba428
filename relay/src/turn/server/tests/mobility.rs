//! Clients that move.

use super::*;

const ASK: (u16, &[u8]) = (0x8030, &[]);

/// A world that lets clients move, and the ticket of an allocation in it.
fn moving(client: &Client) -> (World, SocketAddr, Vec<u8>) {
    let mut world = World::with(|config| config.mobility = true);
    let answer = world.call(client, ALLOCATE, &[TRANSPORT_UDP, ASK]);
    let ticket = answer.raw(0x8030).unwrap();
    (world, answer.address(0x0016), ticket)
}

#[test]
fn moving_is_405_unless_it_is_allowed_and_a_ticket_cannot_be_brought() {
    let mut world = World::new();
    assert_eq!(
        world
            .call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, ASK])
            .code,
        405
    );
    world.config.mobility = true;
    world.server.set_config(&world.config, world.now);
    let own = (0x8030, &[7; 16][..]);
    assert_eq!(
        world
            .call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP, own])
            .code,
        400
    );
    let without = world.call(&Client::at(1), ALLOCATE, &[TRANSPORT_UDP]);
    assert_eq!(without.raw(0x8030), None);
}

#[test]
fn an_allocation_moves_with_its_permissions_and_channels() {
    let (home, away) = (Client::at(1), Client::at(2));
    let (mut world, relayed, ticket) = moving(&home);
    world.bind(&home, 0x4000, peer());
    let answer = world.call(&away, REFRESH, &[(0x8030, &ticket)]);
    assert_eq!((answer.code, answer.lifetime()), (0, 600));
    let next = answer.raw(0x8030).unwrap();
    assert_ne!(next, ticket);
    assert_eq!(
        world.receive(relayed, peer(), b"hello").unwrap().0,
        away.tuple
    );
    let message = channel_message(0x4000, b"hello");
    for (client, sent) in [(&away, true), (&home, false)] {
        let output = world
            .server
            .handle_client(&client.tuple, &message, world.now);
        assert_eq!(matches!(output, Output::ToPeer { .. }), sent);
    }
    assert_eq!(world.call(&home, REFRESH, &[]).code, 437);
    assert_eq!(
        world.call(&home, REFRESH, &[(0x8030, &ticket)]).code,
        437,
        "used"
    );
    assert_eq!(world.call(&home, REFRESH, &[(0x8030, &next)]).code, 0);
}

#[test]
fn a_request_sent_again_is_told_the_ticket_again() {
    let (mut world, _, ticket) = moving(&Client::at(1));
    let away = Client::at(2);
    let request = away.request(&world, REFRESH, 77.into(), &[(0x8030, &ticket)]);
    let first = world.send(&away.tuple, &request);
    assert!(first.is_some());
    assert_eq!(world.send(&away.tuple, &request), first);
}

#[test]
fn a_ticket_is_for_its_user_and_for_refresh_only() {
    let (mut world, _, ticket) = moving(&Client::at(1));
    let ticket = (0x8030, &ticket[..]);
    assert_eq!(
        world
            .call(&Client::at(2).named("bob"), REFRESH, &[ticket])
            .code,
        441
    );
    let mut thief = Client::at(2);
    thief.password = "guess".into();
    assert_eq!(world.call(&thief, REFRESH, &[ticket]).code, 401);
    assert_eq!(
        world
            .call(&Client::at(2), CREATE_PERMISSION, &[ticket])
            .code,
        437
    );
    let delete = world.call(&Client::at(2), REFRESH, &[ticket, (0x000D, &[0; 4])]);
    assert_eq!((delete.code, delete.raw(0x8030)), (0, None));
    assert_eq!(world.server.allocations().count(), 0);
}

#[test]
fn a_client_that_may_move_may_lose_its_connection() {
    let home = Client::at(1).over(Transport::Tcp);
    let (mut world, _, ticket) = moving(&home);
    world.server.client_gone(&home.tuple);
    world.advance(599);
    let away = Client::at(2).over(Transport::Tcp);
    assert_eq!(world.call(&away, REFRESH, &[(0x8030, &ticket)]).code, 0);
    world.advance(600);
    assert_eq!(world.server.allocations().count(), 0);
    assert_eq!(world.call(&away, REFRESH, &[(0x8030, &ticket)]).code, 437);
}
