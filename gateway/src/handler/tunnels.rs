//! Requests for names below the tunnels' domain: each name is a proxy of its own, made when it is
//! asked for first.

use std::sync::Arc;

use super::ProxyHandler;
use crate::{config, http::Failure, tunnel::Tunnels};

/// Every tunnel by its name.
#[derive(Debug)]
pub struct TunnelHosts {
    config: config::Proxy,
    tunnels: Arc<Tunnels>,
    proxies: papaya::HashMap<String, Arc<ProxyHandler>>,
}

impl TunnelHosts {
    /// For names that `tunnels` knows.
    pub fn new(config: &config::Proxy, tunnels: Arc<Tunnels>) -> Self {
        Self {
            config: config.clone(),
            tunnels,
            proxies: papaya::HashMap::new(),
        }
    }

    /// The proxy for the tunnel that `host` names. A tunnel whose agent is away gets a moment;
    /// one that does not exist is not waited for.
    pub async fn proxy(&self, host: &str) -> Result<Arc<ProxyHandler>, Failure> {
        let name = host.split('.').next().unwrap_or_default();
        if !self.tunnels.is_connected(name) {
            if !self.tunnels.exists(name) {
                return Err(Failure::UnknownTunnel {
                    host: host.to_owned(),
                });
            }
            if !self.tunnels.comes_back(name).await {
                self.proxies.pin().remove(name);
                return Err(Failure::TunnelOffline {
                    host: host.to_owned(),
                });
            }
        }
        let proxies = self.proxies.pin();
        let proxy = match proxies.get(name) {
            Some(proxy) => proxy,
            None => proxies.get_or_insert_with(name.to_owned(), || Arc::new(self.build(name))),
        };
        Ok(Arc::clone(proxy))
    }

    fn build(&self, name: &str) -> ProxyHandler {
        ProxyHandler::of_pool(&self.config, self.tunnels.pool(name))
    }
}
