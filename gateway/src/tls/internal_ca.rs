//! The private CA of a gateway without public certificates.
//!
//! A root of ten years, which clients are given once, signs an intermediate of one year, which
//! signs leaves of seven days for the hosts of the configuration and nothing else. Both live in
//! `data_dir/internal-ca`; leaves are only ever in memory. All keys are ECDSA P-256.
//!
//! Root and intermediate are created together or not at all. A root that lost its key is never
//! replaced silently, because every client would have to trust the new one; an intermediate can
//! be replaced at any time and is, when it is damaged or less than a third of its year remains.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    TlsError,
    certificates::{Certificate, Name, Validity},
    private_dir::{self, CERTIFICATE_MODE, DIRECTORY_MODE, KEY_MODE},
};

const DIRECTORY: &str = "internal-ca";
const ROOT_PEM: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const INTERMEDIATE_PEM: &str = "intermediate.pem";
const INTERMEDIATE_KEY: &str = "intermediate.key";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Handing a root to every device is work, so it is wanted rarely.
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3653);
const INTERMEDIATE_LIFETIME: Duration = DAY.saturating_mul(365);
/// Short, because nothing can revoke a leaf; long enough for a laptop's holiday.
const LEAF_LIFETIME: Duration = DAY.saturating_mul(7);
/// How far certificates start in the past, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(60 * 60);
/// 2026-01-01. A clock before it has never been set; a CA of that day would be born expired.
const EARLIEST_CREATION: Duration = Duration::from_secs(1_767_225_600);

/// The longest common name (RFC 5280 A.1, ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// A CA that is ready to issue. The root's key is not kept in memory.
pub struct InternalCa {
    root_pem: String,
    intermediate: Authority,
}

impl InternalCa {
    /// Loads the CA under `data_dir`, or creates it where there is none. Creates `data_dir` too.
    pub fn open(data_dir: &Path) -> Result<Self, TlsError> {
        Self::open_at(data_dir, SystemTime::now())
    }

    pub(super) fn open_at(data_dir: &Path, now: SystemTime) -> Result<Self, TlsError> {
        let directory = data_dir.join(DIRECTORY);
        let files = Files::new(&directory);
        let mut found = files.read()?;
        if found == Pems::default() {
            files.create(now)?;
            found = files.read()?;
        }
        let (root_pem, root) = files.root(&found, now)?;
        let intermediate = match files.intermediate(&found, &root, now) {
            Ok(usable) => usable,
            Err(reason) => {
                tracing::info!(%reason, "issuing a new intermediate certificate of the internal CA");
                files.renew(&root, now)?
            }
        };
        Ok(Self {
            root_pem,
            intermediate,
        })
    }

    /// The root certificate, PEM: what clients have to trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// From when on [`InternalCa::open`] would find the intermediate worth replacing.
    pub(super) fn renewal(&self) -> SystemTime {
        self.intermediate.validity.last_third()
    }

    /// Whether the certificate ends in this CA as it is now.
    pub(super) fn issued(&self, certificate: &Certificate) -> bool {
        certificate.key.cert.get(1) == Some(&self.intermediate.der)
    }

    /// A fresh key and a certificate of seven days for one name.
    pub(super) fn issue(&self, name: &Name, now: SystemTime) -> Result<Certificate, TlsError> {
        let failed = |error| TlsError::Issue {
            name: name.to_string(),
            error,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let validity = Validity {
            from: now - BACKDATE,
            until: (now + LEAF_LIFETIME).min(self.intermediate.validity.until),
        };
        let text = name.to_string();
        let common_name = (text.len() <= COMMON_NAME_MAX).then_some(text.clone());
        let mut params = params(common_name, validity);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![match name {
            Name::Exact(_) | Name::Wildcard(_) => {
                SanType::DnsName(text.try_into().map_err(failed)?)
            }
            Name::Address(address) => SanType::IpAddress(*address),
        }];
        let leaf = params
            .signed_by(&key, &self.intermediate.issuer)
            .map_err(failed)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::new(
            vec![leaf.into(), self.intermediate.der.clone()],
            any_supported_type(&der)?,
        );
        Ok(Certificate {
            key: Arc::new(key),
            names: vec![name.clone()],
            validity,
            source: "the internal CA".to_owned(),
        })
    }
}

impl fmt::Debug for InternalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalCa").finish_non_exhaustive()
    }
}

/// A certificate that may sign others, with its key.
struct Authority {
    der: CertificateDer<'static>,
    validity: Validity,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads both parts and makes sure that they belong together. Fails with the reason.
    fn load(certificate: &str, key: &str) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let key =
            KeyPair::from_pem(key).map_err(|error| format!("the key cannot be read: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err("certificate and key do not belong together".to_owned());
        }
        if !parsed.is_ca() {
            return Err("the certificate is not one of a CA".to_owned());
        }
        let validity = Validity::of(&parsed);
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|error| format!("the certificate cannot be used: {error}"))?;
        Ok(Self {
            der,
            validity,
            issuer,
        })
    }

    fn issued(&self, other: &Self) -> bool {
        let names = |der| {
            X509Certificate::from_der(der)
                .ok()
                .map(|(_, parsed)| parsed)
        };
        match (names(&self.der), names(&other.der)) {
            (Some(issuer), Some(other)) => issuer.subject().as_raw() == other.issuer().as_raw(),
            _ => false,
        }
    }
}

/// What the directory holds; `None` where a file is missing.
#[derive(Default, PartialEq)]
struct Pems {
    root: Option<String>,
    root_key: Option<String>,
    intermediate: Option<String>,
    intermediate_key: Option<String>,
}

