//! Caddy as a front door: one running goroutine at a time, no HTTP/3, forwarding headers as it
//! sets them by default.

use std::path::Path;

use super::Site;
use crate::{
    error::Result,
    process::Launch,
    workspace::{HOST, write},
};

pub(super) fn launch(binary: &Path, site: &Site<'_>) -> Result<Launch> {
    let config = site.dir.join("Caddyfile");
    write(&config, configuration(site))?;
    let args = [
        "run".into(),
        "--adapter".into(),
        "caddyfile".into(),
        "--config".into(),
    ];
    let args = args.into_iter().chain([config.into_os_string()]);
    // It writes to its home otherwise.
    Ok(Launch::new(binary, args)
        .env("GOMAXPROCS", "1")
        .env("HOME", site.dir.as_os_str())
        .env("XDG_DATA_HOME", site.dir.as_os_str())
        .env("XDG_CONFIG_HOME", site.dir.as_os_str()))
}

fn configuration(site: &Site<'_>) -> String {
    format!(
        "{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
    servers {{
        protocols h1 h2
    }}
}}

(door) {{
    bind 127.0.0.1
    handle /static/* {{
        root * {www}
        file_server
    }}
    handle {{
        reverse_proxy {origin}
    }}
}}

http://{HOST}:{http_port} {{
    import door
}}

https://{HOST}:{https_port} {{
    import door
    tls {cert} {key}
}}
",
        http_port = site.http.port(),
        https_port = site.https.port(),
        cert = site.workspace.cert().display(),
        key = site.workspace.key().display(),
        www = site.workspace.www().display(),
        origin = site.origin,
    )
}
