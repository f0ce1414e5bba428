//! Reads `[listen]` and `[listen.limits]`.

use std::{net::SocketAddr, time::Duration};

use super::{
    super::{Limits, Listen, ListenAddress},
    address,
    context::{Fault, Place},
    table::Table,
    units,
};

/// Counts above it would only hide a typing error, and semaphores end not far above.
const MOST: u64 = 10_000_000;
/// The HTTP/1 parser's smallest buffer.
const SMALLEST_HEAD: u64 = 8 * 1024;
/// Every connection may use as much memory.
const LARGEST_HEAD: u64 = 16 * 1024 * 1024;

pub(super) fn read(root: &Table<'_>) -> Listen {
    let table = root.table("listen", "listen");
    let mut seen = Seen::default();
    let listen = Listen {
        http: addresses(&table, "http", &mut seen).unwrap_or_else(|| vec![any(80)]),
        https: addresses(&table, "https", &mut seen).unwrap_or_else(|| vec![any(443)]),
        admin: admin(&table, &mut seen),
        trusted_proxies: table
            .parse_list("trusted_proxies", address::network)
            .unwrap_or_default(),
        redirect_port: table
            .integer("redirect_port", 1..=u16::MAX.into())
            .and_then(|port| u16::try_from(port).ok()),
        limits: limits(&table.table("limits", "listen.limits")),
    };
    if listen.http.is_empty() && listen.https.is_empty() {
        table.place.warn(
            "nothing listens: `http` and `https` are both empty",
            "give one of them an address",
        );
    }
    table.finish();
    listen
}

fn any(port: u16) -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from(([0, 0, 0, 0], port)))
}

/// The addresses so far, to find one that is listened on twice.
type Seen<'a> = Vec<(ListenAddress, Place<'a>)>;

fn addresses<'a>(
    table: &Table<'a>,
    key: &'static str,
    seen: &mut Seen<'a>,
) -> Option<Vec<ListenAddress>> {
    let texts = table.texts(key)?;
    let read = texts.iter().filter_map(|text| {
        let address = text.parse(address::listen)?;
        once(&address, text.place, seen);
        Some(address)
    });
    Some(read.collect())
}

fn admin<'a>(table: &Table<'a>, seen: &mut Seen<'a>) -> Option<ListenAddress> {
    let default = || Some(ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9180))));
    let Some(text) = table.text("admin") else {
        return default();
    };
    if text.value == "off" {
        return None;
    }
    let address = text.parse(|text| {
        address::listen(text).map_err(|fault| match fault.hint {
            // The admin API is not for every interface.
            Some(hint) => Fault::hint(fault.message, hint.replace("0.0.0.0", "127.0.0.1")),
            None => fault,
        })
    })?;
    once(&address, text.place, seen);
    Some(address)
}

fn once<'a>(address: &ListenAddress, place: Place<'a>, seen: &mut Seen<'a>) {
    // Each port 0 becomes another port.
    if matches!(address, ListenAddress::Tcp(address) if address.port() == 0) {
        return;
    }
    match seen.iter().find(|(other, _)| other == address) {
        Some((_, first)) => place.error_hint(
            format!("`{address}` is listened on twice"),
            format!("it is already at {}", first.name()),
        ),
        None => seen.push((address.clone(), place)),
    }
}

fn limits(table: &Table<'_>) -> Limits {
    let default = Limits::default();
    let duration = |key, default: Duration| table.duration(key).unwrap_or(default);
    let count = |key, default: usize| {
        table
            .integer(key, 1..=MOST)
            .and_then(|count| count.try_into().ok())
            .unwrap_or(default)
    };
    let limits = Limits {
        connections: count("connections", default.connections),
        connections_per_ip: count("connections_per_ip", default.connections_per_ip),
        head_timeout: duration("head_timeout", default.head_timeout),
        idle_timeout: duration("idle_timeout", default.idle_timeout),
        write_timeout: duration("write_timeout", default.write_timeout),
        body_timeout: duration("body_timeout", default.body_timeout),
        head_size: head_size(table).unwrap_or(default.head_size),
        streams: table
            .integer("streams", 1..=i32::MAX as u64)
            .and_then(|streams| streams.try_into().ok())
            .unwrap_or(default.streams),
        // Zero is meant here: end at once.
        drain_timeout: table
            .parse("drain_timeout", units::duration)
            .unwrap_or(default.drain_timeout),
    };
    table.finish();
    limits
}

fn head_size(table: &Table<'_>) -> Option<usize> {
    let size = table.parse("head_size", |text| {
        let size = units::size(text)?;
        if (SMALLEST_HEAD..=LARGEST_HEAD).contains(&size) {
            return Ok(size);
        }
        Err(Fault::hint(
            format!("`{text}` is out of range"),
            "allowed are `8KiB` to `16MiB`",
        ))
    })?;
    size.try_into().ok()
}
