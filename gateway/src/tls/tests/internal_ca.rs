//! The private CA: on disk, over restarts, and as verifiers see it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::SystemTime};

use rustls::{RootCertStore, client::WebPkiServerVerifier, client::danger::ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::fixture::{DAY, Dir, client, connect, exact, internal, pem, start_internal, wildcard};
use crate::tls::{
    InternalCa, Tls, TlsError,
    certificates::{Certificate, Name},
    install_crypto_provider,
};

fn issue(ca: &InternalCa, name: &str, now: SystemTime) -> Certificate {
    let name = Name::of(&exact(name)).unwrap();
    ca.issue(&name, now).unwrap()
}

/// What a client with only the root says about a certificate.
fn verify(ca: &InternalCa, it: &Certificate, name: &str, now: SystemTime) -> Result<(), String> {
    install_crypto_provider();
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(ca.root_pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let verifier = WebPkiServerVerifier::builder(roots.into()).build().unwrap();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    verifier
        .verify_server_cert(
            &it.key.cert[0],
            &it.key.cert[1..],
            &ServerName::try_from(name).unwrap(),
            &[],
            UnixTime::since_unix_epoch(now),
        )
        .map(drop)
        .map_err(|error| error.to_string())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn clients_that_trust_the_root_accept_what_is_issued() {
    let dir = Dir::new();
    let now = SystemTime::now();
    let ca = InternalCa::open_at(dir.path(), now).unwrap();
    let long = format!("{}test", "long-label.".repeat(8));
    for name in [
        "a.test",
        "localhost",
        "under_score.test",
        "127.0.0.1",
        "::1",
        &long,
    ] {
        let leaf = issue(&ca, name, now);
        assert_eq!(verify(&ca, &leaf, name, now), Ok(()), "{name}");
        assert!(verify(&ca, &leaf, "other.test", now).is_err());
        assert!(verify(&ca, &leaf, name, now + 8 * DAY).is_err(), "{name}");
    }
    let any = Name::of(&wildcard("w.test")).unwrap();
    let leaf = ca.issue(&any, now).unwrap();
    assert_eq!(verify(&ca, &leaf, "x.w.test", now), Ok(()));
    assert!(verify(&ca, &leaf, "w.test", now).is_err());
}

#[test]
fn openssl_accepts_what_is_issued() {
    let dir = Dir::new();
    let ca = InternalCa::open(dir.path()).unwrap();
    let leaf = issue(&ca, "a.test", SystemTime::now());
    let root = dir.write("root.pem", ca.root_pem());
    let leaf_pem = dir.write("leaf.pem", &pem("CERTIFICATE", &leaf.key.cert[0]));
    let chain = dir.write("chain.pem", &pem("CERTIFICATE", &leaf.key.cert[1]));
    let verified = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver"])
        .args(["-verify_hostname", "a.test", "-CAfile"])
        .arg(root)
        .arg("-untrusted")
        .args([chain, leaf_pem])
        .output();
    match verified {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

#[test]
fn the_root_says_who_and_when_it_is() {
    let dir = Dir::new();
    let now = SystemTime::UNIX_EPOCH + 20_700 * DAY;
    let ca = InternalCa::open_at(dir.path(), now).unwrap();
    let (_, root) = x509_parser::pem::parse_x509_pem(ca.root_pem().as_bytes()).unwrap();
    let root = root.parse_x509().unwrap();
    let subject = root.subject().to_string();
    let id = subject.strip_prefix("CN=Portunus Internal CA 2026 ");
    assert_eq!(id.unwrap().len(), 8, "{subject}");
    let days = (root.validity().not_after.timestamp() - 20_700 * 86_400) / 86_400;
    assert_eq!(days, 3653);
}

#[tokio::test]
async fn the_same_root_serves_after_a_restart() {
    let dir = Dir::new();
    let (first, root) = start_internal(&dir, &[exact("a.test")]);
    drop(first);
    let (second, same_root) = start_internal(&dir, &[exact("a.test")]);
    assert_eq!(root, same_root);
    let outcome = connect(&second, client(&[&root]), "a.test").await;
    assert!(outcome.client.is_ok());
}

#[test]
fn keys_are_for_their_owner_only() {
    let dir = Dir::new();
    // The data directory does not exist yet either.
    let data = dir.join("deep/data");
    InternalCa::open(&data).unwrap();
    let ca = data.join("internal-ca");
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&ca), 0o700);
    assert_eq!(mode(&ca.join("root.key")), 0o600);
    assert_eq!(mode(&ca.join("intermediate.key")), 0o600);
    let mut names: Vec<_> = fs::read_dir(&ca)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "intermediate.key",
        "intermediate.pem",
        "root.key",
        "root.pem",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        fs::read_dir(&data).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn an_empty_directory_is_filled() {
    let dir = Dir::new();
    fs::create_dir(dir.join("internal-ca")).unwrap();
    let ca = InternalCa::open(dir.path()).unwrap();
    let same = InternalCa::open(dir.path()).unwrap();
    assert_eq!(ca.root_pem(), same.root_pem());
    assert_eq!(mode(&dir.join("internal-ca")), 0o700);
}

#[test]
fn modes_that_let_others_in_are_taken_back() {
    let dir = Dir::new();
    let before = InternalCa::open(dir.path()).unwrap();
    let ca = dir.join("internal-ca");
    let widen = |path: &Path, to| {
        fs::set_permissions(path, fs::Permissions::from_mode(to)).unwrap();
    };
    widen(&ca, 0o755);
    widen(&ca.join("root.key"), 0o644);
    widen(&ca.join("intermediate.key"), 0o640);
    let after = InternalCa::open(dir.path()).unwrap();
    assert_eq!(before.root_pem(), after.root_pem());
    assert_eq!(mode(&ca), 0o700);
    assert_eq!(mode(&ca.join("root.key")), 0o600);
    assert_eq!(mode(&ca.join("intermediate.key")), 0o600);
}

#[test]
fn an_incomplete_root_is_an_error_and_never_replaced() {
    for lost in ["root.key", "root.pem"] {
        let dir = Dir::new();
        InternalCa::open(dir.path()).unwrap();
        let path = dir.join("internal-ca").join(lost);
        fs::remove_file(&path).unwrap();
        let error = Tls::start(&internal(), &[exact("a.test")], dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, TlsError::DamagedCa { .. }), "{text}");
        assert!(text.contains(lost) && text.contains("backup"), "{text}");
        assert!(!path.exists());
    }
}

#[test]
fn a_damaged_root_is_an_error() {
    let dir = Dir::new();
    InternalCa::open(dir.path()).unwrap();
    let other = Dir::new();
    InternalCa::open(other.path()).unwrap();
    let key = dir.join("internal-ca/root.key");
    let good = fs::read(&key).unwrap();
    let foreign = fs::read(other.join("internal-ca/root.key")).unwrap();
    for content in [&b""[..], b"garbage", &good[..good.len() / 2], &foreign] {
        fs::write(&key, content).unwrap();
        let error = InternalCa::open(dir.path()).unwrap_err();
        assert!(matches!(error, TlsError::DamagedCa { .. }), "{error}");
        assert_eq!(fs::read(&key).unwrap(), content);
    }
    fs::write(&key, good).unwrap();
    assert!(InternalCa::open(dir.path()).is_ok());
}

#[test]
fn a_lost_or_damaged_intermediate_is_issued_again() {
    let dir = Dir::new();
    let now = SystemTime::now();
    let before = InternalCa::open(dir.path()).unwrap();
    let other = Dir::new();
    InternalCa::open(other.path()).unwrap();
    let damages: [&dyn Fn(&Path); 4] = [
        &|ca| fs::remove_file(ca.join("intermediate.pem")).unwrap(),
        &|ca| fs::write(ca.join("intermediate.key"), "garbage").unwrap(),
        // A crash between the two renames of a renewal.
        &|ca| {
            let foreign = other.join("internal-ca/intermediate.key");
            fs::copy(foreign, ca.join("intermediate.key"))
                .map(drop)
                .unwrap();
        },
        // A whole set, but of another root.
        &|ca| {
            for file in ["intermediate.pem", "intermediate.key"] {
                let foreign = other.join("internal-ca").join(file);
                fs::copy(foreign, ca.join(file)).map(drop).unwrap();
            }
        },
    ];
    for damage in damages {
        damage(&dir.join("internal-ca"));
        let after = InternalCa::open(dir.path()).unwrap();
        assert_eq!(before.root_pem(), after.root_pem());
        let leaf = issue(&after, "a.test", now);
        assert_eq!(verify(&before, &leaf, "a.test", now), Ok(()));
        let again = InternalCa::open(dir.path()).unwrap();
        assert!(again.issued(&leaf), "what was repaired is kept");
    }
}

#[test]
fn the_intermediate_is_renewed_in_its_last_third() {
    let dir = Dir::new();
    let now = SystemTime::now();
    let at = |days: u32| InternalCa::open_at(dir.path(), now + days * DAY).unwrap();
    let leaf = issue(&at(0), "a.test", now);
    assert!(at(240).issued(&leaf));
    let renewed = at(250);
    assert!(!renewed.issued(&leaf));
    assert_eq!(mode(&dir.join("internal-ca/intermediate.key")), 0o600);
    let later = now + 250 * DAY;
    let new = issue(&renewed, "a.test", later);
    assert_eq!(verify(&renewed, &new, "a.test", later), Ok(()));
    assert!(at(251).issued(&new));
}

#[test]
fn an_expired_root_is_an_error() {
    let dir = Dir::new();
    let now = SystemTime::now();
    InternalCa::open_at(dir.path(), now).unwrap();
    let error = InternalCa::open_at(dir.path(), now + 3700 * DAY);
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("expired") && text.contains("root.pem"),
        "{text}"
    );
}

#[test]
fn a_clock_that_was_never_set_creates_nothing() {
    let dir = Dir::new();
    let error = InternalCa::open_at(dir.path(), SystemTime::UNIX_EPOCH + DAY);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("1970"), "{text}");
    assert!(!dir.join("internal-ca").exists());
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let dir = Dir::new();
    let file = dir.write("file", "");
    let error = InternalCa::open(&file).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TlsError::Io { .. }), "{text}");
    assert!(text.contains(&file.display().to_string()), "{text}");
}

#[test]
fn processes_that_start_together_agree_on_one_root() {
    let dir = Dir::new();
    let roots: Vec<String> = std::thread::scope(|scope| {
        let open = || InternalCa::open(dir.path()).unwrap().root_pem().to_owned();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
