//! TLS on the front door: which certificate answers a ClientHello, where it comes from, and how
//! that changes while the gateway runs.
//!
//! The configuration, the hosts of the sites and a data directory come in; a rustls
//! [`ServerConfig`] leaves that stays the same over reloads, so that session tickets stay good,
//! and whose certificates are looked up in an immutable `Snapshot`. A new
//! snapshot is built and proven first ([`Tls::prepare`]) and swapped in whole ([`Tls::commit`]).
//!
//! [`accept`] does one handshake. `certificates` picks by name, `files` loads PEM pairs, `watch`
//! notices when they change or something is due, `internal_ca` issues where there is no other
//! source.

mod accept;
mod certificates;
mod error;
mod files;
mod internal_ca;
mod private_dir;
mod snapshot;
#[cfg(test)]
mod tests;
mod watch;

use std::{fmt, net::IpAddr, path::Path, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, Ticketer, kx_group},
    },
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use self::snapshot::Snapshot;
pub use self::{
    accept::accept,
    error::{AcceptError, Problems, TlsError},
    internal_ca::InternalCa,
};
use crate::config::{self, HostPattern};

/// Protocols inside TLS, the better first (RFC 7301). What agents offer comes first, because they
/// offer HTTP/1.1 as well; after it they speak that until they have switched protocols.
const ALPN: [&[u8]; 3] = [relay::tunnel::protocol::ALPN, b"h2", b"http/1.1"];

/// TLS 1.3 tickets per handshake. A client uses each once and every resumption brings a new one,
/// so one keeps a client resuming; the second is for a second connection opened at the same time.
const TICKETS: usize = 2;
/// What a client that asks for a number of tickets (RFC 9149) can get.
const TICKETS_MAX: usize = 4;

/// Makes aws-lc-rs, with the key exchange groups of [`Tls`], the default of the process. Calling
/// it again does nothing; call it before anything else touches rustls.
pub fn install_crypto_provider() {
    // Fails only when there is a default already.
    let _ = crypto_provider().install_default();
}

/// The TLS side of the gateway, shared by all listeners and kept over reloads.
pub struct Tls {
    server: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
}

impl Tls {
    /// Loads and proves all certificates. `hosts` are those of every site: the internal CA issues
    /// for them and for nothing else.
    pub fn start(
        config: &config::Tls,
        hosts: &[HostPattern],
        data_dir: &Path,
    ) -> Result<Arc<Self>, TlsError> {
        Self::start_at(config, hosts, data_dir, SystemTime::now())
    }

    fn start_at(
        config: &config::Tls,
        hosts: &[HostPattern],
        data_dir: &Path,
        now: SystemTime,
    ) -> Result<Arc<Self>, TlsError> {
        let first = Snapshot::load(config, hosts, data_dir, &Snapshot::empty(), now)?;
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(first)));
        let server = Arc::new(server_config(Arc::clone(&resolver))?);
        Ok(Arc::new(Self { server, resolver }))
    }

    /// Builds and proves what `commit` would put to use. Reads files: not for a runtime thread
    /// that has connections to serve. A failure changes nothing.
    pub fn prepare(
        &self,
        config: &config::Tls,
        hosts: &[HostPattern],
        data_dir: &Path,
    ) -> Result<Prepared, TlsError> {
        let current = self.resolver.0.load_full();
        Snapshot::load(config, hosts, data_dir, &current, SystemTime::now()).map(Prepared)
    }

    /// Serves from `prepared` from the next handshake on. Open connections keep going.
    pub fn commit(&self, prepared: Prepared) {
        self.resolver.0.store(Arc::new(prepared.0));
    }

    /// Puts `next` to use unless a commit was faster: that one has read the files itself.
    fn replace(&self, built_on: &Arc<Snapshot>, next: Snapshot) {
        self.resolver.0.compare_and_swap(built_on, Arc::new(next));
    }

    /// The configuration of every TLS connection with a server name. The same over the whole life
    /// of the gateway.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Whether there is a certificate for a client that asked for `server_name`, or that sent none
    /// and connected to `local_ip`.
    pub fn recognises(&self, server_name: Option<&str>, local_ip: Option<IpAddr>) -> bool {
        let snapshot = self.resolver.0.load();
        match server_name {
            Some(name) => snapshot.certificates.by_name(name).is_some(),
            None => snapshot.certificates.by_address(local_ip).is_some(),
        }
    }

    /// The configuration to answer a ClientHello with; `None` when there is no certificate.
    fn config_for(
        &self,
        server_name: Option<&str>,
        local_ip: Option<IpAddr>,
    ) -> Option<Arc<ServerConfig>> {
        let snapshot = self.resolver.0.load();
        let Some(name) = server_name else {
            // The resolver of a shared configuration cannot know the local address. Tickets stay
            // shared: without a name they resume sessions of this gateway's addresses only.
            let key = snapshot.certificates.by_address(local_ip)?;
            let mut config = ServerConfig::clone(&self.server);
            config.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(key)));
            return Some(Arc::new(config));
        };
        snapshot.certificates.by_name(name)?;
        Some(self.server_config())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Proven certificates that are not in use yet.
#[must_use = "nothing changes until it is committed"]
pub struct Prepared(Snapshot);

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// Hands rustls the certificate for a server name out of the snapshot of the moment.
struct Resolver(ArcSwap<Snapshot>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let snapshot = self.0.load();
        snapshot
            .certificates
            .by_name(hello.server_name()?)
            .map(Arc::clone)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn server_config(resolver: Arc<Resolver>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    // The client knows whether it has AES in hardware, and all suites left are good, so its order
    // counts: phones get ChaCha20 without slowing everybody else down.
    config.ignore_client_order = false;
    // Stateless tickets for both versions: keys change every 6 h, a ticket is good for at most
    // 12 h. rustls resumes a session only under the server name it was made for.
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = TICKETS;
    config.max_tls13_tickets = TICKETS_MAX;
    // With tickets for everybody, a locked table of session ids would serve next to nobody.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // 0-RTT data can be replayed (RFC 8446 §8), and no route could say that it minds.
    config.max_early_data_size = 0;
    Ok(config)
}

/// aws-lc-rs with the post-quantum hybrid first: what our own clients offer and send a share for.
/// As a server, rustls takes the client's first group among these.
fn crypto_provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}
