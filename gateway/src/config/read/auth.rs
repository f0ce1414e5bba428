//! Reads `store`, `master_key`, `expected_migration` and `[auth]`, and the variables that stand
//! for their keys.

use auth::{
    seal::{MasterKey, MasterKeyError},
    token,
};
use url::Url;

use super::{
    super::{
        Secret,
        auth::{Auth, Legacy, Provider, SessionTimes, Signing, Tokens},
    },
    context::Fault,
    table::{Table, closest},
    text::Text,
    units,
};

/// What is asked of the environment for one provider.
struct Variables {
    client_id: &'static str,
    client_secret: &'static str,
    admins: &'static str,
}

const GITHUB: Variables = Variables {
    client_id: "GITHUB_CLIENT_ID",
    client_secret: "GITHUB_CLIENT_SECRET",
    admins: "TERRATUNNEL_GITHUB_ADMIN_USERS",
};

const GITLAB: Variables = Variables {
    client_id: "GITLAB_CLIENT_ID",
    client_secret: "GITLAB_CLIENT_SECRET",
    admins: "TERRATUNNEL_GITLAB_ADMIN_USERS",
};

/// [`Auth::used`] is what the section itself and `domain` make of it.
pub(super) fn read(root: &Table<'_>, dev: bool) -> Auth {
    let store = root.text_or_variable("store", "DATABASE_URL");
    let master_key = root.text_or_variable("master_key", "PORTUNUS_MASTER_KEY");
    let migration = root.text_or_variable("expected_migration", "EXPECTED_MIGRATION");
    let table = root.table("auth", "auth");
    let before = table.context().count();
    let github = provider(&table, "github", &GITHUB);
    let gitlab = provider(&table, "gitlab", &GITLAB);
    let none = github.is_none() && gitlab.is_none();
    let local = table.flag("local").unwrap_or(none);
    if let (true, false, Some(place)) = (none, local, table.key("local"))
        && table.context().count() == before
    {
        place.error_hint(
            "nobody can sign in: `local` is off and there is no provider",
            "add `github` or `gitlab`, or leave `local` out",
        );
    }
    let auth = Auth {
        store: store.and_then(|text| text.parse(postgres)),
        master_key: master_key.and_then(|text| text.parse(master)),
        expected_migration: migration.map(|text| text.value),
        github,
        gitlab,
        local,
        redirects: table.parse_list("redirects", origin).unwrap_or_default(),
        session: session(&table.table("session", "auth.session")),
        jwt: tokens(&table.table("jwt", "auth.jwt"), dev),
        legacy: legacy(&table),
        used: root.has("domain") || root.has("auth"),
    };
    table.finish();
    auth
}

/// Reports a missing master key, once it is known whether anything needs one.
pub(super) fn require_key(root: &Table<'_>, auth: &Auth, dev: bool) {
    let given = root.has("master_key") || root.variable("PORTUNUS_MASTER_KEY").is_some();
    if !auth.used || dev || given {
        return;
    }
    let place = ["domain", "auth"].into_iter().find_map(|key| root.key(key));
    let place = place.unwrap_or_else(|| root.place.outside_text());
    place.error_hint(
        "users and keys need a master key to seal their secrets with, and there is none",
        "make one with `openssl rand -hex 32`, keep a copy, and set it by `PORTUNUS_MASTER_KEY` or \
         `master_key = { file = \"…\" }`; only `dev = true` does without",
    );
}

fn master(text: &Text<'_>) -> Result<Secret, Fault> {
    match MasterKey::parse(&text.value) {
        Ok(_) => Ok(Secret::new(text.value.trim())),
        Err(MasterKeyError::Missing) => Err(Fault::hint(
            "the master key is empty",
            "make one with `openssl rand -hex 32` and keep a copy",
        )),
        Err(error) => Err(Fault::new(error.to_string())),
    }
}

fn postgres(text: &Text<'_>) -> Result<Secret, Fault> {
    const HINT: &str = "such as `postgres://user@host:5432/portunus`; without `store`, state is in a \
                        file under `data_dir`";
    // The text itself may hold a password.
    let url = Url::parse(&text.value)
        .map_err(|error| Fault::hint(format!("`store` is not a URL: {error}"), HINT))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(Fault::hint(
            format!("`store` cannot be `{}://…`", url.scheme()),
            HINT,
        ));
    }
    Ok(Secret::new(text.value.clone()))
}

fn provider(auth: &Table<'_>, key: &'static str, variables: &Variables) -> Option<Provider> {
    let named = auth.variable(variables.client_id);
    let secret = auth.variable(variables.client_secret);
    let table = auth.table(key, "auth.github");
    if !auth.has(key) && named.is_none() && secret.is_none() {
        return None;
    }
    let client_id = table.text_or_variable("client_id", variables.client_id);
    let client_secret = table.text_or_variable("client_secret", variables.client_secret);
    for (given, missing, variable) in [
        (client_id.is_some(), "client_id", variables.client_id),
        (
            client_secret.is_some(),
            "client_secret",
            variables.client_secret,
        ),
    ] {
        if !given && !table.has(missing) {
            let place = match auth.has(key) {
                true => table.place,
                false => table.place.outside_text(),
            };
            place.error_hint(
                format!("`{key}` has no `{missing}`"),
                format!(
                    "it is shown where the OAuth application was registered; or set `{variable}`"
                ),
            );
        }
    }
    let admins = table.texts_or_variable("admins", variables.admins);
    let admins = admins.unwrap_or_default();
    let admins = admins.iter().filter_map(|text| text.parse(user_name));
    let provider = Provider {
        admins: admins.collect(),
        base_url: table.parse("base_url", base_url),
        client_id: client_id
            .and_then(|text| text.parse(present))
            .unwrap_or_default(),
        client_secret: Secret::new(
            client_secret
                .and_then(|text| text.parse(present))
                .unwrap_or_default(),
        ),
    };
    table.finish();
    Some(provider)
}

