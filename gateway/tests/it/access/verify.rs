//! What other proxies are told.

use super::{Fixture, assert_refused};

const HTML: &str = "Accept: text/html";

#[tokio::test]
async fn a_key_is_verified_for_another_proxy() {
    let mut app = Fixture::new("").await;
    let (_, key) = app.key("route:access:elsewhere").await;
    let bearer = format!("Authorization: Bearer {}", key.reveal());
    let ask = "/auth/verify?scope=route:access:elsewhere";
    let yes = app.get_from("gw.test", ask, &[&bearer]).await;
    assert_eq!(yes.status, 200);
    assert_eq!(yes.header("x-portunus-user"), Some("github:alice"));
    assert_eq!(yes.header("x-portunus-role"), Some("user"));
    let other = app
        .get_from("gw.test", "/auth/verify?scope=other", &[&bearer])
        .await;
    assert_refused(&other, 403);
    let ask = "/auth/verify?scope=elsewhere&role=admin";
    let admin = app.get_from("gw.test", ask, &[&bearer]).await;
    assert_refused(&admin, 403);
}

#[tokio::test]
async fn who_is_unknown_is_refused_in_every_dialect() {
    let mut app = Fixture::new("").await;
    for lines in [
        &["X-Original-URL: https://site.test/", HTML][..],
        &["X-Forwarded-Host: site.test", HTML],
        &["X-Forwarded-Host: site.test"],
        &["Cookie: __Host-portunus_session=x"],
        &["Authorization: Bearer ptn_x"],
    ] {
        let refused = app.get_from("gw.test", "/auth/verify", lines).await;
        assert_eq!(refused.status, 401, "{lines:?}");
        assert!(refused.header("www-authenticate").is_some());
    }
}

#[tokio::test]
async fn a_browser_of_another_proxy_signs_in_and_comes_back() {
    let mut app = Fixture::new("").await;
    let elsewhere = "[auth]\nredirects = [\"https://site.test\"]\n[[site]]";
    let toml = super::app(&app.origin, "").replacen("[[site]]", elsewhere, 1);
    app.gateway = crate::support::Gateway::start(&toml).await;
    app.client = app.gateway.connect().await;
    let (_, token) = app.sign_in("alice", false).await;
    let at_site = ["X-Forwarded-Host: site.test", "X-Forwarded-Uri: /a?b", HTML];
    let away = app.get_from("gw.test", "/auth/verify", &at_site).await;
    assert_eq!(away.status, 302);
    let nonce = away.head.all("set-cookie")[0].split(';').next().unwrap();
    let nonce = format!("Cookie: {nonce}");
    let login = url::Url::parse(away.header("location").unwrap()).unwrap();
    let (_, handover) = login.query_pairs().next().unwrap();
    let signed_in = format!("Cookie: __Host-portunus_session={token}");
    let back = app.get_from("gw.test", &handover, &[&signed_in]).await;
    let callback = url::Url::parse(back.header("location").unwrap()).unwrap();
    assert_eq!(callback.host_str(), Some("site.test"));
    let callback = format!("{}?{}", callback.path(), callback.query().unwrap());
    let entered = app.get_from("site.test", &callback, &[&nonce]).await;
    assert_eq!(
        entered.header("location"),
        Some("/a?b"),
        "{}",
        entered.text()
    );
    let own = entered.head.all("set-cookie")[0].split(';').next().unwrap();
    let own = format!("Cookie: {own}");
    for asked in [
        "X-Forwarded-Host: site.test",
        "X-Original-URL: https://site.test/a",
    ] {
        let yes = app
            .get_from("gw.test", "/auth/verify", &[&own, asked])
            .await;
        assert_eq!(yes.status, 200, "{asked}");
        assert_eq!(yes.header("x-portunus-user"), Some("github:alice"));
    }
    let elsewhere = ["X-Forwarded-Host: app.test", &own];
    let no = app.get_from("gw.test", "/auth/verify", &elsewhere).await;
    assert_eq!(no.status, 401);
    // A client's own header travels on through the other proxy: it does not move the cookie.
    for named in [
        &[
            "X-Original-URL: https://site.test/",
            "X-Forwarded-Host: app.test",
        ][..],
        &[
            "X-Original-URL: https://app.test/",
            "X-Forwarded-Host: site.test",
        ],
        &["X-Forwarded-Host: site.test", "X-Forwarded-Host: app.test"],
    ] {
        let lines: Vec<_> = named.iter().copied().chain([own.as_str()]).collect();
        let no = app.get_from("gw.test", "/auth/verify", &lines).await;
        assert_eq!(no.status, 401, "{named:?}");
    }
    let agree = [
        "X-Original-URL: https://site.test/",
        "X-Forwarded-Host: Site.test",
        &own,
    ];
    let yes = app.get_from("gw.test", "/auth/verify", &agree).await;
    assert_eq!(yes.status, 200);
}
