//! Host names, as sites, upstreams and the gateway's own domain need them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{super::HostPattern, context::Fault, text::Text};

/// The host of a site: a name, an address, `*.name` or `*`.
pub(super) fn pattern(text: &Text<'_>) -> Result<HostPattern, Fault> {
    let host = text.value.as_str();
    if host == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(rest) = host.strip_prefix("*.") {
        let suffix = name(rest, text)?;
        if suffix.parse::<Ipv4Addr>().is_ok() {
            return Err(Fault::new(format!(
                "`{text}` puts a star before an address"
            )));
        }
        return Ok(HostPattern::Wildcard(suffix));
    }
    if host.contains('*') {
        return Err(Fault::hint(
            format!("`{text}` has a star that is not its whole first label"),
            "write `*.example.com` for every name below, or `*` for every host",
        ));
    }
    exact(host, text).map(HostPattern::Exact)
}

/// One host without stars: a name or an address in its usual form, without brackets.
pub(super) fn exact(host: &str, text: &Text<'_>) -> Result<String, Fault> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Ok(address.to_string());
    }
    name(host, text)
}

/// A DNS name or an IPv4 address, lower case, without the dot at the end.
fn name(host: &str, text: &Text<'_>) -> Result<String, Fault> {
    if host.contains("://") {
        return Err(Fault::hint(
            format!("`{text}` is a URL, not a host"),
            "leave out the scheme",
        ));
    }
    if host.contains('/') {
        return Err(Fault::hint(
            format!("`{text}` has a path"),
            "paths go into the `path` of a route",
        ));
    }
    if host.contains(':') {
        return Err(Fault::hint(
            format!("`{text}` has a port"),
            "leave out the port; ports are in `[listen]` and a site answers on all of them",
        ));
    }
    if !host.is_ascii() {
        return Err(Fault::hint(
            format!("`{text}` is not in ASCII"),
            "write the name in its `xn--` form, as DNS and certificates have it",
        ));
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if host.len() > 253 {
        return Err(Fault::new(format!(
            "`{text}` is longer than the 253 characters of a host"
        )));
    }
    for label in host.split('.') {
        check_label(label, text)?;
    }
    // Only an address ends in a number (no top-level domain does), so it must be a whole one.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(Fault::hint(
            format!("`{text}` is not an IPv4 address"),
            "four numbers from 0 to 255: `192.0.2.1`",
        ));
    }
    Ok(host)
}

fn check_label(label: &str, text: &Text<'_>) -> Result<(), Fault> {
    if label.is_empty() {
        return Err(Fault::hint(
            format!("`{text}` is empty or has nothing between two dots"),
            "write a host such as `www.example.com`",
        ));
    }
    if label.len() > 63 {
        return Err(Fault::new(format!(
            "`{text}` has a label longer than 63 characters"
        )));
    }
    if let Some(bad) = label
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
    {
        return Err(Fault::hint(
            // A character of a secret tells little, and which one it is helps much.
            format!("`{text}` has the character {bad:?}"),
            "a host has letters, digits, `-` and dots",
        ));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(Fault::new(format!(
            "`{text}` has a label that starts or ends with `-`"
        )));
    }
    Ok(())
}