fn present(text: &Text<'_>) -> Result<String, Fault> {
    match text.value.trim() {
        "" => Err(Fault::new("this is empty")),
        value => Ok(value.to_owned()),
    }
}

fn user_name(text: &Text<'_>) -> Result<String, Fault> {
    let name = text.value.strip_prefix('@').unwrap_or(&text.value);
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Fault::hint(
            format!("`{text}` is not a user name"),
            "as it is at the provider, such as `alice`",
        ));
    }
    Ok(name.to_owned())
}

fn base_url(text: &Text<'_>) -> Result<Url, Fault> {
    web(text, "such as `https://gitlab.example.com`")
}

/// An `http` or `https` URL with a host, and neither a user nor a fragment.
pub(super) fn web(text: &Text<'_>, hint: &str) -> Result<Url, Fault> {
    let url = Url::parse(&text.value)
        .map_err(|error| Fault::hint(format!("`{text}` is not a URL: {error}"), hint))?;
    let sound = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    match sound {
        true => Ok(url),
        false => Err(Fault::hint(format!("`{text}` is not a web address"), hint)),
    }
}

fn origin(text: &Text<'_>) -> Result<String, Fault> {
    const HINT: &str = "scheme, host and port only: `https://app.example.com`";
    let url = web(text, HINT)?;
    if url.path() != "/" || url.query().is_some() {
        return Err(Fault::hint(format!("`{text}` has a path or query"), HINT));
    }
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !local {
        return Err(Fault::hint(
            format!("`{text}` is not HTTPS"),
            "whoever is sent there brings what proves who they are; only this machine may use `http://`",
        ));
    }
    Ok(url.origin().ascii_serialization())
}

fn session(table: &Table<'_>) -> SessionTimes {
    let default = SessionTimes::default();
    let times = SessionTimes {
        idle: table.duration("idle").unwrap_or(default.idle),
        lifetime: table.duration("lifetime").unwrap_or(default.lifetime),
    };
    if let (true, Some(place)) = (times.idle > times.lifetime, table.key("idle")) {
        place.error_hint(
            "a session cannot be idle for longer than it lives",
            "`idle` is at most `lifetime`",
        );
    }
    table.finish();
    times
}

fn tokens(table: &Table<'_>, dev: bool) -> Tokens {
    let algorithm = table.parse("algorithm", algorithm);
    let eddsa = algorithm == Some(false);
    let secret = match eddsa && !table.has("secret") {
        // It is there for another program, or for before: nothing to stumble over.
        true => None,
        false => table.text_or_variable("secret", "JWT_SECRET"),
    };
    if let (true, Some(place)) = (eddsa, table.key("secret")) {
        place.error_hint(
            "`secret` is of no use with EdDSA, whose keys the gateway makes itself",
            "remove it, or set `algorithm` to `HS256`",
        );
    }
    if let (Some(true), None, false) = (algorithm, &secret, table.has("secret")) {
        let place = table.key("algorithm").unwrap_or(table.place);
        place.error_hint(
            "HS256 has no `secret` to sign with",
            "set `JWT_SECRET`, or `secret = { file = \"…\" }`",
        );
    }
    let secret = secret
        .filter(|_| !eddsa)
        .and_then(|text| text.parse(|text| signing_secret(text, dev)));
    let tokens = Tokens {
        signing: match secret {
            Some(secret) => Signing::Hs256(secret),
            _ => Signing::EdDsa,
        },
        lifetime: table.duration("lifetime").unwrap_or(Tokens::LIFETIME),
        rotate: table.duration("rotate").unwrap_or(Tokens::ROTATE),
        audience: table.text("audience").and_then(|text| text.parse(present)),
    };
    if matches!(tokens.signing, Signing::Hs256(_))
        && tokens.lifetime > token::Issuer::LONGEST_BY_SECRET
        && let Some(place) = table.key("lifetime")
    {
        place.error_hint(
            "a token that is signed with a secret lasts a day at most",
            "only another secret takes it back; make it shorter, or sign by EdDSA",
        );
    }
    table.finish();
    tokens
}

/// Whether it is HS256.
fn algorithm(text: &Text<'_>) -> Result<bool, Fault> {
    match text.value.as_str() {
        "EdDSA" => Ok(false),
        "HS256" => Ok(true),
        other => Err(Fault::hint(
            format!("tokens cannot be signed by `{text}`"),
            match closest(&other.to_lowercase(), &["eddsa", "hs256"]) {
                Some("eddsa") => "did you mean `EdDSA`?",
                Some(_) => "did you mean `HS256`?",
                None => {
                    "there are `EdDSA`, which others verify without being able to sign, and `HS256`"
                }
            },
        )),
    }
}

/// Never repeats the secret.
fn signing_secret(text: &Text<'_>, dev: bool) -> Result<Secret, Fault> {
    let parsed = match dev {
        true => token::Secret::for_development(&text.value),
        false => token::Secret::parse(&text.value),
    };
    match parsed {
        Ok(_) => Ok(Secret::new(text.value.clone())),
        Err(error) => Err(Fault::hint(
            error.to_string(),
            "leave it out to sign by EdDSA, with keys that the gateway makes itself",
        )),
    }
}

fn legacy(auth: &Table<'_>) -> Option<Legacy> {
    let table = auth.get("legacy")?.table("auth.legacy")?;
    let legacy = Legacy {
        accept_body_user_id: table.flag("accept_body_user_id").unwrap_or(false),
        sunset: table.parse("sunset", units::date),
    };
    table.finish();
    Some(legacy)
}
