//! Signing in as people do it: Chromium, driven by the scripts in `gateway/tests/browser`.

use std::{fs, io, path::Path, process::Stdio, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use tokio::process::Command;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{StandIn, config, local_config, program::Program};

/// A browser takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(110);

/// What Chromium calls the certificates of the internal CA: the hash of its intermediate's key.
fn spki(program: &Program) -> String {
    let pem = fs::read(program.dir.join("state/internal-ca/intermediate.pem")).unwrap();
    let der = CertificateDer::from_pem_slice(&pem).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    BASE64_STANDARD.encode(digest(&SHA256, certificate.public_key().raw))
}

/// Runs a script, which fails by its exit code and says why.
async fn run(script: &str, about: serde_json::Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(
        folder.join("node_modules").exists(),
        "this test needs what `make test` installs: npm ci --prefix {}",
        folder.display()
    );
    let output = Command::new("node")
        .arg(folder.join(script))
        .arg(about.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(PATIENCE, output).await.unwrap() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            panic!("this test needs `node`: apt-get install nodejs (`make test` installs it)")
        }
        output => output.unwrap(),
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
}

#[tokio::test]
async fn people_sign_in_and_out_with_a_browser() {
    let stand_in = StandIn::start().await;
    let program = Program::start(&config(&stand_in, "")).await;
    let port = program.https().port();
    let about = json!({
        "origin": format!("https://gw.test:{port}"),
        "site": format!("https://app.test:{port}"),
        "standIn": stand_in.url,
        "spki": spki(&program),
        "screenshots": std::env::var("SCREENSHOTS").ok(),
    });
    run("sign-in.mjs", about).await;
}

#[tokio::test]
async fn somebody_sets_a_new_gateway_up_with_a_browser() {
    let program = Program::start(&local_config()).await;
    let port = program.https().port();
    let about = json!({
        "origin": format!("https://gw.test:{port}"),
        "site": format!("https://members.test:{port}"),
        "link": program.printed("set-up:").unwrap(),
        "spki": spki(&program),
        "screenshots": std::env::var("SCREENSHOTS").ok(),
    });
    run("set-up.mjs", about).await;
}
