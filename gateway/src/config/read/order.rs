//! The order of a site's routes, and routes that no order can tell apart.

use http::Method;

use super::{
    super::{Matcher, PathPattern, Route},
    route::Placed,
};

/// Sorts by the most specific path, then by the number of conditions, and reports ties.
pub(super) fn most_specific_first(mut routes: Vec<Placed<'_>>) -> Vec<Route> {
    for (index, second) in routes.iter().enumerate() {
        let tied = routes[..index]
            .iter()
            .find_map(|first| Some((first, tie(first, second)?)));
        if let Some((first, path)) = tied {
            second.place.error_hint(
                format!(
                    "this route ties with the one at {}: both take `{path}`",
                    first.place.name()
                ),
                "give one of them a longer path or another condition",
            );
        }
    }
    routes.sort_by_cached_key(|placed| std::cmp::Reverse(rank(&placed.route.matcher)));
    routes.into_iter().map(|placed| placed.route).collect()
}

fn rank(matcher: &Matcher) -> ((bool, usize), usize) {
    let path = paths(matcher).iter().map(PathPattern::specificity).max();
    (path.unwrap_or_default(), matcher.conditions())
}

/// The patterns of a route; one without any takes every path.
fn paths(matcher: &Matcher) -> Vec<PathPattern> {
    if matcher.paths.is_empty() {
        vec![PathPattern::Prefix("/".into())]
    } else {
        matcher.paths.clone()
    }
}

/// The path that both take with nothing to prefer one of them by.
fn tie(one: &Placed<'_>, other: &Placed<'_>) -> Option<PathPattern> {
    if !one.sound || !other.sound {
        return None;
    }
    let (one, other) = (&one.route.matcher, &other.route.matcher);
    if one.conditions() != other.conditions() || disjoint(one, other) {
        return None;
    }
    let others = paths(other);
    paths(one).into_iter().find(|path| others.contains(path))
}

/// Whether no request can meet the conditions of both, as far as the conditions themselves show.
fn disjoint(one: &Matcher, other: &Matcher) -> bool {
    let methods = none_shared(&one.methods, &other.methods, Method::eq);
    let networks = none_shared(&one.client_ip, &other.client_ip, |a, b| {
        a.contains(b) || b.contains(a)
    });
    let headers = one.headers.iter().any(|a| {
        other
            .headers
            .iter()
            .any(|b| a.name == b.name && differ(a.value.as_ref(), b.value.as_ref()))
    });
    let query = one.query.iter().any(|a| {
        other
            .query
            .iter()
            .any(|b| a.name == b.name && differ(a.value.as_ref(), b.value.as_ref()))
    });
    methods || networks || headers || query
}

fn none_shared<T>(one: &[T], other: &[T], shared: impl Fn(&T, &T) -> bool) -> bool {
    !one.is_empty() && !other.is_empty() && !one.iter().any(|a| other.iter().any(|b| shared(a, b)))
}

fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    one.is_some() && other.is_some() && one != other
}
