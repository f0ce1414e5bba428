//! nginx as a front door: one worker, Debian's defaults, connections kept both ways.

use std::{ffi::OsString, path::Path};

use super::Site;
use crate::{
    error::Result,
    process::Launch,
    workspace::{HOST, write},
};

/// Compiled-in paths of the package need root; these are relative to the prefix.
pub(crate) const TEMPORARY_PATHS: &str = "\
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;";

pub(super) fn launch(binary: &Path, site: &Site<'_>) -> Result<Launch> {
    let config = site.dir.join("nginx.conf");
    write(&config, configuration(site))?;
    Ok(Launch::new(binary, arguments(&site.dir, &config)))
}

pub(crate) fn arguments(dir: &Path, config: &Path) -> [OsString; 6] {
    [
        "-p".into(),
        dir.into(),
        "-e".into(),
        "stderr".into(),
        "-c".into(),
        config.into(),
    ]
}

pub(crate) fn preamble() -> String {
    // Without root the directive only earns a warning; with it the workers could not read the
    // temporary directory as somebody else.
    let user = if nix::unistd::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}"
    )
}

fn configuration(site: &Site<'_>) -> String {
    let Site {
        http,
        https,
        origin,
        ..
    } = site;
    format!(
        r"{preamble}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    ssl_session_cache off;
{TEMPORARY_PATHS}
    upstream origin {{
        server {origin};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {http};
        listen {https} ssl http2;
        server_name {HOST};
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }}
        location /static/ {{
            root {www};
        }}
    }}
}}
",
        preamble = preamble(),
        cert = site.workspace.cert().display(),
        key = site.workspace.key().display(),
        www = site.workspace.www().display(),
    )
}
