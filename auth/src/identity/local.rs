//! Accounts of this gateway's own, with a password; and the set-up that makes the first.
//!
//! Password hashes lie sealed beside the users. The set-up token lies sealed as well, so that every
//! gateway on a store, and every start, gives out the same link until somebody used it; whatever
//! makes an administrator removes it in the same commit.

use std::fmt;

use async_trait::async_trait;

use super::retry::Tries;
use super::trail::{Action, Event, Target};
use super::tunnels::Pointer;
use super::{Context, Identity, IdentityError, What};
use crate::Secret;
use crate::apikey::random_characters;
use crate::attempts::Attempt;
use crate::password::{Hash, PasswordError, Passwords, Verdict};
use crate::record::{self, Stored, layout};
use crate::session::SessionToken;
use crate::store::{Batch, Revision};
use crate::user::{Provider, Role, SignIn, User, UserId};

/// The longest name of an account, in characters.
const MAX_NAME: usize = 64;
const SETUP_BRAND: &str = "ptnsetup_";
/// Random characters of a set-up token (256 bits).
const SETUP_LEN: usize = 43;

/// Hashes passwords, slowly.
#[async_trait]
pub trait PasswordHasher: fmt::Debug + Send + Sync {
    /// The hash of `password`, as a text that says how it was made.
    async fn hash(&self, password: &str) -> Result<String, PasswordError>;

    /// Whether `password` is the one of `hash`. Without a hash the answer is no, after as much time.
    async fn verify(&self, hash: Option<&str>, password: &str) -> Result<Verdict, PasswordError>;
}

#[async_trait]
impl PasswordHasher for Passwords {
    async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let hash = Passwords::hash(self, password).await?;
        Ok(hash.as_str().to_owned())
    }

    async fn verify(&self, hash: Option<&str>, password: &str) -> Result<Verdict, PasswordError> {
        // What is no hash lets nobody in, and takes as long.
        let hash: Option<Hash> = hash.and_then(|hash| hash.parse().ok());
        self.verify_or_dummy(hash.as_ref(), password).await
    }
}

