//! Users: listed, changed, deleted.

use super::retry::Tries;
use super::trail::{Action, Target};
use super::{Context, Identity, IdentityError, Listing, Page, What};
use crate::record::{self, Stored, layout};
use crate::store::{Batch, Revision};
use crate::user::{Provider, Role, User, UserId};

/// What to change of a user; `None` stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UserChanges {
    pub role: Option<Role>,
    pub disabled: Option<bool>,
    /// `Some(None)` removes it.
    pub display_name: Option<Option<String>>,
    /// `Some(None)` removes it.
    pub email: Option<Option<String>>,
}

/// Which users a list shall have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UserFilter {
    pub provider: Option<Provider>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
    /// A part of the user name, the display name or the email address, in any case.
    pub text: Option<String>,
}

impl UserFilter {
    fn takes(&self, user: &User) -> bool {
        let has = |text: &str, part: &str| text.to_lowercase().contains(part);
        let named = |part: &str| {
            let part = part.to_lowercase();
            let names = [
                Some(&user.username),
                user.display_name.as_ref(),
                user.email.as_ref(),
            ];
            names.into_iter().flatten().any(|name| has(name, &part))
        };
        !user.deleting
            && self
                .provider
                .is_none_or(|provider| user.provider == provider)
            && self.role.is_none_or(|role| user.role == role)
            && self
                .disabled
                .is_none_or(|disabled| user.disabled == disabled)
            && self.text.as_deref().is_none_or(named)
    }
}

impl Identity {
    /// A page of the users that `filter` takes.
    pub async fn users(
        &self,
        page: &Page,
        filter: &UserFilter,
    ) -> Result<Listing<User>, IdentityError> {
        self.list(layout::USERS, page, |user| filter.takes(user))
            .await
    }

    /// User `id`.
    pub async fn user(&self, id: UserId) -> Result<Stored<User>, IdentityError> {
        let found = self.read::<User>(&layout::user(id)).await?;
        found
            .filter(|user| !user.deleting)
            .ok_or(IdentityError::NotFound(What::User))
    }

    /// Changes user `id`. With `if_match`, only if nobody changed it since that revision.
    /// A key that is for some things only makes nobody an administrator:
    /// [`IdentityError::BeyondOwnScopes`].
    pub async fn update_user(
        &self,
        id: UserId,
        changes: &UserChanges,
        if_match: Option<Revision>,
        context: &Context,
    ) -> Result<Stored<User>, IdentityError> {
        if changes.role == Some(Role::Admin) && !context.may_make_admin() {
            return Err(IdentityError::BeyondOwnScopes);
        }
        let mut tries = Tries::default();
        loop {
            let Stored {
                mut record,
                revision,
            } = self.user(id).await?;
            if if_match.is_some_and(|expected| expected != revision) {
                return Err(IdentityError::Changed(What::User));
            }
            let detail = apply(&mut record, changes);
            let at = layout::user(id);
            let batch = Batch::new()
                .if_revision(at.clone(), revision)
                .put(at, record::encode(&record));
            let batch = close_setup(batch, &record);
            let event = self.event(Action::UserUpdate, Target::User(id), context);
            match self.write(batch, &[event.of(id).with(detail)]).await {
                Ok(revision) => return Ok(Stored { record, revision }),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Deletes user `id` with sessions, keys and tunnels. The audit trail stays.
    pub async fn delete_user(
        &self,
        id: UserId,
        if_match: Option<Revision>,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let mut tries = Tries::default();
        loop {
            let Stored {
                mut record,
                revision,
            } = self.user(id).await?;
            if if_match.is_some_and(|expected| expected != revision) {
                return Err(IdentityError::Changed(What::User));
            }
            record.deleting = true;
            let at = layout::user(id);
            let batch = Batch::new()
                .if_revision(at.clone(), revision)
                .put(at, record::encode(&record))
                .put(layout::deletion(id), "")
                .delete(layout::subject(record.provider, &record.subject));
            let event = self.event(Action::UserDelete, Target::User(id), context);
            match self.write(batch, &[event.of(id)]).await {
                Ok(_) => break,
                Err(error) => tries.again(error).await?,
            }
        }
        self.finish_deletion(id).await
    }
}

/// Where there is an admin, nobody sets up any more.
pub(super) fn close_setup(batch: Batch, user: &User) -> Batch {
    if user.role == Role::Admin {
        batch.delete(layout::SETUP)
    } else {
        batch
    }
}

/// Returns what was changed, for the audit row.
fn apply(user: &mut User, changes: &UserChanges) -> String {
    let mut done = Vec::new();
    if let Some(role) = changes.role {
        user.role = role;
        user.admin_by_list = false;
        done.push(format!("role {role}"));
    }
    if let Some(disabled) = changes.disabled {
        user.disabled = disabled;
        done.push(if disabled { "disabled" } else { "enabled" }.to_owned());
    }
    if let Some(name) = &changes.display_name {
        user.display_name.clone_from(name);
        done.push("display name".to_owned());
    }
    if let Some(email) = &changes.email {
        user.email.clone_from(email);
        done.push("email".to_owned());
    }
    done.join(", ")
}