/// The files of the CA.
struct Files<'a> {
    directory: &'a Path,
}

impl<'a> Files<'a> {
    fn new(directory: &'a Path) -> Self {
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read(&self) -> Result<Pems, TlsError> {
        private_dir::close_to_others(self.directory, DIRECTORY_MODE)?;
        private_dir::close_to_others(&self.path(ROOT_KEY), KEY_MODE)?;
        private_dir::close_to_others(&self.path(INTERMEDIATE_KEY), KEY_MODE)?;
        Ok(Pems {
            root: private_dir::read(&self.path(ROOT_PEM))?,
            root_key: private_dir::read(&self.path(ROOT_KEY))?,
            intermediate: private_dir::read(&self.path(INTERMEDIATE_PEM))?,
            intermediate_key: private_dir::read(&self.path(INTERMEDIATE_KEY))?,
        })
    }

    fn create(&self, now: SystemTime) -> Result<(), TlsError> {
        if now < SystemTime::UNIX_EPOCH + EARLIEST_CREATION {
            return Err(TlsError::Clock(time::OffsetDateTime::from(now).year()));
        }
        let (root_pem, root_key) = new_root(now).map_err(issue_failed("the root"))?;
        let root =
            Authority::load(&root_pem, &root_key).map_err(|what| self.damaged(ROOT_PEM, what))?;
        let (pem, key) = new_intermediate(&root, now).map_err(issue_failed("the intermediate"))?;
        let created = private_dir::create(
            self.directory,
            &[
                (ROOT_KEY, KEY_MODE, &root_key),
                (ROOT_PEM, CERTIFICATE_MODE, &root_pem),
                (INTERMEDIATE_KEY, KEY_MODE, &key),
                (INTERMEDIATE_PEM, CERTIFICATE_MODE, &pem),
            ],
        )?;
        if created {
            tracing::info!(
                directory = %self.directory.display(),
                "created the internal CA; `portunus ca` prints the root that clients have to trust"
            );
        }
        Ok(())
    }

    fn root(&self, pems: &Pems, now: SystemTime) -> Result<(String, Authority), TlsError> {
        let (pem, key) = match (&pems.root, &pems.root_key) {
            (Some(pem), Some(key)) => (pem, key),
            (None, _) => return Err(self.damaged(ROOT_PEM, "the file is missing")),
            (_, None) => return Err(self.damaged(ROOT_KEY, "the file is missing")),
        };
        let root = Authority::load(pem, key).map_err(|what| self.damaged(ROOT_PEM, what))?;
        if now > root.validity.until {
            return Err(self.damaged(ROOT_PEM, "the root certificate has expired"));
        }
        if now < root.validity.from {
            tracing::warn!("the internal CA's root is not valid yet; is the clock right?");
        }
        Ok((pem.clone(), root))
    }

    /// The intermediate as it is, or why it has to be replaced.
    fn intermediate(
        &self,
        pems: &Pems,
        root: &Authority,
        now: SystemTime,
    ) -> Result<Authority, String> {
        let (Some(pem), Some(key)) = (&pems.intermediate, &pems.intermediate_key) else {
            return Err("the current one is missing".to_owned());
        };
        let authority = Authority::load(pem, key)?;
        if !root.issued(&authority) {
            return Err("the current one is of another root".to_owned());
        }
        if now < authority.validity.from || now >= authority.validity.last_third() {
            return Err("less than a third of the current one's lifetime remains".to_owned());
        }
        Ok(authority)
    }

    fn renew(&self, root: &Authority, now: SystemTime) -> Result<Authority, TlsError> {
        let (pem, key) = new_intermediate(root, now).map_err(issue_failed("the intermediate"))?;
        // A crash between the two leaves a pair that does not match, which is renewed again.
        private_dir::replace(&self.path(INTERMEDIATE_KEY), KEY_MODE, &key)?;
        private_dir::replace(&self.path(INTERMEDIATE_PEM), CERTIFICATE_MODE, &pem)?;
        Authority::load(&pem, &key).map_err(|what| self.damaged(INTERMEDIATE_PEM, what))
    }

    fn damaged(&self, file: &str, what: impl Into<String>) -> TlsError {
        TlsError::DamagedCa {
            path: self.path(file),
            directory: self.directory.to_owned(),
            what: what.into(),
        }
    }
}

fn issue_failed(name: &'static str) -> impl Fn(rcgen::Error) -> TlsError {
    move |error| TlsError::Issue {
        name: name.to_owned(),
        error,
    }
}

/// Certificate and key, PEM.
fn new_root(now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let validity = Validity {
        from: now - BACKDATE,
        until: now + ROOT_LIFETIME,
    };
    let params = authority_params("Portunus Internal CA", &key, validity, 1);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn new_intermediate(root: &Authority, now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let validity = Validity {
        from: now - BACKDATE,
        until: (now + INTERMEDIATE_LIFETIME).min(root.validity.until),
    };
    let params = authority_params("Portunus Internal Intermediate", &key, validity, 0);
    Ok((
        params.signed_by(&key, &root.issuer)?.pem(),
        key.serialize_pem(),
    ))
}

/// `below`: how many CA certificates may follow under this one.
fn authority_params(
    title: &str,
    key: &KeyPair,
    validity: Validity,
    below: u8,
) -> CertificateParams {
    // Two roots in one trust store can be told apart by year and key.
    let year = time::OffsetDateTime::from(validity.from + BACKDATE).year();
    let id: String = CertificateParams::default()
        .key_identifier(key)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut params = params(Some(format!("{title} {year} {id}")), validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(common_name: Option<String>, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(common_name) = common_name {
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
    }
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    params.use_authority_key_identifier_extension = true;
    params
}
