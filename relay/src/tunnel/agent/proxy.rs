//! Proxies between an agent and its gateway: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928).
//!
//! Which one is said by the variables that other programs know: `HTTPS_PROXY`, `ALL_PROXY` and
//! `NO_PROXY`, in upper or lower case.

use std::{fmt, io};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use super::server::Server;

/// A proxy that an agent goes through.
#[derive(Clone, Eq, PartialEq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Http,
    /// `true`: the proxy looks names up.
    Socks5(bool),
}

/// Why the proxy did not lead to the gateway.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error(
        "`{0}` in {1} is no proxy; it looks like http://proxy.example.com:3128 or socks5://proxy.example.com:1080"
    )]
    Malformed(String, &'static str),
    #[error("the proxy {0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    #[error(
        "the proxy {0} wants other credentials (status 407); put them into its address as user:password@"
    )]
    Credentials(String),
    #[error("the proxy {0} refuses to connect to the gateway (status {1})")]
    Refused(String, StatusCode),
    #[error("the proxy {0} does not answer as one: {1}")]
    Protocol(String, String),
}

impl Proxy {
    /// The proxy for `server`, if the variables name one for it.
    pub fn from_environment(
        server: &Server,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ProxyError> {
        let find = |name: &str| {
            let value = variable(&name.to_ascii_uppercase());
            let value = value.or_else(|| variable(&name.to_ascii_lowercase()));
            value.filter(|value| !value.is_empty())
        };
        let host = server.plain_host();
        if find("no_proxy").is_some_and(|list| is_excepted(&host, &list)) {
            return Ok(None);
        }
        for name in ["HTTPS_PROXY", "ALL_PROXY"] {
            if let Some(text) = find(name) {
                return match Self::parse(&text) {
                    Some(proxy) => Ok(Some(proxy)),
                    None => Err(ProxyError::Malformed(without_password(&text), name)),
                };
            }
        }
        Ok(None)
    }

    /// Reads `http://[user:password@]host[:port]`, or with `socks5` or `socks5h`.
    pub fn parse(text: &str) -> Option<Self> {
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        let url = url.ok()?;
        let (kind, default_port) = match url.scheme() {
            "http" => (Kind::Http, 80),
            "socks5" => (Kind::Socks5(false), 1080),
            "socks5h" => (Kind::Socks5(true), 1080),
            _ => return None,
        };
        let decoded = |text: &str| {
            let text = percent_encoding::percent_decode_str(text);
            text.decode_utf8().ok().map(std::borrow::Cow::into_owned)
        };
        let credentials = match url.username() {
            "" => None,
            user => Some((decoded(user)?, decoded(url.password().unwrap_or_default())?)),
        };
        Some(Self {
            kind,
            host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(default_port),
            credentials,
        })
    }

    /// A connection through the proxy to the gateway.
    pub(super) async fn connect(&self, server: &Server) -> Result<TcpStream, ProxyError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| ProxyError::Unreachable(self.to_string(), error))?;
        match self.kind {
            Kind::Http => self.http(stream, server).await,
            Kind::Socks5(remote) => self.socks(stream, server, remote).await,
        }
    }

    async fn http(&self, stream: TcpStream, server: &Server) -> Result<TcpStream, ProxyError> {
        let protocol = |error: String| ProxyError::Protocol(self.to_string(), error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| protocol(error.to_string()))?;
        let connection = tokio::spawn(connection.with_upgrades());
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = server
            .to_string()
            .parse()
            .map_err(|_| protocol("the gateway's address does not fit a request".into()))?;
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(server.to_string()) {
            headers.insert(header::HOST, host);
        }
        if let Some((user, password)) = &self.credentials {
            let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
            if let Ok(mut basic) = HeaderValue::try_from(format!("Basic {credentials}")) {
                basic.set_sensitive(true);
                headers.insert(header::PROXY_AUTHORIZATION, basic);
            }
        }
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| protocol(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(ProxyError::Credentials(self.to_string()));
            }
            status => return Err(ProxyError::Refused(self.to_string(), status)),
        }
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| protocol(error.to_string()))?;
        drop(connection);
        let parts = upgraded
            .downcast::<TokioIo<TcpStream>>()
            .map_err(|_| protocol("the connection is of another kind".into()))?;
        // A gateway never speaks first: whatever is here came from the proxy.
        if !parts.read_buf.is_empty() {
            return Err(protocol("it sent bytes after its answer".into()));
        }
        Ok(parts.io.into_inner())
    }

    async fn socks(
        &self,
        stream: TcpStream,
        server: &Server,
        remote: bool,
    ) -> Result<TcpStream, ProxyError> {
        use tokio_socks::{Error, tcp::Socks5Stream};
        let target = (server.plain_host(), server.port);
        let target = match remote {
            true => tokio_socks::TargetAddr::Domain(target.0.into(), target.1),
            false => {
                let mut found = tokio::net::lookup_host(target).await.map_err(|error| {
                    let text = format!("{}: {error}", server.host);
                    ProxyError::Protocol(self.to_string(), text)
                })?;
                let none = || ProxyError::Protocol(self.to_string(), "no address".into());
                tokio_socks::TargetAddr::Ip(found.next().ok_or_else(none)?)
            }
        };
        let connected = match &self.credentials {
            Some((user, password)) => {
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
            }
            None => Socks5Stream::connect_with_socket(stream, target).await,
        };
        match connected {
            Ok(stream) => Ok(stream.into_inner()),
            Err(
                Error::PasswordAuthFailure(_)
                | Error::NoAcceptableAuthMethods
                | Error::AuthorizationRequired,
            ) => Err(ProxyError::Credentials(self.to_string())),
            Err(error) => Err(ProxyError::Protocol(self.to_string(), error.to_string())),
        }
    }
}

