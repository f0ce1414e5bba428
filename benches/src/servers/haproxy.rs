//! HAProxy as a front door: one thread, connections to the origin shared by all clients. It serves
//! no files.

use std::path::Path;

use super::Site;
use crate::{error::Result, process::Launch, workspace::write};

pub(super) fn launch(binary: &Path, site: &Site<'_>) -> Result<Launch> {
    let config = site.dir.join("haproxy.cfg");
    write(&config, configuration(site))?;
    Ok(Launch::new(
        binary,
        ["-db".into(), "-f".into(), config.into_os_string()],
    ))
}

fn configuration(site: &Site<'_>) -> String {
    let Site {
        http,
        https,
        origin,
        ..
    } = site;
    format!(
        "global
    nbthread 1
    maxconn 8192

defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 75s
    http-reuse always

frontend door
    bind {http}
    bind {https} ssl crt {cert} alpn h2,http/1.1 ssl-min-ver TLSv1.2
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend origin

backend origin
    server origin {origin}
",
        cert = site.workspace.cert_and_key().display(),
    )
}
