//! Signing in with a provider, when nothing goes wrong.

use super::{Browser, HOST, browser::SESSION, config, local_config, start};
use crate::support::Gateway;

#[tokio::test]
async fn somebody_signs_in_with_either_provider() {
    let (stand_in, gateway) = start().await;
    for (provider, role) in [("github", "Administrator"), ("gitlab", "User")] {
        let mut browser = Browser::new(&gateway).await;
        let entered = browser.sign_in(&stand_in, provider, "alice").await;
        assert_eq!(
            (entered.status, entered.location()),
            (302, "/"),
            "{}",
            entered.text
        );
        let home = browser.get("/").await;
        assert!(home.text.contains("Hello, alice"), "{}", home.text);
        // An administrator at one provider is none at the other.
        assert!(
            home.text.contains(&format!("<dd>{role}</dd>")),
            "{}",
            home.text
        );
    }
}

#[tokio::test]
async fn cookies_are_for_this_host_over_https_and_for_no_script() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    let begun = browser.get("/auth/github").await;
    let entered = browser.sign_in(&stand_in, "github", "alice").await;
    for (answer, name, age) in [
        (&begun, "__Host-portunus_login", "600"),
        (&entered, SESSION, "604800"),
    ] {
        let line = answer.set_cookie(name).unwrap();
        let mut attributes: Vec<_> = line.split("; ").skip(1).collect();
        attributes.sort_unstable();
        let age = format!("Max-Age={age}");
        assert_eq!(
            attributes,
            ["HttpOnly", &age, "Path=/", "SameSite=Lax", "Secure"]
        );
    }
    assert_eq!(entered.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn the_callback_address_comes_from_the_configuration() {
    let (_stand_in, gateway) = start().await;
    let mut wire = gateway.connect_tls(HOST).await;
    let begun = wire
        .ask(&["GET /auth/github HTTP/1.1", "Host: gw.test:9"])
        .await;
    let to = url::Url::parse(begun.header("location").unwrap()).unwrap();
    let (_, callback) = to
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri")
        .unwrap();
    let port = gateway.https().port();
    assert_eq!(
        callback,
        format!("https://{HOST}:{port}/auth/github/callback")
    );
}

#[tokio::test]
async fn a_new_sign_in_ends_the_session_before_it() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    browser.sign_in(&stand_in, "github", "alice").await;
    let mut old = Browser::new(&gateway).await;
    old.cookies = browser.cookies.clone();
    assert!(old.is_signed_in().await);
    browser.sign_in(&stand_in, "gitlab", "carol").await;
    assert!(browser.is_signed_in().await);
    assert_ne!(browser.cookies[SESSION], old.cookies[SESSION]);
    assert!(!old.is_signed_in().await);
}

#[tokio::test]
async fn who_is_signed_in_is_sent_on_from_the_sign_in_page() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    browser.sign_in(&stand_in, "github", "alice").await;
    let on = browser.get("/auth/login?return_to=/tunnels").await;
    assert_eq!((on.status, on.location()), (302, "/tunnels"));
}

#[tokio::test]
async fn a_provider_that_is_not_configured_is_unavailable() {
    let gateway = Gateway::start(&local_config()).await;
    let mut browser = Browser::new(&gateway).await;
    for (provider, name) in [("github", "GitHub"), ("gitlab", "GitLab")] {
        let page = browser.get(&format!("/auth/{provider}")).await;
        assert_eq!(page.status, 503);
        assert!(page.text.contains("Try again"), "{}", page.text);
        let program = browser
            .ask("GET", &format!("/auth/{provider}"), &[], "")
            .await;
        assert_eq!(program.status, 503);
        assert_eq!(
            program.text,
            format!("{{\"detail\":\"{name} OAuth not configured\"}}")
        );
    }
    // Nobody can sign in at all yet.
    let page = browser.get("/auth/login").await;
    assert_eq!(page.status, 503);
    assert!(page.text.contains("/auth/github/callback"), "{}", page.text);
}

#[tokio::test]
async fn a_reload_takes_providers_away_and_back() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    let both = config(&stand_in, "");
    let lines = both.lines().filter(|line| !line.starts_with("github"));
    let one = lines.collect::<Vec<_>>().join("\n");
    gateway.reload(&one).await.unwrap();
    let page = browser.get("/auth/login").await;
    assert!(!page.text.contains("with GitHub") && page.text.contains("with GitLab"));
    assert_eq!(browser.get("/auth/github").await.status, 503);
    gateway.reload(&both).await.unwrap();
    let entered = browser.sign_in(&stand_in, "github", "alice").await;
    assert_eq!(entered.location(), "/");
}

#[tokio::test]
async fn nobody_is_handed_a_key_in_an_address() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    browser.sign_in(&stand_in, "github", "alice").await;
    for provider in ["github", "gitlab"] {
        let target =
            format!("/auth/{provider}/authorize?redirect_uri=https://app.example.com/&state=x");
        let page = browser.get(&target).await;
        assert_eq!((page.status, page.header("location")), (410, None));
        assert!(
            page.text.contains("nothing was handed over"),
            "{}",
            page.text
        );
        assert_eq!(browser.ask("GET", &target, &[], "").await.status, 410);
    }
}
