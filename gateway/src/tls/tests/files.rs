//! PEM pairs: what is taken, and what is said about the rest.

use std::{fs, path::Path};

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use x509_parser::der_parser::der::parse_der;

use super::fixture::{DAY, Dir, TestCa, TestPair, client, connect, files, pem};
use crate::{
    config::CertificateFiles,
    tls::{Tls, TlsError, files::Pair},
};

/// The error for a pair with this content.
fn refused(cert: &str, key: &str) -> (TlsError, String) {
    let dir = Dir::new();
    let pair = TestPair {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    let error = Pair::load(&dir.write_pair("pair", &pair)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("pair.pem") || text.contains("pair.key"),
        "{text}"
    );
    (error, text)
}

#[tokio::test]
async fn all_key_kinds_and_encodings_serve() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let algorithms: [&'static SignatureAlgorithm; 3] =
        [&PKCS_RSA_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
    for algorithm in algorithms {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pair = dir.write_pair("pair", &ca.pair_for(&["a.test"], &key));
        serves(&dir, &ca, pair).await;
    }
    for (algorithm, label) in [
        (&PKCS_RSA_SHA256, "RSA PRIVATE KEY"),
        (&PKCS_ECDSA_P384_SHA384, "EC PRIVATE KEY"),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        // PKCS #8 wraps the older formats (RFC 5958 §2).
        let (_, outer) = parse_der(key.serialized_der()).unwrap();
        let inner = outer.as_sequence().unwrap()[2].as_slice().unwrap();
        let pair = TestPair {
            key: pem(label, inner),
            ..ca.pair_for(&["a.test"], &key)
        };
        serves(&dir, &ca, dir.write_pair("pair", &pair)).await;
    }
}

async fn serves(dir: &Dir, ca: &TestCa, pair: CertificateFiles) {
    let tls = Tls::start(&files(vec![pair]), &[], dir.path()).unwrap();
    let outcome = connect(&tls, client(&[&ca.pem]), "a.test").await;
    assert!(outcome.client.is_ok());
}

#[tokio::test]
async fn the_whole_chain_is_sent() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let intermediate = ca.intermediate();
    let mut pair = intermediate.pair(&["a.test"]);
    pair.cert.push_str(&intermediate.pem);
    // Text between the sections is allowed (RFC 7468 §2).
    pair.cert.insert_str(0, "subject: a.test\n");
    serves(&dir, &ca, dir.write_pair("pair", &pair)).await;
}

#[test]
fn an_expired_certificate_is_loaded() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let now = std::time::SystemTime::now();
    let pair = ca.pair_valid(&["a.test"], now - 3 * DAY, now - DAY);
    let tls = Tls::start(&files(vec![dir.write_pair("a", &pair)]), &[], dir.path()).unwrap();
    assert!(tls.recognises(Some("a.test"), None));
}

#[test]
fn missing_files_are_all_named() {
    let dir = Dir::new();
    let missing = |name: &str| CertificateFiles {
        cert: dir.join(&format!("{name}.pem")),
        key: dir.join(&format!("{name}.key")),
    };
    let config = files(vec![missing("one"), missing("two")]);
    let error = Tls::start(&config, &[], dir.path()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TlsError::Several(_)));
    assert!(text.contains("one.pem: there is no such file"), "{text}");
    assert!(text.contains("two.pem: there is no such file"), "{text}");
}

#[test]
fn what_is_no_file_is_said_so() {
    let dir = Dir::new();
    for path in [dir.path(), Path::new("/dev/zero")] {
        let files = CertificateFiles {
            cert: path.to_owned(),
            key: path.to_owned(),
        };
        let error = Pair::load(&files).unwrap_err();
        assert!(matches!(error, TlsError::NotAPemFile { .. }), "{error}");
    }
    let huge = dir.write("huge.pem", &"x".repeat(1024 * 1024 + 1));
    let files = CertificateFiles {
        cert: huge.clone(),
        key: huge,
    };
    let error = Pair::load(&files).unwrap_err();
    assert!(matches!(error, TlsError::NotAPemFile { .. }), "{error}");
}

