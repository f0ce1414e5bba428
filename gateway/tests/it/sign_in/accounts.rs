//! Local accounts, and the set-up link that makes the first.

use std::{sync::Arc, time::Duration};

use auth::token::{Grant, Issuer, Secret, Signer};

use super::{Browser, NAME, PASSWORD, account, local_config, start};
use crate::support::Gateway;

#[tokio::test]
async fn a_local_account_signs_in_with_its_password() {
    let (_stand_in, gateway) = start().await;
    account(&gateway).await;
    let mut browser = Browser::new(&gateway).await;
    let entered = browser.sign_in_local(NAME, PASSWORD).await;
    assert_eq!(
        (entered.status, entered.location()),
        (303, "/"),
        "{}",
        entered.text
    );
    assert!(browser.get("/").await.text.contains("Hello, carla"));
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_look_alike() {
    let (_stand_in, gateway) = start().await;
    account(&gateway).await;
    let mut browser = Browser::new(&gateway).await;
    let csrf = browser.get("/auth/login").await.field("csrf");
    let mut pages = Vec::new();
    for (name, password) in [
        (NAME, "wrong password"),
        ("nobody", PASSWORD),
        ("nobody", ""),
    ] {
        let fields = [("csrf", &*csrf), ("username", name), ("password", password)];
        let page = browser.post("/auth/login", &fields).await;
        assert_eq!((page.status, page.has_session()), (403, false));
        assert!(
            page.text.contains("The name or the password is wrong."),
            "{}",
            page.text
        );
        pages.push(
            page.text
                .replace(&format!("value=\"{name}\""), "value=\"\""),
        );
    }
    assert!(pages.iter().all(|page| *page == pages[0]));
}

#[tokio::test]
async fn guessing_ends_in_waiting_for_known_and_unknown_names_alike() {
    for name in [NAME, "nobody"] {
        let (_stand_in, gateway) = start().await;
        account(&gateway).await;
        let mut browser = Browser::new(&gateway).await;
        let csrf = browser.get("/auth/login").await.field("csrf");
        let mut tries = 0;
        let page = loop {
            let fields = [
                ("csrf", &*csrf),
                ("username", name),
                ("password", "wrong password"),
            ];
            let page = browser.post("/auth/login", &fields).await;
            if page.status == 429 {
                break page;
            }
            tries += 1;
            assert!(tries < 50, "nobody has to wait");
        };
        let wait: u64 = page.header("retry-after").unwrap().parse().unwrap();
        assert!(wait > 0);
        assert!(page.text.contains("too many attempts"), "{}", page.text);
        // The right password does not help either.
        let fields = [("csrf", &*csrf), ("username", name), ("password", PASSWORD)];
        assert_eq!(browser.post("/auth/login", &fields).await.status, 429);
    }
}

async fn link(gateway: &Gateway) -> Option<String> {
    let link = gateway
        .shared
        .sign_in
        .as_ref()
        .unwrap()
        .set_up_link()
        .await?;
    let url = url::Url::parse(link.expose()).unwrap();
    assert_eq!(url.port(), Some(gateway.https().port()));
    Some(format!("{}?{}", url.path(), url.query().unwrap()))
}

#[tokio::test]
async fn the_set_up_link_makes_the_first_administrator_once() {
    let gateway = Gateway::start(&local_config()).await;
    let link = link(&gateway).await.unwrap();
    let mut browser = Browser::new(&gateway).await;
    let page = browser.get(&link).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let (csrf, token) = (page.field("csrf"), page.field("token"));
    let fields = |password, again| {
        [
            ("csrf", csrf.clone()),
            ("token", token.clone()),
            ("username", "root".to_owned()),
            ("password", password),
            ("again", again),
        ]
    };
    for (password, again, told) in [
        (PASSWORD, "something else", "not the same"),
        ("short", "short", "at least 10 characters"),
    ] {
        let fields = fields(password.to_owned(), again.to_owned());
        let fields = fields
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let page = browser.post("/auth/setup", &fields).await;
        assert_eq!(page.status, 422);
        assert!(page.text.contains(told), "{}", page.text);
    }
    let fields = fields(PASSWORD.to_owned(), PASSWORD.to_owned());
    let fields = fields
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let done = browser.post("/auth/setup", &fields).await;
    assert_eq!((done.status, done.location()), (303, "/"), "{}", done.text);
    assert!(
        browser
            .get("/")
            .await
            .text
            .contains("<dd>Administrator</dd>")
    );

    let mut other = Browser::new(&gateway).await;
    for used in [
        other.get(&link).await,
        browser.post("/auth/setup", &fields).await,
    ] {
        // The form's own cookie went with the sign-in.
        assert!(matches!(used.status, 403 | 410), "{}", used.text);
    }
    assert!(super::accounts::link(&gateway).await.is_none());
    assert!(other.sign_in_local("root", PASSWORD).await.has_session());
}

#[tokio::test]
async fn a_set_up_link_that_was_made_up_opens_nothing() {
    let gateway = Gateway::start(&local_config()).await;
    assert!(link(&gateway).await.is_some());
    let mut browser = Browser::new(&gateway).await;
    for made_up in [
        "/auth/setup",
        "/auth/setup?token=",
        "/auth/setup?token=ptnsetup_x",
    ] {
        let page = browser.get(made_up).await;
        assert_eq!(page.status, 410);
        assert!(page.text.contains("no longer good"), "{}", page.text);
    }
}

#[tokio::test]
async fn there_is_no_set_up_link_beside_a_provider() {
    let (_stand_in, gateway) = start().await;
    assert!(link(&gateway).await.is_none());
}

#[tokio::test]
async fn a_token_of_the_gateways_own_says_whom_it_is_about() {
    let secret = "0d5f8a71c2e94b36a7d0f1e2c3b4a59687766554";
    let toml = local_config().replacen(
        "[[site]]",
        &format!("[auth]\njwt = {{ algorithm = \"HS256\", secret = \"{secret}\" }}\n[[site]]"),
        1,
    );
    let gateway = Gateway::start(&toml).await;
    account(&gateway).await;
    let mut browser = Browser::new(&gateway).await;
    let signer = Signer::Secret(Secret::parse(secret).unwrap());
    let clock = Arc::clone(super::identity(&gateway).clock());
    let issue = |issuer: &str, audience: &str, subject: &str| {
        let issuer = Issuer::new(Arc::clone(&clock), issuer, signer.clone());
        let grant = Grant {
            subject: subject.to_owned(),
            audience: audience.to_owned(),
            lasts: Duration::from_secs(60),
            ..Grant::default()
        };
        format!(
            "Authorization: Bearer {}",
            issuer.issue(grant).unwrap().token
        )
    };
    let origin = browser.origin.clone();
    let good = issue(&origin, "gw.test", "1");
    let me = browser.ask("GET", "/auth/me", &[&good], "").await;
    assert_eq!(me.status, 200, "{}", me.text);
    let me: serde_json::Value = serde_json::from_str(&me.text).unwrap();
    let expected = serde_json::json!({
        "id": 1, "username": NAME, "email": null, "avatar_url": null, "provider": "local",
    });
    assert_eq!(me, expected);
    for (line, status, detail) in [
        ("Accept: */*", 403, "Not authenticated"),
        ("Authorization: Bearer x", 401, "Invalid token"),
        (&issue(&origin, "other.test", "1"), 401, "Invalid token"),
        (
            &issue("https://other.test", "gw.test", "1"),
            401,
            "Invalid token",
        ),
        (&issue(&origin, "gw.test", "99"), 401, "User not found"),
    ] {
        let refused = browser.ask("GET", "/auth/me", &[line], "").await;
        let text = format!("{{\"detail\":\"{detail}\"}}");
        assert_eq!((refused.status, refused.text), (status, text), "{line}");
    }
}
