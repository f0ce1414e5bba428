//! What other sites and other people's links cannot do.

use super::{Browser, HOST, NAME, PASSWORD, account, browser::SESSION, start};

#[tokio::test]
async fn a_callback_is_good_once() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    let callback = browser.callback(&stand_in, "github", "alice").await;
    assert!(browser.get(&callback).await.has_session());
    let again = browser.get(&callback).await;
    assert_eq!(again.status, 400);
    assert!(!again.has_session());
    assert!(
        again.text.contains("href=\"/auth/login\""),
        "{}",
        again.text
    );
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn a_callback_is_of_the_browser_that_began() {
    let (stand_in, gateway) = start().await;
    let mut attacker = Browser::new(&gateway).await;
    let link = attacker.callback(&stand_in, "github", "carol").await;
    // A victim who never began a sign-in, and one who did.
    let mut fresh = Browser::new(&gateway).await;
    let mut begun = Browser::new(&gateway).await;
    begun.get("/auth/github").await;
    for victim in [&mut fresh, &mut begun] {
        let page = victim.get(&link).await;
        assert_eq!(page.status, 400);
        assert!(page.text.contains("another browser"), "{}", page.text);
        assert!(!victim.is_signed_in().await);
    }
    // The link was not used up by that.
    assert!(attacker.get(&link).await.has_session());
}

#[tokio::test]
async fn a_callback_is_of_its_provider_and_unchanged() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    let callback = browser.callback(&stand_in, "github", "alice").await;
    let other = callback.replace("github", "gitlab");
    let state = callback.split("state=").nth(1).unwrap();
    let changed = callback.replace(&state[..8], "AAAAAAAA");
    for bad in [
        other.as_str(),
        &changed,
        "/auth/github/callback",
        "/auth/github/callback?code=x",
        "/auth/github/callback?state=x&code=y",
        "/auth/github/callback?error=access_denied",
    ] {
        let page = browser.get(bad).await;
        assert_eq!((page.status, page.has_session()), (400, false), "{bad}");
    }
    assert!(browser.get(&callback).await.has_session());
}

#[tokio::test]
async fn another_site_cannot_sign_somebody_in() {
    let (_stand_in, gateway) = start().await;
    account(&gateway).await;
    let mut browser = Browser::new(&gateway).await;
    let csrf = browser.get("/auth/login").await.field("csrf");
    let fields = [("csrf", &*csrf), ("username", NAME), ("password", PASSWORD)];
    let own = format!("Origin: {}", browser.origin);
    for from in [
        &["Origin: https://example.com"][..],
        &["Origin: null", "Sec-Fetch-Site: same-origin"],
        &["Origin: https://gw.test"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &[],
    ] {
        let page = browser.post_from("/auth/login", &fields, from).await;
        assert_eq!((page.status, page.has_session()), (403, false), "{from:?}");
    }
    // From here, without the token of this browser's form.
    let mut other = Browser::new(&gateway).await;
    let others = other.get("/auth/login").await.field("csrf");
    for csrf in ["", "x", &others] {
        let fields = [("csrf", csrf), ("username", NAME), ("password", PASSWORD)];
        let page = browser.post_from("/auth/login", &fields, &[&own]).await;
        assert_eq!((page.status, page.has_session()), (403, false), "{csrf}");
    }
    assert!(browser.post("/auth/login", &fields).await.has_session());
}

#[tokio::test]
async fn another_site_cannot_sign_somebody_out() {
    let (stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    browser.sign_in(&stand_in, "github", "alice").await;
    for site in ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"] {
        let asks = browser
            .ask("GET", "/auth/logout", &["Accept: text/html", site], "")
            .await;
        assert_eq!(asks.status, 200);
        assert!(asks.text.contains("Sign out?"), "{}", asks.text);
    }
    let csrf = browser.get("/").await.field("csrf");
    for (token, from) in [
        (&*csrf, "Origin: https://example.com"),
        ("x", "Sec-Fetch-Site: same-origin"),
        ("", "Sec-Fetch-Site: same-origin"),
    ] {
        let page = browser
            .post_from("/auth/logout", &[("csrf", token)], &[from])
            .await;
        assert_eq!(page.status, 403, "{from}");
    }
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn signing_out_ends_the_session_itself() {
    let (stand_in, gateway) = start().await;
    for by_form in [true, false] {
        let mut browser = Browser::new(&gateway).await;
        browser.sign_in(&stand_in, "github", "alice").await;
        let mut thief = Browser::new(&gateway).await;
        thief.cookies = browser.cookies.clone();
        let out = if by_form {
            let csrf = browser.get("/").await.field("csrf");
            browser.post("/auth/logout", &[("csrf", &csrf)]).await
        } else {
            browser.get("/auth/logout").await
        };
        assert_eq!(out.location(), "/");
        assert!(out.set_cookie(SESSION).unwrap().contains("Max-Age=0"));
        assert!(!browser.is_signed_in().await);
        assert!(!thief.is_signed_in().await);
    }
}

#[tokio::test]
async fn a_cookie_that_was_made_up_is_nobodys() {
    let (_stand_in, gateway) = start().await;
    for made_up in [
        "",
        "x",
        "ptns_x",
        &format!("ptns_{}", "A".repeat(43)),
        "\"",
        "%00",
    ] {
        let mut browser = Browser::new(&gateway).await;
        browser
            .cookies
            .insert(SESSION.to_owned(), made_up.to_owned());
        assert!(!browser.is_signed_in().await);
    }
}

#[tokio::test]
async fn every_page_has_the_headers_that_protect_it() {
    let (_stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    for target in [
        "/",
        "/auth/login",
        "/auth/login?return_to=//example.com",
        "/auth/github/callback?state=x",
        "/auth/setup?token=x",
    ] {
        let page = browser.get(target).await;
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self';"),
            "{target}"
        );
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "strict-origin"),
        ] {
            assert_eq!(page.header(name), Some(value), "{target}");
        }
        assert!(
            !page.text.contains("<script") && !page.text.contains("style="),
            "{target}"
        );
    }
}

#[tokio::test]
async fn who_takes_too_many_steps_has_to_wait() {
    let (_stand_in, gateway) = start().await;
    let mut client = gateway.connect_tls(HOST).await;
    let mut refused = None;
    for _ in 0..400 {
        let answer = client.get(HOST, "/auth/github").await;
        if answer.status != 302 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("there is a limit");
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Pages that cost nothing stay there for everybody behind the same address.
    assert_eq!(client.get(HOST, "/auth/login").await.status, 200);
}
