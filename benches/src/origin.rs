//! The origin behind every server: an nginx that answers from memory and the page cache, on the
//! core of the load.

use std::net::SocketAddr;

use crate::{
    error::Result,
    process::{Launch, Process, free_addresses},
    servers::nginx,
    workspace::{SMALL, Workspace, body, write},
};

#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    _process: Process,
}

impl Origin {
    pub async fn start(workspace: &Workspace, core: usize) -> Result<Self> {
        let dir = workspace.subdirectory("origin")?;
        let [address] = free_addresses()?;
        let config = dir.join("nginx.conf");
        write(&config, configuration(workspace, address))?;
        let binary = crate::servers::find("nginx").unwrap_or_else(|| "nginx".into());
        let launch = Launch::new(&binary, nginx::arguments(&dir, &config));
        let process = Process::start("the origin (nginx)", &launch, core, &dir, &[address]).await?;
        Ok(Self {
            address,
            _process: process,
        })
    }
}

/// Connections are never closed by the origin, so that no server meets a dead one in its pool.
fn configuration(workspace: &Workspace, address: SocketAddr) -> String {
    let preamble = nginx::preamble();
    let small = body(SMALL);
    let www = workspace.www();
    let www = www.display();
    format!(
        r#"{preamble}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    open_file_cache max=16;
{temporary}
    server {{
        listen {address} backlog=4096;
        location = /1k {{
            default_type text/plain;
            return 200 "{small}";
        }}
        location = /1m {{
            default_type application/octet-stream;
            alias {www}/static/1m;
        }}
    }}
}}
"#,
        temporary = nginx::TEMPORARY_PATHS,
    )
}
