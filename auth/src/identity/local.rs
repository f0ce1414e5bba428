//! Accounts of this gateway's own, with a password.

use std::fmt;

use async_trait::async_trait;

use super::{Context, Identity, IdentityError};
use crate::Secret;
use crate::record::Stored;
use crate::session::SessionToken;
use crate::user::{Role, User, UserId};

/// Hashes passwords, slowly.
#[async_trait]
pub trait PasswordHasher: fmt::Debug + Send + Sync {
    /// The hash of `password`, as a text that says how it was made.
    async fn hash(&self, password: &str) -> Result<String, String>;

    /// Whether `password` is the one of `hash`. Without a hash the answer is no, after as much time.
    async fn verify(&self, hash: Option<&str>, password: &str) -> bool;
}

impl Identity {
    /// Makes an account with a password. [`IdentityError::NameTaken`] if there is one.
    pub async fn create_local(
        &self,
        name: &str,
        password: &str,
        role: Role,
        context: &Context,
    ) -> Result<Stored<User>, IdentityError> {
        let _ = (name, password, role, context);
        Err(IdentityError::Busy)
    }

    /// Gives a local account another password; its sessions end.
    pub async fn set_password(
        &self,
        id: UserId,
        password: &str,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let _ = (id, password, context);
        Err(IdentityError::Busy)
    }

    /// Takes in who has the name and password of a local account.
    ///
    /// [`IdentityError::BadCredentials`] whatever was wrong, [`IdentityError::TooMany`] after too
    /// many failures from one address or for one name.
    pub async fn sign_in_local(
        &self,
        name: &str,
        password: &str,
        context: &Context,
    ) -> Result<(Stored<User>, SessionToken), IdentityError> {
        let _ = (name, password, context);
        Err(IdentityError::BadCredentials)
    }

    /// The one-time set-up token, while nobody can sign in otherwise: no provider is configured and
    /// there is no administrator.
    pub async fn setup_link(&self) -> Result<Option<Secret>, IdentityError> {
        Ok(None)
    }

    /// Makes the first administrator, with the set-up token.
    pub async fn finish_setup(
        &self,
        token: &str,
        name: &str,
        password: &str,
        context: &Context,
    ) -> Result<(Stored<User>, SessionToken), IdentityError> {
        let _ = (token, name, password, context);
        Err(IdentityError::SetupClosed)
    }
}
