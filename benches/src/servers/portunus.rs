//! Portunus as a front door: one thread, plain HTTP served as well.

use std::path::Path;

use super::Site;
use crate::{
    error::Result,
    process::Launch,
    workspace::{HOST, write},
};

pub(super) fn launch(binary: &Path, site: &Site<'_>) -> Result<Launch> {
    let config = site.dir.join("portunus.toml");
    write(&config, configuration(site))?;
    let args = [
        "run".into(),
        "--threads".into(),
        "1".into(),
        "--config".into(),
    ];
    let args = args.into_iter().chain([config.into_os_string()]);
    Ok(Launch::new(binary, args))
}

fn configuration(site: &Site<'_>) -> String {
    let Site {
        http,
        https,
        origin,
        ..
    } = site;
    format!(
        r#"data_dir = "state"

[listen]
http = ["{http}"]
https = ["{https}"]
admin = "off"

[listen.limits]
connections = 100000
connections_per_ip = 100000

[tls]
certificates = "files"
files = [{{ cert = "{cert}", key = "{key}" }}]

[log]
level = "warn"
access = "off"

[[site]]
hosts = ["{HOST}"]
http = "serve"

  [[site.route]]
  path = ["/static/*"]
  files = "{www}"

  [[site.route]]
  proxy = ["http://{origin}"]
"#,
        cert = site.workspace.cert().display(),
        key = site.workspace.key().display(),
        www = site.workspace.www().display(),
    )
}
