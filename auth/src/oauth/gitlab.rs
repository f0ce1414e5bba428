//! GitLab, on gitlab.com or one's own server.

use serde_json::Value;
use url::Url;

use super::api::{self, Api};
use super::provider::{Endpoints, under};
use super::{Identity, Kind, Problem, ProviderConfig, Step};
use crate::Secret;

pub(super) const SCOPES: &[&str] = &["read_user"];

pub(super) fn endpoints(config: &ProviderConfig) -> Option<Endpoints> {
    let gitlab = Url::parse("https://gitlab.com").ok()?;
    let base = config.base_url.as_ref().unwrap_or(&gitlab);
    Some(Endpoints {
        authorize: under(base, "/oauth/authorize")?,
        token: under(base, "/oauth/token")?,
        audience: under(base, "/oauth/token/info")?,
        user: under(base, "/api/v4/user")?,
        // Not asked: the user's record has the primary address.
        emails: under(base, "/api/v4/user/emails")?,
    })
}

pub(super) async fn identity(
    api: &Api<'_>,
    endpoints: &Endpoints,
    token: &Secret,
) -> Result<Identity, Problem> {
    let step = Step::User;
    let user = api.get(step, &endpoints.user, token).await?;
    if user.get("state").and_then(Value::as_str) != Some("active") {
        return Err(Problem::Inactive);
    }
    // Set once the primary address was confirmed; a change of address waits until it is, too.
    let confirmed = user.get("confirmed_at").is_some_and(Value::is_string);
    let email = confirmed.then(|| api::optional_text(&user, "email"));
    Ok(Identity {
        provider: Kind::GitLab,
        subject: api::id(step, &user, "id")?,
        login: api::text(step, &user, "username")?,
        name: api::optional_text(&user, "name"),
        email: email.flatten(),
        avatar_url: api::picture(&user, "avatar_url"),
    })
}

pub(super) async fn check_audience(
    api: &Api<'_>,
    endpoints: &Endpoints,
    config: &ProviderConfig,
    token: &Secret,
) -> Result<(), Problem> {
    let step = Step::Audience;
    let info = api.get(step, &endpoints.audience, token).await?;
    // A personal access token has no application.
    let application = info.get("application").unwrap_or(&Value::Null);
    let uid = application.get("uid").and_then(Value::as_str);
    if uid != Some(config.client_id.as_str()) {
        return Err(Problem::OtherApplication);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gitlab_may_live_under_a_path() {
        let config = |base: Option<&str>| ProviderConfig {
            kind: Kind::GitLab,
            client_id: "a".to_owned(),
            client_secret: Secret::new("s"),
            admins: Vec::new(),
            base_url: base.map(|text| Url::parse(text).unwrap()),
        };
        let public = endpoints(&config(None)).unwrap();
        assert_eq!(public.token.as_str(), "https://gitlab.com/oauth/token");
        let own = endpoints(&config(Some("https://example.com/gitlab/"))).unwrap();
        assert_eq!(own.user.as_str(), "https://example.com/gitlab/api/v4/user");
        for base in [
            "https://alice@example.com",
            "https://example.com/?a",
            "file:///x",
        ] {
            assert!(endpoints(&config(Some(base))).is_none(), "{base}");
        }
    }
}
