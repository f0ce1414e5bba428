use super::*;
use crate::turn::integrity::PasswordAlgorithm;

/// RFC 5769 §2.1: a request with a short-term key.
const REQUEST: &str = "
    00 01 00 58 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86
    fa 87 df ae 80 22 00 10 53 54 55 4e 20 74 65 73
    74 20 63 6c 69 65 6e 74 00 24 00 04 6e 00 01 ff
    80 29 00 08 93 2f f9 b1 51 26 3b 36 00 06 00 09
    65 76 74 6a 3a 68 36 76 59 20 20 20 00 08 00 14
    9a ea a7 0c bf d8 cb 56 78 1e f2 b5 b2 d3 f2 49
    c1 b5 71 a2 80 28 00 04 e5 7a 3b cf
";

/// RFC 5769 §2.2: a response with an IPv4 address.
const RESPONSE_V4: &str = "
    01 01 00 3c 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86
    fa 87 df ae 80 22 00 0b 74 65 73 74 20 76 65 63
    74 6f 72 20 00 20 00 08 00 01 a1 47 e1 12 a6 43
    00 08 00 14 2b 91 f5 99 fd 9e 90 c3 8c 74 89 f9
    2a f9 ba 53 f0 6b e7 d7 80 28 00 04 c0 7d 4c 96
";

/// RFC 5769 §2.3: a response with an IPv6 address.
const RESPONSE_V6: &str = "
    01 01 00 48 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86
    fa 87 df ae 80 22 00 0b 74 65 73 74 20 76 65 63
    74 6f 72 20 00 20 00 14 00 02 a1 47 01 13 a9 fa
    a5 d3 f1 79 bc 25 f4 b5 be d2 b9 d9 00 08 00 14
    a3 82 95 4e 4b e6 7b f1 17 84 c9 7c 82 92 c2 75
    bf e3 ed 41 80 28 00 04 c8 fb 0b 4c
";

/// RFC 5769 §2.4: a request with long-term credentials.
const LONG_TERM: &str = "
    00 01 00 60 21 12 a4 42 78 ad 34 33 c6 ad 72 c0
    29 da 41 2e 00 06 00 12 e3 83 9e e3 83 88 e3 83
    aa e3 83 83 e3 82 af e3 82 b9 00 00 00 15 00 1c
    66 2f 2f 34 39 39 6b 39 35 34 64 36 4f 4c 33 34
    6f 4c 39 46 53 54 76 79 36 34 73 41 00 14 00 0b
    65 78 61 6d 70 6c 65 2e 6f 72 67 00 00 08 00 14
    f6 70 24 65 6d d6 4a 3e 02 b8 e0 71 2e 85 c9 a2
    8c a8 96 66
";

/// RFC 8489 §B.1 with erratum 6268: USERHASH and MESSAGE-INTEGRITY-SHA256.
const SHA256: &str = "
    00 01 00 90 21 12 a4 42 78 ad 34 33 c6 ad 72 c0
    29 da 41 2e 00 1e 00 20 4a 3c f3 8f ef 69 92 bd
    a9 52 c6 78 04 17 da 0f 24 81 94 15 56 9e 60 b2
    05 c4 6e 41 40 7f 17 04 00 15 00 29 6f 62 4d 61
    74 4a 6f 73 32 41 41 41 43 66 2f 2f 34 39 39 6b
    39 35 34 64 36 4f 4c 33 34 6f 4c 39 46 53 54 76
    79 36 34 73 41 00 00 00 00 14 00 0b 65 78 61 6d
    70 6c 65 2e 6f 72 67 00 00 1d 00 04 00 02 00 00
    00 1c 00 20 b5 c7 bf 00 5b 6c 52 a2 1c 51 c5 e8
    92 f8 19 24 13 62 96 cb 92 7c 43 14 93 09 27 8c
    c6 51 8e 65
