//! GitLab's side: <https://docs.gitlab.com/api/oauth2>. Errors of the token endpoint have the
//! statuses of RFC 6749 §5.2; a wrong client or redirect address at the authorization is a page.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::json;

use super::Step;
use super::answer::{self, Answer, Asked};
use super::ledger::{Brand, Ledger, Person};
use super::page;

const INVALID_GRANT: &str = "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI, or was issued to another client.";

pub(crate) fn answer(step: Step, asked: &Asked, ledger: &mut Ledger) -> Answer {
    match step {
        Step::Authorize => authorize(asked, ledger),
        Step::Token => token(asked, ledger),
        Step::Audience => audience(asked, ledger),
        Step::User | Step::Emails => user(asked, ledger),
    }
}

/// The error `code` as GitLab forms it at this step.
pub(crate) fn refuse(step: Step, asked: &Asked, code: &str) -> Answer {
    let description = "Refused, as asked.";
    match step {
        Step::Authorize => {
            let parameters = asked.parameters();
            let given = |name: &str| parameters.get(name).map_or("", String::as_str);
            let refused = [
                ("error", code),
                ("error_description", description),
                ("state", given("state")),
            ];
            answer::redirect(given("redirect_uri"), &refused)
        }
        Step::Token if code == "invalid_client" => {
            refused(StatusCode::UNAUTHORIZED, code, description)
        }
        Step::Token => refused(StatusCode::BAD_REQUEST, code, description),
        Step::Audience => refused(StatusCode::UNAUTHORIZED, code, description),
        Step::User | Step::Emails => unauthorized(),
    }
}

fn authorize(asked: &Asked, ledger: &mut Ledger) -> Answer {
    let parameters = asked.parameters();
    let given = |name: &str| parameters.get(name).map_or("", String::as_str);
    let problem = if given("client_id") != ledger.registration.client_id {
        Some("Client authentication failed due to unknown client.")
    } else if !ledger.registration.takes_redirect(given("redirect_uri")) {
        Some("The redirect URI included is not valid.")
    } else if given("response_type") != "code" {
        Some("The authorization server does not support this response type.")
    } else {
        None
    };
    match problem {
        Some(problem) => answer::html(StatusCode::BAD_REQUEST, format!("<h1>{problem}</h1>")),
        None => {
            let denial = "The resource owner or authorization server denied the request.";
            page::authorize(Brand::GitLab, asked, ledger, denial)
        }
    }
}

fn token(asked: &Asked, ledger: &mut Ledger) -> Answer {
    let parameters = asked.parameters();
    let (id, secret) = (parameters.get("client_id"), parameters.get("client_secret"));
    if !ledger.registration.authenticates(id, secret) {
        let description = "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.";
        return refused(StatusCode::UNAUTHORIZED, "invalid_client", description);
    }
    if parameters.get("grant_type").map(String::as_str) != Some("authorization_code") {
        let description = "The authorization grant type is not supported.";
        return refused(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            description,
        );
    }
    let Ok(grant) = ledger.redeem(Brand::GitLab, &parameters) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant", INVALID_GRANT);
    };
    let scope = grant.scope.clone();
    let token = ledger.give_token(grant);
    let body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": 7200,
        "refresh_token": token.chars().rev().collect::<String>(),
        "scope": scope,
        "created_at": now(),
    });
    answer::json(StatusCode::OK, &body)
}

fn audience(asked: &Asked, ledger: &Ledger) -> Answer {
    let Some(grant) = ledger.token(Brand::GitLab, asked.bearer()) else {
        let description = "The access token is invalid";
        return refused(StatusCode::UNAUTHORIZED, "invalid_token", description);
    };
    let scopes: Vec<_> = grant.scope.split(' ').collect();
    let body = json!({
        "resource_owner_id": Person::find(&grant.login).map(|person| person.id(Brand::GitLab)),
        "scope": scopes,
        "expires_in": 7200,
        "application": { "uid": grant.client_id },
        "created_at": now(),
    });
    answer::json(StatusCode::OK, &body)
}

fn user(asked: &Asked, ledger: &Ledger) -> Answer {
    let grant = ledger.token(Brand::GitLab, asked.bearer());
    let Some(person) = grant.and_then(|grant| Person::find(&grant.login)) else {
        return unauthorized();
    };
    let id = person.id(Brand::GitLab);
    let body = json!({
        "id": id,
        "username": person.login,
        "name": person.name.unwrap_or(person.login),
        "state": if person.active { "active" } else { "blocked" },
        "avatar_url": format!("https://gitlab.example.com/avatar/{id}.png"),
        "web_url": format!("https://gitlab.example.com/{}", person.login),
        "email": person.email,
        "confirmed_at": person.verified.then_some("2026-01-01T00:00:00.000Z"),
    });
    answer::json(StatusCode::OK, &body)
}

fn refused(status: StatusCode, code: &str, description: &str) -> Answer {
    let body = json!({ "error": code, "error_description": description });
    answer::json(status, &body)
}

fn unauthorized() -> Answer {
    let body = json!({ "message": "401 Unauthorized" });
    answer::json(StatusCode::UNAUTHORIZED, &body)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
