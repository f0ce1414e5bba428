//! Who gets an answer, and which.

use super::*;

/// An Allocate request without credentials.
fn bare(world: &mut World) -> Vec<u8> {
    let message_type = MessageType::from_class_method(MessageClass::Request, ALLOCATE);
    write(message_type, world.transaction(), &[TRANSPORT_UDP], None)
}

fn timed(world: &World, user: &str, ttl: u64) -> Client {
    let minted = world
        .config
        .credentials
        .mint(user, ttl, world.now.unix)
        .unwrap();
    Client {
        username: minted.username,
        password: minted.password,
        ..Client::at(1)
    }
}

#[test]
fn binding_answers_with_the_clients_address_in_32_bytes() {
    let mut world = World::new();
    let client = Client::at(5000);
    let message_type = MessageType::from_class_method(MessageClass::Request, BINDING);
    let request = write(message_type, world.transaction(), &[], None);
    let reply = world.send(&client.tuple, &request).unwrap();
    assert_eq!(reply.len(), 32);
    let answer = Answered::unsigned(&reply);
    assert_eq!(answer.address(0x0020), client.tuple.client());
    let mut with_fingerprint = Message::builder(message_type, 9.into(), MessageWriteVec::new());
    with_fingerprint.add_fingerprint().unwrap();
    let reply = world
        .send(&client.tuple, &with_fingerprint.finish())
        .unwrap();
    assert!(Answered::unsigned(&reply).raw(0x8028).is_some());
}

#[test]
fn binding_does_not_pretend_to_know_change_request() {
    let mut world = World::new();
    let message_type = MessageType::from_class_method(MessageClass::Request, BINDING);
    let request = write(message_type, 1.into(), &[(0x0003, &[0, 0, 0, 6])], None);
    let reply = world.send(&Client::at(1).tuple, &request).unwrap();
    let answer = Answered::unsigned(&reply);
    assert_eq!(answer.code, 420);
    assert_eq!(answer.raw(0x000A).unwrap()[..2], [0, 3]);
}

