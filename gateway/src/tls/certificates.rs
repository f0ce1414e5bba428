//! Which certificate answers which name.
//!
//! A [`Certificate`] is a chain with its key and the names its leaf covers. [`Certificates`] is an
//! immutable index of them: exact names, wildcards of one label (RFC 6125 §6.4.3) and addresses.
//! There is no default: a name nobody configured finds nothing. Looking a name up takes no lock
//! and allocates nothing.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, time::ASN1Time,
};

use crate::config::HostPattern;

/// The longest DNS name in text (RFC 1035 §3.1 without the root).
const NAME_MAX: usize = 253;

/// A name a certificate can be issued for, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Name {
    Exact(String),
    /// `*.example.com`, held as `example.com`.
    Wildcard(String),
    Address(IpAddr),
}

impl Name {
    /// `None` for the pattern that stands for every host.
    pub(super) fn of(host: &HostPattern) -> Option<Self> {
        match host {
            HostPattern::Exact(host) => Some(match host.parse() {
                Ok(address) => Self::Address(address),
                Err(_) => Self::Exact(host.clone()),
            }),
            HostPattern::Wildcard(suffix) => Some(Self::Wildcard(suffix.clone())),
            HostPattern::Any => None,
        }
    }

    fn of_dns_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(suffix) if !suffix.is_empty() && !suffix.contains('*') => {
                Some(Self::Wildcard(suffix.to_owned()))
            }
            Some(_) => None,
            None => (!name.is_empty() && !name.contains('*')).then_some(Self::Exact(name)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// When a certificate may be used; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Validity {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        Self {
            from: time_of(certificate.validity().not_before),
            until: time_of(certificate.validity().not_after),
        }
    }

    pub(super) fn holds(self, now: SystemTime) -> bool {
        self.from <= now && now <= self.until
    }

    /// The moment from which less than a third of the lifetime remains.
    pub(super) fn last_third(self) -> SystemTime {
        let lifetime = self.until.duration_since(self.from).unwrap_or_default();
        self.until - lifetime / 3
    }
}

/// Times before 1970 count as 1970: nothing here is that old.
fn time_of(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A chain, its key, and what the leaf says about itself.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Vec<Name>,
    pub(super) validity: Validity,
    /// Where it came from, for messages: the path of the file, or the internal CA.
    pub(super) source: String,
}

impl Certificate {
    /// Reads names and validity out of the leaf. Fails with the parser's reason.
    pub(super) fn new(key: CertifiedKey, source: String) -> Result<Self, String> {
        let leaf = key.cert.first().ok_or("the chain is empty")?;
        let (names, validity) = read_leaf(leaf)?;
        Ok(Self {
            key: Arc::new(key),
            names,
            validity,
            source,
        })
    }

    /// Whether both would look the same to a client.
    pub(super) fn same_chain(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

fn read_leaf(leaf: &CertificateDer<'_>) -> Result<(Vec<Name>, Validity), String> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let names = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Name::of_dns_name(name),
            GeneralName::IPAddress(octets) => address_of(octets).map(Name::Address),
            _ => None,
        })
        .collect();
    Ok((names, Validity::of(&parsed)))
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

/// The index that a handshake looks into.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    exact: HashMap<String, Arc<Certificate>>,
    wildcard: HashMap<String, Arc<Certificate>>,
    address: HashMap<IpAddr, Arc<Certificate>>,
}

impl Certificates {
    /// Adds a certificate under every name it covers. Where a name is taken, the one that is valid
    /// at `now` stays, then the one that expires later.
    pub(super) fn add(&mut self, certificate: &Arc<Certificate>, now: SystemTime) {
        for name in &certificate.names {
            let slot = match name {
                Name::Exact(host) => self.exact.entry(host.clone()),
                Name::Wildcard(suffix) => self.wildcard.entry(suffix.clone()),
                Name::Address(address) => {
                    put(self.address.entry(*address), name, certificate, now);
                    continue;
                }
            };
            put(slot, name, certificate, now);
        }
    }

    /// Whether a site's name is covered, an exact one also by a wildcard.
    pub(super) fn cover(&self, name: &Name) -> bool {
        match name {
            Name::Exact(host) => self.by_name(host).is_some(),
            Name::Wildcard(suffix) => self.wildcard.contains_key(suffix),
            Name::Address(address) => self.address.contains_key(address),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.address.is_empty()
    }

    /// The certificate for a server name: exact, else a wildcard in place of the first label.
    /// Case and one trailing dot do not matter.
    pub(super) fn by_name(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut buffer = [0; NAME_MAX];
        let lower = buffer.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(lower).ok()?;
        let found = self.exact.get(name).or_else(|| {
            let (label, suffix) = name.split_once('.')?;
            self.wildcard.get(suffix).filter(|_| !label.is_empty())
        })?;
        Some(&found.key)
    }

    /// The certificate for a client that sent no name, which is how clients connect to an address.
    ///
    /// Behind a port mapping or a cloud's one-to-one NAT the local address is not the one the
    /// client asked for. So where that address is private (or there is none, on a Unix socket) and
    /// sites use exactly one address, that one is meant.
    pub(super) fn by_address(&self, local: Option<IpAddr>) -> Option<&Arc<CertifiedKey>> {
        let local = local.map(|address| address.to_canonical());
        if let Some(found) = local.and_then(|address| self.address.get(&address)) {
            return Some(&found.key);
        }
        let mut addresses = self.address.values();
        match (addresses.next(), addresses.next()) {
            (Some(only), None) if local.is_none_or(is_private) => Some(&only.key),
            _ => None,
        }
    }
}

fn put<K>(
    slot: std::collections::hash_map::Entry<'_, K, Arc<Certificate>>,
    name: &Name,
    new: &Arc<Certificate>,
    now: SystemTime,
) {
    use std::collections::hash_map::Entry;
    let mut taken = match slot {
        Entry::Vacant(slot) => {
            slot.insert(Arc::clone(new));
            return;
        }
        Entry::Occupied(taken) => taken,
    };
    let old = taken.get();
    if old.same_chain(new) {
        return;
    }
    let rank = |it: &Certificate| (it.validity.holds(now), it.validity.until);
    let (used, unused) = match rank(new) > rank(old) {
        true => (Arc::clone(new), taken.insert(Arc::clone(new))),
        false => (Arc::clone(old), Arc::clone(new)),
    };
    tracing::info!(
        name = %name, used = %used.source, unused = %unused.source,
        "two certificates cover one name; the valid one that expires later is used"
    );
}

/// RFC 1918, RFC 6598, RFC 3927 and RFC 4193 addresses: what a NAT leaves of the address a client
/// connected to. Loopback is not among them, it is never mapped.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
