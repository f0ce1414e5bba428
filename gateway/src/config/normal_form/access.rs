//! `access` and `deprecated` of a route as inline tables.

use super::super::access::{Access, Deprecated, ForwardAuth, JwtAccess, SessionAccess};
use super::{duration, header, inline, list, quoted};

pub(super) fn table(access: &Access) -> String {
    let mut kinds = Vec::new();
    if !access.ip.is_empty() {
        kinds.push(("ip", list(&access.ip)));
    }
    if let Some(basic) = &access.basic {
        let hidden = |name: &String| (name.clone(), quoted("***"));
        let users: Vec<_> = basic.users.keys().map(hidden).collect();
        let realm = quoted(&basic.realm);
        let basic = [("users", inline(&users)), ("realm", realm)];
        kinds.push(("basic", inline(&basic)));
    }
    if let Some(key) = &access.key {
        let name = key.name.as_ref();
        let scope = name.map(|name| ("scope", quoted(&format!("route:access:{name}"))));
        kinds.push(("key", inline(scope.as_slice())));
    }
    if let Some(of) = &access.session {
        kinds.push(("session", session(of)));
    }
    if let Some(of) = &access.jwt {
        kinds.push(("jwt", jwt(of)));
    }
    if let Some(of) = &access.forward_auth {
        kinds.push(("forward_auth", forward_auth(of)));
    }
    if access.assertion {
        kinds.push(("assertion", "true".to_owned()));
    }
    inline(&kinds)
}

fn session(session: &SessionAccess) -> String {
    let lists = [
        ("roles", list(&session.roles)),
        ("users", list(&session.users)),
        ("emails", list(&session.emails)),
    ];
    let said: Vec<_> = lists.into_iter().filter(|(_, list)| list != "[]").collect();
    inline(&said)
}

fn jwt(jwt: &JwtAccess) -> String {
    let mut parts = Vec::new();
    if let Some(url) = &jwt.jwks {
        parts.push(("jwks", quoted(url.as_str())));
    }
    if let Some(issuer) = &jwt.issuer {
        parts.push(("issuer", quoted(issuer)));
    }
    parts.push(("audience", list(&jwt.audience)));
    parts.push(("algorithms", list(&jwt.algorithms)));
    if !jwt.claims.is_empty() {
        let claims = jwt.claims.iter();
        let claims: Vec<_> = claims
            .map(|(claim, name)| (claim, quoted(name.as_str())))
            .collect();
        parts.push(("claims", inline(&claims)));
    }
    inline(&parts)
}

fn forward_auth(auth: &ForwardAuth) -> String {
    let url = format!("{}{}", auth.upstream, auth.target);
    inline(&[
        ("url", quoted(&url)),
        ("dialect", quoted(&auth.dialect.to_string())),
        ("copy_headers", list(&auth.copy_headers)),
        ("timeout", quoted(&duration(auth.timeout))),
    ])
}

pub(super) fn deprecated(deprecated: &Deprecated) -> String {
    let mut parts = vec![("since", quoted(&deprecated.since.to_string()))];
    if let Some(sunset) = deprecated.sunset {
        parts.push(("sunset", quoted(&sunset.to_string())));
    }
    if let Some(link) = &deprecated.link {
        parts.push(("link", header(link)));
    }
    inline(&parts)
}
