//! The page on which a person agrees. Small, without scripts, with a button for everybody there is.

use std::collections::HashMap;
use std::time::Instant;

use http::{Method, StatusCode};

use super::answer::{self, Answer, Asked};
use super::ledger::{Brand, Grant, Ledger, PEOPLE, Person};

/// The page, or where it leads once a button is pressed. The client and its redirect address were
/// checked before.
pub(crate) fn authorize(brand: Brand, asked: &Asked, ledger: &mut Ledger, denial: &str) -> Answer {
    let parameters = asked.parameters();
    let given = |name: &str| parameters.get(name).map_or("", String::as_str);
    let pressed = match *asked.method() {
        Method::POST => parameters.get("as"),
        _ => parameters.get("auto"),
    };
    let Some(pressed) = pressed else {
        return answer::html(StatusCode::OK, buttons(brand, asked.path(), &parameters));
    };
    let back = given("redirect_uri");
    if pressed == "deny" {
        let denied = [
            ("error", "access_denied"),
            ("error_description", denial),
            ("state", given("state")),
        ];
        return answer::redirect(back, &denied);
    }
    let Some(person) = Person::find(pressed) else {
        return answer::html(
            StatusCode::BAD_REQUEST,
            "There is no such person.".to_owned(),
        );
    };
    let code = ledger.give_code(Grant {
        brand,
        client_id: given("client_id").to_owned(),
        login: person.login.to_owned(),
        scope: given("scope").to_owned(),
        redirect_uri: back.to_owned(),
        challenge: parameters.get("code_challenge").cloned(),
        given: Instant::now(),
    });
    answer::redirect(back, &[("code", &code), ("state", given("state"))])
}

fn buttons(brand: Brand, path: &str, parameters: &HashMap<String, String>) -> String {
    let kept = [
        "client_id",
        "redirect_uri",
        "state",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "response_type",
    ];
    let hidden: String = kept
        .iter()
        .filter_map(|name| Some((name, parameters.get(*name)?)))
        .map(|(name, value)| {
            let value = escape(value);
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
        })
        .collect();
    let people: String = PEOPLE
        .iter()
        .map(|person| {
            let login = person.login;
            format!("<button name=\"as\" value=\"{login}\">Approve as {login}</button>\n")
        })
        .collect();
    let scope = escape(parameters.get("scope").map_or("", String::as_str));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<title>{brand:?} stand-in</title>\n\
         <h1>Authorize at the {brand:?} stand-in</h1>\n\
         <p>An application wants to read: <code>{scope}</code></p>\n\
         <form method=\"post\" action=\"{path}\">\n{hidden}{people}\
         <button name=\"as\" value=\"deny\">Deny</button>\n</form>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
