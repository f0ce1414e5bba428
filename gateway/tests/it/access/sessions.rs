//! Sessions at the hosts of sites.

use auth::identity::Context;
use url::Url;

use super::{Fixture, assert_refused};
use crate::support::Response;

const SESSION: &str = "access = { session = {} }";
const HTML: &str = "Accept: text/html,application/xhtml+xml";

/// The name and value of a cookie that is set.
#[track_caller]
fn cookie(response: &Response, name: &str) -> String {
    let cookies = response.head.all("set-cookie");
    let set = cookies.iter().find(|set| set.starts_with(name));
    let set = set.unwrap_or_else(|| panic!("{name} is not set: {cookies:?}"));
    for attribute in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

#[track_caller]
fn location(response: &Response) -> Url {
    let location = response.header("location");
    let location = location.unwrap_or_else(|| panic!("{} goes nowhere", response.status));
    Url::parse("http://gw.test")
        .unwrap()
        .join(location)
        .unwrap()
}

fn target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Where a browser is, after it was sent away from a page: the nonce and what it asks the domain.
async fn sent_away(app: &mut Fixture, host: &str, page: &str) -> (String, String) {
    let away = app.get_from(host, page, &[HTML]).await;
    assert_eq!(away.status, 302, "{}", away.text());
    let nonce = cookie(&away, "__Host-portunus_handover=");
    let login = location(&away);
    assert_eq!(login.host_str(), Some("gw.test"));
    assert_eq!(login.path(), "/auth/login");
    let mut pairs = login.query_pairs();
    let (name, return_to) = pairs.next().unwrap();
    assert_eq!(name, "return_to");
    (nonce, return_to.into_owned())
}

/// The callback that the domain sends somebody to who is signed in there.
async fn handed_over(app: &mut Fixture, handover: &str, token: &str) -> Url {
    let at_domain = format!("Cookie: __Host-portunus_session={token}");
    let back = app.get_from("gw.test", handover, &[&at_domain]).await;
    assert_eq!(back.status, 303, "{}", back.text());
    assert_eq!(back.header("referrer-policy"), Some("no-referrer"));
    location(&back)
}

/// The cookie of `host` for somebody who is signed in at the domain.
async fn enter(app: &mut Fixture, host: &str, token: &str) -> String {
    let (nonce, handover) = sent_away(app, host, "/page?a=b").await;
    let callback = handed_over(app, &handover, token).await;
    assert_eq!(callback.host_str(), Some(host));
    let nonce = format!("Cookie: {nonce}");
    let entered = app.get_from(host, &target(&callback), &[&nonce]).await;
    assert_eq!(entered.status, 303, "{}", entered.text());
    assert_eq!(entered.header("location"), Some("/page?a=b"));
    cookie(&entered, "__Host-portunus_session=")
}

#[tokio::test]
async fn a_browser_signs_in_and_comes_back_to_its_page() {
    let mut app = Fixture::new(SESSION).await;
    let (_, token) = app.sign_in("alice", true).await;
    let own = enter(&mut app, "app.test", &token).await;
    let cookies = format!("Cookie: theme=dark; {own}; lang=en");
    let seen = app.get(&[HTML, &cookies]).await.echoed();
    assert_eq!(seen.one("x-portunus-user"), Some("github:alice"));
    assert_eq!(seen.one("x-portunus-role"), Some("admin"));
    assert_eq!(seen.one("cookie"), Some("theme=dark; lang=en"));
}

#[tokio::test]
async fn who_is_not_signed_in_is_asked_to_and_comes_back_to_the_handover() {
    let mut app = Fixture::new(SESSION).await;
    let (_, handover) = sent_away(&mut app, "app.test", "/").await;
    let asked = app.get_from("gw.test", &handover, &[HTML]).await;
    assert_eq!(asked.status, 303);
    let login = location(&asked);
    assert_eq!(login.path(), "/auth/login");
    let (_, return_to) = login.query_pairs().next().unwrap();
    assert_eq!(return_to, handover);
}

#[tokio::test]
async fn of_a_long_address_the_beginning_is_kept_while_away() {
    let mut app = Fixture::new(SESSION).await;
    let query = format!("/page?{}", "a".repeat(2000));
    let path = format!("/{}", "a".repeat(2000));
    for (page, back) in [(query.as_str(), "/page"), (&path, "/")] {
        let (_, handover) = sent_away(&mut app, "app.test", page).await;
        assert!(handover.len() <= 1024);
        let handover = Url::parse("http://gw.test")
            .unwrap()
            .join(&handover)
            .unwrap();
        let to = handover.query_pairs().find(|(name, _)| name == "to");
        assert_eq!(to.unwrap().1, back);
        let checked = auth::redirect::Allowed::own_paths().check(&target(&handover));
        assert!(checked.is_ok());
    }
}

#[tokio::test]
async fn programs_scripts_and_websockets_get_a_challenge() {
    let mut app = Fixture::new(SESSION).await;
    for lines in [
        &[][..],
        &["Accept: application/json"],
        &["Accept: */*"],
        &[HTML, "Sec-Fetch-Mode: cors"],
        &[HTML, "X-Requested-With: XMLHttpRequest"],
        &[
            HTML,
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    ] {
        let refused = app.get(lines).await;
        assert_eq!(refused.status, 401, "{lines:?}");
        let challenge = refused.header("www-authenticate");
        assert_eq!(challenge, Some("Session realm=\"gw.test\""));
    }
    let lines = [
        "POST / HTTP/1.1",
        "Host: app.test",
        HTML,
        "Content-Length: 0",
    ];
    assert_eq!(app.client.ask(&lines).await.status, 401);
}

#[tokio::test]
async fn a_cookie_counts_on_its_own_host_only() {
    let mut app = Fixture::new(SESSION).await;
    let (_, token) = app.sign_in("alice", false).await;
    let own = enter(&mut app, "app.test", &token).await;
    let own = format!("Cookie: {own}");
    assert_eq!(app.get(&[&own]).await.status, 200);
    let elsewhere = app.get_from("other.test", "/", &[&own]).await;
    assert_refused(&elsewhere, 401);
    let of_domain = format!("Cookie: __Host-portunus_session={token}");
    assert_refused(&app.get(&[&of_domain]).await, 401);
}

#[tokio::test]
async fn a_site_cookie_is_no_session_of_the_domain() {
    let mut app = Fixture::new(SESSION).await;
    let (_, token) = app.sign_in("alice", false).await;
    let own = enter(&mut app, "app.test", &token).await;
    let (_, handover) = sent_away(&mut app, "other.test", "/").await;
    let own = format!("Cookie: {own}");
    let asked = app.get_from("gw.test", &handover, &[&own]).await;
    assert_eq!(location(&asked).path(), "/auth/login");
}

#[tokio::test]
async fn a_code_is_good_once_in_the_browser_that_asked() {
    let mut app = Fixture::new(SESSION).await;
    let (_, token) = app.sign_in("mallory", false).await;
    let (nonce, handover) = sent_away(&mut app, "app.test", "/").await;
    let callback = target(&handed_over(&mut app, &handover, &token).await);
    let victim = app.get_from("app.test", &callback, &[HTML]).await;
    assert_eq!(victim.status, 400);
    let other = format!("Cookie: __Host-portunus_handover={}", "a".repeat(43));
    let other = app.get_from("app.test", &callback, &[&other]).await;
    assert_eq!(other.status, 400);
    let nonce = format!("Cookie: {nonce}");
    let elsewhere = app.get_from("other.test", &callback, &[&nonce]).await;
    assert_eq!(elsewhere.status, 400);
    let right = app.get_from("app.test", &callback, &[&nonce]).await;
    assert_eq!(right.status, 303);
    let again = app.get_from("app.test", &callback, &[&nonce]).await;
    assert_eq!(again.status, 400);
    let session = cookie(&right, "__Host-portunus_session=");
    let both = format!("{nonce}; {session}");
    let reloaded = app.get_from("app.test", &callback, &[&both]).await;
    assert_eq!(reloaded.header("location"), Some("/"));
}

#[tokio::test]
async fn the_domain_sends_nobody_to_hosts_that_are_none_of_its_own() {
    let mut app = Fixture::new(SESSION).await;
    let (_, token) = app.sign_in("alice", false).await;
    let signed_in = format!("Cookie: __Host-portunus_session={token}");
    let state = "a".repeat(43);
    for host in [
        "evil.test",
        "gw.test",
        "",
        "app.test@evil.test",
        "evil.test/app.test",
    ] {
        let wanted = format!("/auth/handover?host={host}&state={state}&to=/");
        let refused = app.get_from("gw.test", &wanted, &[&signed_in]).await;
        assert!(matches!(refused.status, 400 | 404), "{host}");
    }
    let wanted = format!("/auth/handover?host=app.test&state={state}&to=//evil.test");
    let (_, handover) = (state, wanted);
    let callback = handed_over(&mut app, &handover, &token).await;
    assert_eq!(callback.host_str(), Some("app.test"));
}

#[tokio::test]
async fn a_session_that_was_revoked_is_over_on_every_host() {
    let mut app = Fixture::new(SESSION).await;
    let (user, token) = app.sign_in("alice", false).await;
    let own = format!("Cookie: {}", enter(&mut app, "app.test", &token).await);
    assert_eq!(app.get(&[&own]).await.status, 200);
    let operator = Context::operator();
    app.identity().revoke_all(user.id, &operator).await.unwrap();
    assert_refused(&app.get(&[&own]).await, 401);
    assert_eq!(app.get(&[&own, HTML]).await.status, 302);
}

#[tokio::test]
async fn only_those_who_are_named_pass() {
    let named = "access = { session = { roles = [\"admin\"], users = [\"github:Bob\"], emails = [\"*@staff.example\", \"carol@example.com\"] } }";
    let mut app = Fixture::new(named).await;
    for (name, admin, status) in [
        ("alice", false, 403),
        ("root", true, 200),
        ("bob", false, 200),
        ("carol", false, 200),
    ] {
        let (_, token) = app.sign_in(name, admin).await;
        let own = format!("Cookie: {}", enter(&mut app, "app.test", &token).await);
        let answer = app.get(&[&own]).await;
        assert_eq!(answer.status, status, "{name}");
        let page = app.get(&[&own, HTML]).await;
        assert_eq!(page.status, status, "{name} is signed in already");
    }
}

#[tokio::test]
async fn signing_out_forgets_the_cookie_and_only_from_the_site_itself() {
    let mut app = Fixture::new(SESSION).await;
    let forged = ["Sec-Fetch-Site: cross-site"];
    let refused = app
        .get_from("app.test", "/.portunus/auth/logout", &forged)
        .await;
    assert_eq!(refused.status, 404);
    let own = ["Sec-Fetch-Site: same-origin"];
    let gone = app
        .get_from("app.test", "/.portunus/auth/logout", &own)
        .await;
    assert_eq!(location(&gone).as_str(), "http://gw.test/auth/logout");
    let cleared = gone.head.all("set-cookie")[0];
    assert!(cleared.contains("Max-Age=0"), "{cleared}");
}

#[tokio::test]
async fn sites_without_sessions_keep_the_path_to_themselves() {
    let mut app = Fixture::new("").await;
    let seen = app
        .get_from("app.test", "/.portunus/auth/callback", &[])
        .await;
    assert_eq!(seen.echoed().target(), "/.portunus/auth/callback");
}

#[tokio::test]
async fn garbage_is_nobody() {
    let mut app = Fixture::new(SESSION).await;
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let length = random.usize(..120);
        let noise: String = (0..length).map(|_| random.char('!'..'~')).collect();
        let cookie = format!("Cookie: __Host-portunus_session={noise}");
        assert_eq!(app.get(&[&cookie]).await.status, 401, "{noise}");
        let safe: String = noise.chars().filter(char::is_ascii_alphanumeric).collect();
        let callback = format!("/.portunus/auth/callback?code={safe}");
        let refused = app.get_from("app.test", &callback, &[&cookie]).await;
        assert_eq!(refused.status, 400);
    }
}
