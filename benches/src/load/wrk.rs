//! HTTP/1.1 over kept connections by `wrk`.

use std::time::Duration;

use tokio::process::Command;

use super::{Outcome, Target, output};
use crate::{
    error::{Error, Result},
    workspace::write,
};

/// Prints what the program's own summary rounds.
const SCRIPT: &str = r#"
done = function(summary, latency)
  local e = summary.errors
  print(string.format("\nfigures %d %d %d %d %d", summary.requests, summary.duration,
    summary.bytes, latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

pub async fn wrk(target: &Target<'_>, connections: usize, duration: Duration) -> Result<Outcome> {
    let script = target.workspace.path("wrk.lua");
    write(&script, SCRIPT)?;
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--timeout", "10s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", duration.as_secs().max(1))])
        .arg("--script")
        .arg(script)
        .arg(target.url());
    let text = output("wrk", command, target.workspace, duration).await?;
    let Some([requests, micros, bytes, p99, errors]) = figures(&text) else {
        return Err(Error::generator("wrk", format!("no figures in {text:?}")));
    };
    if errors > 0 || requests == 0 {
        return Err(Error::Load(format!(
            "{requests} requests, {errors} errors from {}",
            target.url()
        )));
    }
    // wrk takes any status below 400 for good; an answer without the body is not.
    if bytes < requests * target.body {
        return Err(Error::Load(format!(
            "answers too short from {}",
            target.url()
        )));
    }
    Ok(Outcome {
        requests,
        elapsed: Duration::from_micros(micros),
        p99: Duration::from_micros(p99),
    })
}

fn figures(text: &str) -> Option<[u64; 5]> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("figures "))?;
    let numbers: Vec<u64> = line
        .split(' ')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()
        .ok()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_other_lines() {
        let text = "Running 2s test\n\nfigures 10 2000000 12345 900 0\n";
        assert_eq!(figures(text), Some([10, 2_000_000, 12345, 900, 0]));
        assert_eq!(figures("figures 1 2 3"), None);
        assert_eq!(figures("unable to connect"), None);
    }
}