#[test]
fn a_file_without_what_it_should_hold_says_what_it_holds() {
    let pair = TestCa::new().pair(&["a.test"]);
    for (cert, hint) in [
        ("", "empty"),
        ("hello", "BEGIN"),
        (&pair.key, "wrong way round"),
        ("0\u{3}abc", "inform der"),
    ] {
        let (error, text) = refused(cert, &pair.key);
        assert!(matches!(error, TlsError::NoCertificate { .. }), "{text}");
        assert!(text.contains("pair.pem") && text.contains(hint), "{text}");
    }
    let locked = pem("ENCRYPTED PRIVATE KEY", b"0123");
    for (key, hint) in [
        ("", "empty"),
        ("hello", "BEGIN"),
        (&pair.cert, "wrong way round"),
        (&locked, "passphrase"),
    ] {
        let (error, text) = refused(&pair.cert, key);
        assert!(matches!(error, TlsError::NoKey { .. }), "{text}");
        assert!(text.contains("pair.key") && text.contains(hint), "{text}");
    }
}

#[test]
fn a_file_cut_short_is_damaged() {
    let pair = TestCa::new().pair(&["a.test"]);
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let (error, text) = refused(&half(&pair.cert), &pair.key);
    assert!(matches!(error, TlsError::BadPem { .. }), "{text}");
    let (error, text) = refused(&pair.cert, &half(&pair.key));
    assert!(matches!(error, TlsError::BadPem { .. }), "{text}");
}

#[test]
fn content_that_is_no_certificate_or_key_is_refused() {
    let pair = TestCa::new().pair(&["a.test"]);
    let (error, text) = refused(&pem("CERTIFICATE", b"no"), &pair.key);
    assert!(matches!(error, TlsError::BadCertificate { .. }), "{text}");
    let (error, text) = refused(&pair.cert, &pem("PRIVATE KEY", b"no"));
    assert!(matches!(error, TlsError::BadKey { .. }), "{text}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = TestCa::new();
    let (one, two) = (ca.pair(&["a.test"]), ca.pair(&["a.test"]));
    let (error, text) = refused(&one.cert, &two.key);
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{text}");
    assert!(text.contains("both files"), "{text}");
}

#[test]
fn a_chain_in_the_wrong_order_is_refused() {
    let ca = TestCa::new();
    let intermediate = ca.intermediate();
    let pair = intermediate.pair(&["a.test"]);
    let skipped = format!("{}{}", pair.cert, ca.pem);
    let (error, text) = refused(&skipped, &pair.key);
    assert!(
        matches!(error, TlsError::ChainOrder { position: 2, .. }),
        "{text}"
    );
    let reversed = format!("{}{}", intermediate.pem, pair.cert);
    let (error, text) = refused(&reversed, &pair.key);
    assert!(matches!(error, TlsError::ChainOrder { .. }), "{text}");
    assert!(text.contains("server's certificate first"), "{text}");
}

#[test]
fn a_certificate_without_names_is_refused() {
    let pair = TestCa::new().pair(&[]);
    let (error, text) = refused(&pair.cert, &pair.key);
    assert!(matches!(error, TlsError::NoNames { .. }), "{text}");
}

#[test]
fn damaged_bytes_never_panic() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let good = ca.pair(&["a.test", "*.b.test", "127.0.0.1"]);
    let paths = dir.write_pair("pair", &good);
    let mut random = fastrand::Rng::with_seed(3);
    let (_, parsed) = x509_parser::pem::parse_x509_pem(good.cert.as_bytes()).unwrap();
    for round in 0..500 {
        if round % 2 == 0 {
            // Valid PEM around damaged DER reaches the parsers behind it.
            let mut der = parsed.contents.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..der.len());
                der[at] = random.u8(..);
            }
            fs::write(&paths.cert, pem("CERTIFICATE", &der)).unwrap();
            fs::write(&paths.key, &good.key).unwrap();
        } else {
            let mut key = good.key.clone().into_bytes();
            let at = random.usize(..key.len());
            key[at] = random.u8(..);
            fs::write(&paths.cert, &good.cert).unwrap();
            fs::write(&paths.key, &key).unwrap();
        }
        if let Ok(pair) = Pair::load(&paths) {
            assert!(!pair.certificate.names.is_empty());
        }
    }
}
