//! What can be wrong with certificates, said so that the reader knows which file to touch.

use std::{fmt, io, path::PathBuf};

/// Why certificates could not be loaded, created or stored.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: there is no such file; check [tls] files, relative paths start at the directory of the configuration file", path.display())]
    Missing { path: PathBuf },

    #[error("{}: cannot {doing}: {error}; check the owner and the mode of the file and of the directories above it", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        #[source]
        error: io::Error,
    },

    #[error("{}: not a regular file of at most {limit} bytes; name the PEM file itself", path.display())]
    NotAPemFile { path: PathBuf, limit: u64 },

    #[error("{}: the PEM text is damaged ({error}); write the file again, it may have been cut short", path.display())]
    BadPem {
        path: PathBuf,
        error: rustls_pki_types::pem::Error,
    },

    #[error("{}: holds no certificate: {hint}", path.display())]
    NoCertificate { path: PathBuf, hint: &'static str },

    #[error("{}: holds no private key: {hint}", path.display())]
    NoKey { path: PathBuf, hint: &'static str },

    #[error("{}: certificate {position} of the file cannot be read ({reason}); get it again from its issuer", path.display())]
    BadCertificate {
        path: PathBuf,
        /// From 1.
        position: usize,
        reason: String,
    },

    #[error("{}: the private key cannot be used ({error}); RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) and Ed25519 keys can", path.display())]
    BadKey { path: PathBuf, error: rustls::Error },

    #[error("{}: the private key does not belong to the first certificate of {}; {hint}", key.display(), cert.display())]
    KeyMismatch {
        cert: PathBuf,
        key: PathBuf,
        hint: &'static str,
    },

    #[error("{}: certificate {position} (\"{subject}\") did not issue the one before it, which names \"{wanted}\" as its issuer; put the server's certificate first, then each issuer in turn, and nothing else", path.display())]
    ChainOrder {
        path: PathBuf,
        /// From 1.
        position: usize,
        subject: String,
        wanted: String,
    },

    #[error("{}: the certificate names no host (no DNS name or IP address among its subject alternative names), so no client would accept it; have it issued again with the names of the sites", path.display())]
    NoNames { path: PathBuf },

    #[error("{}: the internal CA is incomplete or damaged: {what}; restore {} from a backup, or remove that directory to create a new CA, whose root every client must then be given", path.display(), directory.display())]
    DamagedCa {
        path: PathBuf,
        directory: PathBuf,
        what: String,
    },

    #[error(
        "the clock of this machine says it is the year {0}; set it, then start again: a CA created now would be useless once the clock is right"
    )]
    Clock(i32),

    #[error("the internal CA cannot issue a certificate for {name}: {error}")]
    Issue { name: String, error: rcgen::Error },

    #[error("the TLS library cannot be set up: {0}")]
    Setup(#[from] rustls::Error),

    #[error("{0}")]
    Several(Problems),
}

impl TlsError {
    /// One error out of all that were found; `None` when there were none.
    pub(super) fn all(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 => None,
            1 => errors.pop(),
            _ => Some(Self::Several(Problems(errors))),
        }
    }
}

/// More than one thing is wrong; `Display` puts each on a line of its own.
#[derive(Debug)]
pub struct Problems(pub Vec<TlsError>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// Why a connection did not get past its TLS handshake.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client asked for a name nothing is served under, or for none. It was sent
    /// `unrecognized_name` (RFC 6066 §3) and nothing else. The name is the client's own text, a
    /// syntactically valid DNS name.
    #[error("no certificate for {}", .0.as_deref().unwrap_or("a client that sends no server name"))]
    UnknownName(Option<String>),

    /// What the client sent is not TLS, offers nothing in common, or breaks the protocol; or the
    /// client did not like the certificate. The alert is already sent.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] rustls::Error),

    /// The client went away before the handshake was complete.
    #[error("the client closed the connection during the TLS handshake")]
    Closed,

    #[error("connection failed during the TLS handshake: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Self::Tls(tls.clone());
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
