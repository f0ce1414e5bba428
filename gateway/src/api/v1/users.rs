//! `/api/v1/users`.

use std::sync::Arc;

use auth::{
    Secret, Stored,
    identity::{UserChanges, UserFilter},
    permit::Resource,
    scope::{Kind, Verb},
    user::{self, UserId},
};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::list::{Cursor, Limit, List, page};
use crate::api::{
    State,
    caller::Asking,
    conditional::{Conditions, Tagged},
    extract::{Json, Path, Query},
    moment::Moment,
    problem::Problem,
};

/// Of a display name, in characters.
const MAX_DISPLAY_NAME: usize = 200;
/// Of a password, in characters.
const MAX_PASSWORD: usize = 256;

pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
}

/// Somebody who signed in with a provider, or has a local account.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    id: u64,
    provider: Provider,
    /// The provider's unchanging id of the account; the name of a local one.
    subject: String,
    username: String,
    display_name: Option<String>,
    email: Option<String>,
    avatar_url: Option<String>,
    role: Role,
    /// A disabled user can neither sign in nor use a key.
    disabled: bool,
    created_at: Moment,
    last_sign_in_at: Option<Moment>,
}

impl From<user::User> for User {
    fn from(user: user::User) -> Self {
        Self {
            id: user.id.0,
            provider: user.provider.into(),
            subject: user.subject,
            username: user.username,
            display_name: user.display_name,
            email: user.email,
            avatar_url: user.avatar_url,
            role: user.role.into(),
            disabled: user.disabled,
            created_at: user.created.into(),
            last_sign_in_at: user.last_sign_in.map(Moment::from),
        }
    }
}

/// What a user may do.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// What is theirs.
    User,
    /// What is everybody's.
    Admin,
}

impl From<user::Role> for Role {
    fn from(role: user::Role) -> Self {
        match role {
            user::Role::User => Self::User,
            user::Role::Admin => Self::Admin,
        }
    }
}

impl From<Role> for user::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Admin => Self::Admin,
        }
    }
}

/// Who vouches for a user.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Provider {
    GitHub,
    GitLab,
    /// This gateway, by a password.
    Local,
}

impl From<user::Provider> for Provider {
    fn from(provider: user::Provider) -> Self {
        match provider {
            user::Provider::GitHub => Self::GitHub,
            user::Provider::GitLab => Self::GitLab,
            user::Provider::Local => Self::Local,
        }
    }
}

impl From<Provider> for user::Provider {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::GitHub => Self::GitHub,
            Provider::GitLab => Self::GitLab,
            Provider::Local => Self::Local,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// What `next` of the page before was.
    #[param(inline)]
    cursor: Option<Cursor>,
    /// Entries of a page.
    #[param(inline)]
    limit: Option<Limit>,
    /// Only users of this provider.
    provider: Option<Provider>,
    /// Only users with this role.
    role: Option<Role>,
    /// Only users who are disabled, or only those who are not.
    disabled: Option<bool>,
    /// Only users with this in their user name, display name or email address, in any case.
    #[serde(default, deserialize_with = "super::list::text")]
    #[param(max_length = 256)]
    text: Option<String>,
}

/// All users
///
/// For administrators.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "users",
    operation_id = "listUsers",
    params(Which),
    responses((status = 200, description = "A page of users", body = List<User>)),
)]
async fn list(asking: Asking, Query(which): Query<Which>) -> Result<Json<List<User>>, Problem> {
    asking.may(Verb::Read, &Resource::common(Kind::User, ""))?;
    let filter = UserFilter {
        provider: which.provider.map(Into::into),
        role: which.role.map(Into::into),
        disabled: which.disabled,
        text: which.text,
    };
    let page = page(which.cursor.as_ref(), which.limit);
    let found = asking.identity.users(&page, &filter).await?;
    Ok(Json(List::of(found, |user| User::from(user.record))))
}

/// A local account that shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// The name to sign in with.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_.@+-]+$")]
    username: String,
    #[schema(min_length = 10, max_length = 256, format = Password)]
    password: String,
    #[serde(default = "ordinary")]
    #[schema(inline, default = "user")]
    role: Role,
}

fn ordinary() -> Role {
    Role::User
}

