//! Programs from outside, which a test needs rather than skips.

use std::{io, process::Output};

use tokio::process::Command;

use super::within;

/// Runs `curl`; its exit code is the test's business.
pub(crate) async fn curl(args: &[&str]) -> Output {
    run("curl", "curl", args).await
}

/// Runs `h2load`, which sends many requests over many HTTP/2 streams.
pub(crate) async fn h2load(args: &[&str]) -> Output {
    run("h2load", "nghttp2-client", args).await
}

async fn run(program: &str, package: &str, args: &[&str]) -> Output {
    let output = Command::new(program)
        .args(args)
        // No proxy and no configuration of the machine the tests run on.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .kill_on_drop(true)
        .output();
    match within(output).await {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => panic!(
            "this test needs `{program}`: apt-get install {package} (`make test` installs it)"
        ),
        Err(error) => panic!("{program} could not be run: {error}"),
    }
}
