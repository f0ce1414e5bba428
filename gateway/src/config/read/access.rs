//! Reads `access` of a site or a route, and `deprecated` of a route.

use std::{collections::BTreeMap, sync::Arc};

use ::auth::password::Hash;
use http::{HeaderName, HeaderValue, header};

use super::{
    super::{
        Secret,
        access::{
            Access, Account, Algorithm, Basic, Deprecated, Dialect, EmailPattern, ForwardAuth,
            JwtAccess, KeyAccess, Role, SessionAccess,
        },
    },
    address, auth,
    context::Fault,
    header as headers,
    table::{Table, closest, list},
    text::Text,
    units,
    value::Value,
};

/// What `access` says of a route, before the site is asked.
pub(super) enum Said {
    Nothing,
    /// `"public"`: everybody, whatever the site says.
    Public,
    Only(Arc<Access>),
}

const KINDS: [&str; 6] = ["ip", "basic", "key", "session", "jwt", "forward_auth"];

/// `domain`: the gateway has one, which sign-in needs.
pub(super) fn read(owner: &Table<'_>, domain: bool) -> Said {
    let Some(value) = owner.get("access") else {
        return Said::Nothing;
    };
    if !value.is_table() && !value.is_text() {
        value.mismatch::<()>("a table of who may, or `\"public\"`");
        return Said::Nothing;
    }
    if value.is_text() {
        let public = value.text().and_then(|text| text.parse(public));
        return public.map_or(Said::Nothing, |()| Said::Public);
    }
    let Some(table) = value.table("site.route.access") else {
        return Said::Nothing;
    };
    let ip = table.parse_list("ip", address::network).unwrap_or_default();
    if let (true, Some(ip)) = (ip.is_empty(), table.get("ip"))
        && ip.is_empty_list()
    {
        ip.place.error_hint(
            "`ip` is empty, which would keep everybody out",
            "leave it out to let any address in",
        );
    }
    let access = Access {
        ip,
        basic: basic(&table),
        key: key(&table),
        session: session(&table, domain),
        jwt: jwt(&table),
        forward_auth: forward_auth(&table),
        assertion: table.flag("assertion").unwrap_or_default(),
    };
    check_assertion(&table, &access, domain);
    table.finish();
    if !KINDS.iter().any(|kind| table.has(kind)) {
        value.place.error_hint(
            "this `access` says nothing of who may",
            format!("give one of {}, or write `\"public\"`", list(&KINDS)),
        );
    }
    Said::Only(Arc::new(access))
}

/// An assertion is about a user of the gateway, and checked at its domain.
fn check_assertion(table: &Table<'_>, access: &Access, domain: bool) {
    let Some(place) = table.key("assertion").filter(|_| access.assertion) else {
        return;
    };
    if !table.has("key") && !table.has("session") {
        place.error_hint(
            "there is nobody to make an assertion about",
            "it is about users of this gateway, who pass by `key` or `session`",
        );
    }
    if !domain {
        place.error_hint(
            "nobody can check an assertion: the gateway has no `domain` to publish its keys on",
            "set `domain = \"gw.example.com\"` at the top",
        );
    }
}

fn public(text: &Text<'_>) -> Result<(), Fault> {
    match text.value.as_str() {
        "public" => Ok(()),
        other => Err(Fault::hint(
            format!("`{text}` does not say who may"),
            match closest(other, &["public"]) {
                Some(_) => "did you mean `public`?",
                None => "there is `\"public\"`, and a table such as `{ session = {} }`",
            },
        )),
    }
}

fn basic(access: &Table<'_>) -> Option<Basic> {
    const HINT: &str = "such as `{ users = { alice = \"$argon2id$…\" } }`; `portunus hash-password` \
                        makes the hash";
    let table = access.get("basic")?.table("site.route.access.basic")?;
    let mut users = BTreeMap::new();
    let listed = table.table("users", "site.route.access.basic.users");
    for (name, place, value) in listed.entries() {
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
            place.error("a user name is not empty and has no colon and no control characters");
        }
        if let Some(hash) = value
            .secret()
            .text()
            .and_then(|text| text.parse(password_hash))
        {
            users.insert(name.to_owned(), hash);
        }
    }
    if listed.entries().is_empty() {
        table.place.error_hint("`basic` has no users", HINT);
    }
    let realm = table.parse("realm", |text| {
        let quotable = |c: char| c == ' ' || (c.is_ascii_graphic() && c != '"' && c != '\\');
        match text.value.chars().all(quotable) {
            true => Ok(text.value.clone()),
            false => Err(Fault::hint(
                "this cannot be a realm",
                "letters, digits, spaces and punctuation of ASCII, without `\"` and `\\`",
            )),
        }
    });
    table.finish();
    Some(Basic {
        users,
        realm: realm.unwrap_or_else(|| "restricted".into()),
    })
}

/// Never repeats the text: it might be the password.
fn password_hash(text: &Text<'_>) -> Result<Secret, Fault> {
    let hash = text.value.trim();
    match hash.parse::<Hash>() {
        Ok(_) => Ok(Secret::new(hash)),
        Err(error) => Err(Fault::hint(
            error.to_string(),
            "`portunus hash-password` makes one; passwords themselves do not belong here",
        )),
    }
}

