//! Opens what the configuration says of identity: the store, the master key, the audit trail, and
//! the users, sessions and keys in it.
//!
//! All of it lives on a runtime of its own (`background.rs`), so that reading the store and
//! following its changes never takes a thread from requests. Who has no domain and protects
//! nothing with keys or sessions has no store either.

mod background;
mod issuing;
mod master_key;
mod tokens;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use auth::identity::Identity;
use auth::{
    audit::{AuditError, Chain},
    identity::{IdentityError, Parts, Settings},
    password::{Cost, PasswordError, Passwords},
    seal::MasterKey,
    store::{Clock, PostgresStore, RedbStore, Store, StoreError, SystemClock},
    token::{Keys, TokenError},
};

pub use self::{background::Background, issuing::Issuing, master_key::KeyError};
use tokio_util::sync::CancellationToken;

use crate::{app, config::Config};

/// The embedded store, in the data directory.
pub(crate) const STORE_FILE: &str = "portunus.redb";

/// Identity, open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Users, sessions, keys and tunnels.
    pub identity: Identity,
    /// Who did what.
    pub audit: Chain,
    /// What tokens for others are signed with; `None` if that is a shared secret.
    pub tokens: Option<Arc<Keys>>,
    /// The store, if it is the embedded one: it makes backups.
    pub embedded: Option<Arc<RedbStore>>,
    /// Cancelled at the end.
    stop: CancellationToken,
}

impl Opened {
    /// Writes what is still to be written.
    pub async fn close(self) {
        self.stop.cancel();
        if let Err(error) = self.identity.close().await {
            tracing::error!(%error, "what keys and sessions were used last was not written");
        }
        if let Err(error) = self.audit.checkpoint().await {
            tracing::error!(%error, "the end of the audit trail was not signed");
        }
    }
}

/// Opens identity as `config` says, on the runtime this is called on; `None` if nothing needs it.
///
/// # Errors
///
/// A store that cannot be opened, a master key that cannot be used, or an audit trail that was
/// tampered with: a gateway that went on would cover what was done to it.
pub async fn open(config: &Config) -> Result<Option<Opened>, OpenError> {
    if !config.auth.used {
        return Ok(None);
    }
    create_data_dir(&config.data_dir)?;
    let (store, embedded) = open_store(config).await?;
    let seal = Arc::new(master_key::of(config)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let chain = Chain::open(
        Arc::clone(&store),
        &seal,
        Arc::clone(&clock),
        Chain::DEFAULT,
    );
    let audit = chain.await?;
    let auth = &config.auth;
    let stop = CancellationToken::new();
    let tokens = tokens::open(&auth.jwt, &store, &seal, &clock, &stop).await?;
    let settings = Settings {
        session_idle: auth.session.idle,
        session_absolute: auth.session.lifetime,
        has_provider: auth.github.is_some() || auth.gitlab.is_some(),
        ..Settings::default()
    };
    let parts = Parts {
        store,
        seal,
        clock,
        passwords: Arc::new(passwords()?),
        audit: Arc::new(audit.clone()),
    };
    let identity = Identity::open(parts, settings).await?;
    Ok(Some(Opened {
        identity,
        audit,
        tokens,
        embedded,
        stop,
    }))
}

/// The store that `config` names, and itself once more if it is the embedded one.
pub(crate) async fn open_store(
    config: &Config,
) -> Result<(Arc<dyn Store>, Option<Arc<RedbStore>>), OpenError> {
    if let Some(url) = &config.auth.store {
        let store = PostgresStore::connect(url.expose()).await?;
        return Ok((Arc::new(store), None));
    }
    let store = Arc::new(RedbStore::open(config.data_dir.join(STORE_FILE)).await?);
    Ok((Arc::clone(&store) as Arc<dyn Store>, Some(store)))
}

/// The store and the master key of a gateway that is not running, for who looks into them.
pub(crate) async fn open_stopped(
    config: &Config,
) -> Result<(Arc<dyn Store>, Arc<MasterKey>), OpenError> {
    let file = config.data_dir.join(STORE_FILE);
    if config.auth.store.is_none() && !file.exists() {
        return Err(OpenError::NoStore(file));
    }
    let (store, _) = open_store(config).await?;
    Ok((store, Arc::new(master_key::of(config)?)))
}

/// Hashes passwords on half of the cores at most.
fn passwords() -> Result<Passwords, PasswordError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Passwords::new(Cost::default(), cores / 2)
}

fn create_data_dir(path: &Path) -> Result<(), OpenError> {
    app::create_data_dir(path).map_err(|source| OpenError::Directory {
        path: path.display().to_string(),
        source,
    })
}

/// Why identity is not there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the keys that sign tokens cannot be opened: {0}")]
    Tokens(#[from] TokenError),
    #[error("the audit trail cannot be opened: {0}")]
    Audit(#[from] AuditError),
    #[error("there is no store at {}", .0.display())]
    NoStore(PathBuf),
    #[error("cannot create the data directory {path}: {source}")]
    Directory { path: String, source: io::Error },
}

impl OpenError {
    /// What the operator can do about it, when there is something to say beyond the message.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Audit(AuditError::Broken { .. }) => Some(
                "`portunus audit verify` says where; restore a backup, or keep the store as evidence and begin a new one",
            ),
            _ => None,
        }
    }
}
