//! Reads `[[site]]` tables, of the main file and of included ones.

use super::{
    super::{HostPattern, Site},
    access::{self, Said},
    context::{Fault, Place},
    host, order, route,
    table::{Table, closest},
    text::Text,
};

/// The hosts so far and where they were named.
type Hosts<'a> = Vec<(HostPattern, Place<'a>)>;

/// What a site needs to know of the rest of the configuration.
pub(super) struct Seen<'a> {
    pub(super) hosts: Hosts<'a>,
    /// The gateway has a `domain`.
    pub(super) domain: bool,
    /// That `domain`, if it is sound.
    pub(super) own: Option<String>,
}

pub(super) fn read<'a>(table: &Table<'a>, seen: &mut Seen<'a>) -> Site {
    let own = own_hosts(table, seen);
    let access = match access::read(table, seen.domain) {
        Said::Only(access) => Some(access),
        Said::Public | Said::Nothing => None,
    };
    let before = table.context().count();
    let routes = table.tables("route", "site.route");
    if routes.is_empty() && table.context().count() == before {
        table
            .place
            .error_hint("this site has no routes", "add a `[[site.route]]` below it");
    }
    let read = routes
        .iter()
        .filter_map(|route| route::read(route, access.as_ref(), seen.domain));
    let site = Site {
        name: name(table)
            .unwrap_or_else(|| own.first().map(ToString::to_string).unwrap_or_default()),
        hosts: own,
        serve_plain: table.parse("http", serve_plain).unwrap_or(false),
        routes: order::most_specific_first(read.collect()),
    };
    table.finish();
    site
}

/// A label for logs and metrics.
pub(super) fn name(table: &Table<'_>) -> Option<String> {
    table.parse("name", |text| match text.value.as_str() {
        "" => Err(Fault::new("a name cannot be empty")),
        name if name.chars().any(char::is_control) => {
            Err(Fault::new("a name has no control characters"))
        }
        name => Ok(name.to_owned()),
    })
}

fn own_hosts<'a>(table: &Table<'a>, seen: &mut Seen<'a>) -> Vec<HostPattern> {
    const HINT: &str = "such as `hosts = [\"www.example.com\"]`, or `[\"*\"]` for every host";
    let mut own = Vec::new();
    let Some(value) = table.get("hosts") else {
        table.place.error_hint("this site has no `hosts`", HINT);
        return own;
    };
    if value.is_empty_list() {
        value.place.error_hint("this site has no `hosts`", HINT);
    }
    for text in value.texts().unwrap_or_default() {
        let Some(host) = text.parse(host::pattern) else {
            continue;
        };
        if matches!(&host, HostPattern::Exact(name) if seen.own.as_ref() == Some(name)) {
            text.place.error_hint(
                format!("`{host}` is the gateway's own `domain`"),
                "give the site another host, or the gateway another `domain`",
            );
            continue;
        }
        match seen.hosts.iter().find(|(other, _)| *other == host) {
            Some((_, first)) => text.place.error_hint(
                format!("`{host}` is named twice"),
                format!("it is already a host at {}", first.name()),
            ),
            None => {
                seen.hosts.push((host.clone(), text.place));
                own.push(host);
            }
        }
    }
    own
}

fn serve_plain(text: &Text<'_>) -> Result<bool, Fault> {
    match text.value.as_str() {
        "redirect" => Ok(false),
        "serve" => Ok(true),
        other => Err(Fault::hint(
            format!("`{text}` is not what a site can do with plain HTTP"),
            match closest(other, &["redirect", "serve"]) {
                Some(close) => format!("did you mean `{close}`?"),
                None => "there are `redirect` (to HTTPS) and `serve`".into(),
            },
        )),
    }
}
