//! Calls out to other servers: OAuth providers, key sets.
//!
//! A request with an absolute `https` URL goes in, the whole response comes out, or a
//! [`FetchError`] that says which stage failed. Certificates are checked against Mozilla's roots and
//! those that the configuration adds. Redirects are not followed: a provider's endpoint has no reason
//! to send a client secret elsewhere. Time and size have a bound, so that a slow or endless answer
//! costs one call and no more.
//!
//! Only HTTP/1.1 is spoken: a sign-in is three calls, and nothing of it is worth a second protocol.

mod error;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

pub use self::error::{FetchError, TrustError};

/// For a whole call, from looking up the name to the last byte. Providers answer within one second;
/// a person in front of a page waits no longer than this.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body that is taken, in bytes. A user's record is 2 KiB, a large key set 100 KiB.
pub const DEFAULT_MAX_RESPONSE: usize = 1024 * 1024;
/// How long an idle connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(30);
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("portunus/", env!("CARGO_PKG_VERSION")));

/// What a [`Fetch`] trusts and how long it waits.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Certificates in PEM that are trusted beside Mozilla's roots, for a provider with a private CA.
    pub extra_roots: Option<String>,
    /// Where an `http` URL is allowed.
    pub plain_http: PlainHttp,
    pub timeout: Duration,
    /// In bytes.
    pub max_response: usize,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            extra_roots: None,
            plain_http: PlainHttp::Loopback,
            timeout: DEFAULT_TIMEOUT,
            max_response: DEFAULT_MAX_RESPONSE,
        }
    }
}

/// Where secrets may travel in the clear.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PlainHttp {
    /// To `localhost`, `127.0.0.0/8` and `::1`.
    #[default]
    Loopback,
    /// Anywhere: for a network that only trusted machines are on.
    Anywhere,
}

/// A client for calls out. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Fetch {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    plain_http: PlainHttp,
    timeout: Duration,
    max_response: usize,
}

impl Fetch {
    /// Reads the roots; opens no connection.
    pub fn new(settings: &FetchSettings) -> Result<Self, TrustError> {
        let roots = roots(settings.extra_roots.as_deref())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Versions)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            client,
            plain_http: settings.plain_http,
            timeout: settings.timeout,
            max_response: settings.max_response,
        })
    }

    /// Whether `url` may be called at all, to be known before the first call.
    pub fn check(&self, url: &Url) -> Result<(), FetchError> {
        let uri = url.as_str().parse().map_err(|_| FetchError::BadUrl)?;
        self.admit(&uri).map(drop)
    }

    /// Sends `request`, whose URL is absolute, and reads the whole answer, whatever its status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let host = self.admit(request.uri())?;
        let (mut head, body) = request.into_parts();
        head.headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let request = Request::from_parts(head, Full::new(body));
        match tokio::time::timeout(self.timeout, self.exchange(&host, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout {
                host,
                seconds: self.timeout.as_secs_f64(),
            }),
        }
    }

    /// The host of a URL that may be called.
    fn admit(&self, url: &Uri) -> Result<String, FetchError> {
        let (Some(scheme), Some(host)) = (url.scheme(), url.host()) else {
            return Err(FetchError::BadUrl);
        };
        let host = host.to_owned();
        let plain_is_fine = self.plain_http == PlainHttp::Anywhere || is_loopback(&host);
        match scheme {
            scheme if *scheme == Scheme::HTTPS => Ok(host),
            scheme if *scheme == Scheme::HTTP && plain_is_fine => Ok(host),
            scheme if *scheme == Scheme::HTTP => Err(FetchError::PlainHttp { host }),
            _ => Err(FetchError::BadUrl),
        }
    }

    async fn exchange(
        &self,
        host: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, FetchError> {
        let answer = self.client.request(request).await;
        let (head, body) = answer
            .map_err(|error| FetchError::of_call(host, &error))?
            .into_parts();
        #[expect(clippy::disallowed_methods, reason = "the body is limited")]
        let body = Limited::new(body, self.max_response).collect().await;
        match body {
            Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge {
                host: host.to_owned(),
                limit: self.max_response,
            }),
            Err(error) => Err(FetchError::of_body(host, &*error)),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn roots(extra: Option<&str>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let Some(pem) = extra else { return Ok(roots) };
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TrustError::Pem(error.to_string()))?;
        roots.add(certificate).map_err(TrustError::Certificate)?;
        found = true;
    }
    if found {
        Ok(roots)
    } else {
        Err(TrustError::Empty)
    }
}
