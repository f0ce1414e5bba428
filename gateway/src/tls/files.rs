//! Certificates that somebody else puts on disk as PEM pairs.
//!
//! Two paths come in; out comes a proven [`Certificate`]: readable, in chain order, with the key
//! that belongs to it and at least one name. Every way to fail names the file and what to do.
//! Whether it is expired is not judged here: an expired certificate is better than none, and the
//! clock may be what is wrong.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{TlsError, certificates::Certificate};
use crate::config::CertificateFiles;

/// Far more than any chain needs; keeps a wrong path from filling the memory.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// A loaded pair and the state of its files when it was.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) files: CertificateFiles,
    pub(super) stamp: Stamp,
    pub(super) certificate: Arc<Certificate>,
}

impl Pair {
    pub(super) fn load(files: &CertificateFiles) -> Result<Self, TlsError> {
        // Taken first: a change while reading shows as another stamp later.
        let stamp = Stamp::of(files);
        Ok(Self {
            files: files.clone(),
            stamp,
            certificate: Arc::new(load(files)?),
        })
    }
}

/// What changes when one of the two files does: identity, size and times of what the paths lead
/// to, symbolic links followed. `None` for a file that cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<FileStamp>; 2]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also moves when a copy keeps the modification time.
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(files: &CertificateFiles) -> Self {
        Self([&files.cert, &files.key].map(|path| {
            fs::metadata(path).ok().map(|metadata| FileStamp {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        }))
    }
}

fn load(files: &CertificateFiles) -> Result<Certificate, TlsError> {
    let chain = read_chain(&files.cert)?;
    let key = read_key(&files.key)?;
    let key = any_supported_type(&key).map_err(|error| TlsError::BadKey {
        path: files.key.clone(),
        error,
    })?;
    check_issuers(&chain, &files.cert)?;
    let certified = CertifiedKey::new(chain, key);
    certified
        .keys_match()
        .map_err(|error| mismatch(&certified, files, &error))?;
    let certificate =
        Certificate::new(certified, files.cert.display().to_string()).map_err(|reason| {
            TlsError::BadCertificate {
                path: files.cert.clone(),
                position: 1,
                reason,
            }
        })?;
    if certificate.names.is_empty() {
        return Err(TlsError::NoNames {
            path: files.cert.clone(),
        });
    }
    Ok(certificate)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => TlsError::Missing {
            path: path.to_owned(),
        },
        _ => TlsError::Io {
            path: path.to_owned(),
            doing: "read",
            error,
        },
    };
    let wrong = || TlsError::NotAPemFile {
        path: path.to_owned(),
        limit: SIZE_LIMIT,
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(wrong());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(wrong());
    }
    Ok(bytes)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::BadPem {
            path: path.to_owned(),
            error,
        })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
            hint: match PrivateKeyDer::from_pem_slice(&bytes) {
                Ok(_) => "only a private key; are cert and key the wrong way round?",
                Err(_) => what_it_is(&bytes),
            },
        });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey {
            path: path.to_owned(),
            hint: match CertificateDer::from_pem_slice(&bytes) {
                Ok(_) => "only a certificate; are cert and key the wrong way round?",
                Err(_) => what_it_is(&bytes),
            },
        },
        error => TlsError::BadPem {
            path: path.to_owned(),
            error,
        },
    })
}

/// For files without the PEM section that was looked for.
fn what_it_is(bytes: &[u8]) -> &'static str {
    let contains = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if bytes.is_empty() {
        "the file is empty"
    } else if contains(b"ENCRYPTED PRIVATE KEY") {
        "the key is locked with a passphrase; unlock it with `openssl pkey -in KEY -out NEW`"
    } else if bytes[0] == 0x30 {
        "it looks like DER; convert it to PEM with `openssl x509` or `openssl pkey` and `-inform der`"
    } else {
        "expected PEM text with a line that starts with `-----BEGIN`"
    }
}

/// Each certificate must be issued by the next one (RFC 5246 §7.4.2).
fn check_issuers(chain: &[CertificateDer<'_>], path: &Path) -> Result<(), TlsError> {
    let mut wanted: Option<X509Certificate<'_>> = None;
    for (position, der) in (1..).zip(chain) {
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| TlsError::BadCertificate {
                path: path.to_owned(),
                position,
                reason: error.to_string(),
            })?;
        if let Some(issued) = wanted
            && issued.issuer().as_raw() != parsed.subject().as_raw()
        {
            return Err(TlsError::ChainOrder {
                path: path.to_owned(),
                position,
                subject: parsed.subject().to_string(),
                wanted: issued.issuer().to_string(),
            });
        }
        wanted = Some(parsed);
    }
    Ok(())
}

fn mismatch(certified: &CertifiedKey, files: &CertificateFiles, error: &rustls::Error) -> TlsError {
    if !matches!(error, rustls::Error::InconsistentKeys(_)) {
        return TlsError::BadCertificate {
            path: files.cert.clone(),
            position: 1,
            reason: error.to_string(),
        };
    }
    let belongs_to = |der: &CertificateDer<'_>| {
        certified.key.public_key().is_some_and(|public| {
            X509Certificate::from_der(der)
                .is_ok_and(|(_, parsed)| parsed.public_key().raw == public.as_ref())
        })
    };
    TlsError::KeyMismatch {
        cert: files.cert.clone(),
        key: files.key.clone(),
        hint: match certified.cert.iter().any(belongs_to) {
            true => "it belongs to another one in that file: put the server's certificate first",
            false => "put the pair of one issuance in place, both files",
        },
    }
}
