//! `[[site]]` and `[[site.route]]`: which requests go where.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use super::{
    access::{Access, Deprecated},
    value::HostPattern,
};

/// A set of hosts and the routes they share.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The label of this site in logs and metrics: `name = "…"`, else its first host.
    pub name: String,
    pub hosts: Vec<HostPattern>,
    /// `http = "serve"`: answer on the plain listeners too instead of redirecting to HTTPS.
    pub serve_plain: bool,
    /// Most specific first; no two of them tie.
    pub routes: Vec<Route>,
}

/// Conditions, what to change on the way, and one handler.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The label of this route in logs and metrics: `name = "…"`, else the path patterns joined
    /// by a comma (`/*` when there are none).
    pub name: String,
    pub matcher: Matcher,
    pub rewrite: Option<Rewrite>,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    pub limits: RouteLimits,
    /// Its own, else the site's; `None`: everybody may.
    pub access: Option<Arc<Access>>,
    pub deprecated: Option<Deprecated>,
    pub handler: Handler,
}

/// `limits = { rate = "10/1m" }`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteLimits {
    /// How often one client may ask for the route; 429 beyond.
    pub rate: Option<Rate>,
}

/// `"10/1m"`: requests in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: u64,
    pub window: Duration,
}

/// What a request must be for a route to take it. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matcher {
    /// Any of these.
    pub paths: Vec<PathPattern>,
    /// Any of these.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<HeaderCondition>,
    /// All of these.
    pub query: Vec<QueryCondition>,
    /// Any of these networks holds the client address.
    pub client_ip: Vec<IpNet>,
}

impl Matcher {
    /// How many kinds of conditions narrow the route beyond its path; more is more specific.
    pub fn conditions(&self) -> usize {
        usize::from(!self.methods.is_empty())
            + self.headers.len()
            + self.query.len()
            + usize::from(!self.client_ip.is_empty())
    }
}

/// A path in normal form (see `http::normalize`), exact or a prefix on segment borders.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// `/ws`
    Exact(String),
    /// `/api/*`, held as `/api/`; matches `/api/` and below, not `/api` itself. `/*` is `/`.
    Prefix(String),
}

impl PathPattern {
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
        }
    }

    /// Orders patterns by how specific they are: exact before prefix, longer before shorter.
    pub fn specificity(&self) -> (bool, usize) {
        match self {
            Self::Exact(path) => (true, path.len()),
            Self::Prefix(path) => (false, path.len()),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}*"),
        }
    }
}

/// `headers = { "x-beta" = "1", authorization = true }`
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderCondition {
    pub name: HeaderName,
    /// `None`: the header is present with any value.
    pub value: Option<HeaderValue>,
}

/// `query = { version = "2", preview = true }`; names and values are compared percent-decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryCondition {
    pub name: String,
    /// `None`: the parameter is present with any value.
    pub value: Option<String>,
}

/// How the path changes before the handler sees it. The query is never touched.
#[derive(Clone, Debug, PartialEq)]
pub enum Rewrite {
    /// `strip_prefix = "/api"`: removed on a segment border; what is left starts with `/`.
    StripPrefix(String),
    /// `rewrite = "/v2{path}"`: `{path}` stands for the path of the request, `{host}` for its host
    /// without a port.
    Replace(String),
}

/// Header edits, applied in the order remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderOps {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// The one thing a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Handler {
    Proxy(Proxy),
    Files(Files),
    Redirect(Redirect),
    Respond(Respond),
    /// Whatever tunnel the host names.
    Tunnels(Proxy),
}

/// `proxy = ["http://app:8000"]`
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// At least one; requests take turns.
    pub upstreams: Vec<UpstreamUrl>,
    pub host: HostHeader,
    /// `connect_timeout`, per attempt.
    pub connect_timeout: Duration,
    /// `response_timeout`: from the request sent to the response head.
    pub response_timeout: Duration,
    /// `idle_timeout`: within a response body, both ways silent. WebSockets use
    /// `websocket_idle_timeout`.
    pub idle_timeout: Duration,
    pub websocket_idle_timeout: Duration,
    /// `max_body`: largest request body in bytes; 413 beyond. `None` is unlimited.
    pub max_body: Option<u64>,
}

impl Proxy {
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Long polls and slow reports stay under it; a dead upstream is noticed.
    pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
    /// Event streams commonly send a comment every 15 to 30 s; uploads and downloads move.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
    /// A WebSocket that pings less often than once an hour is gone.
    pub const WEBSOCKET_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
}

/// Where one upstream listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    pub address: UpstreamAddress,
}

/// The transport address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// `http://app:8000`: resolved when connecting, so a name may appear later.
    Name { host: String, port: u16 },
    /// `http://127.0.0.1:8000`
    Socket(SocketAddr),
    /// `unix:/run/app.sock`
    Unix(PathBuf),
    /// `tunnel:happy-panda`: what an agent brings.
    Tunnel(String),
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            UpstreamAddress::Name { host, port } => write!(f, "http://{host}:{port}"),
            UpstreamAddress::Socket(address) => write!(f, "http://{address}"),
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            UpstreamAddress::Tunnel(name) => write!(f, "tunnel:{name}"),
        }
    }
}

/// The `Host` an upstream sees.
#[derive(Clone, Debug, PartialEq)]
pub enum HostHeader {
    /// The client's (the default).
    Keep,
    /// `host = "upstream"`: the upstream's own authority.
    Upstream,
    /// `host = "app.internal"`
    Set(HeaderValue),
}

/// `files = "/var/www"`
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// An existing directory, absolute.
    pub root: PathBuf,
    /// `index = ["index.html"]`: tried in a directory, in order.
    pub index: Vec<String>,
    /// `fallback = "/index.html"`: served with 200 for paths that name no file.
    pub fallback: Option<String>,
    /// `precompressed = true`: answer `app.js` from `app.js.zst`, `.br` or `.gz` when the client
    /// takes it.
    pub precompressed: bool,
    /// `dotfiles = true`: serve names that start with a dot. `/.well-known/` is always served.
    pub dotfiles: bool,
}

/// `redirect = "https://www.example.com{path}"` or `{ to = "…", status = 301 }`
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `{path}` and `{query}` (with its `?`) stand for the request's own; without either, the
    /// target is used as it is. `{host}` is the request's host without a port.
    pub to: String,
    /// 308 unless set.
    pub status: StatusCode,
}

/// `respond = { status = 200, body = "ok", content_type = "text/plain; charset=utf-8" }`
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    pub status: StatusCode,
    pub body: String,
    pub content_type: HeaderValue,
}
