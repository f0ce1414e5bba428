//! TLS to the database: which certificates are believed.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;
use super::address::Roots;

/// Makes TLS connections to servers whose certificates `roots` vouch for, name included.
pub(super) async fn connector(roots: &Roots) -> Result<MakeRustlsConnect, StoreError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Address {
            detail: format!("TLS cannot be set up: {error}"),
        })?;
    let builder = match roots {
        Roots::Public => builder.with_webpki_roots(),
        Roots::File(path) => {
            let pem = tokio::fs::read(path).await;
            let pem = pem.map_err(|error| StoreError::io(path, "read sslrootcert", error))?;
            builder.with_root_certificates(read_roots(&pem).map_err(|detail| {
                StoreError::Address {
                    detail: format!("sslrootcert {}: {detail}", path.display()),
                }
            })?)
        }
    };
    Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
}

fn read_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        let added = roots.add(certificate);
        added.map_err(|error| format!("a certificate in it cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("there is no PEM certificate in it".to_owned());
    }
    Ok(roots)
}
