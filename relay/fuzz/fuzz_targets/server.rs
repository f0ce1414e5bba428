//! A server that is called with anything, by clients and by peers, under a clock that jumps.
//!
//! The input is a list of calls: one byte for who and what, one for the length, and so many bytes.
//! Calls of some kinds become requests that are signed, so that they get past the door.
#![no_main]

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use relay::turn::{
    Command, Config, Credentials, Entropy, FiveTuple, Now, Output, PortMode, RelayAddress, RelayId,
    Secret, Server, Shared, Transport,
};
use stun_types::{
    message::{IntegrityAlgorithm, LongTermKeyCredentials, MessageWrite, MessageWriteVec},
    prelude::MessageWriteExt,
};

#[derive(Debug)]
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, mut rest)) = input.split_first() else {
        return;
    };
    let mut now = Now {
        instant: Instant::now(),
        unix: 1_800_000_000,
    };
    let (mut server, config) = server(*mode, now);
    let mut open = Vec::new();
    while let [kind, length, after @ ..] = rest {
        let (bytes, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        let client = client(*kind);
        match kind & 7 {
            0 => {
                let by = Duration::from_secs(u64::from(*length) * 8);
                now.instant += by;
                now.unix += by.as_secs();
                server.handle_timeout(now);
            }
            1 => {
                let relay = RelayId(u32::from(*length));
                let from = SocketAddr::new(IpAddr::from([9, 9, 9, *length]), 5000);
                drop(server.handle_peer(relay, from, bytes, now));
            }
            2 => server.client_gone(&client),
            3 => {
                let mut config = config.clone();
                config.draining = length & 1 == 1;
                server.set_config(&config, now);
            }
            4 | 5 => call(&mut server, &client, bytes, now),
            _ => {
                let output = server.handle_client(&client, bytes, now);
                if let Output::Reply(reply) = output {
                    assert!(reply.len() >= 20 && reply.len() % 4 == 0);
                }
            }
        }
        settle(&mut server, &mut open, kind & 0x80 != 0, now);
        server.check_invariants();
    }
});

fn server(mode: u8, now: Now) -> (Server, Config) {
    let credentials = Credentials {
        realm: "r".into(),
        users: [("u".to_owned(), Secret::new("p"))].into(),
        ..Credentials::default()
    };
    let relays = ["8.8.4.4", "2a00::1"].map(|ip| RelayAddress::new(ip.parse().unwrap()));
    let mut config = Config::new(credentials, relays.to_vec());
    config.ports = "5000-5003".parse().unwrap();
    config.limits.stranger_rate = None;
    if mode & 1 == 1 {
        config.port_mode = PortMode::Shared;
    }
    let shared = Shared::new(&config, 1, &mut Counting(1));
    let server = Server::new(&config, shared, 0, Box::new(Counting(2)), now);
    (server, config)
}

fn client(kind: u8) -> FiveTuple {
    let transport = if kind & 0x40 == 0 {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let client = SocketAddr::new(IpAddr::from([1, 2, 3, 4]), 1 + u16::from(kind >> 3 & 3));
    FiveTuple::new(client, "8.8.4.4:3478".parse().unwrap(), transport)
}

/// The bytes are a method and attributes; what proves who calls is added.
fn call(server: &mut Server, client: &FiveTuple, bytes: &[u8], now: Now) {
    let Some((method, attributes)) = bytes.split_first() else {
        return;
    };
    let challenge = message(*method, &[]);
    let nonce = match server.handle_client(client, &challenge, now) {
        Output::Reply(reply) => nonce(reply),
        _ => return,
    };
    let Some(nonce) = nonce else { return };
    let length = attributes.len() & !3;
    let mut body = attributes[..length].to_vec();
    attribute(&mut body, 0x0006, b"u");
    attribute(&mut body, 0x0014, b"r");
    attribute(&mut body, 0x0015, &nonce);
    let request = sign(&message(*method, &body));
    drop(server.handle_client(client, &request, now));
}

fn sign(message: &[u8]) -> Vec<u8> {
    let key = LongTermKeyCredentials::new("u".into(), "p".into(), "r".into());
    let mut signed = MessageWriteVec::new();
    signed.push_data(message);
    signed
        .add_message_integrity(&key.into(), IntegrityAlgorithm::Sha1)
        .expect("a message without integrity takes one");
    signed.finish()
}

fn message(method: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0, method & 0x0f];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(0x2112_A442_u32.to_be_bytes());
    message.extend([7; 12]);
    message.extend(body);
    message
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(kind.to_be_bytes());
    body.extend((value.len() as u16).to_be_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn nonce(reply: &[u8]) -> Option<Vec<u8>> {
    let mut rest = reply.get(20..)?;
    loop {
        let (header, after) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[..2] == [0, 0x15] {
            return after.get(..length).map(<[u8]>::to_vec);
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
}

fn settle(server: &mut Server, open: &mut Vec<RelayId>, broken: bool, now: Now) {
    while let Some(command) = server.next_command() {
        match command {
            Command::OpenRelay { relay, .. } if broken => server.relay_failed(relay, now),
            Command::OpenRelay { relay, .. } => {
                assert!(!open.contains(&relay));
                open.push(relay);
                server.relay_opened(relay, now);
            }
            Command::CloseRelay { relay } => {
                let place = open.iter().position(|it| *it == relay);
                open.swap_remove(place.expect("a relay that is open"));
            }
            Command::Send { .. } | Command::Event(_) => (),
        }
    }
}
