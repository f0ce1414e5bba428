//! Header names, values, conditions and edits.

use http::{HeaderName, HeaderValue, header};

use super::{
    super::{HeaderCondition, HeaderOps},
    context::{Fault, Place},
    table::Table,
    text::Text,
    value::Value,
};

/// Headers that belong to one connection or frame a message (RFC 9110 §7.6.1, §8.6). The gateway
/// sets them itself; an edit of them would desynchronise the two sides.
const CONNECTION: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Which way the message goes whose headers are edited.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// `headers = { "x-beta" = "1", authorization = true }`
pub(super) fn conditions(table: &Table<'_>) -> Vec<HeaderCondition> {
    let mut conditions: Vec<HeaderCondition> = Vec::new();
    for (key, place, value) in table.entries() {
        let Some(name) = name(key, place) else {
            continue;
        };
        if conditions.iter().any(|condition| condition.name == name) {
            place.error(format!("`{name}` is here twice; header names have no case"));
            continue;
        }
        if value.is_true() {
            conditions.push(HeaderCondition { name, value: None });
        } else if let Some(value) =
            condition_text(&value).and_then(|text| header_value(&name, &text))
        {
            conditions.push(HeaderCondition {
                name,
                value: Some(value),
            });
        }
    }
    conditions
}

/// The string a condition demands; `true`, for any value, has been dealt with.
pub(super) fn condition_text<'a>(value: &Value<'a>) -> Option<Text<'a>> {
    if value.is_false() {
        value.place.error_hint(
            "a condition cannot demand absence",
            "`true` demands presence; put what else there is into another route",
        );
        return None;
    }
    value.text()
}

/// `request_headers = { set = { … }, add = { … }, remove = […] }`
pub(super) fn operations(route: &Table<'_>, key: &'static str, direction: Direction) -> HeaderOps {
    let section = match direction {
        Direction::Request => "site.route.request_headers",
        Direction::Response => "site.route.response_headers",
    };
    let table = route.table(key, section);
    let set = pairs(&table.table("set", "site.route.headers"), direction);
    let add = pairs(&table.table("add", "site.route.headers"), direction);
    let remove = table.texts("remove").unwrap_or_default();
    let remove = remove.iter().filter_map(|text| {
        let name = name(&text.value, text.place)?;
        editable(&name, text.place, direction).then_some(name)
    });
    let operations = HeaderOps {
        remove: remove.collect(),
        set,
        add,
    };
    table.finish();
    operations
}

fn pairs(table: &Table<'_>, direction: Direction) -> Vec<(HeaderName, HeaderValue)> {
    let mut pairs: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (key, place, value) in table.entries() {
        let Some(name) = name(key, place) else {
            continue;
        };
        if pairs.iter().any(|(other, _)| *other == name) {
            place.error(format!("`{name}` is here twice; header names have no case"));
            continue;
        }
        let value = value.text().and_then(|text| header_value(&name, &text));
        if let (true, Some(value)) = (editable(&name, place, direction), value) {
            pairs.push((name, value));
        }
    }
    pairs
}

pub(super) fn name(key: &str, place: Place<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(key.as_bytes());
    if name.is_err() {
        place.error_hint(
            "this is not the name of a header",
            "letters, digits and `-`, no spaces and no colon",
        );
    }
    name.ok()
}

pub(super) fn editable(name: &HeaderName, place: Place<'_>, direction: Direction) -> bool {
    if CONNECTION.contains(&name.as_str()) {
        place.error_hint(
            format!("`{name}` belongs to the connection and cannot be changed"),
            "the gateway sets it on both sides",
        );
        return false;
    }
    if *name == header::HOST && direction == Direction::Request {
        place.error_hint(
            "`host` cannot be changed here",
            "set `host` on the route: `upstream`, or a name",
        );
        return false;
    }
    true
}

/// A value that came from the environment or a file, or that usually is a credential, is marked
/// sensitive: it is masked when printed, and HTTP/2 never puts it into its compression table.
fn header_value(name: &HeaderName, text: &Text<'_>) -> Option<HeaderValue> {
    let mut value = text.parse(|text| {
        HeaderValue::from_str(&text.value).map_err(|_| {
            Fault::hint(
                "this cannot be the value of a header",
                "visible ASCII, spaces and tabs only; no line breaks",
            )
        })
    })?;
    let credential = [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
    ];
    value.set_sensitive(text.injected || credential.contains(name));
    Some(value)
}