impl Identity {
    /// Makes an account with a password. [`IdentityError::NameTaken`] if there is one,
    /// [`IdentityError::BeyondOwnScopes`] for an administrator by a key that is for some things only.
    pub async fn create_local(
        &self,
        name: &str,
        password: &str,
        role: Role,
        context: &Context,
    ) -> Result<Stored<User>, IdentityError> {
        if role == Role::Admin && !context.may_make_admin() {
            return Err(IdentityError::BeyondOwnScopes);
        }
        let name = account_name(name)?;
        let hash = self.hash(&name, password).await?;
        let mut tries = Tries::default();
        loop {
            let made = self.new_account(&name, &hash, role, tries.count(), context);
            let (batch, user, events) = made.await?;
            let batch = batch.put(layout::user(user.id), record::encode(&user));
            let batch = super::users::close_setup(batch, &user);
            match self.write(batch, &events).await {
                Ok(revision) => {
                    return Ok(Stored {
                        record: user,
                        revision,
                    });
                }
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Gives a local account another password; its sessions end.
    pub async fn set_password(
        &self,
        id: UserId,
        password: &str,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let user = self.user(id).await?;
        if user.provider != Provider::Local {
            let problem = "only a local account has one; this one signs in with its provider";
            return Err(IdentityError::invalid("password", problem));
        }
        let hash = self.hash(&user.subject, password).await?;
        let mut tries = Tries::default();
        loop {
            let user = self.user(id).await?;
            let batch = Batch::new().if_revision(layout::user(id), user.revision);
            let batch = self.put_password(batch, id, &hash)?;
            let event = self.event(Action::PasswordChange, Target::User(id), context);
            match self.write(batch, &[event.of(id)]).await {
                Ok(_) => break,
                Err(error) => tries.again(error).await?,
            }
        }
        self.end_sessions_of(id).await
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
        let name = name.trim().to_lowercase();
        let attempt = self.attempt(context, Some(&name))?;
        let user = self.account(&name).await?;
        let kept = match &user {
            Some(user) => self.password_of(user.id).await?,
            None => None,
        };
        let hash = kept.as_ref().map(|(hash, _)| hash.as_str());
        let verdict = self.0.parts.passwords.verify(hash, password).await;
        let verdict = verdict.inspect_err(|_| self.0.attempts.undone(&attempt))?;
        let (right, rehashed) = match verdict {
            Verdict::Right { rehashed } => (true, rehashed),
            Verdict::Wrong => (false, None),
        };
        let (Some(user), Some((_, checked))) = (user.filter(|user| right && !user.disabled), kept)
        else {
            let event = self.event(Action::SignInFailed, Target::None, context);
            self.write(Batch::new(), &[event.with("local")]).await?;
            return Err(IdentityError::BadCredentials);
        };
        self.0.attempts.succeeded(&attempt);
        self.let_in(user.id, checked, rehashed.as_ref(), context)
            .await
    }

    /// Signs in who showed the password that was kept by the commit `checked`.
    async fn let_in(
        &self,
        id: UserId,
        checked: Revision,
        rehashed: Option<&Hash>,
        context: &Context,
    ) -> Result<(Stored<User>, SessionToken), IdentityError> {
        let at = layout::password(id);
        let mut tries = Tries::default();
        loop {
            let user = self.user(id).await?;
            if user.disabled {
                return Err(IdentityError::BadCredentials);
            }
            // A password that was changed meanwhile must not let anybody in, nor come back.
            let mut batch = Batch::new()
                .if_revision(layout::user(id), user.revision)
                .if_revision(at.clone(), checked);
            if let Some(hash) = rehashed {
                batch = self.put_password(batch, id, hash.as_str())?;
            }
            let done = self.finish_sign_in(batch, user.record, Vec::new(), context);
            match done.await {
                Ok(signed_in) => return Ok(signed_in),
                Err(error) => tries.again(error).await?,
            }
            let kept = self.store().get(&at).await?;
            if kept.is_none_or(|kept| kept.revision != checked) {
                return Err(IdentityError::Busy);
            }
        }
    }

    /// The one-time set-up token, while nobody can sign in otherwise: no provider is configured and
    /// there is no administrator.
    pub async fn setup_link(&self) -> Result<Option<Secret>, IdentityError> {
        let at = layout::SETUP;
        while self.is_setup_open() {
            if let Some(found) = self.store().get(at.as_bytes()).await? {
                return self.open_setup(&found.value).map(Some);
            }
            let mut token = SETUP_BRAND.to_owned();
            random_characters(&mut token, SETUP_LEN)?;
            let sealed = self.seal().seal(at.as_bytes(), token.as_bytes())?;
            let batch = Batch::new().if_absent(at).put(at, sealed);
            match self.store().commit(batch).await {
                Ok(_) => return Ok(Some(Secret::new(token))),
                // Another gateway made one; that is given out.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Makes the first administrator, with the set-up token, and signs them in.
    ///
    /// [`IdentityError::SetupClosed`] if the token is another or was used.
    pub async fn finish_setup(
        &self,
        token: &str,
        name: &str,
        password: &str,
        context: &Context,
    ) -> Result<(Stored<User>, SessionToken), IdentityError> {
        let attempt = self.attempt(context, None)?;
        if !self.is_setup_open() {
            return Err(IdentityError::SetupClosed);
        }
        let found = self.store().get(layout::SETUP.as_bytes()).await?;
        let found = found.ok_or(IdentityError::SetupClosed)?;
        if self.open_setup(&found.value)? != Secret::new(token) {
            return Err(IdentityError::SetupClosed);
        }
        self.0.attempts.succeeded(&attempt);
        let name = account_name(name)?;
        let hash = self.hash(&name, password).await?;
        let mut tries = Tries::default();
        loop {
            let made = self.new_account(&name, &hash, Role::Admin, tries.count(), context);
            let (batch, user, mut events) = made.await?;
            events.push(self.event(Action::SetUpFinish, Target::None, context));
            // Finishing the sign-in of an administrator removes the token.
            let batch = batch.if_revision(layout::SETUP, found.revision);
            match self.finish_sign_in(batch, user, events, context).await {
                Ok(signed_in) => return Ok(signed_in),
                Err(error) => tries.again(error).await?,
            }
            let still = self.store().get(layout::SETUP.as_bytes()).await?;
            if still.is_none_or(|still| still.revision != found.revision) {
                return Err(IdentityError::SetupClosed);
            }
        }
    }

    fn is_setup_open(&self) -> bool {
        !self.settings().has_provider && !self.directory().has_admin()
    }

    fn open_setup(&self, sealed: &[u8]) -> Result<Secret, IdentityError> {
        let token = self.seal().open(layout::SETUP.as_bytes(), sealed)?;
        // What was sealed is text; anything else would equal no token.
        Ok(Secret::new(String::from_utf8_lossy(&token).into_owned()))
    }

    fn attempt(&self, context: &Context, account: Option<&str>) -> Result<Attempt, IdentityError> {
        let begun = self
            .0
            .attempts
            .begin(context.ip, account, self.clock().now());
        begun.map_err(|retry_after| IdentityError::TooMany { retry_after })
    }

    /// A user with a password, not written yet.
    async fn new_account(
        &self,
        name: &str,
        hash: &str,
        role: Role,
        attempt: u32,
        context: &Context,
    ) -> Result<(Batch, User, Vec<Event>), IdentityError> {
        let taken = self
            .store()
            .get(&layout::subject(Provider::Local, name))
            .await?;
        if taken.is_some() {
            return Err(IdentityError::NameTaken(name.to_owned()));
        }
        let sign_in = SignIn {
            provider: Provider::Local,
            subject: name.to_owned(),
            username: name.to_owned(),
            display_name: None,
            email: None,
            avatar_url: None,
            admin: role == Role::Admin,
        };
        let mut events = Vec::new();
        let made = self.new_user(&sign_in, attempt, context, &mut events);
        let (batch, mut user) = made.await?;
        user.admin_by_list = false;
        Ok((self.put_password(batch, user.id, hash)?, user, events))
    }

    async fn account(&self, name: &str) -> Result<Option<User>, IdentityError> {
        if account_name(name).is_err() {
            return Ok(None);
        }
        let index = layout::subject(Provider::Local, name);
        let Some(pointer) = self.read::<Pointer>(&index).await? else {
            return Ok(None);
        };
        match self.user(UserId(pointer.id)).await {
            Ok(user) => Ok(Some(user.record)),
            Err(IdentityError::NotFound(What::User)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn hash(&self, name: &str, password: &str) -> Result<String, IdentityError> {
        let lower = password.to_lowercase();
        if lower.contains(name) && password.len() < 2 * name.len() {
            let problem = "it is too much like the name";
            return Err(IdentityError::invalid("password", problem));
        }
        Ok(self.0.parts.passwords.hash(password).await?)
    }

    fn put_password(&self, batch: Batch, id: UserId, hash: &str) -> Result<Batch, IdentityError> {
        let at = layout::password(id);
        let sealed = self.seal().seal(&at, hash.as_bytes())?;
        Ok(batch.put(at, sealed))
    }

    async fn password_of(&self, id: UserId) -> Result<Option<(String, Revision)>, IdentityError> {
        let at = layout::password(id);
        let Some(found) = self.store().get(&at).await? else {
            return Ok(None);
        };
        let hash = self.seal().open(&at, &found.value)?;
        let hash = String::from_utf8(hash).ok();
        Ok(hash.map(|hash| (hash, found.revision)))
    }
}

/// The name of an account, in lower case.
fn account_name(name: &str) -> Result<String, IdentityError> {
    let name = name.trim().to_lowercase();
    let fits = (1..=MAX_NAME).contains(&name.len());
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.@+".contains(&b);
    if !fits || !name.bytes().all(known) {
        let problem = format!("it has 1 to {MAX_NAME} of the characters a-z 0-9 - _ . @ +");
        return Err(IdentityError::invalid("name", problem));
    }
    Ok(name)
}
