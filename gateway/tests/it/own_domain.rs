//! The gateway's own domain.

use crate::support::{Gateway, PLAIN, PLAIN_AND_TLS, Wire};

fn with_domain(base: &str) -> String {
    format!(
        "domain = \"gw.test\"\ndev = true\n{base}\n[[site]]\nhosts = [\"*\"]\n  [[site.route]]\n  respond = {{ body = \"site\" }}\n"
    )
}

#[tokio::test]
async fn the_domain_is_the_gateways_and_every_other_host_a_sites() {
    let gateway = Gateway::start(&with_domain(PLAIN)).await;
    let mut client = gateway.connect().await;
    let health = client.get("gw.test", "/_health").await;
    assert_eq!(
        (health.status, health.text()),
        (200, r#"{"status":"healthy","active_connections":0}"#)
    );
    assert_eq!(client.get("GW.TEST:80", "/_health").await.status, 200);
    assert_eq!(client.get("gw.test", "/nothing").await.status, 404);
    assert_eq!(client.get("other.test", "/_health").await.text(), "site");
}

#[tokio::test]
async fn the_domain_has_a_certificate_and_is_not_served_in_clear() {
    let gateway = Gateway::start(&with_domain(PLAIN_AND_TLS)).await;
    let mut plain = gateway.connect().await;
    let redirect = plain.get("gw.test", "/_health").await;
    assert_eq!(redirect.status, 308);
    let mut tls = gateway.connect_tls("gw.test").await;
    assert_eq!(tls.get("gw.test", "/_health").await.status, 200);
}

#[tokio::test]
async fn the_command_line_reaches_it_through_a_socket_in_the_data_directory() {
    use std::os::unix::fs::PermissionsExt;

    let gateway = Gateway::start(&with_domain(PLAIN)).await;
    let path = gateway.dir.join("state/control.sock");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path) & 0o007, 0);
    assert_eq!(mode(&gateway.dir.join("state")) & 0o077, 0);
    let mut control = Wire::unix(&path).await;
    assert_eq!(control.get("localhost", "/_health").await.status, 200);
    assert_eq!(control.get("localhost", "/health/ready").await.status, 200);
}

#[tokio::test]
async fn without_a_domain_there_is_no_control_socket() {
    let gateway = Gateway::start(PLAIN).await;
    assert!(!gateway.dir.join("state/control.sock").exists());
}
