//! A token of GitHub against an API key, as clients of the original tunnel server ask for one.

use auth::identity::{Page, UserFilter};
use serde_json::{Value, json};

use super::{HOST, StandIn, config};
use crate::{
    support::{Gateway, Origin, Response},
    tunnels::Running,
};

const TUNNELS: &str = "[tunnels]\ndomain = \"tunnels.test\"\nwait = \"50ms\"\n";

async fn start(host: &str) -> (StandIn, Gateway) {
    let stand_in = StandIn::start().await;
    let toml = config(&stand_in, TUNNELS).replace(&format!("\"{HOST}\""), &format!("\"{host}\""));
    let gateway = Gateway::start(&toml).await;
    (stand_in, gateway)
}

async fn exchange(gateway: &Gateway, host: &str, body: &Value) -> Response {
    let body = body.to_string();
    let mut wire = gateway.connect_tls(host).await;
    wire.send(format!(
        "POST /api/auth/exchange HTTP/1.1\r\nHost: {host}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    wire.response().await
}

#[tokio::test]
async fn a_token_of_this_application_is_exchanged_for_a_key() {
    let (stand_in, gateway) = start(HOST).await;
    let token = stand_in.token("alice", "stand-in-client").await;
    let body = json!({ "github_token": token, "api_key_name": "laptop" });
    let answer = exchange(&gateway, HOST, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    let (key, expires, url) = (text("api_key"), text("expires_at"), text("tunnel_url"));
    let port = gateway.https().port();
    let name = url
        .strip_suffix(&format!(".tunnels.test:{port}"))
        .unwrap_or_else(|| panic!("{url}"));
    assert_eq!(name.split('-').count(), 3, "{name}");
    // These fields in this order, and a time without a zone.
    assert_eq!(
        answer.text(),
        format!(
            r#"{{"api_key":"{key}","api_key_prefix":"{}","user_id":{},"username":"alice","expires_at":"{expires}","tunnel_url":"{url}"}}"#,
            &key[..8],
            told["user_id"].as_u64().unwrap(),
        )
    );
    assert!(expires.len() >= 19 && !expires.ends_with('Z'), "{expires}");

    // Once more is the same tunnel with another key, which takes the first one's place.
    let again = exchange(&gateway, HOST, &body).await;
    let again: Value = serde_json::from_slice(&again.body).unwrap();
    assert_eq!(again["tunnel_url"], url);
    assert_ne!(again["api_key"], key);
    let mut wire = gateway.connect_tls(HOST).await;
    for (key, status) in [
        (key.as_str(), 401),
        (again["api_key"].as_str().unwrap(), 200),
    ] {
        let bearer = format!("Authorization: Bearer {key}");
        let lines = ["GET /api/auth/keys HTTP/1.1", "Host: gw.test", &bearer];
        assert_eq!(wire.ask(&lines).await.status, status);
    }
}

#[tokio::test]
async fn an_exchanged_key_connects_its_tunnel() {
    let (stand_in, gateway) = start("localhost").await;
    let token = stand_in.token("carol", "stand-in-client").await;
    let answer = exchange(&gateway, "localhost", &json!({ "github_token": token })).await;
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let service = Origin::echo().await;
    let key = told["api_key"].as_str().unwrap();
    let mut agent = Running::start(&gateway, key, None, &service);
    let url = agent.up().await;
    assert_eq!(
        url,
        format!("https://{}", told["tunnel_url"].as_str().unwrap())
    );
    let host = url.strip_prefix("https://").unwrap();
    let host = host.split(':').next().unwrap();
    let mut visitor = gateway.connect_tls(host).await;
    assert_eq!(visitor.get(host, "/").await.status, 200);
    // The connection counts, as the original counted it.
    let mut wire = gateway.connect_tls("localhost").await;
    let health = wire.get("localhost", "/_health").await;
    assert_eq!(
        health.text(),
        r#"{"status":"healthy","active_connections":1}"#
    );
}

#[tokio::test]
async fn what_is_no_token_of_this_application_is_refused_and_makes_nobody() {
    let (stand_in, gateway) = start(HOST).await;
    let other = stand_in.token("alice", "other").await;
    for token in [other.as_str(), "gho_unknown", "", "a b\r\n"] {
        let answer = exchange(&gateway, HOST, &json!({ "github_token": token })).await;
        assert_eq!(
            (answer.status, answer.text()),
            (401, r#"{"detail":"Invalid GitHub token"}"#),
            "{token:?}"
        );
    }
    let page = Page::default();
    let users = super::identity(&gateway)
        .users(&page, &UserFilter::default())
        .await
        .unwrap();
    assert!(users.items.is_empty());
    stand_in.break_steps(&json!({ "audience": "500" })).await;
    let answer = exchange(&gateway, HOST, &json!({ "github_token": other })).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
}
