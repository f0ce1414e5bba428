//! The sign-in page, and local accounts.

use std::sync::Arc;

use auth::{identity::IdentityError, redirect::Target};
use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    SignIn, Ways,
    guard::{self, Form, FormNonce},
    pages::{Login, TOKEN_FIELD},
    problem,
    request::{Asked, Fields, redirect},
    session,
};

/// Said of a wrong name and of a wrong password, so that nobody learns which names there are.
const WRONG: &str = "The name or the password is wrong.";

/// `GET /auth/login`
pub(super) async fn page(State(sign_in): State<Arc<SignIn>>, asked: Asked) -> Response {
    let ways = sign_in.ways.load_full();
    let return_to = match checked(&ways, asked.return_to()) {
        Ok(return_to) => return_to,
        Err(refused) => return *refused,
    };
    if asked.caller(&sign_in).is_some() {
        let to = return_to.unwrap_or_else(Target::home);
        return redirect(StatusCode::FOUND, to.as_str());
    }
    show(
        &sign_in,
        &ways,
        &asked,
        return_to.as_ref(),
        Attempt::default(),
    )
}

/// `POST /auth/login`
pub(super) async fn sign_in(
    State(sign_in): State<Arc<SignIn>>,
    asked: Asked,
    body: Bytes,
) -> Response {
    let ways = sign_in.ways.load_full();
    let form = Fields::parse(&body);
    let token = form.get(TOKEN_FIELD).unwrap_or_default();
    if !guard::is_ours(&asked.headers, &ways.origin)
        || !guard::is_token(&asked.headers, Form::Login, token)
    {
        return problem::forged("/auth/login");
    }
    let return_to = match checked(&ways, form.get("return_to")) {
        Ok(return_to) => return_to,
        Err(refused) => return *refused,
    };
    if !ways.local {
        return show(
            &sign_in,
            &ways,
            &asked,
            return_to.as_ref(),
            Attempt::default(),
        );
    }
    let name = form.get("username").unwrap_or_default();
    let password = form.get("password").unwrap_or_default();
    let context = asked.context_of(asked.caller(&sign_in));
    match sign_in
        .identity
        .sign_in_local(name, password, &context)
        .await
    {
        Ok((_, token)) => {
            let to = return_to.unwrap_or_else(Target::home);
            let mut response = redirect(StatusCode::SEE_OTHER, to.as_str());
            session::begin(&sign_in, &token, &mut response);
            response
        }
        Err(IdentityError::BadCredentials) => {
            let attempt = Attempt { name, failed: true };
            show(&sign_in, &ways, &asked, return_to.as_ref(), attempt)
        }
        Err(error) => problem::of_identity(&error),
    }
}

/// An attempt to sign in that came before the page.
#[derive(Clone, Copy, Default)]
struct Attempt<'a> {
    name: &'a str,
    failed: bool,
}

fn show(
    sign_in: &SignIn,
    ways: &Ways,
    asked: &Asked,
    return_to: Option<&Target>,
    attempt: Attempt<'_>,
) -> Response {
    let providers = ways.kinds();
    let nonce = match FormNonce::of(&asked.headers) {
        Ok(nonce) => nonce,
        Err(error) => return problem::no_random(&error),
    };
    let token = nonce.token(Form::Login);
    let first_start = providers.is_empty() && !sign_in.identity.directory().has_admin();
    let page = Login {
        domain: &sign_in.domain,
        providers: &providers,
        local: ways.local.then_some(&token),
        return_to: return_to.map(Target::as_str),
        alert: attempt.failed.then_some(WRONG),
        name: attempt.name,
        first_start: first_start.then_some(&ways.origin),
        insecure: ways.origin.scheme() == "http",
    };
    let mut page = page.page();
    if attempt.failed {
        page = page.with_status(StatusCode::FORBIDDEN);
    }
    let mut response = page.into_response();
    nonce.set(response.headers_mut());
    response
}

/// Where to return to, or the page that says why not there.
fn checked(ways: &Ways, return_to: Option<&str>) -> Result<Option<Target>, Box<Response>> {
    return_to
        .map(|to| ways.return_to.check(to))
        .transpose()
        .map_err(|refused| Box::new(problem::of_login(&refused.into())))
}
