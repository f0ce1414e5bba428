//! The pages of the original tunnel server, for people who are signed in: a new tunnel, a new key,
//! the end of a key.
//!
//! Addresses and redirects are the original's, the look is that of sign-in (`sign_in/pages`). Who is
//! not signed in is sent to sign in and comes back. A form counts only with the token of its session
//! and from the gateway's own origin. A key is in the answer that makes it and nowhere else; nobody
//! stores that answer.

mod look;

use std::sync::Arc;

use auth::{
    directory::Caller,
    identity::{Context, IdentityError, Page},
    key::{KeyId, Lifetime, NewKey},
    permit::{Actor, Resource, may},
    scope::{Kind, Scopes, Verb},
    session::SessionId,
    tunnel::{Tunnel, TunnelId},
    user::Role,
};
use axum::{
    Router,
    body::Bytes,
    extract::{FromRequestParts, Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{Method, StatusCode, request::Parts};

use self::look::{KeyForm, NewKeyShown, Refusal, TunnelForm};
use super::super::sign_in::{
    SignIn, guard,
    pages::TOKEN_FIELD,
    request::{Asked, Fields, redirect},
};

/// What a key is called that nobody named.
const KEY_NAME: &str = "API Key";
const NEW_TUNNEL: &str = "/tunnels/new";
const NEW_KEY: &str = "/api/keys/new";

/// The pages, for any router.
pub(in crate::api) fn routes<S>(sign_in: Arc<SignIn>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route(NEW_TUNNEL, get(new_tunnel))
        .route("/tunnels/create", post(create_tunnel))
        .route("/tunnels/{id}/keys/new", get(new_tunnel_key))
        .route("/tunnels/{id}/keys/generate", post(generate_tunnel_key))
        .route(NEW_KEY, get(new_key))
        .route("/api/keys/generate", post(generate_key))
        .route("/api/keys/{id}/revoke", post(revoke_key))
        .with_state(sign_in)
}

/// Somebody who is signed in. Everybody else is sent to sign in.
struct Visitor {
    asked: Asked,
    caller: Arc<Caller>,
    session: SessionId,
}

impl FromRequestParts<Arc<SignIn>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        sign_in: &Arc<SignIn>,
    ) -> Result<Self, Response> {
        // What was in a form is gone by then, so that leads to the first page.
        let back = (parts.method == Method::GET).then(|| parts.uri.path().to_owned());
        let Ok(asked) = Asked::from_request_parts(parts, sign_in).await;
        let caller = asked.caller(sign_in);
        let session = caller.as_ref().and_then(|caller| caller.session());
        match (caller, session) {
            (Some(caller), Some(session)) => Ok(Self {
                asked,
                caller,
                session,
            }),
            _ => Err(to_sign_in(back.as_deref())),
        }
    }
}

fn to_sign_in(back: Option<&str>) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let to = match back {
        Some(back) => format!(
            "/auth/login?{}",
            query.append_pair("return_to", back).finish()
        ),
        None => "/auth/login".to_owned(),
    };
    redirect(StatusCode::FOUND, &to)
}

impl Visitor {
    fn context(&self) -> Context {
        self.asked.context_of(Some(Arc::clone(&self.caller)))
    }

    fn token(&self, sign_in: &SignIn) -> String {
        sign_in.identity().csrf_token(self.session)
    }

    /// The fields of a form that came from its own page, which is at `page`.
    fn form(&self, sign_in: &SignIn, body: &Bytes, page: &str) -> Result<Fields, Refusal> {
        let form = Fields::parse(body);
        let token = form.get(TOKEN_FIELD).unwrap_or_default();
        let good = sign_in.identity().check_csrf(self.session, token);
        if !good || !guard::is_ours(&self.asked.headers, &sign_in.origin()) {
            return Err(Refusal::Forged(page.to_owned()));
        }
        Ok(form)
    }

    fn may(&self, verb: Verb, resource: &Resource<'_>) -> Result<(), Refusal> {
        let actor = Actor::User(Arc::clone(&self.caller));
        may(&actor, verb, resource).map_err(|_| Refusal::NotTheirs)
    }

    /// The tunnel that a path names, if this is somebody who may make keys for it.
    async fn tunnel(&self, sign_in: &SignIn, id: &str) -> Result<Tunnel, Refusal> {
        let id = id.parse().map_err(|_| Refusal::NotTheirs)?;
        let tunnel = sign_in.identity().tunnel(TunnelId(id)).await?.record;
        let resource = Resource::of(tunnel.owner, Kind::Tunnel, &tunnel.name);
        self.may(Verb::Update, &resource)?;
        self.may(Verb::Create, &Resource::of(tunnel.owner, Kind::Key, ""))?;
        Ok(tunnel)
    }
}

/// `GET /tunnels/new`
async fn new_tunnel(
    State(sign_in): State<Arc<SignIn>>,
    visitor: Visitor,
) -> Result<Response, Refusal> {
    let user = &visitor.caller.user;
    let one = Page {
        cursor: None,
        limit: 1,
    };
    if user.role == Role::User
        && let Some(tunnel) = sign_in
            .identity()
            .tunnels(Some(user.id), &one)
            .await?
            .items
            .pop()
    {
        return Err(Refusal::HasOne(tunnel.record.name));
    }
    let form = TunnelForm {
        token: &visitor.token(&sign_in),
        name: "",
        alert: None,
    };
    Ok(form.page().into_response())
}

