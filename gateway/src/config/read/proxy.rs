//! Reads the keys of a `proxy` route.

use http::HeaderValue;

use super::{
    super::{HostHeader, Proxy},
    address,
    context::Fault,
    host,
    table::Table,
    text::Text,
    units,
};

/// The keys that only a `proxy` route has.
pub(super) const KEYS: [&str; 6] = [
    "host",
    "connect_timeout",
    "response_timeout",
    "idle_timeout",
    "websocket_idle_timeout",
    "max_body",
];

pub(super) fn read(table: &Table<'_>) -> Option<Proxy> {
    let value = table.get("proxy")?;
    let upstreams = table
        .parse_list("proxy", address::upstream)
        .unwrap_or_default();
    if value.is_empty_list() {
        value.place.error_hint(
            "`proxy` has no upstream",
            "such as `proxy = [\"http://app:8000\"]`",
        );
    }
    Some(Proxy {
        upstreams,
        host: table.parse("host", host_header).unwrap_or(HostHeader::Keep),
        connect_timeout: table
            .duration("connect_timeout")
            .unwrap_or(Proxy::CONNECT_TIMEOUT),
        response_timeout: table
            .duration("response_timeout")
            .unwrap_or(Proxy::RESPONSE_TIMEOUT),
        idle_timeout: table
            .duration("idle_timeout")
            .unwrap_or(Proxy::IDLE_TIMEOUT),
        websocket_idle_timeout: table
            .duration("websocket_idle_timeout")
            .unwrap_or(Proxy::WEBSOCKET_IDLE_TIMEOUT),
        max_body: table.parse("max_body", max_body).unwrap_or(None),
    })
}

fn host_header(text: &Text<'_>) -> Result<HostHeader, Fault> {
    if text.value == "upstream" {
        return Ok(HostHeader::Upstream);
    }
    let (name, port) = match text.value.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text.value.as_str(), None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(Fault::hint(
            format!("`{text}` has no port from 1 to 65535"),
            "such as `app.internal:8000`",
        ));
    }
    let name = host::exact(name, text)?;
    let name = if name.contains(':') {
        format!("[{name}]")
    } else {
        name
    };
    let authority = port.map_or(name.clone(), |port| format!("{name}:{port}"));
    HeaderValue::from_str(&authority)
        .map(HostHeader::Set)
        .map_err(|_| Fault::new(format!("`{text}` cannot be a `Host` header")))
}

pub(super) fn max_body(text: &Text<'_>) -> Result<Option<u64>, Fault> {
    if text.value == "unlimited" {
        Ok(None)
    } else {
        units::size(text).map(Some)
    }
}