#[test]
fn a_stranger_is_challenged_and_nothing_is_kept() {
    let mut world = World::new();
    let request = bare(&mut world);
    let reply = world.send(&Client::at(1).tuple, &request).unwrap();
    assert!(reply.len() < 120, "{}", reply.len());
    let answer = Answered::unsigned(&reply);
    assert_eq!(answer.code, 401);
    assert_eq!(answer.raw(0x0014).unwrap(), b"example.com");
    assert_eq!(answer.raw(0x8002).unwrap(), [0, 2, 0, 0, 0, 1, 0, 0]);
    let nonce = answer.raw(0x0015).unwrap();
    let ip = Client::at(1).tuple.client().ip();
    assert!(world.server.shared.nonces.is_fresh(&nonce, ip, UNIX, 3600));
    assert_eq!(answer.raw(0x8022), None, "no SOFTWARE");
    assert_eq!(world.server.allocations().count(), 0);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_stranger_who_asks_too_often_gets_no_answer() {
    let mut world = World::with(|config| config.limits = crate::turn::Limits::default());
    let request = bare(&mut world);
    let answers = |world: &mut World| {
        (0..500)
            .filter(|_| world.send(&Client::at(1).tuple, &request).is_some())
            .count()
    };
    assert_eq!(answers(&mut world), 100);
    world.advance(1);
    assert_eq!(answers(&mut world), 10);
    assert_eq!(world.server.stats().strangers_ignored, 890);
    // Somebody with credentials is not a stranger.
    world.allocate(&Client::at(1));
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_401() {
    let mut world = World::new();
    let mut client = Client::at(1);
    client.password = "guess".into();
    assert_eq!(world.call(&client, ALLOCATE, &[TRANSPORT_UDP]).code, 401);
    let nobody = Client::at(1).named("nobody");
    assert_eq!(world.call(&nobody, ALLOCATE, &[TRANSPORT_UDP]).code, 401);
    assert_eq!(world.server.allocations().count(), 0);
}

#[test]
fn an_old_nonce_is_438_and_the_new_one_works() {
    let mut world = World::new();
    let client = Client::at(1);
    let transaction = world.transaction();
    let old = client.request(&world, ALLOCATE, transaction, &[TRANSPORT_UDP]);
    world.advance(3601);
    let reply = world.send(&client.tuple, &old).unwrap();
    let answer = Answered::unsigned(&reply);
    assert_eq!(answer.code, 438);
    let nonce = answer.raw(0x0015).unwrap();
    let ip = client.tuple.client().ip();
    assert!(
        world
            .server
            .shared
            .nonces
            .is_fresh(&nonce, ip, world.now.unix, 3600)
    );
}

#[test]
fn integrity_without_username_realm_or_nonce_is_400() {
    let mut world = World::new();
    let client = Client::at(1);
    let (credentials, algorithm) = client.credentials();
    let all: [(u16, &[u8]); 3] = [(0x0006, b"alice"), (0x0014, b"example.com"), (0x0015, b"n")];
    for missing in 0..3 {
        let mut attributes = all.to_vec();
        attributes.remove(missing);
        let message_type = MessageType::from_class_method(MessageClass::Request, ALLOCATE);
        let key = Some((&credentials, algorithm));
        let request = write(message_type, world.transaction(), &attributes, key);
        let reply = world.send(&client.tuple, &request).unwrap();
        assert_eq!(Answered::unsigned(&reply).code, 400);
    }
}

#[test]
fn sha256_is_used_when_a_client_chooses_it() {
    let mut world = World::new();
    let mut client = Client::at(1);
    client.sha256 = true;
    world.allocate(&client);
    assert_eq!(world.call(&client, REFRESH, &[]).code, 0);
}

#[test]
fn a_shortened_list_of_algorithms_is_400() {
    let mut world = World::new();
    let client = Client::at(1);
    for attributes in [
        &[(0x8002, &[0, 1, 0, 0][..]), (0x001D, &[0, 1, 0, 0])][..],
        &[(0x8002, &[0, 2, 0, 0, 0, 1, 0, 0])],
        &[(0x001D, &[0, 1, 0, 0])],
        &[(0x8002, &[0, 2, 0, 0, 0, 1, 0, 0]), (0x001D, &[0, 3, 0, 0])],
    ] {
        let transaction = world.transaction();
        let request = client.request(&world, ALLOCATE, transaction, attributes);
        let reply = world.send(&client.tuple, &request).unwrap();
        assert_eq!(Answered::unsigned(&reply).code, 400, "{attributes:?}");
    }
}

#[test]
fn a_timed_credential_works_until_it_ends() {
    let mut world = World::new();
    let client = timed(&world, "carol", 60);
    world.advance(59);
    world.allocate(&client);
    assert_eq!(world.server.allocations().next().unwrap().user, "carol");
    let late = timed(&world, "carol", 60);
    world.advance(60);
    let late = Client {
        tuple: Client::at(2).tuple,
        ..late
    };
    assert_eq!(world.call(&late, ALLOCATE, &[TRANSPORT_UDP]).code, 401);
}

#[test]
fn an_allocation_outlives_its_credential_unless_that_is_strict() {
    for strict in [false, true] {
        let mut world = World::with(|config| config.credentials.strict_expiry = strict);
        let client = timed(&world, "carol", 300);
        let answer = world.call(&client, ALLOCATE, &[TRANSPORT_UDP]);
        assert_eq!(answer.lifetime(), if strict { 300 } else { 600 });
        world.advance(299);
        let refreshed = world.call(&client, REFRESH, &[]);
        assert_eq!(refreshed.lifetime(), if strict { 1 } else { 600 });
        world.advance(2);
        assert_eq!(world.server.allocations().count(), usize::from(!strict));
        let code = world.call(&client, REFRESH, &[]).code;
        assert_eq!(code, if strict { 401 } else { 0 });
    }
}

#[test]
fn a_rotated_secret_keeps_allocations_and_refuses_new_ones() {
    let mut world = World::new();
    let client = timed(&world, "carol", 3600);
    world.allocate(&client);
    world.config.credentials.secrets = vec![Secret::new("next")];
    world.server.set_config(&world.config, world.now);
    assert_eq!(world.call(&client, REFRESH, &[]).code, 0);
    let again = Client {
        tuple: Client::at(2).tuple,
        ..client
    };
    assert_eq!(world.call(&again, ALLOCATE, &[TRANSPORT_UDP]).code, 401);
    world.allocate(&Client {
        tuple: Client::at(3).tuple,
        ..timed(&world, "carol", 3600)
    });
}

#[test]
fn an_expired_allocation_does_not_vouch_for_its_credential() {
    let mut world = World::new();
    let client = timed(&world, "carol", 60);
    world.allocate(&client);
    // Nobody calls handle_timeout in between.
    world.now.instant += Duration::from_secs(600);
    world.now.unix += 600;
    assert_eq!(world.call(&client, ALLOCATE, &[TRANSPORT_UDP]).code, 401);
}

#[test]
fn an_allocation_belongs_to_its_user() {
    let mut world = World::new();
    world.allocate(&Client::at(1));
    let bob = Client::at(1).named("bob");
    assert_eq!(world.call(&bob, REFRESH, &[]).code, 441);
    assert_eq!(world.permit(&bob, peer()), 441);
    assert_eq!(world.bind(&bob, 0x4000, peer()), 441);
    assert_eq!(world.call(&bob, ALLOCATE, &[TRANSPORT_UDP]).code, 437);
}

#[test]
fn unknown_attributes_are_420_for_those_who_may_ask() {
    let mut world = World::new();
    let answer = world.call(
        &Client::at(1),
        ALLOCATE,
        &[TRANSPORT_UDP, (0x7fff, b"what")],
    );
    assert_eq!(answer.code, 420);
    assert_eq!(answer.raw(0x000A).unwrap(), [0x7f, 0xff]);
    world.call(
        &Client::at(1),
        ALLOCATE,
        &[TRANSPORT_UDP, (0xffff, b"fine")],
    );
    assert_eq!(world.server.allocations().count(), 1);
}

#[test]
fn credentials_are_in_no_debug_output() {
    let mut world = World::new();
    world.allocate(&Client::at(1));
    let shown = format!("{:?} {:?}", world.server, world.events);
    assert!(!shown.contains("s3cret") && !shown.contains("\"pw\""));
}
