//! What the numbers were measured on and with.

use std::{fs, path::Path, process::Stdio};

use tokio::process::Command;

/// The version a program tells, or "unknown version".
pub async fn version(program: &Path, argument: &str) -> String {
    let output = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    version_in(&text).unwrap_or("unknown version").to_owned()
}

/// The generators and libraries, as far as they are installed.
pub async fn tools() -> String {
    let mut told = Vec::new();
    for (name, argument) in [
        ("wrk", "-v"),
        ("h2load", "--version"),
        ("openssl", "version"),
    ] {
        if let Some(program) = crate::servers::find(name) {
            told.push(format!("{name} {}", version(&program, argument).await));
        }
    }
    told.join(", ")
}

pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}

/// Model and number of cores.
pub fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown CPU", |(_, model)| model.trim());
    // Not `available_parallelism`: this program has confined itself to one core.
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!("{model}, {cores} cores")
}

pub fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

/// The first word of the first line that holds a digit and a dot, without a leading `name/`.
fn version_in(text: &str) -> Option<&str> {
    let mut words = text.lines().next()?.split_whitespace();
    let word =
        words.find(|word| word.contains('.') && word.contains(|c: char| c.is_ascii_digit()))?;
    Some(word.rsplit_once('/').map_or(word, |(_, version)| version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_tell_a_version_is_understood() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: x",
                "2.6.12-1+deb12u4",
            ),
            ("2.6.2\n", "2.6.2"),
            ("portunus 0.1.0", "0.1.0"),
            ("h2load nghttp2/1.52.0", "1.52.0"),
        ] {
            assert_eq!(version_in(text), Some(version));
        }
        assert_eq!(version_in("no such thing"), None);
        assert_eq!(version_in(""), None);
    }
}
