//! What can go wrong in a measurement, in words for whoever started it.

use std::{io, path::Path};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
    /// A server or the origin did not come up, or went away under load.
    #[error("{name} {problem}; the end of its log:\n{log}")]
    Process {
        name: &'static str,
        problem: &'static str,
        log: String,
    },
    /// A generator could not be run or said something unexpected.
    #[error("{tool}: {problem}")]
    Generator { tool: &'static str, problem: String },
    /// The load met errors, so its numbers mean nothing.
    #[error("{0}")]
    Load(String),
    #[error("certificate for the measurements: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS settings of the generator: {0}")]
    Tls(#[from] rustls::Error),
    #[error(
        "{} has no `{start}` … `{end}` lines in this order, so there is no place for the results",
        path.display()
    )]
    Markers {
        path: std::path::PathBuf,
        start: &'static str,
        end: &'static str,
    },
}

impl Error {
    pub fn generator(tool: &'static str, problem: impl Into<String>) -> Self {
        Self::Generator {
            tool,
            problem: problem.into(),
        }
    }
}

/// Says what was being done when an operating system call failed.
pub trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;

    fn at(self, verb: &str, path: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.doing(|| format!("{verb} {}", path.display()))
    }
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            doing: what(),
            source: source.into(),
        })
    }
}
