//! What a client that asks for something else gets, and what bytes that are no TLS do.

use std::sync::Arc;

use rustls::{AlertDescription, ClientConnection};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::fixture::{Dir, client, connect, connect_to, exact, start_internal, wildcard};
use crate::{
    config::HostPattern,
    tls::{AcceptError, Tls, accept},
};

/// The first bytes of a client that asks for `name`.
fn hello(name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(client(&[])), name).unwrap();
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Sends `bytes`, hangs up, and returns what came back.
async fn send(tls: &Tls, bytes: &[u8]) -> (Vec<u8>, Option<AcceptError>) {
    let (mut near, far) = tokio::io::duplex(256 * 1024);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let outcome = accept(tls, far, None).await;
    let error = outcome.err();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (answer, error)
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_its_own_alert() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test"), wildcard("w.test")]);
    for name in ["other.test", "w.test", "a.b.w.test", "test", "aa.test"] {
        let outcome = connect(&tls, client(&[&root]), name).await;
        assert_eq!(outcome.alert(), AlertDescription::UnrecognisedName);
        let Err(AcceptError::UnknownName(Some(refused))) = outcome.server else {
            panic!("{name} was accepted");
        };
        assert_eq!(refused, name);
    }
}

#[tokio::test]
async fn a_client_without_a_name_is_refused_where_no_site_has_the_address() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test"), exact("127.0.0.1")]);
    let mut nameless = client(&[&root]);
    nameless.enable_sni = false;
    let outcome = connect_to(
        &tls,
        &Arc::new(nameless),
        "a.test",
        Some([127, 0, 0, 2].into()),
    )
    .await;
    assert_eq!(outcome.alert(), AlertDescription::UnrecognisedName);
    assert!(matches!(
        outcome.server,
        Err(AcceptError::UnknownName(None))
    ));
}

#[tokio::test]
async fn the_catch_all_host_gets_no_certificate() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[HostPattern::Any]);
    assert!(!tls.recognises(Some("a.test"), None));
    assert!(!tls.recognises(None, Some([10, 0, 0, 1].into())));
}

#[tokio::test]
async fn a_refusal_is_seven_bytes_that_do_not_depend_on_our_certificates() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[exact("secret.test")]);
    let (answer, error) = send(&tls, &hello("other.test")).await;
    assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 0x70]);
    assert!(matches!(error, Some(AcceptError::UnknownName(_))));
}

#[tokio::test]
async fn the_alert_arrives_over_tcp_even_with_bytes_left_unread() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[exact("a.test")]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (stream, peer) = listener.accept().await.unwrap();
        assert_ne!(peer, address);
        accept(&tls, stream, Some(address.ip())).await.err()
    };
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut bytes = hello("other.test");
        bytes.extend([0; 8 * 1024]);
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    };
    let (error, answer) = tokio::join!(server, client);
    assert_eq!(answer.unwrap(), [0x15, 3, 3, 0, 2, 2, 0x70]);
    assert!(matches!(error, Some(AcceptError::UnknownName(_))));
}

#[tokio::test]
async fn a_refused_client_is_heard_out_so_that_no_reset_overtakes_the_alert() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[exact("a.test")]);
    let (mut near, far) = tokio::io::duplex(4 * 1024);
    let client = async {
        near.write_all(&hello("other.test")).await?;
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await?;
        // More than the pipe holds: somebody has to read it.
        near.write_all(&[0; 10 * 1024]).await?;
        drop(near);
        std::io::Result::Ok(answer)
    };
    let (answer, server) = tokio::join!(client, accept(&tls, far, None));
    assert_eq!(answer.unwrap().len(), 7);
    assert!(matches!(server, Err(AcceptError::UnknownName(_))));
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_is_an_error_with_its_reason() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[exact("a.test")]);
    let other = Dir::new();
    let (_, foreign_root) = start_internal(&other, &[]);
    let outcome = connect(&tls, client(&[&foreign_root]), "a.test").await;
    assert!(outcome.client.is_err());
    let error = outcome.server.unwrap_err().to_string();
    assert!(error.contains("UnknownCA"), "{error}");
}

#[tokio::test]
async fn a_client_that_leaves_is_told_apart() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[exact("a.test")]);
    let hello = hello("a.test");
    for length in [0, 1, 100, hello.len() - 1, hello.len()] {
        let (_, error) = send(&tls, &hello[..length]).await;
        assert!(
            matches!(error, Some(AcceptError::Closed)),
            "{length}: {error:?}"
        );
    }
}

#[tokio::test]
async fn plain_http_is_a_tls_error() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[exact("a.test")]);
    let (_, error) = send(&tls, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(matches!(error, Some(AcceptError::Tls(_))), "{error:?}");
}

#[tokio::test]
async fn no_bytes_panic_or_complete_a_handshake() {
    let dir = Dir::new();
    let (tls, _) = start_internal(&dir, &[exact("a.test"), wildcard("w.test")]);
    let mut random = fastrand::Rng::with_seed(11);
    let hellos = [hello("a.test"), hello("x.w.test"), hello("other.test")];
    for round in 0..1500 {
        let mut bytes = hellos[round % 3].clone();
        match round % 5 {
            0 => bytes = (0..random.usize(..2000)).map(|_| random.u8(..)).collect(),
            1 => bytes.truncate(random.usize(..bytes.len())),
            2 => bytes.extend((0..random.usize(..9000)).map(|_| random.u8(..))),
            _ => {
                for _ in 0..random.usize(1..8) {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
            }
        }
        let (_, error) = send(&tls, &bytes).await;
        assert!(error.is_some());
    }
}
