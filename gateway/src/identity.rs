//! Opens what the configuration says of identity: the store, the master key, and the users,
//! sessions and keys in it.
//!
//! All of it lives on a runtime of its own, so that reading the store and following its changes
//! never takes a thread from requests: [`Background`] is that runtime in the binary, tests use
//! the one they run in.

use std::{io, path::Path, sync::Arc, time::Duration};

use auth::{
    seal::{MasterKey, MasterKeyError},
    store::{RedbStore, Store, StoreError},
};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::config::Config;

/// The embedded store, in the data directory.
const STORE_FILE: &str = "portunus.redb";
/// How long the end of the process waits for work that blocks.
const GOODBYE: Duration = Duration::from_secs(5);

/// Users, sessions, keys and tunnels.
#[derive(Clone, Debug)]
pub struct Identity {
    store: Arc<dyn Store>,
    seal: Arc<MasterKey>,
}

impl Identity {
    /// The store everything is in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What secrets are sealed under.
    pub fn seal(&self) -> &Arc<MasterKey> {
        &self.seal
    }

    /// Writes what is still to be written.
    pub async fn close(self) {}
}

/// Opens identity as `config` says, on the runtime this is called on. None is needed without a
/// domain.
pub async fn open(config: &Config) -> Result<Option<Identity>, OpenError> {
    if config.domain.is_none() {
        return Ok(None);
    }
    let store = open_store(&config.data_dir).await?;
    let seal = Arc::new(ephemeral()?);
    Ok(Some(Identity { store, seal }))
}

/// Why identity is not there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
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