fn key(access: &Table<'_>) -> Option<KeyAccess> {
    let table = access.get("key")?.table("site.route.access.key")?;
    let name = table.parse("scope", |text| {
        let name = text.value.strip_prefix("route:access:").unwrap_or_default();
        let sound = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        match !name.is_empty() && name.chars().all(sound) {
            true => Ok(name.to_owned()),
            false => Err(Fault::hint(
                format!("`{text}` is not the scope of a route"),
                "write `route:access:NAME` with letters, digits and `-_./`; a key may have a pattern, \
                 a route has one name",
            )),
        }
    });
    table.finish();
    Some(KeyAccess { name })
}

fn session(access: &Table<'_>, domain: bool) -> Option<SessionAccess> {
    let table = access.get("session")?.table("site.route.access.session")?;
    if let (false, Some(place)) = (domain, access.key("session")) {
        place.error_hint(
            "nobody can sign in: the gateway has no `domain` for the pages of sign-in",
            "set `domain = \"gw.example.com\"` at the top",
        );
    }
    let session = SessionAccess {
        roles: table.parse_list("roles", role).unwrap_or_default(),
        users: table.parse_list("users", account).unwrap_or_default(),
        emails: table.parse_list("emails", email).unwrap_or_default(),
    };
    for empty in ["roles", "users", "emails"] {
        if let Some(value) = table.get(empty).filter(Value::is_empty_list) {
            value.place.error_hint(
                format!("`{empty}` is empty"),
                "leave it out; without any list everybody who signed in may",
            );
        }
    }
    table.finish();
    Some(session)
}

fn role(text: &Text<'_>) -> Result<Role, Fault> {
    match text.value.as_str() {
        "user" => Ok(Role::User),
        "admin" => Ok(Role::Admin),
        _ => Err(Fault::hint(
            format!("`{text}` is not a role"),
            "there are `user` and `admin`",
        )),
    }
}

fn account(text: &Text<'_>) -> Result<Account, Fault> {
    const PROVIDERS: [&str; 3] = ["github", "gitlab", "local"];
    let (provider, name) = text.value.split_once(':').unwrap_or_default();
    let provider = PROVIDERS.into_iter().find(|known| *known == provider);
    match provider {
        Some(provider) if !name.is_empty() && !name.contains(char::is_whitespace) => Ok(Account {
            provider,
            name: name.to_lowercase(),
        }),
        _ => Err(Fault::hint(
            format!("`{text}` is not an account"),
            "write where it is and its name: `github:alice`, `gitlab:bob`, `local:carol`",
        )),
    }
}

fn email(text: &Text<'_>) -> Result<EmailPattern, Fault> {
    let lower = text.value.to_lowercase();
    let (name, domain) = lower.rsplit_once('@').unwrap_or_default();
    let star = name.contains('*') && name != "*";
    if name.is_empty() || domain.is_empty() || domain.contains('*') || star {
        return Err(Fault::hint(
            format!("`{text}` is not an address"),
            "write `alice@example.com`, or `*@example.com` for everybody there",
        ));
    }
    Ok(match name {
        "*" => EmailPattern::Domain(domain.to_owned()),
        _ => EmailPattern::Exact(lower),
    })
}

fn jwt(access: &Table<'_>) -> Option<JwtAccess> {
    let table = access.get("jwt")?.table("site.route.access.jwt")?;
    let jwks = table.parse("jwks", |text| {
        auth::web(
            text,
            "such as `https://id.example.com/.well-known/jwks.json`",
        )
    });
    let issuer = table.parse("issuer", |text| {
        // Compared as it is written (RFC 7519 §4.1.1), so it is not brought into another form.
        auth::web(text, "such as `https://id.example.com`").map(|_| text.value.clone())
    });
    if !table.has("jwks") && !table.has("issuer") {
        table.place.error_hint(
            "nothing says which keys may sign a token",
            "give `issuer`, whose discovery document is read, or the URL of the keys as `jwks`",
        );
    }
    for (key, plain) in [
        (
            "jwks",
            jwks.as_ref().is_some_and(|url| url.scheme() == "http"),
        ),
        (
            "issuer",
            jwks.is_none() && issuer.as_ref().is_some_and(|url| url.starts_with("http:")),
        ),
    ] {
        if let (true, Some(place)) = (plain, table.key(key)) {
            place.warn(
                "the keys are fetched without TLS",
                "whoever is on the way could replace them; use `https://`",
            );
        }
    }
    let audience = table.texts("audience").unwrap_or_default();
    let audience: Vec<_> = audience.into_iter().map(|text| text.value).collect();
    if audience.iter().all(String::is_empty) {
        let place = table.key("audience").unwrap_or(table.place);
        place.error_hint(
            "`jwt` has no `audience`, so a token made for any other service would do",
            "list what `aud` of a token must have: `audience = [\"app\"]`",
        );
    }
    let algorithms = table.parse_list("algorithms", algorithm);
    if let Some(value) = table.get("algorithms").filter(Value::is_empty_list) {
        value
            .place
            .error_hint("`algorithms` is empty", "leave it out");
    }
    let claims = claims(&table.table("claims", "site.route.access.jwt.claims"));
    table.finish();
    Some(JwtAccess {
        jwks,
        issuer,
        audience,
        algorithms: algorithms.unwrap_or_else(|| Algorithm::DEFAULT.to_vec()),
        claims,
    })
}

