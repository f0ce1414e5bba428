//! What a client that asks for a configured name gets and negotiates.

use std::sync::Arc;

use rustls::{
    AlertDescription, HandshakeKind, NamedGroup, ProtocolVersion,
    crypto::aws_lc_rs::kx_group,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::fixture::{
    Dir, client, connect, connect_to, exact, limited_client, start_internal, wildcard,
};
use crate::tls::accept;

#[tokio::test]
async fn a_configured_name_gets_its_own_certificate() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test"), exact("b.test")]);
    let outcome = connect(&tls, client(&[&root]), "B.test").await;
    assert_eq!(outcome.names(), ["DNSName(b.test)"]);
    let (_, connection) = outcome.server.as_ref().unwrap().get_ref();
    assert_eq!(connection.server_name(), Some("b.test"));
}

#[tokio::test]
async fn every_name_under_a_wildcard_gets_the_wildcards_certificate() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[wildcard("w.test")]);
    let one = connect(&tls, client(&[&root]), "one.w.test").await;
    let two = connect(&tls, client(&[&root]), "two.w.test").await;
    let leaf = |outcome: &super::fixture::Outcome| {
        let (_, connection) = outcome.client.as_ref().unwrap().get_ref();
        connection.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    };
    assert_eq!(one.names(), ["DNSName(*.w.test)"]);
    assert_eq!(leaf(&one), leaf(&two));
}

#[tokio::test]
async fn an_address_works_without_a_server_name() {
    let dir = Dir::new();
    let hosts = [exact("127.0.0.1"), exact("::1"), exact("a.test")];
    let (tls, root) = start_internal(&dir, &hosts);
    let client = Arc::new(client(&[&root]));
    for address in ["127.0.0.1", "::1"] {
        let local = Some(address.parse().unwrap());
        let mut outcome = connect_to(&tls, &client, address, local).await;
        outcome.ping().await;
    }
}

#[tokio::test]
async fn a_tls12_client_is_served_and_resumes() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test")]);
    let client = limited_client(&[&root], &TLS12, &[kx_group::X25519]);
    let client = Arc::new(client);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut outcome = connect_to(&tls, &client, "a.test", None).await;
        outcome.ping().await;
        let (_, connection) = outcome.client.as_ref().unwrap().get_ref();
        assert_eq!(
            connection.protocol_version(),
            Some(ProtocolVersion::TLSv1_2)
        );
        assert_eq!(connection.handshake_kind(), Some(kind));
    }
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_where_the_client_can() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test")]);
    let outcome = connect(&tls, client(&[&root]), "a.test").await;
    let (_, connection) = outcome.client.as_ref().unwrap().get_ref();
    assert_eq!(
        connection.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    let group = connection.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
}

#[tokio::test]
async fn the_classic_groups_are_there_for_older_clients() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test")]);
    for group in [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1] {
        let config = limited_client(&[&root], &TLS13, &[group]);
        let outcome = connect(&tls, config, "a.test").await;
        let (_, connection) = outcome.client.as_ref().unwrap().get_ref();
        let used = connection.negotiated_key_exchange_group().unwrap();
        assert_eq!(used.name(), group.name());
    }
}

#[tokio::test]
async fn alpn_prefers_http2_and_refuses_what_it_does_not_speak() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test")]);
    let offering = |protocols: &[&str]| {
        let mut config = client(&[&root]);
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        config
    };
    for (offered, chosen) in [
        (&["http/1.1", "h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["h3", "http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let outcome = connect(&tls, offering(offered), "a.test").await;
        let (_, connection) = outcome.server.as_ref().unwrap().get_ref();
        assert_eq!(connection.alpn_protocol(), chosen);
    }
    let outcome = connect(&tls, offering(&["acme-tls/1"]), "a.test").await;
    assert_eq!(outcome.alert(), AlertDescription::NoApplicationProtocol);
}

#[tokio::test]
async fn a_handshake_survives_a_narrow_pipe() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test")]);
    // rustls does not read while it has something to send, so the six bytes a client sends while
    // the server still sends have to fit.
    let (near, far) = tokio::io::duplex(6);
    let connector = TlsConnector::from(Arc::new(client(&[&root])));
    let name = ServerName::try_from("a.test").unwrap();
    let client = async {
        let mut stream = connector.connect(name, near).await?;
        // The tickets of the server need a reader.
        stream.read_u8().await
    };
    let server = async {
        let mut stream = accept(&tls, far, None).await.unwrap();
        stream.write_u8(42).await?;
        stream.flush().await
    };
    let (read, written) = tokio::join!(client, server);
    assert!(written.is_ok());
    assert_eq!(read.unwrap(), 42);
}
