//! What holds for every kind: addresses, headers, inheritance.

use super::{Fixture, assert_refused};

#[tokio::test]
async fn what_a_client_says_of_itself_never_arrives() {
    let mut app = Fixture::new("access = { key = { scope = \"route:access:a\" } }").await;
    let (_, key) = app.key("route:access:a").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    let seen = app
        .get(&[
            &bearer,
            "X-Portunus-User: github:root",
            "X_Portunus_User: github:root",
            "X-Portunus-Groups: wheel",
            "Remote-User: root",
            "X-Forwarded-User: root",
            "X-Auth-Request-Email: root@example.com",
            "X-Kept: 1",
        ])
        .await
        .echoed();
    assert_eq!(seen.all("x-portunus-user"), ["github:alice"]);
    for name in [
        "x_portunus_user",
        "x-portunus-groups",
        "remote-user",
        "x-forwarded-user",
        "x-auth-request-email",
    ] {
        assert_eq!(seen.one(name), None, "{name}");
    }
    assert_eq!(seen.one("x-kept"), Some("1"));
}

#[tokio::test]
async fn a_client_cannot_nominate_away_who_it_is() {
    let mut app = Fixture::new("access = { key = { scope = \"route:access:a\" } }").await;
    let (_, key) = app.key("route:access:a").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    let nominate = "Connection: x-portunus-user, x-portunus-role";
    let seen = app.get(&[&bearer, nominate]).await.echoed();
    assert_eq!(seen.one("x-portunus-user"), Some("github:alice"));
    assert_eq!(seen.one("x-portunus-role"), Some("user"));
}

#[tokio::test]
async fn the_address_is_asked_for_as_well() {
    let mut outside = Fixture::new("access = { ip = [\"192.0.2.0/24\"] }").await;
    assert_refused(&outside.get(&[]).await, 403);
    let mut inside = Fixture::new("access = { ip = [\"127.0.0.0/8\"] }").await;
    let seen = inside.get(&["Remote-User: root"]).await.echoed();
    assert_eq!(seen.one("remote-user"), None);
    let both = "access = { ip = [\"192.0.2.0/24\"], key = { scope = \"route:access:a\" } }";
    let mut both = Fixture::new(both).await;
    let (_, key) = both.key("route:access:a").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    assert_refused(&both.get(&[&bearer]).await, 403);
}

#[tokio::test]
async fn a_route_without_access_says_nothing_about_anybody() {
    let mut app = Fixture::new("").await;
    let seen = app.get(&["Remote-User: kept"]).await.echoed();
    assert_eq!(seen.one("remote-user"), Some("kept"));
    assert_eq!(seen.one("x-portunus-user"), None);
}

#[tokio::test]
async fn a_person_gets_a_page_and_a_program_json() {
    let mut app = Fixture::new("access = { key = {} }").await;
    assert_refused(&app.get(&[]).await, 401);
    let page = app.get(&["Accept: text/html"]).await;
    assert_eq!(page.status, 401);
    assert!(page.text().starts_with("<!doctype html>"));
    assert!(page.header("www-authenticate").is_some());
}

#[tokio::test]
async fn a_reload_opens_and_closes_a_route() {
    let mut app = Fixture::new("").await;
    assert_eq!(app.get(&[]).await.status, 200);
    let closed = super::app(&app.origin, "access = { key = {} }");
    app.gateway.reload(&closed).await.unwrap();
    assert_refused(&app.get(&[]).await, 401);
    app.gateway
        .reload(&super::app(&app.origin, "access = \"public\""))
        .await
        .unwrap();
    assert_eq!(app.get(&[]).await.status, 200);
}

#[tokio::test]
async fn a_route_that_asks_nobody_passes_no_identity_of_the_clients_making() {
    let mut app = Fixture::new("").await;
    let lines = [
        "X-Portunus-User: github:root",
        "x_portunus_role: admin",
        "X-Team: a",
    ];
    let seen = app.get(&lines).await.echoed();
    assert_eq!(seen.one("x-portunus-user"), None);
    assert_eq!(seen.one("x_portunus_role"), None);
    assert_eq!(seen.one("x-team"), Some("a"));
}
