//! Reads `[tunnels]` and the variables that stand for its keys.

use relay::tunnel::{edge::OnConflict, protocol::MAX_CARRIERS};

use super::{super::Tunnels, context::Fault, host, proxy, table::Table, text::Text};

pub(super) fn read(root: &Table<'_>) -> Option<Tunnels> {
    let table = root.table("tunnels", "tunnels");
    let domain = table.text_or_variable("domain", "TERRATUNNEL_DOMAIN");
    let limit = table.text_or_variable("max_request", "TERRATUNNEL_MAX_REQUEST_SIZE");
    let tunnels = Tunnels {
        domain: domain
            .and_then(|text| text.parse(|text| host::exact(&text.value, text)))
            .unwrap_or_default(),
        max_request: limit
            .and_then(|text| text.parse(proxy::max_body))
            .unwrap_or(Some(Tunnels::MAX_REQUEST)),
        wait: table.duration("wait").unwrap_or(Tunnels::WAIT),
        on_conflict: table.parse("on_conflict", on_conflict).unwrap_or_default(),
        carriers: table
            .integer("carriers", 1..=MAX_CARRIERS as u64)
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(Tunnels::CARRIERS),
    };
    table.finish();
    if !root.has("tunnels") && tunnels.domain.is_empty() {
        return None;
    }
    if tunnels.domain.is_empty() && !table.has("domain") {
        table.place.error_hint(
            "`[tunnels]` has no `domain`",
            "such as `domain = \"tunnels.example.com\"`, with a DNS entry for `*.tunnels.example.com`",
        );
    }
    if !root.has("domain") {
        table.place.error_hint(
            "agents have nowhere to connect to: the gateway has no `domain`",
            "add `domain = \"gw.example.com\"` at the top",
        );
    }
    Some(tunnels)
}

fn on_conflict(text: &Text<'_>) -> Result<OnConflict, Fault> {
    match text.value.as_str() {
        "replace" => Ok(OnConflict::Replace),
        "pool" => Ok(OnConflict::Pool),
        "refuse" => Ok(OnConflict::Refuse),
        _ => Err(Fault::hint(
            format!("`{text}` is no way to treat a second agent"),
            "one of `replace`, `pool`, `refuse`",
        )),
    }
}
