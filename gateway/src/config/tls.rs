//! `[tls]`: where certificates come from.

use std::path::PathBuf;

/// How the HTTPS listeners get their certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    pub certificates: Certificates,
    /// PEM pairs. With [`Certificates::Internal`] they win over the internal CA for the names
    /// they cover.
    pub files: Vec<CertificateFiles>,
}

/// The default source of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// A private CA kept in `data_dir`; leaves are issued on demand for configured hosts only.
    Internal,
    /// Only the pairs in `files`.
    Files,
}

/// A certificate chain and its key, both PEM, reloaded when either file changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}