/// Make a local account
///
/// For administrators. Users of a provider come by signing in.
#[utoipa::path(
    post,
    path = "/api/v1/users",
    tag = "users",
    operation_id = "createUser",
    request_body = NewUser,
    responses(
        (status = 201, description = "The user", body = User, headers(
            ("location" = String, description = "Where the user is"),
            ("etag" = String, description = "Their version"),
        )),
        (status = 409, description = "The name is taken", body = super::openapi::ProblemRef, content_type = "application/problem+json"),
    ),
)]
async fn create(asking: Asking, Json(new): Json<NewUser>) -> Result<Response, Problem> {
    asking.may(Verb::Create, &Resource::common(Kind::User, &new.username))?;
    if new.password.chars().count() > MAX_PASSWORD {
        let detail = format!("password: it has at most {MAX_PASSWORD} characters");
        return Err(Problem::invalid(detail));
    }
    let password = Secret::new(new.password);
    let created = asking.identity.create_local(
        &new.username,
        password.expose(),
        new.role.into(),
        &asking.context,
    );
    let user = created.await?;
    let location = format!("/api/v1/users/{}", user.id);
    Ok(super::created(tagged(user), &location))
}

/// One user
///
/// Users may read themselves, administrators everybody.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    tag = "users",
    operation_id = "getUser",
    params(("id" = u64, Path)),
    responses(
        (status = 200, description = "The user", body = User, headers(("etag" = String, description = "Their version"))),
        (status = 304, description = "They are as the client has them"),
    ),
)]
async fn get(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let user = permitted(&asking, Verb::Read, id).await?;
    Ok(tagged(user).answer(&conditions))
}

/// What shall be different; what is not there stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = UserChanges)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[schema(inline)]
    role: Option<Role>,
    disabled: Option<bool>,
    /// Null removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 200)]
    display_name: Option<Option<String>>,
}

/// Tells null from nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change a user
///
/// For administrators. A user who is disabled is signed out, and none of their keys works.
#[utoipa::path(
    patch,
    path = "/api/v1/users/{id}",
    tag = "users",
    operation_id = "updateUser",
    params(("id" = u64, Path), ("if-match" = Option<String>, Header, description = "Change only this version")),
    request_body = Changes,
    responses((status = 200, description = "The user as they are now", body = User, headers(("etag" = String, description = "Their version")))),
)]
async fn update(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
    Json(changes): Json<Changes>,
) -> Result<Response, Problem> {
    let user = permitted(&asking, Verb::Update, id).await?;
    if let Some(Some(name)) = &changes.display_name
        && name.chars().count() > MAX_DISPLAY_NAME
    {
        let detail = format!("display_name: it has at most {MAX_DISPLAY_NAME} characters");
        return Err(Problem::invalid(detail));
    }
    let changes = UserChanges {
        role: changes.role.map(Into::into),
        disabled: changes.disabled,
        display_name: changes.display_name,
        email: None,
    };
    let revision = conditions.revision(user.revision)?;
    let changed = asking
        .identity
        .update_user(UserId(id), &changes, revision, &asking.context)
        .await?;
    Ok(axum::response::IntoResponse::into_response(tagged(changed)))
}

/// Delete a user
///
/// For administrators. Their sessions, keys and tunnels go with them; the audit trail stays.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}",
    tag = "users",
    operation_id = "deleteUser",
    params(("id" = u64, Path), ("if-match" = Option<String>, Header, description = "Delete only this version")),
    responses((status = 204, description = "They are gone")),
)]
async fn delete(
    asking: Asking,
    Path(id): Path<u64>,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    let user = permitted(&asking, Verb::Delete, id).await?;
    let revision = conditions.revision(user.revision)?;
    asking
        .identity
        .delete_user(UserId(id), revision, &asking.context)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The user, if whoever asks may do `verb` to them.
async fn permitted(asking: &Asking, verb: Verb, id: u64) -> Result<Stored<user::User>, Problem> {
    let user = asking.identity.user(UserId(id)).await?;
    asking.may(verb, &Resource::of(user.id, Kind::User, &user.username))?;
    Ok(user)
}

fn tagged(user: Stored<user::User>) -> Tagged<User> {
    Tagged {
        tag: user.revision.into(),
        body: user.record.into(),
    }
}
