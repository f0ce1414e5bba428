//! Certificates that change while there are connections and sessions.

use std::sync::Arc;

use rustls::{
    AlertDescription, HandshakeKind,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
    crypto::aws_lc_rs::kx_group,
};
use rustls_pki_types::ServerName;

use super::fixture::{
    Dir, Outcome, TestCa, client, connect, connect_to, exact, files, internal, limited_client,
    start_internal,
};
use crate::{config, tls::Tls};

fn kind(outcome: &Outcome) -> HandshakeKind {
    let (_, connection) = outcome.client.as_ref().unwrap().get_ref();
    connection.handshake_kind().unwrap()
}

#[tokio::test]
async fn open_connections_outlive_a_swap() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let old = dir.write_pair("old", &ca.pair(&["a.test", "old.test"]));
    let tls = Tls::start(&files(vec![old]), &[], dir.path()).unwrap();
    let mut before = connect(&tls, client(&[&ca.pem]), "a.test").await;

    let new = dir.write_pair("new", &ca.pair(&["a.test", "new.test"]));
    let prepared = tls.prepare(&files(vec![new]), &[], dir.path()).unwrap();
    assert!(
        !tls.recognises(Some("new.test"), None),
        "only committing swaps"
    );
    tls.commit(prepared);

    before.ping().await;
    let after = connect(&tls, client(&[&ca.pem]), "a.test").await;
    assert_eq!(after.names(), ["DNSName(a.test)", "DNSName(new.test)"]);
    assert!(!tls.recognises(Some("old.test"), None));
}

#[tokio::test]
async fn a_session_resumes_over_a_swap() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let old = dir.write_pair("old", &ca.pair(&["a.test"]));
    let tls = Tls::start(&files(vec![old]), &[], dir.path()).unwrap();
    let client = Arc::new(client(&[&ca.pem]));
    let mut first = connect_to(&tls, &client, "a.test", None).await;
    first.ping().await;
    assert_eq!(kind(&first), HandshakeKind::Full);

    let new = dir.write_pair("new", &ca.pair(&["a.test"]));
    tls.commit(tls.prepare(&files(vec![new]), &[], dir.path()).unwrap());

    let second = connect_to(&tls, &client, "a.test", None).await;
    assert_eq!(kind(&second), HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_session_of_a_removed_name_does_not_resume() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let old = dir.write_pair("old", &ca.pair(&["a.test"]));
    let tls = Tls::start(&files(vec![old]), &[], dir.path()).unwrap();
    let client = Arc::new(client(&[&ca.pem]));
    let mut first = connect_to(&tls, &client, "a.test", None).await;
    first.ping().await;

    let new = dir.write_pair("new", &ca.pair(&["b.test"]));
    tls.commit(tls.prepare(&files(vec![new]), &[], dir.path()).unwrap());

    let second = connect_to(&tls, &client, "a.test", None).await;
    assert_eq!(second.alert(), AlertDescription::UnrecognisedName);
}

/// A client that offers the tickets of one name to every other.
#[derive(Debug)]
struct OneDrawer(ClientSessionMemoryCache);

fn drawer() -> ServerName<'static> {
    ServerName::try_from("drawer").unwrap()
}

impl ClientSessionStore for OneDrawer {
    fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(drawer(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&drawer())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(drawer(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&drawer())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&drawer());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(drawer(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&drawer())
    }
}

#[tokio::test]
async fn a_session_of_one_name_does_not_resume_under_another() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test"), exact("b.test")]);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut config = limited_client(&[&root], version, &[kx_group::X25519]);
        let store = Arc::new(OneDrawer(ClientSessionMemoryCache::new(8)));
        config.resumption = Resumption::store(store);
        let config = Arc::new(config);
        for (name, expected) in [
            ("a.test", HandshakeKind::Full),
            ("a.test", HandshakeKind::Resumed),
            ("b.test", HandshakeKind::Full),
        ] {
            let mut outcome = connect_to(&tls, &config, name, None).await;
            outcome.ping().await;
            assert_eq!(kind(&outcome), expected, "{name} over {version:?}");
        }
    }
}

#[tokio::test]
async fn a_failed_prepare_changes_nothing() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let pair = dir.write_pair("a", &ca.pair(&["a.test"]));
    let tls = Tls::start(&files(vec![pair.clone()]), &[], dir.path()).unwrap();
    let missing = config::CertificateFiles {
        cert: dir.join("missing.pem"),
        key: dir.join("missing.key"),
    };
    let error = tls.prepare(&files(vec![pair, missing]), &[], dir.path());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("missing.pem"), "{error}");
    let outcome = connect(&tls, client(&[&ca.pem]), "a.test").await;
    assert!(outcome.client.is_ok());
}

#[tokio::test]
async fn hosts_come_and_go_and_the_others_keep_their_certificate() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test"), exact("b.test")]);
    let leaf = |outcome: &Outcome| {
        let (_, connection) = outcome.client.as_ref().unwrap().get_ref();
        connection.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    };
    let before = connect(&tls, client(&[&root]), "a.test").await;
    let hosts = [exact("a.test"), exact("c.test")];
    tls.commit(tls.prepare(&internal(), &hosts, dir.path()).unwrap());
    let after = connect(&tls, client(&[&root]), "a.test").await;
    assert_eq!(leaf(&before), leaf(&after));
    assert!(tls.recognises(Some("c.test"), None));
    assert!(!tls.recognises(Some("b.test"), None));
}

#[tokio::test]
async fn files_win_over_the_internal_ca_for_the_names_they_cover() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let pair = dir.write_pair("w", &ca.pair(&["*.w.test"]));
    let config = config::Tls {
        files: vec![pair],
        ..internal()
    };
    let hosts = [exact("x.w.test"), exact("a.test")];
    let tls = Tls::start(&config, &hosts, dir.path()).unwrap();
    let covered = connect(&tls, client(&[&ca.pem]), "x.w.test").await;
    assert_eq!(covered.names(), ["DNSName(*.w.test)"]);
    let issued = connect(&tls, client(&[&ca.pem]), "a.test").await;
    assert!(
        issued.client.is_err(),
        "of the internal CA, so not trusted here"
    );
    assert!(tls.recognises(Some("a.test"), None));
}
