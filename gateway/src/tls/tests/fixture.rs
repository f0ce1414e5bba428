//! A directory, certificates to put in it, and a client.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup},
    pki_types::{ServerName, UnixTime},
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsConnector, client, server};

use crate::{
    config::{self, CertificateFiles, Certificates, HostPattern},
    tls::{AcceptError, InternalCa, Tls, accept},
};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A fresh directory that goes with the value.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        let name = format!("portunus-tls-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes `name.pem` and `name.key`.
    pub(super) fn write_pair(&self, name: &str, pair: &TestPair) -> CertificateFiles {
        CertificateFiles {
            cert: self.write(&format!("{name}.pem"), &pair.cert),
            key: self.write(&format!("{name}.key"), &pair.key),
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A chain and its key, PEM.
pub(super) struct TestPair {
    pub(super) cert: String,
    pub(super) key: String,
}

/// An authority that issues what a test asks for.
pub(super) struct TestCa {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub(super) fn new() -> Self {
        Self::signed(|params, key| params.self_signed(key).unwrap().pem())
    }

    pub(super) fn pair(&self, names: &[&str]) -> TestPair {
        let now = SystemTime::now();
        self.pair_valid(names, now - DAY, now + 30 * DAY)
    }

    pub(super) fn pair_valid(
        &self,
        names: &[&str],
        from: SystemTime,
        until: SystemTime,
    ) -> TestPair {
        self.issue(names, &KeyPair::generate().unwrap(), from, until)
    }

    pub(super) fn pair_for(&self, names: &[&str], key: &KeyPair) -> TestPair {
        let now = SystemTime::now();
        self.issue(names, key, now - DAY, now + 30 * DAY)
    }

    /// A CA below this one.
    pub(super) fn intermediate(&self) -> Self {
        Self::signed(|params, key| params.signed_by(key, &self.issuer).unwrap().pem())
    }

    fn signed(sign: impl FnOnce(&CertificateParams, &KeyPair) -> String) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let name = format!("test CA {:08x}", fastrand::u32(..));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            pem: sign(&params, &key),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(
        &self,
        names: &[&str],
        key: &KeyPair,
        from: SystemTime,
        until: SystemTime,
    ) -> TestPair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = from.into();
        params.not_after = until.into();
        TestPair {
            cert: params.signed_by(key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// DER as PEM (RFC 7468).
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u8> = der
        .chunks(3)
        .flat_map(|chunk| {
            let mut group = [0; 4];
            group[1..=chunk.len()].copy_from_slice(chunk);
            let group = u32::from_be_bytes(group);
            (0..4).map(move |digit| match digit <= chunk.len() {
                true => ALPHABET[(group >> (18 - 6 * digit)) as usize & 63],
                false => b'=',
            })
        })
        .collect();
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in digits.chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

pub(super) fn exact(name: &str) -> HostPattern {
    HostPattern::Exact(name.to_owned())
}

pub(super) fn wildcard(suffix: &str) -> HostPattern {
    HostPattern::Wildcard(suffix.to_owned())
}

pub(super) fn internal() -> config::Tls {
    config::Tls {
        certificates: Certificates::Internal,
        files: Vec::new(),
    }
}

pub(super) fn files(files: Vec<CertificateFiles>) -> config::Tls {
    config::Tls {
        certificates: Certificates::Files,
        files,
    }
}

/// A started [`Tls`] with the internal CA of `dir` and that CA's root.
pub(super) fn start_internal(dir: &Dir, hosts: &[HostPattern]) -> (Arc<Tls>, String) {
    let tls = Tls::start(&internal(), hosts, dir.path()).unwrap();
    let root = InternalCa::open(dir.path()).unwrap().root_pem().to_owned();
    (tls, root)
}

/// A client that trusts `roots` and nothing else.
pub(super) fn client(roots: &[&str]) -> ClientConfig {
    crate::tls::install_crypto_provider();
    ClientConfig::builder()
        .with_root_certificates(store(roots))
        .with_no_client_auth()
}

/// The same with another idea of the time.
pub(super) fn client_at(roots: &[&str], now: SystemTime) -> ClientConfig {
    let mut config = client(roots);
    config.time_provider = Arc::new(At(now));
    config
}

#[derive(Debug)]
struct At(SystemTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// The same with one protocol version and one choice of key exchange groups.
pub(super) fn limited_client(
    roots: &[&str],
    version: &'static SupportedProtocolVersion,
    groups: &[&'static dyn SupportedKxGroup],
) -> ClientConfig {
    let provider = CryptoProvider {
        kx_groups: groups.to_vec(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(store(roots))
        .with_no_client_auth()
}

fn store(roots: &[&str]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for root in roots {
        let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
        store.add(root).unwrap();
    }
    store
}

/// Both ends of a handshake.
pub(super) struct Outcome {
    pub(super) client: std::io::Result<client::TlsStream<DuplexStream>>,
    pub(super) server: Result<server::TlsStream<DuplexStream>, AcceptError>,
}

impl Outcome {
    /// The alert the client got.
    pub(super) fn alert(&self) -> rustls::AlertDescription {
        let error = self.client.as_ref().expect_err("the handshake succeeded");
        match error.get_ref().and_then(|it| it.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            _ => panic!("not an alert: {error}"),
        }
    }

    /// The names of the certificate the client saw.
    pub(super) fn names(&self) -> Vec<String> {
        let client = self.client.as_ref().unwrap();
        let chain = client.get_ref().1.peer_certificates().unwrap();
        names_of(&chain[0])
    }

    /// One line each way, after which the client has read the tickets that came before.
    pub(super) async fn ping(&mut self) {
        let client = self.client.as_mut().unwrap();
        let server = self.server.as_mut().unwrap();
        let mut byte = [0];
        client.write_all(b"?").await.unwrap();
        client.flush().await.unwrap();
        server.read_exact(&mut byte).await.unwrap();
        server.write_all(b"!").await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"!");
    }
}

pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter();
    names.map(ToString::to_string).collect()
}

pub(super) async fn connect(tls: &Tls, config: ClientConfig, name: &str) -> Outcome {
    connect_to(tls, &Arc::new(config), name, None).await
}

pub(super) async fn connect_to(
    tls: &Tls,
    config: &Arc<ClientConfig>,
    name: &str,
    local_ip: Option<IpAddr>,
) -> Outcome {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    let (client, server) = tokio::join!(connector.connect(name, near), accept(tls, far, local_ip));
    Outcome { client, server }
}
