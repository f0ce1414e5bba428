//! `/api/auth/exchange`: a token of GitHub against an API key for a tunnel.

use std::sync::Arc;

use async_trait::async_trait;
use auth::{
    Secret,
    identity::{Context, Identity, IdentityError, Page},
    key::{Lifetime, NewKey},
    oauth::{self, Kind, LoginError, Logins, Problem},
    permit::Actor,
    tunnel::Tunnel,
    user::{Provider, SignIn, UserId},
};
use axum::{
    Json,
    extract::{Request, State as Shared},
};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::{
    super::{State, caller},
    Naive,
    failure::{Failure, Invalid},
};

/// What an exchanged key may do: use and look after the tunnel, and look after the keys, as its
/// clients expect.
const SCOPES: &str = "tunnel:create,tunnel:read,tunnel:delete,key:read,key:delete";
const DEFAULT_NAME: &str = "API Key";

/// Says who somebody is at a provider.
#[async_trait]
pub trait Vouching: std::fmt::Debug + Send + Sync {
    /// Whose `token` it is, if the provider gave it to this gateway's own application; and whether
    /// the configuration lists them as an administrator.
    async fn owner_of(
        &self,
        provider: Kind,
        token: &Secret,
    ) -> Result<(oauth::Identity, bool), LoginError>;
}

#[async_trait]
impl Vouching for Logins {
    async fn owner_of(
        &self,
        provider: Kind,
        token: &Secret,
    ) -> Result<(oauth::Identity, bool), LoginError> {
        let owner = self.exchange(provider, token).await?;
        let admin = self.is_admin(&owner);
        Ok((owner, admin))
    }
}

#[derive(Serialize)]
pub(super) struct Exchanged {
    api_key: String,
    api_key_prefix: String,
    user_id: u64,
    username: String,
    expires_at: Option<Naive>,
    tunnel_url: String,
}

struct Wanted {
    token: Secret,
    name: Option<String>,
}

pub(super) async fn exchange(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Json<Exchanged>, Failure> {
    let (parts, body) = request.into_parts();
    let context = caller::anonymous(&parts);
    let limited = state.exchanges.count(context.ip);
    limited.map_err(Failure::too_many)?;
    let body = axum::body::to_bytes(body, super::super::MAX_BODY).await;
    let body =
        body.map_err(|_| Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"))?;
    let json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.to_str().is_ok_and(|kind| kind.contains("json")));
    let wanted = read(&body, json).map_err(Failure::invalid)?;
    let identity = state.identity.as_ref().ok_or_else(not_configured)?;
    let vouching = state.vouching.as_ref().ok_or_else(not_configured)?;
    let (owner, admin) = vouching
        .owner_of(Kind::GitHub, &wanted.token)
        .await
        .map_err(refused)?;
    let (user, username, context) = take_in(identity, owner, admin, context).await?;
    let tunnel = newest_tunnel(identity, user, &context).await?;
    let new = NewKey {
        name: wanted.name.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        scopes: SCOPES.parse().expect("these are scopes"),
        lifetime: Lifetime::Default,
        tunnel: Some(tunnel.id),
    };
    let (key, secret) = identity.create_key(user, &new, &context).await?;
    end_session(identity, &context).await?;
    Ok(Json(Exchanged {
        api_key: secret.reveal().to_owned(),
        api_key_prefix: key.prefix.clone(),
        user_id: user.0,
        username,
        expires_at: key.expires.map(Naive),
        tunnel_url: match &state.tunnels {
            Some(tunnels) => tunnels.host(&tunnel.name),
            None => format!("{}.{}", tunnel.name, state.domain),
        },
    }))
}

/// Signs the owner of the token in, which makes the user at first sight. What is done for them from
/// here on they do themselves, in a session that ends with it.
async fn take_in(
    identity: &Identity,
    owner: oauth::Identity,
    admin: bool,
    mut context: Context,
) -> Result<(UserId, String, Context), Failure> {
    let sign_in = SignIn {
        provider: match owner.provider {
            Kind::GitHub => Provider::GitHub,
            Kind::GitLab => Provider::GitLab,
        },
        subject: owner.subject,
        username: owner.login,
        display_name: owner.name,
        email: owner.email,
        avatar_url: owner.avatar_url,
        admin,
    };
    let (user, session) = identity.sign_in(&sign_in, &context).await?;
    let now = identity.clock().now();
    let found = identity.directory().by_session(session.reveal(), now);
    let caller = found.map_err(|_| IdentityError::Busy)?;
    context.actor = Actor::User(caller);
    Ok((user.id, user.record.username, context))
}

async fn end_session(identity: &Identity, context: &Context) -> Result<(), IdentityError> {
    let Actor::User(caller) = &context.actor else {
        return Ok(());
    };
    match caller.session() {
        Some(session) => identity.revoke_session(session, context).await,
        None => Ok(()),
    }
}

async fn newest_tunnel(
    identity: &Identity,
    user: UserId,
    context: &Context,
) -> Result<Tunnel, IdentityError> {
    let mut page = Page::default();
    let mut newest = None;
    loop {
        let found = identity.tunnels(Some(user), &page).await?;
        newest = found.items.into_iter().next_back().or(newest);
        page.cursor = found.next;
        if page.cursor.is_none() {
            break;
        }
    }
    match newest {
        Some(tunnel) => Ok(tunnel.record),
        None => match identity.create_tunnel(user, None, context).await {
            Ok(tunnel) => Ok(tunnel.record),
            Err(IdentityError::Exists(tunnel)) => Ok(*tunnel),
            Err(error) => Err(error),
        },
    }
}

fn read(body: &Bytes, json: bool) -> Result<Wanted, Invalid> {
    if body.is_empty() {
        return Err(Invalid::missing(&["body"], Value::Null));
    }
    let value = match json {
        true => serde_json::from_slice(body)
            .map_err(|error| Invalid::no_json(error.column().saturating_sub(1)))?,
        false => Value::from(String::from_utf8_lossy(body).into_owned()),
    };
    let Value::Object(fields) = &value else {
        let invalid = Invalid::new("model_attributes_type", &["body"]);
        let message = "Input should be a valid dictionary or object to extract fields from";
        return Err(invalid.saying(message).input(value));
    };
    let text = |name: &'static str, value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(Invalid::new("string_type", &["body", name])
            .saying("Input should be a valid string")
            .input(other.clone())),
    };
    let token = match fields.get("github_token") {
        Some(token) => text("github_token", token)?,
        None => return Err(Invalid::missing(&["body", "github_token"], value.clone())),
    };
    let name = match fields.get("api_key_name") {
        None | Some(Value::Null) => None,
        Some(name) => Some(text("api_key_name", name)?),
    };
    Ok(Wanted {
        token: Secret::new(token),
        name,
    })
}

