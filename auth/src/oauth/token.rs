//! The code against a token, as RFC 6749 §4.1.3 has it and as GitHub does it.

use bytes::Bytes;
use http::StatusCode;
use oauth2::basic::{BasicClient, BasicErrorResponse};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, TokenResponse, TokenUrl,
};
use serde_json::Value;
use url::Url;

use super::api::Api;
use super::provider::Endpoints;
use super::{Problem, ProviderConfig, Step};
use crate::Secret;

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The gateway as the provider knows it.
#[derive(Debug)]
pub(super) struct Application {
    client: Client,
    scopes: &'static [&'static str],
}

impl Application {
    pub(super) fn new(
        config: &ProviderConfig,
        endpoints: &Endpoints,
        callback: Url,
        scopes: &'static [&'static str],
    ) -> Self {
        let client = BasicClient::new(ClientId::new(config.client_id.clone()))
            .set_client_secret(ClientSecret::new(config.client_secret.expose().to_owned()))
            .set_auth_uri(AuthUrl::from_url(endpoints.authorize.clone()))
            .set_token_uri(TokenUrl::from_url(endpoints.token.clone()))
            .set_redirect_uri(RedirectUrl::from_url(callback))
            // What both providers document.
            .set_auth_type(AuthType::RequestBody);
        Self { client, scopes }
    }

    pub(super) fn authorize_url(&self, state: String, verifier: &PkceCodeVerifier) -> Url {
        let scopes = self
            .scopes
            .iter()
            .map(|&scope| Scope::new(scope.to_owned()));
        let (url, _) = self
            .client
            .authorize_url(|| CsrfToken::new(state))
            .add_scopes(scopes)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(verifier))
            .url();
        url
    }

    pub(super) async fn redeem(
        &self,
        api: &Api<'_>,
        code: &Secret,
        verifier: &PkceCodeVerifier,
    ) -> Result<Secret, Problem> {
        // With all of its own: a future that borrowed from here could not be told to be `Send`.
        let (fetch, now) = (api.fetch.clone(), api.now);
        let call = move |request| {
            let fetch = fetch.clone();
            async move { call(Api { fetch: &fetch, now }, request).await }
        };
        let verifier = PkceCodeVerifier::new(verifier.secret().clone());
        let answer = self
            .client
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .set_pkce_verifier(verifier)
            .request_async(&call)
            .await;
        let answer = answer.map_err(problem)?;
        Ok(Secret::new(answer.access_token().secret().as_str()))
    }
}

/// Carries a request of the `oauth2` crate.
async fn call(api: Api<'_>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let answer = api.send(Step::Token, request.map(Bytes::from)).await?;
    let mut answer = answer.map(|body| body.to_vec());
    // GitHub answers errors with 200.
    if answer.status() == StatusCode::OK && is_error(answer.body()) {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
    }
    if answer.status().is_redirection() {
        return Err(Problem::UnexpectedStatus {
            step: Step::Token,
            status: answer.status().as_u16(),
        });
    }
    Ok(answer)
}

fn is_error(body: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<Value>(body);
    parsed.is_ok_and(|answer| answer.get("error").is_some())
}

/// The library's errors may quote the answer, which may have a token in it: nothing of them is kept.
fn problem(error: RequestTokenError<Problem, BasicErrorResponse>) -> Problem {
    let step = Step::Token;
    match error {
        RequestTokenError::ServerResponse(answer) => {
            Problem::of_code(step, answer.error().as_ref())
        }
        RequestTokenError::Request(problem) => problem,
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Problem::Malformed { step },
    }
}
