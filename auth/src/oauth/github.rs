//! GitHub, GitHub Enterprise Server, and Enterprise Cloud with data residency.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use super::api::{self, Api};
use super::provider::{Endpoints, under};
use super::{Identity, Kind, Problem, ProviderConfig, Step};
use crate::Secret;
use crate::fetch::FetchError;

pub(super) const SCOPES: &[&str] = &["read:user", "user:email"];

pub(super) fn endpoints(config: &ProviderConfig) -> Option<Endpoints> {
    let github = Url::parse("https://github.com").ok()?;
    let base = config.base_url.as_ref().unwrap_or(&github);
    let api = api_of(base)?;
    let mut audience = api.clone();
    // Pushed, so that no client_id reaches another path.
    let mut segments = audience.path_segments_mut().ok()?;
    segments
        .pop_if_empty()
        .extend(["applications", &config.client_id, "token"]);
    drop(segments);
    Some(Endpoints {
        authorize: under(base, "/login/oauth/authorize")?,
        token: under(base, "/login/oauth/access_token")?,
        audience,
        user: under(&api, "/user")?,
        emails: under(&api, "/user/emails")?,
    })
}

/// `api.github.com`, `api.SUBDOMAIN.ghe.com`, or below the server itself.
fn api_of(base: &Url) -> Option<Url> {
    let host = base.host_str()?;
    if host == "github.com" || host.ends_with(".ghe.com") {
        let mut api = base.clone();
        api.set_host(Some(&format!("api.{host}"))).ok()?;
        return Some(api);
    }
    under(base, "/api/v3")
}

pub(super) async fn identity(
    api: &Api<'_>,
    endpoints: &Endpoints,
    token: &Secret,
) -> Result<Identity, Problem> {
    let user = api.get(Step::User, &endpoints.user, token).await?;
    let emails = api.get(Step::Emails, &endpoints.emails, token).await;
    let email = match emails {
        Ok(emails) => primary(&emails)?,
        // People can take the right to read addresses out of what they agree to.
        Err(Problem::UnexpectedStatus {
            status: 403 | 404, ..
        }) => None,
        Err(problem) => return Err(problem),
    };
    Ok(Identity {
        provider: Kind::GitHub,
        subject: api::id(Step::User, &user, "id")?,
        login: api::text(Step::User, &user, "login")?,
        name: api::optional_text(&user, "name"),
        email,
        avatar_url: api::picture(&user, "avatar_url"),
    })
}

/// The primary address if it is verified. The one in the public profile may be anybody's.
fn primary(emails: &Value) -> Result<Option<String>, Problem> {
    let step = Step::Emails;
    let emails = emails.as_array().ok_or(Problem::Malformed { step })?;
    let is = |email: &Value, field: &str| email.get(field).and_then(Value::as_bool) == Some(true);
    let primary = emails
        .iter()
        .find(|email| is(email, "primary") && is(email, "verified"));
    Ok(primary.and_then(|email| api::optional_text(email, "email")))
}

pub(super) async fn check_audience(
    api: &Api<'_>,
    endpoints: &Endpoints,
    config: &ProviderConfig,
    token: &Secret,
) -> Result<(), Problem> {
    let step = Step::Audience;
    let credentials = format!("{}:{}", config.client_id, config.client_secret.expose());
    let basic = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let body = json!({ "access_token": token.expose() }).to_string();
    let request = Request::post(endpoints.audience.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, api::sensitive(&basic)?)
        .body(Bytes::from(body));
    let answer = api
        .send(step, request.map_err(|_| FetchError::BadUrl)?)
        .await?;
    match answer.status() {
        // GitHub does not say which: no token at all, or another application's.
        StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => {
            return Err(Problem::OtherApplication);
        }
        StatusCode::UNAUTHORIZED => return Err(Problem::ClientRefused),
        _ => {}
    }
    let checked = api::json(step, &answer)?;
    let application = checked.get("app").unwrap_or(&Value::Null);
    if api::text(step, application, "client_id")? != config.client_id {
        return Err(Problem::OtherApplication);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(base_url: Option<&str>, client_id: &str) -> Endpoints {
        endpoints(&ProviderConfig {
            kind: Kind::GitHub,
            client_id: client_id.to_owned(),
            client_secret: Secret::new("s"),
            admins: Vec::new(),
            base_url: base_url.map(|text| Url::parse(text).unwrap()),
        })
        .unwrap()
    }

    #[test]
    fn the_api_is_where_each_kind_of_github_has_it() {
        let public = urls(None, "Iv1.abc");
        assert_eq!(
            public.authorize.as_str(),
            "https://github.com/login/oauth/authorize"
        );
        assert_eq!(
            public.token.as_str(),
            "https://github.com/login/oauth/access_token"
        );
        assert_eq!(public.user.as_str(), "https://api.github.com/user");
        assert_eq!(
            public.audience.as_str(),
            "https://api.github.com/applications/Iv1.abc/token"
        );
        let server = urls(Some("https://git.example.com:8443"), "a");
        assert_eq!(
            server.user.as_str(),
            "https://git.example.com:8443/api/v3/user"
        );
        assert_eq!(
            server.audience.as_str(),
            "https://git.example.com:8443/api/v3/applications/a/token"
        );
        let cloud = urls(Some("https://octocorp.ghe.com/"), "a");
        assert_eq!(cloud.user.as_str(), "https://api.octocorp.ghe.com/user");
    }

    #[test]
    fn a_client_id_cannot_leave_its_place_in_the_path() {
        let odd = urls(None, "../../user?");
        assert_eq!(
            odd.audience.as_str(),
            "https://api.github.com/applications/..%2F..%2Fuser%3F/token"
        );
    }

    #[test]
    fn only_a_verified_primary_address_counts() {
        let mail = |primary: bool, verified: bool| {
            json!([
                { "email": "other@example.com", "primary": false, "verified": true },
                { "email": "a@example.com", "primary": primary, "verified": verified },
            ])
        };
        assert_eq!(
            primary(&mail(true, true)),
            Ok(Some("a@example.com".to_owned()))
        );
        assert_eq!(primary(&mail(true, false)), Ok(None));
        assert_eq!(primary(&mail(false, true)), Ok(None));
        assert!(primary(&json!({})).is_err());
        assert_eq!(
            primary(&json!([1, null, {"primary": true, "verified": true}])),
            Ok(None)
        );
    }
}
