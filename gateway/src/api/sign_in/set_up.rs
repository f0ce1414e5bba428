//! The set-up link: whoever holds it makes the first account, once.

use std::sync::Arc;

use auth::{Secret, identity::IdentityError};
use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    SignIn, Ways,
    guard::{self, Form, FormNonce},
    pages::{self, TOKEN_FIELD},
    problem,
    request::{Asked, Fields, redirect},
    session,
};

/// `GET /auth/setup?token=`
pub(super) async fn page(State(sign_in): State<Arc<SignIn>>, asked: Asked) -> Response {
    let token = asked.query.get("token").unwrap_or_default();
    match sign_in.identity.setup_link().await {
        Ok(Some(good)) if good == Secret::new(token) => show(&sign_in, &asked, token, "", None),
        Ok(_) => problem::of_identity(&IdentityError::SetupClosed),
        Err(error) => problem::of_identity(&error),
    }
}

/// `POST /auth/setup`
pub(super) async fn finish(
    State(sign_in): State<Arc<SignIn>>,
    asked: Asked,
    body: Bytes,
) -> Response {
    let ways: Arc<Ways> = sign_in.ways.load_full();
    let form = Fields::parse(&body);
    let field = |name| form.get(name).unwrap_or_default();
    if !guard::is_ours(&asked.headers, &ways.origin)
        || !guard::is_token(&asked.headers, Form::SetUp, field(TOKEN_FIELD))
    {
        return problem::forged("/");
    }
    let (token, name, password) = (field("token"), field("username"), field("password"));
    if password != field("again") {
        let differ = "The two passwords are not the same. Please type both again.";
        return show(&sign_in, &asked, token, name, Some(differ));
    }
    let identity = &sign_in.identity;
    let context = asked.context_of(asked.caller(&sign_in));
    match identity.finish_setup(token, name, password, &context).await {
        Ok((_, token)) => {
            let mut response = redirect(StatusCode::SEE_OTHER, "/");
            session::begin(&sign_in, &token, &mut response);
            response
        }
        Err(IdentityError::Invalid { field, problem }) => {
            let problem = format!("Please choose another {field}: {problem}.");
            show(&sign_in, &asked, token, name, Some(&problem))
        }
        Err(IdentityError::NameTaken(_)) => {
            let taken = "There is an account of this name. Please choose another name.";
            show(&sign_in, &asked, token, name, Some(taken))
        }
        Err(error) => problem::of_identity(&error),
    }
}

fn show(sign_in: &SignIn, asked: &Asked, token: &str, name: &str, alert: Option<&str>) -> Response {
    let nonce = match FormNonce::of(&asked.headers) {
        Ok(nonce) => nonce,
        Err(error) => return problem::no_random(&error),
    };
    let page = pages::SetUp {
        domain: &sign_in.domain,
        token,
        form_token: &nonce.token(Form::SetUp),
        alert,
        name,
    };
    let mut page = page.page();
    if alert.is_some() {
        page = page.with_status(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let mut response = page.into_response();
    nonce.set(response.headers_mut());
    response
}
