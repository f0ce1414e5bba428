//! Any `X-Forwarded-For`, from a peer that is believed and from one that is not.
#![no_main]

use std::net::IpAddr;

use gateway::http::forwarded::{Client, X_FORWARDED_FOR};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(X_FORWARDED_FOR, value);
        }
    }
    let trusted: [IpNet; 2] = [
        "10.0.0.0/8".parse().expect("a network"),
        "fd00::/8".parse().expect("a network"),
    ];
    for peer in ["10.0.0.1", "203.0.113.9"] {
        let peer: IpAddr = peer.parse().expect("an address");
        let value = HeaderValue::try_from(peer.to_string()).expect("addresses are ASCII");
        let mut sent = headers.clone();
        let client = Client::of(Some(peer), Some(&value), true, &headers, &trusted);
        client.write(&mut sent, None);
        let hops: Vec<IpAddr> = sent[X_FORWARDED_FOR]
            .to_str()
            .expect("the header was written anew")
            .split(", ")
            .map(|hop| hop.parse().expect("only addresses are passed on"))
            .collect();
        assert_eq!(sent.get_all(X_FORWARDED_FOR).iter().count(), 1);
        assert_eq!(hops.last(), Some(&peer));
        assert_eq!(client.ip, hops.first().copied());
        if !trusted.iter().any(|network| network.contains(&peer)) {
            assert_eq!(client.ip, Some(peer));
        }
    }
});
