//! Load for a running server: `wrk` for HTTP/1.1, `h2load` for HTTP/2, own rustls clients for new
//! and for idle connections.
//!
//! Every kind ends by itself after the asked time. An answer that is not a 200 of the expected
//! length, or a broken connection, is an error: numbers with errors in them are not reported.

mod client;
mod connect;
mod h2load;
mod idle;
mod wrk;

use std::{net::SocketAddr, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

pub use self::{client::check, connect::connect, h2load::h2load, idle::Idle, wrk::wrk};
use crate::{
    error::{Doing, Error, Result},
    workspace::Workspace,
};

/// How long a generator may take to end after its time is up.
const GRACE: Duration = Duration::from_secs(20);

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub workspace: &'a Workspace,
    pub address: SocketAddr,
    pub tls: bool,
    pub path: &'a str,
    /// Bytes of the body that must come back.
    pub body: u64,
}

impl Target<'_> {
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let port = self.address.port();
        format!("{scheme}://{}:{port}{}", crate::workspace::HOST, self.path)
    }
}

/// What a load did. Latencies are of single requests as the generator saw them.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub requests: u64,
    pub elapsed: Duration,
    pub p99: Duration,
}

impl Outcome {
    /// `latencies` in microseconds, in any order.
    fn from_latencies(mut latencies: Vec<u64>, elapsed: Duration) -> Option<Self> {
        latencies.sort_unstable();
        let p99 = latencies.get(latencies.len() * 99 / 100)?;
        Some(Self {
            requests: latencies.len() as u64,
            elapsed,
            p99: Duration::from_micros(*p99),
        })
    }
}

/// Runs an OpenSSL generator to its end and returns what it printed.
async fn output(
    tool: &'static str,
    mut command: Command,
    workspace: &Workspace,
    duration: Duration,
) -> Result<String> {
    command
        .env("OPENSSL_CONF", workspace.openssl_conf())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let Ok(output) = timeout(duration + GRACE, command.output()).await else {
        return Err(Error::generator(tool, "did not end in time"));
    };
    let output = output.doing(|| format!("run {tool}; is the package installed?"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Error::generator(
            tool,
            format!("{}: {errors}", output.status),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p99_is_the_value_that_one_request_in_a_hundred_reaches() {
        let latencies = (1..=200).rev().collect();
        let outcome = Outcome::from_latencies(latencies, Duration::from_secs(1)).unwrap();
        assert_eq!(outcome.requests, 200);
        assert_eq!(outcome.p99, Duration::from_micros(199));
        assert!(Outcome::from_latencies(Vec::new(), Duration::from_secs(1)).is_none());
    }
}