fn not_configured() -> Failure {
    let text = "GitHub OAuth not configured";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn refused(error: LoginError) -> Failure {
    let retry_after = error.retry_after();
    match error {
        LoginError::NotConfigured(_) => not_configured(),
        LoginError::Provider {
            problem: Problem::InvalidToken | Problem::OtherApplication,
            ..
        } => Failure::new(StatusCode::UNAUTHORIZED, "Invalid GitHub token"),
        LoginError::Busy
        | LoginError::Provider {
            problem: Problem::RateLimited { .. } | Problem::Down { .. },
            ..
        } => Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.for_visitor()).after(retry_after),
        other => {
            tracing::warn!(error = %other, "a provider's token was not exchanged");
            Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Failed to exchange token",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_told_as_the_original_does() {
        let told = |body: &'static str| {
            let invalid = read(&Bytes::from(body), true).err().unwrap();
            serde_json::to_string(&[invalid]).unwrap()
        };
        assert_eq!(
            told("{}"),
            r#"[{"type":"missing","loc":["body","github_token"],"msg":"Field required","input":{},"url":"https://errors.pydantic.dev/2.5/v/missing"}]"#
        );
        assert_eq!(
            told(""),
            r#"[{"type":"missing","loc":["body"],"msg":"Field required","input":null,"url":"https://errors.pydantic.dev/2.5/v/missing"}]"#
        );
        assert_eq!(
            told(r#"{"github_token":5}"#),
            r#"[{"type":"string_type","loc":["body","github_token"],"msg":"Input should be a valid string","input":5,"url":"https://errors.pydantic.dev/2.5/v/string_type"}]"#
        );
        assert_eq!(
            told(r#"{"a":}"#),
            r#"[{"type":"json_invalid","loc":["body",5],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting value"}}]"#
        );
        assert!(told("[]").starts_with(r#"[{"type":"model_attributes_type","loc":["body"],"#));
    }

    #[test]
    fn garbage_never_panics() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..3000 {
            let length = random.usize(0..60);
            let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let read = read(&Bytes::from(bytes), random.bool());
            assert!(read.is_err());
        }
    }
}
