//! Where the master key comes from.
//!
//! In production it is in the configuration, apart from the data. In development mode one is made
//! at the first start and kept beside the data, so that a restart can still read them: whoever has
//! the data directory has everything, which the log says.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use auth::seal::{MasterKey, MasterKeyError};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::config::Config;

/// In the data directory, in development mode.
const FILE: &str = "development.key";

/// The master key of `config`.
pub(crate) fn of(config: &Config) -> Result<MasterKey, KeyError> {
    match &config.auth.master_key {
        Some(key) => Ok(MasterKey::parse(key.expose())?),
        None if config.dev => development(&config.data_dir.join(FILE)),
        None => Err(KeyError::Unusable(MasterKeyError::Missing)),
    }
}

/// There is no master key to work with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Unusable(#[from] MasterKeyError),
    #[error("the system gave no random bytes to make a master key from")]
    Random,
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

fn development(path: &Path) -> Result<MasterKey, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(mut file) => {
            tracing::warn!(path = %path.display(), "development mode: no master_key is configured, so one was made and stands beside the data it seals");
            let digits = random_digits()?;
            file.write_all(digits.as_bytes()).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            tracing::warn!(path = %path.display(), "development mode: no master_key is configured; using the one that stands beside the data it seals");
        }
        Err(error) => return Err(failed(error)),
    }
    let digits = std::fs::read_to_string(path).map_err(failed)?;
    Ok(MasterKey::parse(&digits)?)
}

fn random_digits() -> Result<String, KeyError> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| KeyError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
