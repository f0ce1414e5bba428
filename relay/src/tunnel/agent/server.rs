//! Which gateway to dial, and how to trust it.

use std::{fmt, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use url::{Host, Url};

use crate::tunnel::protocol;

/// A gateway, as an agent sees it.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// `None` speaks in clear.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// Why an address is no gateway's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadServer {
    #[error("`{0}` is no address of a gateway; it looks like https://gw.example.com")]
    Malformed(String),
    #[error("`{0}` would send the key in clear; use https://, or http:// with localhost")]
    Clear(String),
    #[error("`{0}` has a path; a gateway is named by its host alone")]
    Path(String),
    #[error("the root certificates of `--ca` cannot be used: {0}")]
    Roots(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Which certificates a gateway may have.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// Those that this machine trusts, or of the web if it trusts none.
    #[default]
    System,
    /// Those in this PEM text, and no other.
    Pem(String),
}

impl Server {
    /// Reads `https://host[:port]`. Plain `http://` is for a gateway on this machine.
    pub fn parse(text: &str, roots: &Roots) -> Result<Self, BadServer> {
        let malformed = || BadServer::Malformed(text.to_owned());
        let with_scheme = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let url = Url::parse(&with_scheme).map_err(|_| malformed())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed());
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(BadServer::Path(text.to_owned()));
        }
        let host = url.host().ok_or_else(malformed)?.to_owned();
        let tls = match url.scheme() {
            "https" => Some(Arc::new(client_config(roots)?)),
            "http" if is_loopback(&host) => None,
            "http" => return Err(BadServer::Clear(text.to_owned())),
            _ => return Err(malformed()),
        };
        Ok(Self {
            host,
            port: url.port_or_known_default().ok_or_else(malformed)?,
            tls,
        })
    }

    pub(super) fn name(&self) -> Result<ServerName<'static>, BadServer> {
        let text = match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        ServerName::try_from(text).map_err(|error| BadServer::Malformed(error.to_string()))
    }

    /// Where to connect to without a proxy. Names below `localhost` are this machine, and not every
    /// resolver knows (RFC 6761 §6.3).
    pub(super) fn dialled(&self) -> (String, u16) {
        let host = match &self.host {
            Host::Domain(name) if name.ends_with(".localhost") => "localhost".to_owned(),
            _ => self.plain_host(),
        };
        (host, self.port)
    }

    /// The host without brackets, as resolvers and proxies want it.
    pub(super) fn plain_host(&self) -> String {
        match &self.host {
            Host::Ipv6(address) => address.to_string(),
            other => other.to_string(),
        }
    }
}

/// `host:port`
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn client_config(roots: &Roots) -> Result<ClientConfig, BadServer> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BadServer::Tls(error.to_string()))?
        .with_root_certificates(root_store(roots)?)
        .with_no_client_auth();
    // A gateway behind something that knows only HTTP picks the second.
    config.alpn_protocols = vec![protocol::ALPN.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn root_store(roots: &Roots) -> Result<RootCertStore, BadServer> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "a root certificate of this machine cannot be read");
            }
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
        Roots::Pem(pem) => {
            let unusable = |error: String| BadServer::Roots(error);
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                store
                    .add(certificate)
                    .map_err(|error| unusable(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(unusable("there is no certificate in them".into()));
            }
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, BadServer> {
        Server::parse(text, &Roots::System).map(|server| server.to_string())
    }

    #[test]
    fn a_gateway_is_an_https_address() {
        for (text, server) in [
            ("https://gw.example.com", "gw.example.com:443"),
            ("https://gw.example.com/", "gw.example.com:443"),
            ("gw.example.com", "gw.example.com:443"),
            ("gw.example.com:8443", "gw.example.com:8443"),
            ("https://[::1]:8443", "[::1]:8443"),
            ("http://localhost:8080", "localhost:8080"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(server));
        }
    }

    #[test]
    fn names_below_localhost_are_this_machine() {
        let server = Server::parse("https://gw.localhost:8443", &Roots::System).unwrap();
        assert_eq!(server.dialled(), ("localhost".to_owned(), 8443));
        assert_eq!(server.to_string(), "gw.localhost:8443");
        let server = Server::parse("https://notlocalhost", &Roots::System).unwrap();
        assert_eq!(server.dialled().0, "notlocalhost");
    }

    #[test]
    fn what_would_send_the_key_in_clear_is_refused() {
        for text in [
            "http://gw.example.com",
            "http://10.0.0.1",
            "http://[2001:db8::1]:80",
        ] {
            assert!(matches!(parse(text), Err(BadServer::Clear(_))), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "https://",
            "ftp://gw.example.com",
            "https://a b",
            "https://k@gw.test",
        ] {
            assert!(
                matches!(parse(text), Err(BadServer::Malformed(_))),
                "{text}"
            );
        }
        for text in [
            "https://gw.test/x",
            "https://gw.test?x=1",
            "https://gw.test#x",
        ] {
            assert!(matches!(parse(text), Err(BadServer::Path(_))), "{text}");
        }
    }

    #[test]
    fn roots_that_are_none_are_refused() {
        for pem in [
            "",
            "no pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let refused = Server::parse("https://gw.test", &Roots::Pem(pem.into()));
            assert!(matches!(refused, Err(BadServer::Roots(_))), "{pem}");
        }
    }
}
