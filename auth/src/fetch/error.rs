//! Which stage of a call out failed. Names the host and never the rest of a URL, which may hold
//! codes.

use std::error::Error;
use std::io;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    #[error("this is no absolute http or https URL")]
    BadUrl,
    #[error(
        "{host} would be called by plain http, where everyone on the way reads along; use https"
    )]
    PlainHttp { host: String },
    #[error(
        "the name {host} cannot be looked up ({reason}); check its spelling and this machine's DNS"
    )]
    Dns { host: String, reason: String },
    #[error("cannot connect to {host}: {reason}")]
    Connect { host: String, reason: String },
    #[error("{host} offers no trustworthy TLS: {reason}")]
    Tls { host: String, reason: String },
    #[error("{host} did not answer within {seconds} s")]
    Timeout { host: String, seconds: f64 },
    #[error("{host} answered with more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error("the connection to {host} broke off: {reason}")]
    Broken { host: String, reason: String },
}

impl FetchError {
    /// What it was that the client library says went wrong before the body.
    pub(super) fn of_call(host: &str, error: &hyper_util::client::legacy::Error) -> Self {
        let trace = Trace::of(error);
        let (host, reason) = (host.to_owned(), trace.reason);
        if trace.tls {
            Self::Tls { host, reason }
        } else if trace.dns {
            Self::Dns { host, reason }
        } else if error.is_connect() {
            Self::Connect { host, reason }
        } else {
            Self::Broken { host, reason }
        }
    }

    pub(super) fn of_body(host: &str, error: &(dyn Error + 'static)) -> Self {
        Self::Broken {
            host: host.to_owned(),
            reason: Trace::of(error).reason,
        }
    }
}

/// What a chain of errors tells.
struct Trace {
    dns: bool,
    tls: bool,
    /// The last error of the chain, which is the first that happened.
    reason: String,
}

impl Trace {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let (mut dns, mut tls) = (false, false);
        let mut error = error;
        loop {
            tls |= error.is::<rustls::Error>();
            // The connector's error has no public type; a test holds it to this text.
            dns |= error.to_string() == "dns error";
            match cause(error) {
                Some(cause) => error = cause,
                None => break,
            }
        }
        Self {
            dns,
            tls,
            reason: error.to_string(),
        }
    }
}

/// The next error of a chain. An [`io::Error`] leaves out the one it wraps when asked for its source.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// Why a client for calls out cannot be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the additional root certificates are no PEM: {0}")]
    Pem(String),
    #[error(
        "there is no certificate among the additional roots; PEM begins with -----BEGIN CERTIFICATE-----"
    )]
    Empty,
    #[error("an additional root certificate cannot be used: {0}")]
    Certificate(rustls::Error),
    #[error("the cryptography library offers no TLS version: {0}")]
    Versions(rustls::Error),
}
