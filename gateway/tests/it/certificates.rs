//! Certificates from files, replaced while they are in use.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Authority, Dir, Gateway, Origin, TLS, Wire, client_config, within};

const SITES: &str = r#"
[tls]
certificates = "files"
files = [
  { cert = "one.pem", key = "one.key" },
  { cert = "two.pem", key = "two.key" },
]
[[site]]
hosts = ["one.test", "two.test"]
  [[site.route]]
  proxy = ["ORIGIN"]
"#;

/// A gateway with a certificate for `one.test` and one for `two.test`.
struct Fixture {
    gateway: Gateway,
    authority: Authority,
    one: Vec<u8>,
    two: Vec<u8>,
}

async fn start(origin: &Origin) -> Fixture {
    let (dir, authority) = (Dir::new(), Authority::new());
    let one = authority.write_pair(&dir, "one", "one.test");
    let two = authority.write_pair(&dir, "two", "two.test");
    let toml = format!("{TLS}{}", SITES.replace("ORIGIN", &origin.url()));
    Fixture {
        gateway: Gateway::start_in(dir, &toml).await,
        authority,
        one,
        two,
    }
}

impl Fixture {
    fn config(&self) -> ClientConfig {
        client_config(&self.authority.root_pem)
    }

    async fn connect(&self, name: &str) -> Wire {
        Wire::tls(self.gateway.https(), self.config(), name).await
    }

    /// The certificate a new connection sees (DER).
    async fn served(&self, name: &str) -> Vec<u8> {
        let stream = within(TcpStream::connect(self.gateway.https()))
            .await
            .unwrap();
        let connector = TlsConnector::from(Arc::new(self.config()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = within(connector.connect(name, stream)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Waits until new connections see a certificate.
    async fn serves(&self, name: &str, certificate: &[u8]) {
        within(async {
            while self.served(name).await != certificate {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_served_to_new_connections() {
    let origin = Origin::bind().await;
    let fixture = start(&origin).await;
    assert_eq!(fixture.served("one.test").await, fixture.one);
    let mut open = fixture.connect("one.test").await;
    open.send("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").await;
    let mut upstream = origin.accept().await;
    upstream.request().await;

    let new = fixture
        .authority
        .write_pair(&fixture.gateway.dir, "one", "one.test");
    fixture.serves("one.test", &new).await;

    // What was open goes on, with the request it had and with the next one.
    upstream.answer("first").await;
    assert_eq!(open.response().await.text(), "first");
    open.send("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").await;
    upstream.request().await;
    upstream.answer("second").await;
    assert_eq!(open.response().await.text(), "second");
    assert_eq!(fixture.served("two.test").await, fixture.two);
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_certificate_in_use() {
    let origin = Origin::echo().await;
    let fixture = start(&origin).await;
    let dir = &fixture.gateway.dir;
    for broken in ["-----BEGIN CERTIFICATE-----\nhalf", "", "no PEM at all"] {
        dir.write("one.pem", broken);
        // Pairs are looked at in order: once the second is new, the first was looked at.
        let new = fixture.authority.write_pair(dir, "two", "two.test");
        fixture.serves("two.test", &new).await;
        assert_eq!(fixture.served("one.test").await, fixture.one, "{broken:?}");
    }
    // A key that belongs to another certificate is no better.
    let stray = fixture.authority.write_pair(dir, "stray", "one.test");
    std::fs::copy(dir.join("stray.pem"), dir.join("one.pem")).unwrap();
    let new = fixture.authority.write_pair(dir, "two", "two.test");
    fixture.serves("two.test", &new).await;
    assert_eq!(fixture.served("one.test").await, fixture.one);
    // Mended, it is taken.
    std::fs::copy(dir.join("stray.key"), dir.join("one.key")).unwrap();
    fixture.serves("one.test", &stray).await;
}

#[tokio::test]
async fn a_reload_takes_new_certificates_or_changes_nothing() {
    let origin = Origin::echo().await;
    let fixture = start(&origin).await;
    let gateway = &fixture.gateway;
    let toml = std::fs::read_to_string(gateway.dir.join("portunus.toml")).unwrap();
    let new = fixture
        .authority
        .write_pair(&gateway.dir, "new", "one.test");

    gateway.dir.write("broken.pem", "nothing");
    let broken = toml.replace("\"one.pem\"", "\"broken.pem\"");
    let error = gateway.reload(&broken).await.unwrap_err();
    assert!(error.contains("broken.pem"), "{error}");
    assert_eq!(fixture.served("one.test").await, fixture.one);

    let sound = toml
        .replace("\"one.pem\"", "\"new.pem\"")
        .replace("\"one.key\"", "\"new.key\"");
    gateway.reload(&sound).await.unwrap();
    assert_eq!(fixture.served("one.test").await, new);
    let mut client = fixture.connect("one.test").await;
    client.get("one.test", "/").await.echoed();
}