";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.split_whitespace();
    digits
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// Every vector with its password; the digest of a key, if it has one.
fn vectors() -> [(Vec<u8>, Key); 5] {
    let short = Key::short_term(b"VOkJxbRl1RmTxUk/WvJxBt");
    let long = |algorithm| Key::new(algorithm, "マトリックス", "example.org", b"TheMatrIX");
    [
        (bytes(REQUEST), short),
        (bytes(RESPONSE_V4), short),
        (bytes(RESPONSE_V6), short),
        (bytes(LONG_TERM), long(PasswordAlgorithm::Md5)),
        (bytes(SHA256), long(PasswordAlgorithm::Sha256)),
    ]
}

#[test]
fn the_vectors_are_read_and_their_integrity_holds() {
    for (number, (bytes, key)) in vectors().into_iter().enumerate() {
        let message = Incoming::parse(&bytes).unwrap();
        assert!(message.is_signed_by(&key), "{number}");
        assert!(
            !message.is_signed_by(&Key::short_term(b"other")),
            "{number}"
        );
        assert_eq!(message.has_fingerprint(), number < 3);
    }
}

#[test]
fn what_the_vectors_say_is_understood() {
    let request = bytes(REQUEST);
    let request = Incoming::parse(&request).unwrap();
    assert_eq!(request.class(), MessageClass::Request);
    assert_eq!(request.text(attribute::USERNAME), Some("evtj:h6vY"));
    let mut unknown = Unknown::default();
    (unknown.types[0], unknown.count) = (0x0024, 1);
    assert_eq!(request.unknown(), unknown);

    let mapped = |hex: &str| {
        let bytes = bytes(hex);
        let message = Incoming::parse(&bytes).unwrap();
        peer_address(message.raw(0x0020).unwrap(), message.transaction()).unwrap()
    };
    assert_eq!(mapped(RESPONSE_V4), "192.0.2.1:32853".parse().unwrap());
    let v6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
    assert_eq!(mapped(RESPONSE_V6), v6.parse().unwrap());

    let long = bytes(LONG_TERM);
    let long = Incoming::parse(&long).unwrap();
    assert_eq!(long.text(attribute::USERNAME), Some("マトリックス"));
    assert_eq!(long.text(attribute::REALM), Some("example.org"));
    assert_eq!(long.integrity(), Some(Integrity::Sha1));

    let sha256 = bytes(SHA256);
    let sha256 = Incoming::parse(&sha256).unwrap();
    assert_eq!(sha256.integrity(), Some(Integrity::Sha256));
    assert!(
        sha256
            .text(attribute::NONCE)
            .is_some_and(|nonce| nonce.starts_with("obMatJos2"))
    );
}

#[test]
fn a_flipped_bit_breaks_the_fingerprint_or_the_integrity() {
    for (bytes, key) in vectors() {
        let whole = Incoming::parse(&bytes).unwrap();
        let signed = whole.sha1.or(whole.sha256).unwrap();
        for bit in 0..signed * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let holds = Incoming::parse(&changed).is_some_and(|it| it.is_signed_by(&key));
            assert!(!holds, "bit {bit}");
        }
    }
}

#[test]
fn messages_that_are_not_well_formed_are_none() {
    let whole = bytes(LONG_TERM);
    for length in 0..whole.len() {
        assert!(Incoming::parse(&whole[..length]).is_none(), "{length}");
    }
    let more = [&whole[..], &[0; 4]].concat();
    assert!(Incoming::parse(&more).is_none());
    let mut odd = whole.clone();
    odd[3] += 1;
    odd.push(0);
    assert!(Incoming::parse(&odd).is_none());
    let mut old = whole;
    old[4] ^= 1;
    assert!(Incoming::parse(&old).is_none(), "RFC 3489 has no cookie");
}