fn algorithm(text: &Text<'_>) -> Result<Algorithm, Fault> {
    let known = Algorithm::ALL.iter().find(|(name, _)| *name == text.value);
    if let Some((_, algorithm)) = known {
        return Ok(*algorithm);
    }
    let names = Algorithm::ALL.map(|(name, _)| name);
    Err(match text.value.to_ascii_uppercase() {
        shared if shared.starts_with("HS") || shared == "NONE" => Fault::hint(
            format!("`{text}` does not prove who signed"),
            format!("there are {}", list(&names)),
        ),
        _ => Fault::hint(
            format!("`{text}` is not a way to sign"),
            format!("there are {}", list(&names)),
        ),
    })
}

fn claims(table: &Table<'_>) -> Vec<(String, HeaderName)> {
    let mut claims: Vec<(String, HeaderName)> = Vec::new();
    for (claim, place, value) in table.entries() {
        let Some(name) = value.text().and_then(|text| identity_header(&text)) else {
            continue;
        };
        if claims.iter().any(|(_, other)| *other == name) {
            place.error(format!("`{name}` is here twice"));
            continue;
        }
        claims.push((claim.to_owned(), name));
    }
    claims
}

/// A header that says who is calling; it is deleted from what the client sends.
fn identity_header(text: &Text<'_>) -> Option<HeaderName> {
    const OTHERS: [HeaderName; 3] = [header::HOST, header::COOKIE, header::CONTENT_TYPE];
    let name = headers::name(&text.value, text.place)?;
    if OTHERS.contains(&name) {
        text.place.error_hint(
            format!("`{name}` cannot say who is calling"),
            "use a header of its own, such as `x-user`",
        );
        return None;
    }
    headers::editable(&name, text.place, headers::Direction::Request).then_some(name)
}

fn forward_auth(access: &Table<'_>) -> Option<ForwardAuth> {
    let table = access
        .get("forward_auth")?
        .table("site.route.access.forward_auth")?;
    if !table.has("url") {
        table.place.error_hint(
            "`forward_auth` has no `url`",
            "such as `http://authelia:9091/api/authz/forward-auth`",
        );
    }
    let service = table.parse("url", address::service);
    if !table.has("dialect") {
        table.place.error_hint(
            "`forward_auth` has no `dialect`",
            "as the service expects to be asked: `nginx` (auth_request), `caddy` or `traefik`",
        );
    }
    let dialect = table.parse("dialect", dialect);
    let copied = table.texts("copy_headers").unwrap_or_default();
    let copy_headers = copied.iter().filter_map(identity_header).collect();
    let timeout = table.duration("timeout").unwrap_or(ForwardAuth::TIMEOUT);
    table.finish();
    let (upstream, target) = service?;
    Some(ForwardAuth {
        upstream,
        target,
        dialect: dialect?,
        copy_headers,
        timeout,
    })
}

fn dialect(text: &Text<'_>) -> Result<Dialect, Fault> {
    let known = Dialect::ALL.iter().find(|(name, _)| *name == text.value);
    known.map(|(_, dialect)| *dialect).ok_or_else(|| {
        let names = Dialect::ALL.map(|(name, _)| name);
        let hint = match closest(&text.value, &names) {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("there are {}", list(&names)),
        };
        Fault::hint(format!("`{text}` is not a dialect of forward auth"), hint)
    })
}

/// `deprecated = { since = "2026-01-01", sunset = "2027-01-01", link = "https://…" }`
pub(super) fn deprecated(route: &Table<'_>) -> Option<Deprecated> {
    let table = route.get("deprecated")?.table("site.route.deprecated")?;
    if !table.has("since") {
        table.place.error_hint(
            "`since` is missing",
            "such as `{ since = \"2026-01-01\", sunset = \"2027-01-01\" }`",
        );
    }
    let since = table.parse("since", units::date);
    let sunset = table.parse("sunset", units::date);
    if let (Some(since), Some(sunset), Some(place)) = (since, sunset, table.key("sunset"))
        && sunset < since
    {
        // RFC 9745 §4
        place.error("a route cannot be gone before it is deprecated");
    }
    let link = table.parse("link", |text| {
        const HINT: &str = "such as `https://example.com/docs/migration`";
        let url = auth::web(text, HINT)?;
        HeaderValue::from_str(url.as_str())
            .map_err(|_| Fault::hint(format!("`{text}` cannot be in a header"), HINT))
    });
    table.finish();
    Some(Deprecated {
        since: since?,
        sunset,
        link,
    })
}