/// `POST /tunnels/create`
async fn create_tunnel(
    State(sign_in): State<Arc<SignIn>>,
    visitor: Visitor,
    body: Bytes,
) -> Result<Response, Refusal> {
    let form = visitor.form(&sign_in, &body, NEW_TUNNEL)?;
    let name = form
        .get("name")
        .map(|name| name.trim().to_ascii_lowercase());
    let name = name.as_deref().filter(|name| !name.is_empty());
    let owner = visitor.caller.user.id;
    let named = name.unwrap_or_default();
    visitor.may(Verb::Create, &Resource::of(owner, Kind::Tunnel, named))?;
    let made = sign_in
        .identity()
        .create_tunnel(owner, name, &visitor.context())
        .await;
    let problem = match made {
        Ok(tunnel) => {
            let to = format!("/?tunnel_created={}", tunnel.name);
            return Ok(redirect(StatusCode::FOUND, &to));
        }
        Err(IdentityError::InvalidName(problem)) => {
            format!("Please choose another name: {problem}.")
        }
        Err(IdentityError::NameTaken(_)) => {
            "There is a tunnel of this name. Please choose another.".to_owned()
        }
        Err(error) => return Err(error.into()),
    };
    let form = TunnelForm {
        token: &visitor.token(&sign_in),
        name: named,
        alert: Some(&problem),
    };
    let page = form.page().with_status(StatusCode::UNPROCESSABLE_ENTITY);
    Ok(page.into_response())
}

/// `GET /tunnels/{id}/keys/new`
async fn new_tunnel_key(
    State(sign_in): State<Arc<SignIn>>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, Refusal> {
    let tunnel = visitor.tunnel(&sign_in, &id).await?;
    let token = visitor.token(&sign_in);
    Ok(KeyForm::new(&token, Some(&tunnel)).page().into_response())
}

/// `POST /tunnels/{id}/keys/generate`
async fn generate_tunnel_key(
    State(sign_in): State<Arc<SignIn>>,
    Path(id): Path<String>,
    visitor: Visitor,
    body: Bytes,
) -> Result<Response, Refusal> {
    let form = visitor.form(&sign_in, &body, "/")?;
    let tunnel = visitor.tunnel(&sign_in, &id).await?;
    generate(&sign_in, &visitor, &form, Some(&tunnel)).await
}

/// `GET /api/keys/new`
async fn new_key(State(sign_in): State<Arc<SignIn>>, visitor: Visitor) -> Response {
    let token = visitor.token(&sign_in);
    KeyForm::new(&token, None).page().into_response()
}

/// `POST /api/keys/generate`
async fn generate_key(
    State(sign_in): State<Arc<SignIn>>,
    visitor: Visitor,
    body: Bytes,
) -> Result<Response, Refusal> {
    let form = visitor.form(&sign_in, &body, NEW_KEY)?;
    generate(&sign_in, &visitor, &form, None).await
}

/// Makes a key for `tunnel`, or for any tunnel of the visitor.
async fn generate(
    sign_in: &SignIn,
    visitor: &Visitor,
    form: &Fields,
    tunnel: Option<&Tunnel>,
) -> Result<Response, Refusal> {
    let owner = tunnel.map_or(visitor.caller.user.id, |tunnel| tunnel.owner);
    let name = form.get("name").map(str::trim).unwrap_or_default();
    visitor.may(Verb::Create, &Resource::of(owner, Kind::Key, name))?;
    let new = NewKey {
        name: if name.is_empty() { KEY_NAME } else { name }.to_owned(),
        scopes: Scopes::least(),
        lifetime: Lifetime::Default,
        tunnel: tunnel.map(|tunnel| tunnel.id),
    };
    let made = sign_in
        .identity()
        .create_key(owner, &new, &visitor.context())
        .await;
    match made {
        Ok((key, secret)) => {
            let shown = NewKeyShown {
                name: &key.name,
                secret: secret.reveal(),
                origin: &sign_in.origin().origin().ascii_serialization(),
                tunnel: tunnel.map(|tunnel| tunnel.name.as_str()),
                expires: key.expires,
            };
            Ok(shown.page().into_response())
        }
        Err(IdentityError::Invalid { field, problem }) => {
            let problem = format!("Please choose another {field}: {problem}.");
            let token = visitor.token(sign_in);
            let form = KeyForm {
                name,
                alert: Some(&problem),
                ..KeyForm::new(&token, tunnel)
            };
            let page = form.page().with_status(StatusCode::UNPROCESSABLE_ENTITY);
            Ok(page.into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /api/keys/{id}/revoke`
async fn revoke_key(
    State(sign_in): State<Arc<SignIn>>,
    Path(id): Path<String>,
    visitor: Visitor,
    body: Bytes,
) -> Result<Response, Refusal> {
    visitor.form(&sign_in, &body, "/")?;
    let id = id.parse().map(KeyId).map_err(|_| Refusal::NotTheirs)?;
    let key = sign_in.identity().key(id).await?;
    visitor.may(Verb::Delete, &Resource::of(key.owner, Kind::Key, &key.name))?;
    let context = visitor.context();
    sign_in.identity().revoke_key(id, &context).await?;
    Ok(redirect(StatusCode::FOUND, "/?revoked=true"))
}
