//! Signing in with a provider.

use super::retry::Tries;
use super::trail::{Action, Event, Target};
use super::tunnels::{Count, Pointer, put_new_tunnel};
use super::users::close_setup;
use super::{Context, Identity, IdentityError};
use crate::record::{self, Stored, layout};
use crate::session::SessionToken;
use crate::store::Batch;
use crate::tunnel::{Tunnel, TunnelId};
use crate::user::{Role, SignIn, User, UserId};
use serde_json::Value;

/// The longest id of a provider's account, in bytes.
const MAX_SUBJECT: usize = 255;
/// The longest name or address that is kept, in characters.
const MAX_TEXT: usize = 255;

impl Identity {
    /// Takes in somebody a provider vouches for, and makes a session. At first sight that makes a
    /// user, with a tunnel of a three-word name. A session the actor has already ends with it.
    ///
    /// [`IdentityError::Disabled`] for a disabled user.
    pub async fn sign_in(
        &self,
        sign_in: &SignIn,
        context: &Context,
    ) -> Result<(Stored<User>, SessionToken), IdentityError> {
        if sign_in.subject.is_empty() || sign_in.subject.len() > MAX_SUBJECT {
            return Err(IdentityError::invalid("subject", "it has 1 to 255 bytes"));
        }
        let mut tries = Tries::default();
        loop {
            match self.try_sign_in(sign_in, tries.count(), context).await {
                Err(error) => tries.again(error).await?,
                Ok(signed_in) => return Ok(signed_in),
            }
        }
    }

    async fn try_sign_in(
        &self,
        sign_in: &SignIn,
        attempt: u32,
        context: &Context,
    ) -> Result<(Stored<User>, SessionToken), IdentityError> {
        let index = layout::subject(sign_in.provider, &sign_in.subject);
        let mut events = Vec::new();
        let known = match self.read::<Pointer>(&index).await? {
            Some(pointer) => Some(self.user(UserId(pointer.id)).await?),
            None => None,
        };
        let (batch, user) = match known {
            None => {
                self.new_user(sign_in, attempt, context, &mut events)
                    .await?
            }
            Some(user) => {
                if user.disabled {
                    let target = Target::User(user.id);
                    let event = self.event(Action::SignInFailed, target, context);
                    let event = event.of(user.id).with("the user is disabled");
                    self.write(Batch::new(), &[event]).await?;
                    return Err(IdentityError::Disabled);
                }
                let batch = Batch::new().if_revision(layout::user(user.id), user.revision);
                (batch, refreshed(user.record, sign_in))
            }
        };
        self.finish_sign_in(batch, user, events, context).await
    }

    /// Puts `user` and a session for it.
    pub(super) async fn finish_sign_in(
        &self,
        batch: Batch,
        mut user: User,
        mut events: Vec<Event>,
        context: &Context,
    ) -> Result<(Stored<User>, SessionToken), IdentityError> {
        user.last_sign_in = Some(self.clock().now());
        let batch = batch.put(layout::user(user.id), record::encode(&user));
        let batch = close_setup(batch, &user);
        let (batch, token, session) = self.new_session(batch, user.id, context).await?;
        let event = self.event(Action::SignIn, Target::Session(session), context);
        events.push(event.of(user.id).with(user.provider.to_string()));
        let revision = self.write(batch, &events).await?;
        let record = user;
        Ok((Stored { record, revision }, token))
    }

    /// A user that is seen for the first time, with a tunnel.
    ///
    /// A name that is taken is a conflict; the next `attempt` takes another.
    pub(super) async fn new_user(
        &self,
        sign_in: &SignIn,
        attempt: u32,
        context: &Context,
        events: &mut Vec<Event>,
    ) -> Result<(Batch, User), IdentityError> {
        let counters = &self.0.counters;
        let id = UserId(counters.next(&counters.users).await?);
        let user = User {
            id,
            provider: sign_in.provider,
            subject: sign_in.subject.clone(),
            username: cut(&sign_in.username),
            display_name: sign_in.display_name.as_deref().map(cut),
            email: sign_in.email.as_deref().map(cut),
            avatar_url: sign_in.avatar_url.as_deref().map(cut),
            role: if sign_in.admin {
                Role::Admin
            } else {
                Role::User
            },
            disabled: false,
            created: self.clock().now(),
            last_sign_in: None,
            admin_by_list: sign_in.admin,
            deleting: false,
        };
        let tunnel = Tunnel {
            id: TunnelId(counters.next(&counters.tunnels).await?),
            owner: id,
            name: (self.0.names)(attempt),
            created: user.created,
            policy: Value::Null,
        };
        let index = layout::subject(user.provider, &user.subject);
        let batch = Batch::new()
            .if_absent(index.clone())
            .put(index, record::encode(&Pointer { id: id.0 }))
            .put(
                layout::tunnel_count(id),
                record::encode(&Count { tunnels: 1 }),
            );
        let made = self.event(Action::UserCreate, Target::User(id), context);
        events.push(made.of(id).with(user.provider.to_string()));
        let first = self.event(Action::TunnelCreate, Target::Tunnel(tunnel.id), context);
        events.push(first.of(id).with(tunnel.name.clone()));
        Ok((put_new_tunnel(batch, &tunnel), user))
    }
}

/// The user with what the provider says now.
fn refreshed(mut user: User, sign_in: &SignIn) -> User {
    user.username = cut(&sign_in.username);
    user.display_name = sign_in.display_name.as_deref().map(cut);
    user.email = sign_in.email.as_deref().map(cut);
    user.avatar_url = sign_in.avatar_url.as_deref().map(cut);
    if sign_in.admin && user.role != Role::Admin {
        user.role = Role::Admin;
        user.admin_by_list = true;
    } else if !sign_in.admin && user.admin_by_list {
        user.role = Role::User;
        user.admin_by_list = false;
    }
    user
}

fn cut(text: &str) -> String {
    record::cut(text, MAX_TEXT).into_owned()
}
