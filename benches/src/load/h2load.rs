//! HTTP/2 over TLS by `h2load`.

use std::{fs, time::Duration};

use tokio::process::Command;

use super::{Outcome, Target, output};
use crate::error::{Doing, Error, Result};

pub async fn h2load(
    target: &Target<'_>,
    connections: usize,
    streams: usize,
    duration: Duration,
) -> Result<Outcome> {
    let log = target.workspace.path("h2load.log");
    // It appends.
    fs::write(&log, "").at("empty", &log)?;
    let seconds = duration.as_secs().max(1);
    let mut command = Command::new("h2load");
    command
        .args(["--threads=1", "--warm-up-time=0"])
        .arg(format!("--duration={seconds}"))
        .arg(format!("--clients={connections}"))
        .arg(format!("--max-concurrent-streams={streams}"))
        // Its own defaults win over the OpenSSL settings.
        .args(["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"])
        .arg(format!("--connect-to={}", target.address))
        .arg(format!("--log-file={}", log.display()))
        .arg(target.url());
    let text = output("h2load", command, target.workspace, duration).await?;
    if !text.contains("Application protocol: h2\n") {
        return Err(Error::Load(format!(
            "{} did not agree on HTTP/2",
            target.url()
        )));
    }
    let failed = requests_failed(&text);
    if failed != Some(0) {
        return Err(Error::Load(format!(
            "{}: h2load says\n{text}",
            target.url()
        )));
    }
    let log = fs::read_to_string(&log).at("read", &log)?;
    let latencies = log.lines().map(latency).collect::<Option<Vec<_>>>();
    let latencies = latencies
        .ok_or_else(|| Error::Load(format!("an answer other than 200 from {}", target.url())))?;
    Outcome::from_latencies(latencies, Duration::from_secs(seconds))
        .ok_or_else(|| Error::generator("h2load", "logged no requests"))
}

/// Failed, errored and timed out requests of the line
/// `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`.
fn requests_failed(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))?;
    let count = |what| {
        let field = line
            .split(", ")
            .find_map(|field| field.strip_suffix(what))?;
        field.trim().parse::<u64>().ok()
    };
    Some(count("failed")? + count("errored")? + count("timeout")?)
}

/// Microseconds of one line of the log (start, status, duration), if its status is 200.
fn latency(line: &str) -> Option<u64> {
    let mut fields = line.split('\t').skip(1);
    (fields.next()? == "200").then_some(())?;
    fields.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_count_only_with_status_200() {
        assert_eq!(latency("1700000000000000\t200\t735"), Some(735));
        assert_eq!(latency("1700000000000000\t502\t735"), None);
        assert_eq!(latency("1700000000000000\t-1\t735"), None);
        assert_eq!(latency(""), None);
    }

    #[test]
    fn every_way_to_fail_is_counted() {
        let line =
            "requests: 9 total, 9 started, 9 done, 3 succeeded, 1 failed, 2 errored, 3 timeout";
        assert_eq!(requests_failed(line), Some(6));
        assert_eq!(requests_failed("finished in 2s"), None);
    }
}
