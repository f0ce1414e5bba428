//! Keys that the format reserves and this version cannot serve yet.
//!
//! They get their own message: a guess at another key would send people the wrong way, and
//! silence would leave them without what they asked for.

/// What to do without `section.key`, when it is such a key.
pub(super) fn hint(section: &str, key: &str) -> Option<&'static str> {
    let (_, hint) = match section {
        "" => TOP,
        "listen" => LISTEN,
        "tls" => TLS,
        "site" => SITE,
        "site.route" => ROUTE,
        _ => return None,
    }
    .iter()
    .find(|(name, _)| *name == key)?;
    Some(hint)
}

/// The handlers among the reserved keys of a route.
pub(super) const HANDLERS: [&str; 2] = ["tunnel", "ice_servers"];

const TOP: &[(&str, &str)] = &[
    (
        "dns",
        "remove the section; certificates come from the internal CA or from files",
    ),
    (
        "relay",
        "remove the section; run a TURN server beside the gateway",
    ),
];

const LISTEN: &[(&str, &str)] = &[(
    "proxy_protocol_from",
    "remove it; `trusted_proxies` believes `X-Forwarded-For` of a load balancer",
)];

const TLS: &[(&str, &str)] = &[(
    "acme",
    "remove the section; set `certificates` to `internal` or `files`",
)];

const SITE: &[(&str, &str)] = &[
    ("limits", "remove it; `[listen.limits]` holds for all sites"),
    ("compress", "remove it; let the upstream compress"),
];

const ROUTE: &[(&str, &str)] = &[
    ("tunnel", "write `proxy = [\"tunnel:name\"]`"),
    (
        "ice_servers",
        "remove the route, or answer with `respond` or an upstream",
    ),
    ("balance", "remove it; upstreams take turns"),
    ("health", "remove it; list only upstreams that are up"),
    ("retry", "remove it"),
    (
        "upstream_tls",
        "remove it; reach upstreams by plain HTTP on a network you trust",
    ),
    (
        "compress",
        "remove it; let the upstream compress, or set `precompressed` for files",
    ),
    ("forward", "remove it; `proxy` reaches fixed upstreams"),
    ("forward_auth", "put it into `access` of the route"),
];
