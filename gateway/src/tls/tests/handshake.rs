//! Which certificate a client gets, and what it negotiates.

use std::sync::Arc;

use rustls::{AlertDescription, HandshakeKind, NamedGroup, ProtocolVersion};

use super::fixture::{Dir, client, connect, connect_to, exact, start_internal, wildcard};
use crate::tls::AcceptError;

#[tokio::test]
async fn a_configured_name_gets_its_own_certificate() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test"), exact("b.test")]);
    let outcome = connect(&tls, client(&[&root]), "B.test").await;
    assert_eq!(outcome.names(), ["DNSName(b.test)"]);
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
async fn a_returning_client_resumes() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test")]);
    let client = Arc::new(client(&[&root]));
    let mut first = connect_to(&tls, &client, "a.test", None).await;
    first.ping().await;
    let second = connect_to(&tls, &client, "a.test", None).await;
    let kind = |outcome: &super::fixture::Outcome| {
        outcome
            .client
            .as_ref()
            .unwrap()
            .get_ref()
            .1
            .handshake_kind()
    };
    assert_eq!(kind(&first), Some(HandshakeKind::Full));
    assert_eq!(kind(&second), Some(HandshakeKind::Resumed));
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
