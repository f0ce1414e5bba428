//! Databases that cannot be used, and why.

use std::net::TcpListener;

use rcgen::{CertificateParams, KeyPair};

use super::{Cluster, PostgresStore, connect, put};
use crate::store::{Store, StoreError};

async fn refusal(url: &str) -> String {
    let error = PostgresStore::connect(url).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("secret"), "{text}");
    }
    error.to_string()
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_password_is_not() {
    let cluster = Cluster::start();
    let said = refusal(&cluster.url_of("portunus:other-secret", "portunus")).await;
    assert!(said.contains("password authentication failed"), "{said}");
    assert!(said.contains("database 'portunus'"), "{said}");
    let said = refusal(&cluster.url_of("portunus:secret", "nowhere")).await;
    assert!(said.contains("\"nowhere\" does not exist"), "{said}");
    let said = refusal("postgres://u:secret@%2Fnonexistent/x").await;
    assert!(
        said.contains("/nonexistent") && said.contains("No such file"),
        "{said}"
    );
    let store = connect(&cluster).await;
    assert!(!format!("{store:?}").contains("secret"));
}

#[tokio::test]
async fn a_host_where_nobody_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let said = refusal(&format!("postgres://u:secret@{address}/x")).await;
    assert!(
        said.contains(&address.to_string()) && said.contains("refused"),
        "{said}"
    );
}

#[tokio::test]
async fn a_role_that_may_not_make_tables_is_told_what_it_lacks() {
    let cluster = Cluster::start();
    let admin = cluster.admin().await;
    let guest = "CREATE ROLE guest LOGIN PASSWORD 'secret'";
    admin.batch_execute(guest).await.unwrap();
    let said = refusal(&cluster.url_of("guest:secret", "portunus")).await;
    assert!(
        said.contains("permission denied") && said.contains("own"),
        "{said}"
    );

    // Once the tables are there, using them is enough.
    connect(&cluster).await;
    let grant = "GRANT USAGE ON SCHEMA portunus TO guest;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA portunus TO guest";
    admin.batch_execute(grant).await.unwrap();
    let store = PostgresStore::connect(&cluster.url_of("guest:secret", "portunus")).await;
    store.unwrap().commit(put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_missing_is_named() {
    let cluster = Cluster::start();
    let store = connect(&cluster).await;
    let admin = cluster.admin().await;
    let damage = "DROP TABLE portunus.changes";
    admin.batch_execute(damage).await.unwrap();
    let error = store.commit(put("k", "v")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("portunus.changes"), "{error}");
}

#[tokio::test]
async fn tls_is_spoken_to_the_server_that_the_root_vouches_for() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    // Of 127.0.0.0/8 an address that nobody else listens on.
    let (a, b, c) = (fastrand::u8(1..), fastrand::u8(..), fastrand::u8(1..255));
    let address = format!("127.{a}.{b}.{c}");
    let options = format!(
        "-F -c listen_addresses={address} -c ssl=on -c ssl_cert_file=server.crt \
         -c ssl_key_file=server.key"
    );
    let files = [
        ("server.crt", &*certificate.pem()),
        ("server.key", &*key.serialize_pem()),
    ];
    let cluster = Cluster::start_with(&options, &files);
    let roots = cluster.directory().join("roots.pem");
    std::fs::write(&roots, certificate.pem()).unwrap();
    let url = |host: &str, roots: &str| {
        let host = format!("host={host}&hostaddr={address}");
        format!("postgres:///portunus?user=portunus&password=secret&{host}&sslmode=require{roots}")
    };
    let roots = format!("&sslrootcert={}", roots.display());

    let store = PostgresStore::connect(&url("localhost", &roots)).await;
    store.unwrap().commit(put("k", "v")).await.unwrap();
    let said = refusal(&url("localhost", "")).await;
    assert!(
        said.contains("UnknownIssuer") && said.contains("sslrootcert"),
        "{said}"
    );
    let said = refusal(&url("db.example.com", &roots)).await;
    assert!(said.contains("not valid for name"), "{said}");
    // The server takes nobody without TLS.
    let plain = url("localhost", "").replace("require", "disable");
    let said = refusal(&plain).await;
    assert!(said.contains("no encryption"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_when_tls_is_asked_for() {
    let address = format!("127.{}.{}.9", fastrand::u8(1..), fastrand::u8(..));
    let cluster = Cluster::start_with(&format!("-F -c listen_addresses={address}"), &[]);
    let said = refusal(&format!("postgres://u:secret@{address}/x?sslmode=require")).await;
    assert!(said.contains("does not support TLS"), "{said}");
    drop(cluster);
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_named() {
    let scratch = std::env::temp_dir().join(format!("portunus-roots-{:016x}", fastrand::u64(..)));
    let url = format!(
        "postgres://u:secret@db.example.com/x?sslrootcert={}",
        scratch.display()
    );
    let said = refusal(&url).await;
    assert!(
        said.contains("portunus-roots-") && said.contains("sslrootcert"),
        "{said}"
    );
    for content in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&scratch, content).unwrap();
        let said = refusal(&url).await;
        assert!(said.contains("portunus-roots-"), "{said}");
    }
    std::fs::remove_file(&scratch).unwrap();
}