#[test]
fn what_follows_the_integrity_is_not_read() {
    let key = Key::short_term(b"key");
    let mut buffer = [0; 256];
    let mut reply = Reply::success(Method::new(1), 7.into(), &mut buffer);
    reply.add_raw(attribute::NONCE, b"in");
    let length = reply.finish(Some((&key, Integrity::Sha1)), false);
    let mut message = buffer[..length].to_vec();
    message.extend([0x00, 0x06, 0x00, 0x04, b'e', b'v', b'i', b'l']);
    message[3] += 8;
    let message = Incoming::parse(&message).unwrap();
    assert!(message.is_signed_by(&key));
    assert_eq!(message.text(attribute::NONCE), Some("in"));
    assert_eq!(message.raw(attribute::USERNAME), None);
}

#[test]
fn what_is_written_is_read_by_stun_types_too() {
    use stun_types::attribute::Fingerprint;
    use stun_types::message::{
        IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    };
    let credentials = LongTermKeyCredentials::new("user".into(), "pass".into(), "realm".into());
    let credentials = MessageIntegrityCredentials::from(credentials);
    for (algorithm, integrity, theirs) in [
        (
            PasswordAlgorithm::Md5,
            Integrity::Sha1,
            IntegrityAlgorithm::Sha1,
        ),
        (
            PasswordAlgorithm::Sha256,
            Integrity::Sha256,
            IntegrityAlgorithm::Sha256,
        ),
    ] {
        let key = Key::new(algorithm, "user", "realm", b"pass");
        let mut buffer = [0; 256];
        let mut reply = Reply::error(Method::new(3), 7.into(), 438, &mut buffer);
        reply.add_raw(attribute::NONCE, b"nonce");
        let length = reply.finish(Some((&key, integrity)), true);
        let message = Message::from_bytes(&buffer[..length]).unwrap();
        assert_eq!(message.validate_integrity(&credentials).unwrap(), theirs);
        assert_eq!(message.attribute::<ErrorCode>().unwrap().code(), 438);
        assert!(message.attribute::<Fingerprint>().is_ok());
    }
}

#[test]
fn data_indications_are_read_by_turn_types() {
    use stun_types::message::Message;
    use turn_types::attribute::{Data, XorPeerAddress};
    for peer in ["192.0.2.1:5000", "[2001:db8::1]:5000"] {
        let peer: SocketAddr = peer.parse().unwrap();
        for length in 0..9 {
            let payload = vec![7; length];
            let head = data_head(peer, length, 0x0102_0304_0506_0708).unwrap();
            let mut bytes = [&head[..], &payload].concat();
            bytes.resize(bytes.len() + head.padding(), 0);
            let message = Message::from_bytes(&bytes).unwrap();
            let address = message.attribute::<XorPeerAddress>().unwrap();
            assert_eq!(address.addr(message.transaction_id()), peer);
            assert_eq!(message.attribute::<Data<'_>>().unwrap().data(), payload);
            assert!(Incoming::parse(&bytes).is_some());
        }
    }
    assert_eq!(data_head("192.0.2.1:1".parse().unwrap(), 65_535, 0), None);
}

#[test]
fn garbage_never_panics() {
    let mut rng = fastrand::Rng::with_seed(5);
    let key = Key::short_term(b"key");
    let vectors = vectors();
    for round in 0..50_000 {
        let mut bytes = vectors[round % vectors.len()].0.clone();
        for _ in 0..rng.usize(1..8) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(..=bytes.len()));
        if bytes.len() >= 20 && rng.bool() {
            let length = u16::try_from(bytes.len() - 20).unwrap() & !3;
            bytes.truncate(20 + usize::from(length));
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&COOKIE);
        }
        if let Some(message) = Incoming::parse(&bytes) {
            let _ = message.unknown();
            assert!(message.peers().count() <= bytes.len() / 8);
            assert!(
                message
                    .attributes()
                    .all(|(_, value)| value.len() < bytes.len())
            );
            assert!(!message.is_signed_by(&key));
        }
    }
}
