//! What the gateway was asked to do.
//!
//! `load` reads `portunus.toml` and the files it includes, expands `${ENV}` and `{ file = … }`,
//! and turns the text into the runtime types of this folder. It returns either a [`Config`] that
//! needs no further checks, or *every* problem found, each with file, line, span and a hint.
//! Nothing past this folder looks at TOML, and nothing in this folder opens a socket.
//!
//! One file per part of the configuration: [`listen`], [`tls`], [`route`], [`observe`];
//! [`value`] holds the small types they share.

pub mod listen;
pub mod observe;
pub mod route;
pub mod tls;
pub mod value;

use std::path::PathBuf;

pub use self::{
    listen::{Limits, Listen, ListenAddress},
    observe::{AccessLog, Log},
    route::{
        Files, Handler, HeaderCondition, HeaderOps, HostHeader, Matcher, PathPattern, Proxy,
        QueryCondition, Redirect, Respond, Rewrite, Route, Site, UpstreamAddress, UpstreamUrl,
    },
    tls::{CertificateFiles, Certificates, Tls},
    value::{HostPattern, Secret},
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
    pub log: Log,
    /// Sites in the order of the file; hosts are unique over all of them.
    pub sites: Vec<Site>,
}
