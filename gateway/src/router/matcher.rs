//! The conditions of a route beyond host and path.

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::Subject;
use crate::config::{HeaderCondition, Matcher, QueryCondition};

/// Whether a request meets every condition.
pub fn conditions_hold(matcher: &Matcher, subject: &Subject<'_>) -> bool {
    (matcher.methods.is_empty() || matcher.methods.contains(subject.method))
        && matcher
            .headers
            .iter()
            .all(|condition| header_holds(condition, subject.headers))
        && matcher
            .query
            .iter()
            .all(|condition| query_holds(condition, subject.query.unwrap_or_default()))
        && (matcher.client_ip.is_empty()
            || subject
                .client
                .is_some_and(|ip| matcher.client_ip.iter().any(|net| net.contains(&ip))))
}

fn header_holds(condition: &HeaderCondition, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(&condition.name).iter();
    match &condition.value {
        Some(expected) => values.any(|value| value == expected),
        None => values.next().is_some(),
    }
}

fn query_holds(condition: &QueryCondition, query: &str) -> bool {
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        decodes_to(name, &condition.name)
            && condition
                .value
                .as_ref()
                .is_none_or(|expected| decodes_to(value, expected))
    })
}

/// Compares form-encoded text (`+` is a space) without building the decoded string.
fn decodes_to(encoded: &str, expected: &str) -> bool {
    let mut expected = expected.bytes();
    let mut pieces = encoded.split('+');
    let first = pieces.next().unwrap_or_default();
    let mut same = |bytes: percent_encoding::PercentDecode<'_>| {
        bytes.into_iter().all(|byte| expected.next() == Some(byte))
    };
    if !same(percent_decode_str(first)) {
        return false;
    }
    for piece in pieces {
        if !same(percent_decode_str("%20")) || !same(percent_decode_str(piece)) {
            return false;
        }
    }
    expected.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn holds(matcher: &Matcher, query: &str, headers: &HeaderMap) -> bool {
        conditions_hold(
            matcher,
            &Subject {
                method: &Method::GET,
                path: "/",
                query: Some(query),
                headers,
                client: "192.0.2.7".parse().ok(),
            },
        )
    }

    #[test]
    fn query_conditions_compare_decoded() {
        let matcher = |value: Option<&str>| Matcher {
            query: vec![QueryCondition {
                name: "a b".into(),
                value: value.map(str::to_owned),
            }],
            ..Matcher::default()
        };
        let none = HeaderMap::new();
        for query in ["a+b=x", "a%20b=x", "q=1&a+b=x", "a+b=y&a+b=%78"] {
            assert!(holds(&matcher(Some("x")), query, &none), "{query}");
            assert!(holds(&matcher(None), query, &none), "{query}");
        }
        for query in ["", "a+b", "a+b=xy", "a+bc=x", "ab=x", "a+b=%"] {
            assert!(!holds(&matcher(Some("x")), query, &none), "{query}");
        }
    }

    #[test]
    fn header_method_and_client_conditions() {
        let mut headers = HeaderMap::new();
        headers.append("x-beta", "0".parse().unwrap());
        headers.append("x-beta", "1".parse().unwrap());
        let beta = |value: Option<&str>| Matcher {
            headers: vec![HeaderCondition {
                name: "x-beta".parse().unwrap(),
                value: value.map(|text| text.parse().unwrap()),
            }],
            ..Matcher::default()
        };
        assert!(holds(&beta(None), "", &headers));
        assert!(holds(&beta(Some("1")), "", &headers));
        assert!(!holds(&beta(Some("2")), "", &headers));
        assert!(!holds(&beta(None), "", &HeaderMap::new()));
        let post = Matcher {
            methods: vec![Method::POST],
            ..Matcher::default()
        };
        assert!(!holds(&post, "", &headers));
        for (net, expected) in [("192.0.2.0/24", true), ("10.0.0.0/8", false)] {
            let near = Matcher {
                client_ip: vec![net.parse().unwrap()],
                ..Matcher::default()
            };
            assert_eq!(holds(&near, "", &headers), expected);
        }
    }
}
