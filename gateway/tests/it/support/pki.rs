//! Certificates that tests make, and clients that trust them.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::Dir;

/// An authority that issues what a test asks for.
pub(crate) struct Authority {
    pub(crate) root_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let name = format!("test root {}", fastrand::u32(..));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            root_pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes `name.pem` and `name.key` for `host`; returns the certificate (DER).
    pub(crate) fn write_pair(&self, dir: &Dir, name: &str, host: &str) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        dir.write(&format!("{name}.pem"), certificate.pem());
        dir.write(&format!("{name}.key"), key.serialize_pem());
        certificate.der().to_vec()
    }
}

/// A client that trusts one root and nothing else.
pub(crate) fn client_config(root_pem: &str) -> ClientConfig {
    gateway::tls::install_crypto_provider();
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
