//! Opens what the configuration says of identity: the store, the master key, and the users,
//! sessions and keys in it.
//!
//! All of it lives on a runtime of its own, so that reading the store and following its changes
//! never takes a thread from requests: [`Background`] is that runtime in the binary, tests use
//! the one they run in.

use std::{io, path::Path, sync::Arc, time::Duration};

pub use auth::identity::Identity;
use auth::{
    identity::{IdentityError, NoAudit, Parts, PasswordHasher, Settings},
    seal::{MasterKey, MasterKeyError},
    store::{RedbStore, Store, StoreError, SystemClock},
};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::config::Config;

/// The embedded store, in the data directory.
const STORE_FILE: &str = "portunus.redb";
/// How long the end of the process waits for work that blocks.
const GOODBYE: Duration = Duration::from_secs(5);

/// Opens identity as `config` says, on the runtime this is called on.
pub async fn open(config: &Config) -> Result<Option<Identity>, OpenError> {
    if !config.auth.used {
        return Ok(None);
    }
    let seal = match &config.auth.master_key {
        Some(key) => MasterKey::parse(key.expose())?,
        None => ephemeral()?,
    };
    let parts = Parts {
        store: open_store(&config.data_dir).await?,
        seal: Arc::new(seal),
        clock: Arc::new(SystemClock),
        passwords: Arc::new(NoPasswords),
        audit: Arc::new(NoAudit),
    };
    let settings = Settings {
        session_idle: config.auth.session.idle,
        session_absolute: config.auth.session.lifetime,
        has_provider: config.auth.github.is_some() || config.auth.gitlab.is_some(),
        ..Settings::default()
    };
    Ok(Some(Identity::open(parts, settings).await?))
}

#[derive(Debug)]
struct NoPasswords;

#[async_trait::async_trait]
impl PasswordHasher for NoPasswords {
    async fn hash(&self, _: &str) -> Result<String, String> {
        Err("no passwords are kept".into())
    }

    async fn verify(&self, _: Option<&str>, _: &str) -> bool {
        false
    }
}

/// Why identity is not there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error("the system gave no random bytes to make a master key from")]
    Random,
    #[error("cannot create {path}: {source}")]
    Directory { path: String, source: io::Error },
}

/// A runtime with one worker for what is not on the path of a request.
#[derive(Debug)]
pub struct Background(Runtime);

impl Background {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("portunus-background")
            .enable_all()
            .build()
            .map(Self)
    }

    /// Where tasks can be given to it.
    pub fn handle(&self) -> &Handle {
        self.0.handle()
    }

    /// Waits for `task` to be done on it.
    pub fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.0.block_on(task)
    }

    /// Ends it, and waits a moment for what cannot be interrupted.
    pub fn stop(self) {
        self.0.shutdown_timeout(GOODBYE);
    }
}

async fn open_store(data_dir: &Path) -> Result<Arc<dyn Store>, OpenError> {
    crate::app::create_data_dir(data_dir).map_err(|source| OpenError::Directory {
        path: data_dir.display().to_string(),
        source,
    })?;
    Ok(Arc::new(RedbStore::open(data_dir.join(STORE_FILE)).await?))
}

/// A key for this run only.
fn ephemeral() -> Result<MasterKey, OpenError> {
    use aws_lc_rs::rand::{SecureRandom, SystemRandom};
    use std::fmt::Write;

    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| OpenError::Random)?;
    let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    Ok(MasterKey::parse(&digits)?)
}
