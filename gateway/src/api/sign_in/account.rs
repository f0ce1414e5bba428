//! The gateway's first page.

use std::sync::Arc;

use auth::{
    directory::Caller,
    identity::{IdentityError, MAX_PAGE, Page},
    user::{Provider, Role, UserId},
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    SignIn,
    pages::{self, Account, KeyShown, Own, TunnelShown},
    request::{Asked, Fields},
};

/// `GET /`
pub(super) async fn home(State(sign_in): State<Arc<SignIn>>, asked: Asked) -> Response {
    let caller = asked.caller(&sign_in);
    let session = caller.as_ref().and_then(|caller| caller.session());
    let (Some(caller), Some(session)) = (caller, session) else {
        return pages::welcome(&sign_in.domain).into_response();
    };
    let user = &caller.user;
    let own = own(&sign_in, &caller)
        .await
        .inspect_err(|error| tracing::warn!(%error, "somebody's tunnels and keys are not shown"))
        .ok();
    let notice = notice(&asked.query, own.as_ref());
    let account = Account {
        domain: &sign_in.domain,
        origin: &sign_in.origin().origin().ascii_serialization(),
        username: &user.username,
        provider: match user.provider {
            Provider::GitHub => "GitHub",
            Provider::GitLab => "GitLab",
            Provider::Local => "A local account",
        },
        admin: user.role == Role::Admin,
        notice: notice.as_deref(),
        own: own.as_ref(),
        token: &sign_in.identity.csrf_token(session),
    };
    account.page().into_response()
}

/// What the page before did. Nothing is said that the link to here made up.
fn notice(query: &Fields, own: Option<&Own>) -> Option<String> {
    if let Some(name) = query.get("tunnel_created") {
        let mut tunnels = own?.tunnels.iter();
        let tunnel = tunnels.find(|tunnel| tunnel.name == name)?;
        return Some(format!("You have the tunnel {}.", tunnel.name));
    }
    (query.get("revoked") == Some("true")).then(|| "Revoked keys work no longer.".to_owned())
}

async fn own(sign_in: &SignIn, caller: &Caller) -> Result<Own, IdentityError> {
    let owner = caller.user.id;
    Ok(Own {
        tunnels: tunnels(sign_in, owner).await?,
        keys: keys(sign_in, owner).await?,
    })
}

async fn tunnels(sign_in: &SignIn, owner: UserId) -> Result<Vec<TunnelShown>, IdentityError> {
    let served = sign_in.tunnels.as_ref();
    let mut shown = Vec::new();
    let mut page = all();
    loop {
        let found = sign_in.identity.tunnels(Some(owner), &page).await?;
        shown.extend(found.items.into_iter().map(|tunnel| TunnelShown {
            id: tunnel.id.0,
            url: served.map(|served| served.url(&tunnel.name)),
            connected: served.is_some_and(|served| served.is_connected(&tunnel.name)),
            name: tunnel.record.name,
        }));
        page.cursor = found.next;
        if page.cursor.is_none() {
            return Ok(shown);
        }
    }
}

async fn keys(sign_in: &SignIn, owner: UserId) -> Result<Vec<KeyShown>, IdentityError> {
    let now = sign_in.identity.clock().now();
    let mut shown = Vec::new();
    let mut page = all();
    loop {
        let found = sign_in.identity.keys(Some(owner), &page).await?;
        let good = found.items.into_iter().filter(|key| key.is_active(now));
        shown.extend(good.map(|key| KeyShown {
            id: key.id.0,
            name: key.record.name,
            prefix: key.record.prefix,
        }));
        page.cursor = found.next;
        if page.cursor.is_none() {
            return Ok(shown);
        }
    }
}

fn all() -> Page {
    Page {
        cursor: None,
        limit: MAX_PAGE,
    }
}
