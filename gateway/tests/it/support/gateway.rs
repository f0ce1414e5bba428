//! The gateway under test.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use gateway::{
    app::{App, Outside, file_source},
    config::{self, ListenAddress},
    reload::Reloader,
    tls::InternalCa,
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::{Dir, Wire, client_config, eventually, wire::connect_tls, within};

/// Plain HTTP on a free port, nothing else.
pub(crate) const PLAIN: &str = r#"
data_dir = "state"
[listen]
http = ["127.0.0.1:0"]
https = []
admin = "off"
"#;

/// HTTPS on a free port, nothing else.
pub(crate) const TLS: &str = r#"
data_dir = "state"
[listen]
http = []
https = ["127.0.0.1:0"]
admin = "off"
"#;

/// Both.
pub(crate) const PLAIN_AND_TLS: &str = r#"
data_dir = "state"
[listen]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "off"
"#;

/// A running gateway and its directory.
pub(crate) struct Gateway {
    pub(crate) dir: Dir,
    pub(crate) shared: Arc<gateway::app::Gateway>,
    pub(crate) access_log: Lines,
    reloader: Arc<Reloader>,
    addresses: Vec<(&'static str, ListenAddress)>,
    running: JoinHandle<bool>,
}

impl Gateway {
    /// Starts from the text of a `portunus.toml` in a fresh directory; relative paths in it are
    /// paths in that directory.
    pub(crate) async fn start(toml: &str) -> Self {
        Self::start_in(Dir::new(), toml).await
    }

    pub(crate) async fn start_in(dir: Dir, toml: &str) -> Self {
        gateway::tls::install_crypto_provider();
        let path = dir.write("portunus.toml", toml);
        let loaded = load(&path).unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
        let access_log = Lines::default();
        let outside = Outside {
            source: file_source(path),
            level: None,
            identity: gateway::identity::open(&loaded.config).await.unwrap(),
            background: tokio::runtime::Handle::current(),
        };
        let app = App::new(&loaded.config, outside, access_log.clone()).unwrap();
        Self {
            dir,
            shared: Arc::clone(&app.gateway),
            access_log,
            reloader: app.reloader(),
            addresses: app.addresses(),
            running: tokio::spawn(app.run()),
        }
    }

    /// Plain HTTP and HTTPS, `app.test` proxied to `upstream` on both, with more keys for its
    /// route.
    pub(crate) async fn proxy(upstream: &str, more: &str) -> Self {
        Self::start(&proxy(upstream, more)).await
    }

    fn address(&self, protocol: &str) -> &ListenAddress {
        let found = self.addresses.iter().find(|(name, _)| *name == protocol);
        &found.expect("there is such a listener").1
    }

    fn tcp(&self, protocol: &str) -> SocketAddr {
        match self.address(protocol) {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(path) => panic!("{} is a path", path.display()),
        }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.tcp("http")
    }

    /// The addresses of every plain listener that was there at the start.
    pub(crate) fn all_http(&self) -> Vec<SocketAddr> {
        let http = self.addresses.iter().filter(|(name, _)| *name == "http");
        http.map(|(_, address)| match address {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(path) => panic!("{} is a path", path.display()),
        })
        .collect()
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.tcp("https")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.tcp("admin")
    }

    /// The root of the internal CA.
    pub(crate) fn root_pem(&self) -> String {
        let ca = InternalCa::open(&self.dir.join("state")).unwrap();
        ca.root_pem().to_owned()
    }

    /// A client that trusts the internal CA.
    pub(crate) fn client_config(&self) -> rustls::ClientConfig {
        client_config(&self.root_pem())
    }

    /// A connection to the plain listener.
    pub(crate) async fn connect(&self) -> Wire {
        Wire::tcp(self.http()).await
    }

    /// A TLS connection that speaks HTTP/1.1.
    pub(crate) async fn connect_tls(&self, name: &str) -> Wire {
        Wire::tls(self.https(), self.client_config(), name).await
    }

    /// A TLS handshake that may fail.
    pub(crate) async fn try_tls(
        &self,
        name: &str,
    ) -> io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        connect_tls(self.https(), self.client_config(), name).await
    }

    /// Replaces the configuration file and reloads it; the text of what is wrong otherwise.
    pub(crate) async fn reload(&self, toml: &str) -> Result<(), String> {
        self.dir.write("portunus.toml", toml);
        let reloader = Arc::clone(&self.reloader);
        let reloaded = tokio::task::spawn_blocking(move || reloader.reload());
        let reloaded = within(reloaded).await.unwrap();
        reloaded.map_err(|error| error.to_string())
    }

    /// Tells it to stop and goes on.
    pub(crate) fn begin_stop(&self) {
        self.shared.stop.cancel();
    }

    /// Stops; whether everything that was begun was finished.
    pub(crate) async fn stop(self) -> bool {
        self.begin_stop();
        within(self.running).await.unwrap()
    }

    /// The value of one series, `name{label="value"}` as the exposition has it.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = self.metrics();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        match value {
            Some(value) => value.parse().unwrap(),
            None => panic!("there is no {series} in\n{text}"),
        }
    }

    pub(crate) fn metrics(&self) -> String {
        String::from_utf8(self.shared.metrics.render().unwrap()).unwrap()
    }

    /// Waits for a series to have a value.
    #[track_caller]
    pub(crate) fn metric_is(&self, series: &str, value: u64) -> impl Future<Output = ()> {
        self.metric(series);
        eventually(move || self.metric(series) == value)
    }
}

/// The configuration of [`Gateway::proxy`].
pub(crate) fn proxy(upstream: &str, more: &str) -> String {
    format!(
        "{PLAIN_AND_TLS}\n[[site]]\nhosts = [\"app.test\"]\nhttp = \"serve\"\n\
         [[site.route]]\nproxy = [\"{upstream}\"]\n{more}\n"
    )
}

fn load(path: &Path) -> Result<config::Loaded, config::Problems> {
    // No variable of the machine the tests run on changes what they see.
    config::load(path, &|_| None)
}

/// What the access log wrote.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Waits for as many lines.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> impl Future<Output = Vec<String>> {
        let arrived = eventually(move || self.read().lines().count() >= count);
        async move {
            arrived.await;
            self.read().lines().map(str::to_owned).collect()
        }
    }

    fn read(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
