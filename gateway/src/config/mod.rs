//! What the gateway was asked to do.
//!
//! `load` reads `portunus.toml` and the files it includes, expands `${ENV}` and `{ file = … }`,
//! and turns the text into the runtime types of this folder. It returns either a [`Config`] that
//! needs no further checks, or *every* problem found, each with file, line, span and a hint.
//! Nothing past this folder looks at TOML, and nothing in this folder opens a socket.
//!
//! The types are in one file per part: [`listen`], [`tls`], [`auth`], [`route`], [`access`],
//! [`observe`]; [`value`] holds the small ones they share. `read` has one reader per part, `source` and `include` get
//! the text, `diagnostic` is how problems look, `normal_form` prints a configuration.

pub mod access;
pub mod auth;
mod diagnostic;
mod include;
pub mod listen;
mod normal_form;
pub mod observe;
mod read;
pub mod route;
mod source;
pub mod tls;
pub mod tunnels;
pub mod value;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

pub use self::{
    access::{Access, Deprecated, Dialect, ForwardAuth},
    auth::Auth,
    diagnostic::{Diagnostic, Problems},
    listen::{Limits, Listen, ListenAddress},
    observe::{AccessLog, Log},
    route::{
        Files, Handler, HeaderCondition, HeaderOps, HostHeader, Matcher, PathPattern, Proxy,
        QueryCondition, Rate, Redirect, Respond, Rewrite, Route, RouteLimits, Site,
        UpstreamAddress, UpstreamUrl,
    },
    tls::{CertificateFiles, Certificates, Tls},
    tunnels::Tunnels,
    value::{HostPattern, Secret},
};
use self::{
    read::{Context, Document},
    source::Source,
};

/// A whole, checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The gateway's own host, where its API and dashboard answer. Not used for routing sites.
    pub domain: Option<String>,
    /// Development mode: looser start checks, said loudly at start.
    pub dev: bool,
    /// Where the gateway keeps state (the internal CA, later the store). Relative paths are
    /// taken from the directory of the configuration file.
    pub data_dir: PathBuf,
    pub listen: Listen,
    pub tls: Tls,
    /// Users, keys and sessions, and the store they are in.
    pub auth: Auth,
    pub log: Log,
    /// `[tunnels]`: names for services that agents bring.
    pub tunnels: Option<Tunnels>,
    /// Sites in the order of the file; hosts are unique over all of them.
    pub sites: Vec<Site>,
}

impl Config {
    /// The sites of the file, and the one that tunnels are.
    pub fn all_sites(&self) -> impl Iterator<Item = Cow<'_, Site>> {
        let tunnels = self.tunnels.as_ref().map(Tunnels::site).map(Cow::Owned);
        self.sites.iter().map(Cow::Borrowed).chain(tunnels)
    }
}

/// A configuration and what was noticed on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Worth telling, but no reason not to start.
    pub warnings: Vec<Diagnostic>,
    /// The configuration file and the files it includes, in the order they were read.
    pub files: Vec<PathBuf>,
}

/// Reads the configuration file at `path` and the files it includes.
///
/// Variables come from `environment`; the process environment is never looked at.
///
/// # Errors
///
/// Every problem of every file at once.
pub fn load(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let context = Context::new(environment);
    let main = Source::read(path, 0).map_err(|problem| Problems(vec![problem]))?;
    let (config, files) = read_files(&main, &context);
    let (problems, warnings) = context.into_parts();
    if problems.is_empty() {
        Ok(Loaded {
            config,
            warnings,
            files,
        })
    } else {
        Err(Problems(problems))
    }
}

/// What the files say, and their names; to be used only when there is no problem in `context`.
fn read_files(main: &Source, context: &Context<'_>) -> (Config, Vec<PathBuf>) {
    let document = Document::parse(main, context);
    let mut sources = Vec::new();
    for (index, path) in read::includes(&document, context).iter().enumerate() {
        match Source::read(path, index + 1) {
            Ok(source) => sources.push(source),
            Err(problem) => context.problem(index + 1, problem),
        }
    }
    let included: Vec<_> = sources
        .iter()
        .map(|source| Document::parse(source, context))
        .collect();
    let config = read::config(&document, &included, context);
    if config.sites.is_empty() && config.tunnels.is_none() {
        let mut warning =
            Diagnostic::of_file(&main.path, "there are no sites to route requests to");
        warning.hint = Some("add a `[[site]]`".into());
        context.warning(main.order, warning);
    }
    let mut files = vec![main.path.clone()];
    files.extend(sources.iter().map(|source| source.path.clone()));
    (config, files)
}
