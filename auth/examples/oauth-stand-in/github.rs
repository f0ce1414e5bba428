//! GitHub's side: <https://docs.github.com/apps/oauth-apps>. Errors of the token endpoint come with
//! status 200.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::Step;
use super::answer::{self, Answer, Asked};
use super::ledger::{Brand, Grant, Ledger, Mismatch, Person};
use super::page;

const DOCUMENTATION: &str = "https://docs.github.com/rest";

pub(crate) fn answer(step: Step, asked: &Asked, ledger: &mut Ledger) -> Answer {
    match step {
        Step::Authorize => authorize(asked, ledger),
        Step::Token => token(asked, ledger),
        Step::Audience => audience(asked, ledger),
        Step::User => match ledger.token(Brand::GitHub, asked.bearer()) {
            Some(grant) => person(grant).map_or_else(not_found, |person| {
                answer::json(StatusCode::OK, &user(person))
            }),
            None => bad_credentials(),
        },
        Step::Emails => match ledger.token(Brand::GitHub, asked.bearer()) {
            Some(grant) if grant.scope.contains("user:email") => {
                person(grant).map_or_else(not_found, emails)
            }
            Some(_) => not_found(),
            None => bad_credentials(),
        },
    }
}

/// The error `code` as GitHub forms it at this step.
pub(crate) fn refuse(step: Step, asked: &Asked, code: &str) -> Answer {
    match step {
        Step::Authorize => {
            let parameters = asked.parameters();
            let given = |name: &str| parameters.get(name).map_or("", String::as_str);
            let refused = [
                ("error", code),
                ("error_description", "Refused, as asked."),
                ("state", given("state")),
            ];
            answer::redirect(given("redirect_uri"), &refused)
        }
        Step::Token => refused_token(asked, code, "Refused, as asked."),
        Step::Audience => not_found(),
        Step::User | Step::Emails => bad_credentials(),
    }
}

fn authorize(asked: &Asked, ledger: &mut Ledger) -> Answer {
    let mut parameters = asked.parameters();
    let registration = &ledger.registration;
    if parameters.get("client_id") != Some(&registration.client_id) {
        return answer::html(StatusCode::NOT_FOUND, "<h1>Not Found</h1>".to_owned());
    }
    let back = parameters.remove("redirect_uri").unwrap_or_default();
    if !registration.takes_redirect(&back) {
        let registered = registration.callback.clone().unwrap_or_default();
        let description = "The redirect_uri MUST match the registered callback URL.";
        let mismatch = [
            ("error", "redirect_uri_mismatch"),
            ("error_description", description),
            ("state", parameters.get("state").map_or("", String::as_str)),
        ];
        return answer::redirect(&registered, &mismatch);
    }
    let denial = "The user has denied your application access.";
    page::authorize(Brand::GitHub, asked, ledger, denial)
}

fn token(asked: &Asked, ledger: &mut Ledger) -> Answer {
    let parameters = asked.parameters();
    let id = parameters.get("client_id");
    if id != Some(&ledger.registration.client_id) {
        return answer::json(StatusCode::NOT_FOUND, &json!({ "error": "Not Found" }));
    }
    if !ledger
        .registration
        .authenticates(id, parameters.get("client_secret"))
    {
        let description = "The client_id and/or client_secret passed are incorrect.";
        return refused_token(asked, "incorrect_client_credentials", description);
    }
    match ledger.redeem(Brand::GitHub, &parameters) {
        Ok(grant) => {
            let scope = grant.scope.replace(' ', ",");
            let token = ledger.give_token(grant);
            let fields = [
                ("access_token", token.as_str()),
                ("scope", &scope),
                ("token_type", "bearer"),
            ];
            formed(asked, &fields)
        }
        Err(Mismatch::Redirect) => {
            let description = "The redirect_uri MUST match the registered callback URL.";
            refused_token(asked, "redirect_uri_mismatch", description)
        }
        Err(Mismatch::Code) => {
            let description = "The code passed is incorrect or expired.";
            refused_token(asked, "bad_verification_code", description)
        }
    }
}

fn refused_token(asked: &Asked, code: &str, description: &str) -> Answer {
    let fields = [
        ("error", code),
        ("error_description", description),
        ("error_uri", "/apps/managing-oauth-apps"),
    ];
    formed(asked, &fields)
}

/// JSON if the client asks for it, a form if not; always 200.
fn formed(asked: &Asked, fields: &[(&str, &str)]) -> Answer {
    let accept = asked.headers().get(header::ACCEPT);
    let wants_json = accept.is_some_and(|accept| accept.as_bytes().ends_with(b"json"));
    if !wants_json {
        return answer::form(fields);
    }
    let object = fields
        .iter()
        .map(|&(name, value)| (name.to_owned(), json!(value)));
    answer::json(StatusCode::OK, &Value::Object(object.collect()))
}

fn audience(asked: &Asked, ledger: &Ledger) -> Answer {
    let registration = &ledger.registration;
    let credentials = format!("{}:{}", registration.client_id, registration.client_secret);
    let expected = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let given = asked.headers().get(header::AUTHORIZATION);
    if given.is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return bad_credentials();
    }
    let body: Value = serde_json::from_slice(asked.body()).unwrap_or_default();
    let token = body.get("access_token").and_then(Value::as_str);
    let grant = ledger.token(Brand::GitHub, token);
    let own = asked
        .path()
        .ends_with(&format!("/applications/{}/token", registration.client_id));
    let Some(grant) = grant.filter(|grant| own && grant.client_id == registration.client_id) else {
        return not_found();
    };
    let scopes: Vec<_> = grant.scope.split([' ', ',']).collect();
    let checked = json!({
        "id": 1,
        "token": token,
        "scopes": scopes,
        "app": { "name": "stand-in", "client_id": grant.client_id },
        "user": person(grant).map(user),
    });
    answer::json(StatusCode::OK, &checked)
}

fn person(grant: &Grant) -> Option<&'static Person> {
    Person::find(&grant.login)
}

fn user(person: &Person) -> Value {
    let id = person.id(Brand::GitHub);
    json!({
        "login": person.login,
        "id": id,
        "type": "User",
        "name": person.name,
        // The public profile has an address only if its owner wants that.
        "email": null,
        "avatar_url": format!("https://avatars.example.com/u/{id}?v=4"),
        "html_url": format!("https://github.example.com/{}", person.login),
    })
}

fn emails(person: &'static Person) -> Answer {
    let other = format!("{}@users.example.com", person.login);
    let emails = json!([
        { "email": other, "primary": false, "verified": true, "visibility": null },
        {
            "email": person.email,
            "primary": true,
            "verified": person.verified,
            "visibility": "private",
        },
    ]);
    answer::json(StatusCode::OK, &emails)
}

fn bad_credentials() -> Answer {
    let body = json!({
        "message": "Bad credentials",
        "documentation_url": DOCUMENTATION,
        "status": "401",
    });
    answer::json(StatusCode::UNAUTHORIZED, &body)
}

fn not_found() -> Answer {
    let body = json!({
        "message": "Not Found",
        "documentation_url": DOCUMENTATION,
        "status": "404",
    });
    answer::json(StatusCode::NOT_FOUND, &body)
}
