//! What a route does with a request: one handler, one file.
//!
//! Configuration goes in once, at build; requests and responses pass through as `http` types.

pub mod files;
pub mod proxy;
pub mod respond;
pub mod tunnels;

pub use self::{files::FileServer, proxy::ProxyHandler, tunnels::TunnelHosts};

use crate::{
    config::{self, Redirect, Respond},
    upstream::Pools,
};

/// The handlers there are.
#[derive(Debug)]
pub enum Handler {
    Proxy(ProxyHandler),
    Files(FileServer),
    Redirect(Redirect),
    Respond(Respond),
    Tunnels(TunnelHosts),
}

/// A handler that cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Files(#[from] files::FilesError),
    #[error("tunnels need `[tunnels]` and a `domain`")]
    NoTunnels,
}

impl Handler {
    pub fn build(config: &config::Handler, pools: &mut Pools) -> Result<Self, BuildError> {
        Ok(match config {
            config::Handler::Proxy(proxy) => Self::Proxy(ProxyHandler::new(proxy, pools)),
            config::Handler::Files(files) => Self::Files(FileServer::new(files)?),
            config::Handler::Redirect(redirect) => Self::Redirect(redirect.clone()),
            config::Handler::Respond(respond) => Self::Respond(respond.clone()),
            config::Handler::Tunnels(proxy) => match pools.tunnels() {
                Some(tunnels) => Self::Tunnels(TunnelHosts::new(proxy, tunnels)),
                None => return Err(BuildError::NoTunnels),
            },
        })
    }
}