/// Without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({:?}, {self})", self.kind)
    }
}

/// Whether `NO_PROXY` names the host, or a domain above it.
fn is_excepted(host: &str, list: &str) -> bool {
    list.split(',').map(str::trim).any(|entry| {
        let entry = entry.trim_start_matches("*.").trim_start_matches('.');
        let below = || {
            host.strip_suffix(entry)
                .is_some_and(|rest| rest.ends_with('.'))
        };
        entry == "*" || (!entry.is_empty() && (host == entry || below()))
    })
}

fn without_password(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::server::Roots, *};

    fn find(variables: &[(&str, &str)]) -> Result<Option<Proxy>, ProxyError> {
        let server = Server::parse("https://gw.example.com", &Roots::System).unwrap();
        Proxy::from_environment(&server, &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_usual_variables_name_a_proxy() {
        assert_eq!(find(&[]).unwrap(), None);
        assert_eq!(find(&[("HTTPS_PROXY", "")]).unwrap(), None);
        let proxy = find(&[("https_proxy", "http://u:p%40@proxy.test:3128")])
            .unwrap()
            .unwrap();
        assert_eq!(proxy.to_string(), "proxy.test:3128");
        assert_eq!(proxy.credentials, Some(("u".into(), "p@".into())));
        let proxy = find(&[("ALL_PROXY", "socks5h://proxy.test")])
            .unwrap()
            .unwrap();
        assert_eq!((proxy.kind, proxy.port), (Kind::Socks5(true), 1080));
    }

    #[test]
    fn exceptions_are_hosts_and_domains() {
        for (list, excepted) in [
            ("gw.example.com", true),
            ("example.com", true),
            (".example.com, other.test", true),
            ("*.example.com", true),
            ("*", true),
            ("ample.com", false),
            ("", false),
            ("other.test", false),
        ] {
            let proxy = find(&[("HTTPS_PROXY", "http://proxy.test"), ("NO_PROXY", list)]);
            assert_eq!(proxy.unwrap().is_none(), excepted, "{list}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let proxy = Proxy::parse("http://user:hunter2@proxy.test").unwrap();
        let error = find(&[("HTTPS_PROXY", "ftp://user:hunter2@proxy.test")]).unwrap_err();
        for text in [
            format!("{proxy:?} {proxy}"),
            error.to_string(),
            format!("{error:?}"),
        ] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
