//! Reads `[[site.route]]`: conditions, changes on the way, and one handler.

use std::sync::Arc;

use http::Method;
use ipnet::IpNet;

use super::{
    super::{Access, Handler, Matcher, PathPattern, QueryCondition, Route, RouteLimits},
    access::{self, Said},
    address,
    context::{Fault, Place},
    files, header, later, path, proxy, respond, site,
    table::{Table, list},
    text::Text,
    units,
};

/// A route and what is needed to compare it with the others of its site.
pub(super) struct Placed<'a> {
    pub(super) route: Route,
    pub(super) place: Place<'a>,
    /// Its conditions are what the file says; a route with a mistake in them ties with nothing.
    pub(super) sound: bool,
}

/// `None` when the route has no usable handler. `of_site` is what the site says of access,
/// `domain` whether the gateway has one.
pub(super) fn read<'a>(
    table: &Table<'a>,
    of_site: Option<&Arc<Access>>,
    domain: bool,
) -> Option<Placed<'a>> {
    let before = table.context().count();
    let matcher = matcher(table);
    let sound = table.context().count() == before;
    let name = site::name(table).unwrap_or_else(|| label(&matcher.paths));
    let rewrite = path::rewrite(table);
    let request_headers = header::operations(table, "request_headers", header::Direction::Request);
    let response_headers =
        header::operations(table, "response_headers", header::Direction::Response);
    let limits = limits(&table.table("limits", "site.route.limits"));
    let access = match access::read(table, domain) {
        Said::Nothing => of_site.cloned(),
        Said::Public => None,
        Said::Only(access) => Some(access),
    };
    let deprecated = access::deprecated(table);
    let handler = handler(table);
    table.finish();
    let route = Route {
        name,
        matcher,
        rewrite,
        request_headers,
        response_headers,
        limits,
        access,
        deprecated,
        handler: handler?,
    };
    Some(Placed {
        route,
        place: table.place,
        sound,
    })
}

fn limits(table: &Table<'_>) -> RouteLimits {
    let rate = table.parse("rate", units::rate);
    table.finish();
    RouteLimits { rate }
}

fn label(paths: &[PathPattern]) -> String {
    if paths.is_empty() {
        return "/*".into();
    }
    paths
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

const HANDLERS: [&str; 4] = ["proxy", "files", "redirect", "respond"];

fn handler(table: &Table<'_>) -> Option<Handler> {
    let present: Vec<&str> = HANDLERS.into_iter().filter(|key| table.has(key)).collect();
    match present.as_slice() {
        [_] => {}
        [] if later::HANDLERS.iter().any(|key| table.has(key)) => {}
        [] => table.place.error_hint(
            "this route has no handler",
            format!("add one of {}", list(&HANDLERS)),
        ),
        several => table.place.error_hint(
            format!("a route has one handler, this one has {}", list(several)),
            "make a route of each, with different paths or conditions",
        ),
    }
    belongs_to(table, "proxy", &proxy::KEYS, present.is_empty());
    belongs_to(table, "files", &files::KEYS, present.is_empty());
    let proxy = proxy::read(table).map(Handler::Proxy);
    let files = files::read(table).map(Handler::Files);
    let redirect = respond::redirect(table).map(Handler::Redirect);
    let respond = respond::respond(table).map(Handler::Respond);
    proxy.or(files).or(redirect).or(respond)
}

/// Reports the keys of a handler that the route does not have.
fn belongs_to(table: &Table<'_>, handler: &str, keys: &[&'static str], any: bool) {
    for key in keys {
        if let (Some(place), false, false) = (table.key(key), any, table.has(handler)) {
            place.error_hint(
                format!("`{key}` does not apply to this route"),
                format!("it belongs to a `{handler}` route; remove it"),
            );
        }
    }
}

fn matcher(table: &Table<'_>) -> Matcher {
    let headers = table.table("headers", "site.route.headers");
    let query = table.table("query", "site.route.query");
    Matcher {
        paths: distinct(table, "path", path::pattern),
        methods: distinct(table, "methods", method),
        headers: header::conditions(&headers),
        query: query_conditions(&query),
        client_ip: distinct::<IpNet>(table, "client_ip", address::network),
    }
}

/// A list of alternatives: no repetition, and not empty, which would read as "none of them".
fn distinct<T: PartialEq>(
    table: &Table<'_>,
    key: &'static str,
    parse: impl Fn(&Text<'_>) -> Result<T, Fault>,
) -> Vec<T> {
    let mut values = Vec::new();
    let Some(value) = table.get(key) else {
        return values;
    };
    if value.is_empty_list() {
        value
            .place
            .error_hint(format!("`{key}` is empty"), "leave the key out to take any");
    }
    for text in &value.texts().unwrap_or_default() {
        match text.parse(&parse) {
            Some(value) if values.contains(&value) => {
                text.place.error(format!("`{text}` is listed twice"));
            }
            Some(value) => values.push(value),
            None => {}
        }
    }
    values
}

fn method(text: &Text<'_>) -> Result<Method, Fault> {
    let hint = "such as `GET` or `POST`";
    let method = Method::from_bytes(text.value.as_bytes())
        .map_err(|_| Fault::hint(format!("`{text}` is not a method"), hint))?;
    if method.as_str().bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Fault::hint(format!("`{text}` is not in upper case"), hint));
    }
    Ok(method)
}

fn query_conditions(table: &Table<'_>) -> Vec<QueryCondition> {
    let conditions = table.entries().into_iter().filter_map(|(name, _, value)| {
        let value = match value.is_true() {
            true => None,
            false => Some(header::condition_text(&value)?.value),
        };
        Some(QueryCondition {
            name: name.to_owned(),
            value,
        })
    });
    conditions.collect()
}
