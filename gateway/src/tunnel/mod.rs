//! Tunnels: services that agents bring to the gateway.
//!
//! [`Tunnels`] holds which agents are connected and is asked for a connection like any upstream.
//! `accept` answers agents that dial in on the gateway's own domain. What runs between the two ends
//! is `relay::tunnel`; who may have which name is asked of identity.

mod accept;

use std::{io, sync::Arc};

use auth::identity::Identity;
use relay::tunnel::{Stream, edge::Registry, protocol::Kind};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::accept::answer;
use crate::{
    config::{self, UpstreamAddress, UpstreamUrl},
    upstream::Pool,
};

/// The agents of one gateway.
#[derive(Debug)]
pub struct Tunnels {
    registry: Arc<Registry>,
    config: config::Tunnels,
    /// The port of public URLs, unless it is HTTPS's own.
    port: Option<u16>,
    identity: Identity,
    /// Idle connections of each tunnel that was asked for.
    pools: papaya::HashMap<String, Arc<Pool>>,
    /// One task for each carrier.
    carriers: TaskTracker,
    /// Cancelled when requests have drained: agents go elsewhere.
    stop: CancellationToken,
}

/// There is no agent to ask.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no agent of this tunnel is connected")]
pub struct Offline;

impl Tunnels {
    /// Nobody is connected yet.
    pub fn new(config: config::Tunnels, https_port: Option<u16>, identity: Identity) -> Self {
        Self {
            registry: Arc::default(),
            config,
            port: https_port.filter(|port| *port != 443),
            identity,
            pools: papaya::HashMap::new(),
            carriers: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// A connection to the service behind `name`; waits a moment for an agent that is not there.
    pub async fn connect(&self, name: &str) -> io::Result<Stream> {
        let session = match self.registry.session(name) {
            Some(session) => session,
            None => self
                .registry
                .wait_for(name, self.config.wait)
                .await
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, Offline))?,
        };
        session
            .open(Kind::Http1)
            .await
            .map_err(|error| io::Error::new(io::ErrorKind::NotConnected, error))
    }

    /// Whether an agent is there now.
    pub fn is_connected(&self, name: &str) -> bool {
        self.registry.session(name).is_some()
    }

    /// Whether there is such a tunnel, connected or not.
    pub fn exists(&self, name: &str) -> bool {
        self.identity.directory().tunnel_named(name).is_some()
    }

    /// Waits a moment for an agent. Whether one came.
    pub async fn comes_back(&self, name: &str) -> bool {
        self.registry
            .wait_for(name, self.config.wait)
            .await
            .is_some()
    }

    /// The connections of the tunnel `name`.
    pub fn pool(self: &Arc<Self>, name: &str) -> Arc<Pool> {
        let pools = self.pools.pin();
        let made = || {
            let upstream = UpstreamUrl {
                address: UpstreamAddress::Tunnel(name.to_owned()),
            };
            Arc::new(Pool::new(upstream, Some(self)))
        };
        Arc::clone(pools.get_or_insert_with(name.to_owned(), made))
    }

    /// Closes idle connections past their time, and forgets tunnels that nobody brings.
    pub fn sweep(&self) {
        let pools = self.pools.pin();
        for (name, pool) in &pools {
            pool.close_expired();
            // Whoever still has it would use it again, unswept.
            if !self.is_connected(name) && Arc::strong_count(pool) == 1 {
                pools.remove(name);
            }
        }
    }

    /// Names that have an agent now.
    pub fn connected(&self) -> usize {
        self.registry.len()
    }

    /// Closes every carrier, and waits for the last.
    pub async fn close(&self) {
        self.stop.cancel();
        self.carriers.close();
        self.carriers.wait().await;
    }

    /// Where visitors reach the tunnel `name`.
    pub fn url(&self, name: &str) -> String {
        format!("https://{}", self.host(name))
    }

    /// The host of [`url`](Self::url), with the port unless it is HTTPS's own.
    pub fn host(&self, name: &str) -> String {
        let port = self.port.map_or(String::new(), |port| format!(":{port}"));
        format!("{name}.{}{port}", self.config.domain)
    }
}
