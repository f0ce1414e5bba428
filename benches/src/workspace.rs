//! The temporary directory of one run: certificates, the files that are served, the settings of
//! the OpenSSL generators. It is removed when the value is dropped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::error::{Doing, Result};

/// The name every server answers for. The generators resolve it themselves, so nothing has to be
/// added to /etc/hosts.
pub const HOST: &str = "localhost";

pub const SMALL: u64 = 1024;
pub const LARGE: u64 = 1024 * 1024;

/// TLS as the OpenSSL generators speak it: one version, one suite, one group, so that no server
/// gets cheaper work by choosing differently.
const OPENSSL_CONF: &str = "\
openssl_conf = settings
[settings]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
";

/// Paths within the temporary directory.
#[derive(Debug)]
pub struct Workspace {
    dir: PathBuf,
    /// PEM of the root that signed `cert`.
    pub root_pem: String,
}

impl Workspace {
    pub fn create() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("portunus-bench-{}", std::process::id()));
        fs::create_dir(&dir).at("create", &dir)?;
        let mut workspace = Self {
            dir,
            root_pem: String::new(),
        };
        workspace.write_certificates()?;
        workspace.write_files()?;
        Ok(workspace)
    }

    /// A directory of its own for one process.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).at("create", &dir)?;
        Ok(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The document root; what is served from disk is below `static/` in it.
    pub fn www(&self) -> PathBuf {
        self.dir.join("www")
    }

    pub fn cert(&self) -> PathBuf {
        self.dir.join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.join("key.pem")
    }

    /// Certificate and key in one file, as HAProxy wants them.
    pub fn cert_and_key(&self) -> PathBuf {
        self.dir.join("both.pem")
    }

    pub fn openssl_conf(&self) -> PathBuf {
        self.dir.join("openssl.cnf")
    }

    fn write_certificates(&mut self) -> Result<()> {
        let mut root = CertificateParams::new([])?;
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate()?;
        self.root_pem = root.self_signed(&root_key)?.pem();
        let issuer = Issuer::new(root, root_key);
        // P-256, rcgen's default and what ACME clients ask for by default.
        let key = KeyPair::generate()?;
        let names = [HOST.to_owned(), "127.0.0.1".to_owned()];
        let cert = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let (cert, key) = (cert.pem(), key.serialize_pem());
        write(&self.cert(), &cert)?;
        write(&self.key(), &key)?;
        write(&self.cert_and_key(), format!("{cert}{key}"))?;
        write(&self.openssl_conf(), OPENSSL_CONF)
    }

    fn write_files(&self) -> Result<()> {
        let files = self.subdirectory("www/static")?;
        write(&files.join("1k"), body(SMALL))?;
        write(&files.join("1m"), body(LARGE))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("could not remove {}: {error}", self.dir.display());
        }
    }
}

/// Text of so many bytes.
pub fn body(length: u64) -> String {
    let line = "The quick brown fox jumps over the lazy dog, again and again...\n";
    line.chars().cycle().take(length as usize).collect()
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).at("write", path)
}
