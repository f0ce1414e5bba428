//! Headers that belong to one connection and must not travel on (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes the connection's own headers and every header that `Connection` nominates.
///
/// Call it before the gateway adds headers of its own: a client that nominates
/// `X-Forwarded-For` then takes away only what it sent itself. Framing and routing headers
/// cannot be nominated away.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        strip_nominated(headers);
    }
    // `Transfer-Encoding` here describes framing that hyper has already taken off.
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(header::PROXY_AUTHENTICATE);
    headers.remove(header::PROXY_AUTHORIZATION);
    if let Some(te) = headers.remove(header::TE)
        && lists(&te, "trailers")
    {
        // The one TE member that is meant for the far end (RFC 9110 §10.1.4).
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn strip_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| {
            *name != header::HOST && *name != header::CONTENT_LENGTH && *name != header::TE
        })
        .collect();
    headers.remove(header::CONNECTION);
    for name in nominated {
        headers.remove(name);
    }
}

/// Whether this is a WebSocket opening handshake (RFC 6455 §4.1).
pub fn is_websocket_upgrade(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    let Some(upgrade) = headers.get(header::UPGRADE) else {
        return false;
    };
    version == Version::HTTP_11
        && method == Method::GET
        && lists(upgrade, "websocket")
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| lists(value, "upgrade"))
}

/// Whether a comma-separated header value holds a token.
fn lists(value: &HeaderValue, token: &str) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|item| {
        let name = item.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn connection_headers_and_nominated_ones_go() {
        let mut map = headers(&[
            ("connection", "close, X-Secret"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("x-kept", "a"),
            ("x-kept", "b"),
        ]);
        strip(&mut map);
        assert_eq!(map.len(), 2);
        assert_eq!(map.get_all("x-kept").iter().count(), 2);
    }

    #[test]
    fn framing_and_host_cannot_be_nominated_away() {
        let mut map = headers(&[
            ("connection", "host, content-length, Authorization"),
            ("host", "a.example"),
            ("content-length", "3"),
            ("authorization", "Bearer x"),
        ]);
        strip(&mut map);
        assert!(map.contains_key("host") && map.contains_key("content-length"));
        assert!(!map.contains_key("authorization"));
    }

    #[test]
    fn only_trailers_of_te_travels_on() {
        let mut map = headers(&[("te", "gzip;q=0.5, Trailers"), ("connection", "te")]);
        strip(&mut map);
        assert_eq!(map["te"], "trailers");
        let mut map = headers(&[("te", "gzip")]);
        strip(&mut map);
        assert!(map.is_empty());
    }

    #[test]
    fn websocket_upgrades_are_told_from_others() {
        let upgrade = |list: &[(&'static str, &str)], method: Method, version| {
            is_websocket_upgrade(&method, version, &headers(list))
        };
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
        ];
        assert!(upgrade(&good, Method::GET, Version::HTTP_11));
        assert!(!upgrade(&good, Method::POST, Version::HTTP_11));
        assert!(!upgrade(&good, Method::GET, Version::HTTP_10));
        assert!(!upgrade(&good[..1], Method::GET, Version::HTTP_11));
        let h2c = [("upgrade", "h2c"), ("connection", "upgrade")];
        assert!(!upgrade(&h2c, Method::GET, Version::HTTP_11));
    }
}
