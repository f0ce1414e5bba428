//! Everything that decides which certificate is served, at one moment.
//!
//! A snapshot is built from the loaded pairs, the internal CA and the hosts of the sites, and then
//! never changes. Building one can fail; the one in use is not touched by that. Certificates the
//! internal CA has issued move from the previous snapshot to the next one until they are due.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{
    TlsError,
    certificates::{Certificate, Certificates, Name},
    files::Pair,
    internal_ca::InternalCa,
};
use crate::config::{self, HostPattern};

/// See the module.
pub(super) struct Snapshot {
    pub(super) certificates: Certificates,
    pub(super) pairs: Vec<Pair>,
    hosts: Vec<Name>,
    internal: Option<Internal>,
    built: SystemTime,
    /// When time alone would change the outcome.
    expires: Option<SystemTime>,
}

/// The internal CA at work.
struct Internal {
    data_dir: PathBuf,
    ca: Arc<InternalCa>,
    leaves: HashMap<Name, Arc<Certificate>>,
}

impl Internal {
    /// A third of a year remains when this is first tried, and each time leaves are due it is
    /// tried again, so a full disk is no reason to stop issuing from the intermediate there is.
    fn renew(&self, now: SystemTime) -> Arc<InternalCa> {
        match InternalCa::open_at(&self.data_dir, now) {
            Ok(ca) => Arc::new(ca),
            Err(error) => {
                tracing::error!(
                    %error,
                    "the internal CA's intermediate cannot be renewed; the old one stays in use"
                );
                Arc::clone(&self.ca)
            }
        }
    }
}

impl Snapshot {
    /// What is served before the first configuration: nothing.
    pub(super) fn empty() -> Self {
        Self {
            certificates: Certificates::default(),
            pairs: Vec::new(),
            hosts: Vec::new(),
            internal: None,
            built: SystemTime::UNIX_EPOCH,
            expires: None,
        }
    }

    /// Reads all that `config` names. Leaves of `previous` are used again where they can be.
    pub(super) fn load(
        config: &config::Tls,
        hosts: &[HostPattern],
        data_dir: &Path,
        previous: &Self,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut pairs = Vec::new();
        let mut errors = Vec::new();
        for files in &config.files {
            match Pair::load(files) {
                Ok(pair) => pairs.push(pair),
                Err(error) => errors.push(error),
            }
        }
        let ca = match config.certificates {
            config::Certificates::Internal => match InternalCa::open_at(data_dir, now) {
                Ok(ca) => Some((data_dir.to_owned(), Arc::new(ca))),
                Err(error) => {
                    errors.push(error);
                    None
                }
            },
            config::Certificates::Files => None,
        };
        if let Some(error) = TlsError::all(errors) {
            return Err(error);
        }
        let mut hosts: Vec<Name> = hosts.iter().filter_map(Name::of).collect();
        hosts.sort();
        hosts.dedup();
        let snapshot = Self::build(pairs, hosts, ca, previous, now)?;
        snapshot.say_what_is_missing();
        Ok(snapshot)
    }

    /// The same with other pairs, and with whatever time has made due renewed.
    pub(super) fn next(&self, pairs: Vec<Pair>, now: SystemTime) -> Result<Self, TlsError> {
        let ca = match &self.internal {
            None => None,
            Some(internal) => {
                let ca = match now >= internal.ca.renewal() {
                    true => internal.renew(now),
                    false => Arc::clone(&internal.ca),
                };
                Some((internal.data_dir.clone(), ca))
            }
        };
        Self::build(pairs, self.hosts.clone(), ca, self, now)
    }

    /// Whether [`Snapshot::next`] would do something though no file has changed. A clock that
    /// went back is such a case: what was issued may not be valid yet.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        now < self.built || self.expires.is_some_and(|expires| now >= expires)
    }

    fn build(
        pairs: Vec<Pair>,
        hosts: Vec<Name>,
        ca: Option<(PathBuf, Arc<InternalCa>)>,
        previous: &Self,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut certificates = Certificates::default();
        for pair in &pairs {
            say_if_not_valid(&pair.certificate, now);
            certificates.add(&pair.certificate, now);
        }
        let internal = match ca {
            None => None,
            Some((data_dir, ca)) => {
                let uncovered = hosts.iter().filter(|host| !certificates.cover(host));
                let leaves = issue(uncovered, &ca, previous, now)?;
                for leaf in leaves.values() {
                    certificates.add(leaf, now);
                }
                Some(Internal {
                    data_dir,
                    ca,
                    leaves,
                })
            }
        };
        let expires = next_change(&pairs, internal.as_ref(), now);
        Ok(Self {
            certificates,
            pairs,
            hosts,
            internal,
            built: now,
            expires,
        })
    }

    fn say_what_is_missing(&self) {
        if self.certificates.is_empty() {
            tracing::warn!("there is no certificate; every TLS connection will be refused");
            return;
        }
        for host in &self.hosts {
            if !self.certificates.cover(host) {
                tracing::warn!(
                    %host,
                    "no certificate covers this host of a site; TLS connections to it are refused. \
                     Add a pair that does to [tls] files"
                );
            }
        }
    }
}

/// One leaf for each name, those of `previous` where this CA made them and they are not due.
fn issue<'a>(
    names: impl Iterator<Item = &'a Name>,
    ca: &InternalCa,
    previous: &Snapshot,
    now: SystemTime,
) -> Result<HashMap<Name, Arc<Certificate>>, TlsError> {
    let known = previous.internal.as_ref().map(|internal| &internal.leaves);
    let usable = |leaf: &&Arc<Certificate>| {
        ca.issued(leaf) && leaf.validity.holds(now) && now < leaf.validity.last_third()
    };
    names
        .map(|name| {
            let known = known.and_then(|leaves| leaves.get(name)).filter(usable);
            let leaf = match known {
                Some(leaf) => Arc::clone(leaf),
                None => Arc::new(ca.issue(name, now)?),
            };
            Ok((name.clone(), leaf))
        })
        .collect()
}

fn next_change(pairs: &[Pair], internal: Option<&Internal>, now: SystemTime) -> Option<SystemTime> {
    let of_files = pairs.iter().flat_map(|pair| {
        let validity = pair.certificate.validity;
        // Valid through its last second, so the change comes with the next one.
        [
            validity.from,
            validity.until + std::time::Duration::from_secs(1),
        ]
    });
    let of_internal = internal.into_iter().flat_map(|internal| {
        let leaves = internal.leaves.values();
        leaves
            .map(|leaf| leaf.validity.last_third())
            .chain([internal.ca.renewal()])
    });
    of_files.chain(of_internal).filter(|at| *at > now).min()
}

fn say_if_not_valid(certificate: &Certificate, now: SystemTime) {
    if now > certificate.validity.until {
        tracing::warn!(
            certificate = %certificate.source,
            "the certificate has expired; clients will refuse it until the file is replaced"
        );
    } else if now < certificate.validity.from {
        tracing::warn!(
            certificate = %certificate.source,
            "the certificate is not valid yet; clients will refuse it. Is the clock right?"
        );
    }
}
