//! The servers under test: where their programs are, and how each is made to do the same work.
//!
//! The work: `localhost` on a plain and a TLS port with the same P-256 certificate, HTTP/2 and
//! HTTP/1.1 by ALPN; `/static/` from disk, everything else from the origin over connections that
//! are kept, with X-Forwarded-For, -Proto and -Host set; no access log; one thread.

mod caddy;
mod haproxy;
pub(crate) mod nginx;
mod portunus;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use nix::unistd::Pid;

use crate::{
    error::Result,
    process::{Launch, Process, free_addresses},
    workspace::Workspace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    Portunus,
    Nginx,
    Haproxy,
    Caddy,
}

impl Server {
    pub fn name(self) -> &'static str {
        match self {
            Self::Portunus => "Portunus",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Caddy => "Caddy",
        }
    }

    /// How to get it, for a note when it is missing.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Portunus => {
                "build it with `cargo build --release -p gateway` or pass --portunus PATH"
            }
            Self::Nginx => "apt install nginx-light",
            Self::Haproxy => "apt install haproxy",
            Self::Caddy => "apt install caddy",
        }
    }

    /// Its program; Portunus's is where `portunus` says.
    pub fn binary(self, portunus: &Path) -> Option<PathBuf> {
        match self {
            Self::Portunus => portunus.is_file().then(|| portunus.to_owned()),
            Self::Nginx => find("nginx"),
            Self::Haproxy => find("haproxy"),
            Self::Caddy => find("caddy"),
        }
    }

    pub fn version_argument(self) -> &'static str {
        match self {
            Self::Portunus | Self::Caddy => "version",
            Self::Nginx | Self::Haproxy => "-v",
        }
    }

    pub fn serves_files(self) -> bool {
        self != Self::Haproxy
    }

    fn launch(self, binary: &Path, site: &Site<'_>) -> Result<Launch> {
        match self {
            Self::Portunus => portunus::launch(binary, site),
            Self::Nginx => nginx::launch(binary, site),
            Self::Haproxy => haproxy::launch(binary, site),
            Self::Caddy => caddy::launch(binary, site),
        }
    }
}

/// What a server's configuration is made from.
#[derive(Debug)]
struct Site<'a> {
    workspace: &'a Workspace,
    /// For this server alone.
    dir: PathBuf,
    http: SocketAddr,
    https: SocketAddr,
    origin: SocketAddr,
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Running {
    pub http: SocketAddr,
    pub https: SocketAddr,
    process: Process,
}

impl Running {
    pub async fn start(
        server: Server,
        binary: &Path,
        workspace: &Workspace,
        origin: SocketAddr,
        core: usize,
    ) -> Result<Self> {
        let [http, https] = free_addresses()?;
        let site = Site {
            workspace,
            dir: workspace.subdirectory(server.name())?,
            http,
            https,
            origin,
        };
        let launch = server.launch(binary, &site)?;
        let ports = [http, https];
        let process = Process::start(server.name(), &launch, core, &site.dir, &ports).await?;
        Ok(Self {
            http,
            https,
            process,
        })
    }

    pub fn group(&self) -> Pid {
        self.process.group()
    }

    /// An error when the server is gone.
    pub fn alive(&mut self) -> Result<()> {
        match self.process.exited()? {
            true => Err(self.process.failure("ended under load")),
            false => Ok(()),
        }
    }
}

/// A program on the search path, or where Debian keeps those of administrators.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}
