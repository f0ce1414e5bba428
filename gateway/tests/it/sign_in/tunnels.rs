//! The pages for tunnels and keys of somebody who is signed in.

use std::time::Duration;

use auth::{
    identity::{Context, Page},
    tunnel::TunnelId,
    user::{Role, UserId},
};

use super::{Browser, HOST, NAME, PASSWORD, browser::Answer, identity, local_config};
use crate::{
    support::{Gateway, Origin},
    tunnels::Running,
};

const PAGES: [&str; 3] = ["/tunnels/new", "/tunnels/1/keys/new", "/api/keys/new"];
const FORMS: [&str; 4] = [
    "/tunnels/create",
    "/tunnels/1/keys/generate",
    "/api/keys/generate",
    "/api/keys/1/revoke",
];

/// A gateway at `host`.
fn toml(host: &str) -> String {
    let tunnels = "[tunnels]\ndomain = \"tunnels.test\"\nwait = \"50ms\"\n";
    let toml = format!("{}\n{tunnels}", local_config());
    toml.replace(&format!("\"{HOST}\""), &format!("\"{host}\""))
}

/// A gateway, and a browser in which carla is signed in.
async fn start() -> (Gateway, Browser, UserId) {
    let gateway = Gateway::start(&toml(HOST)).await;
    let user = account(&gateway, NAME, Role::User).await;
    let mut browser = Browser::new(&gateway).await;
    assert!(browser.sign_in_local(NAME, PASSWORD).await.has_session());
    (gateway, browser, user)
}

async fn account(gateway: &Gateway, name: &str, role: Role) -> UserId {
    let operator = Context::operator();
    let made = identity(gateway).create_local(name, PASSWORD, role, &operator);
    made.await.unwrap().id
}

/// Makes the tunnel `name` on its page.
async fn create(browser: &mut Browser, name: &str) -> Answer {
    let csrf = browser.get("/tunnels/new").await.field("csrf");
    let fields = [("csrf", &*csrf), ("name", name)];
    browser.post("/tunnels/create", &fields).await
}

/// Everybody has a tunnel from the start.
async fn delete_tunnel(gateway: &Gateway, user: UserId) {
    let id = TunnelId(tunnel_id(gateway, user).await);
    let operator = Context::operator();
    let deleted = identity(gateway).delete_tunnel(id, None, &operator);
    deleted.await.unwrap();
}

async fn tunnel_id(gateway: &Gateway, user: UserId) -> u64 {
    let page = Page::default();
    let tunnels = identity(gateway).tunnels(Some(user), &page);
    tunnels.await.unwrap().items[0].id.0
}

/// The key on the page that shows it.
#[track_caller]
fn shown_key(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{}", page.text);
    let (_, after) = page.text.split_once("ptn_").expect("there is a key");
    let rest: String = after
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    format!("ptn_{rest}")
}

/// Whether the gateway takes the key.
async fn is_good(gateway: &Gateway, key: &str) -> bool {
    let mut wire = gateway.connect_tls(HOST).await;
    let bearer = format!("Authorization: Bearer {key}");
    let lines = ["GET /api/auth/me HTTP/1.1", "Host: gw.test", &bearer];
    match wire.ask(&lines).await.status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn who_is_not_signed_in_signs_in_first_and_comes_back() {
    let (gateway, ..) = start().await;
    // Without one the page would say how to set the gateway up.
    account(&gateway, "root", Role::Admin).await;
    let mut stranger = Browser::new(&gateway).await;
    for page in PAGES {
        let sent = stranger.get(page).await;
        let to = format!("/auth/login?return_to={}", page.replace('/', "%2F"));
        assert_eq!((sent.status, sent.location()), (302, &*to));
        let login = stranger.get(&to).await;
        assert_eq!(login.field("return_to"), page);
    }
    for form in FORMS {
        let sent = stranger.post(form, &[]).await;
        assert_eq!((sent.status, sent.location()), (302, "/auth/login"));
    }
}

#[tokio::test]
async fn an_ordinary_user_makes_one_tunnel() {
    let (gateway, mut browser, user) = start().await;
    assert_eq!(browser.get("/tunnels/new").await.status, 403);
    delete_tunnel(&gateway, user).await;
    let form = browser.get("/tunnels/new").await;
    assert_eq!(form.status, 200);
    let policy = form.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !form.text.contains("<script"));
    for (name, problem) in [("-x", "letter or digit"), ("www", "kept for the gateway")] {
        let refused = create(&mut browser, name).await;
        assert_eq!(refused.status, 422);
        assert!(refused.text.contains(problem), "{}", refused.text);
        assert_eq!(refused.field("csrf"), form.field("csrf"));
    }
    let made = create(&mut browser, " Happy-Panda ").await;
    let to = "/?tunnel_created=happy-panda";
    assert_eq!((made.status, made.location()), (302, to), "{}", made.text);
    let home = browser.get(to).await;
    assert!(home.text.contains("You have the tunnel happy-panda."));
    let url = format!(
        "https://happy-panda.tunnels.test:{}",
        gateway.https().port()
    );
    assert!(
        home.text.contains(&format!("href=\"{url}\"")),
        "{}",
        home.text
    );
    let command = format!(
        "portunus-agent http 3000 --server {} --name happy-panda",
        browser.origin
    );
    assert!(home.text.contains(&command), "{}", home.text);
    // A link cannot make the page say what is not so.
    let made_up = browser.get("/?tunnel_created=other").await;
    assert!(!made_up.text.contains("You have the tunnel"));

    let csrf = form.field("csrf");
    let fields = [("csrf", &*csrf), ("name", "second")];
    let second = browser.post("/tunnels/create", &fields).await;
    assert_eq!(second.status, 403);
    assert!(second.text.contains("happy-panda"), "{}", second.text);
    assert_eq!(browser.get("/tunnels/new").await.status, 403);
}

#[tokio::test]
async fn an_administrator_makes_several_and_names_need_not_be_given() {
    let (gateway, ..) = start().await;
    account(&gateway, "root", Role::Admin).await;
    let mut browser = Browser::new(&gateway).await;
    browser.sign_in_local("root", PASSWORD).await;
    let made = create(&mut browser, "first").await;
    assert_eq!(made.location(), "/?tunnel_created=first");
    let taken = create(&mut browser, "first").await;
    assert_eq!(taken.status, 422);
    assert!(taken.text.contains("There is a tunnel of this name"));
    let unnamed = create(&mut browser, "").await;
    let name = unnamed
        .location()
        .strip_prefix("/?tunnel_created=")
        .unwrap();
    assert_eq!(name.split('-').count(), 3);
    let home = browser.get("/").await;
    assert!(home.text.contains("--name first") && home.text.contains(&format!("--name {name}")));
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked_on_the_first_page() {
    let (gateway, mut browser, _) = start().await;
    let csrf = browser.get("/api/keys/new").await.field("csrf");
    let long = "n".repeat(101);
    let refused = browser
        .post("/api/keys/generate", &[("csrf", &*csrf), ("name", &long)])
        .await;
    assert_eq!(refused.status, 422);
    let fields = [("csrf", &*csrf), ("name", "<b>laptop</b>")];
    let page = browser.post("/api/keys/generate", &fields).await;
    let key = shown_key(&page);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.text.contains("&lt;b&gt;laptop&lt;/b&gt;") && !page.text.contains("<b>laptop"));
    assert!(is_good(&gateway, &key).await);
    let home = browser.get("/").await;
    assert!(home.text.contains(&key[..8]) && !home.text.contains(&key));
    let (_, after) = home.text.split_once("action=\"/api/keys/").unwrap();
    let id = after.split('/').next().unwrap();
    let revoke = format!("/api/keys/{id}/revoke");
    let revoked = browser.post(&revoke, &[("csrf", &*csrf)]).await;
    assert_eq!(
        (revoked.status, revoked.location()),
        (302, "/?revoked=true")
    );
    assert!(!is_good(&gateway, &key).await);
    let home = browser.get("/?revoked=true").await;
    assert!(home.text.contains("work no longer") && !home.text.contains(&key[..8]));
}

#[tokio::test]
async fn a_key_of_a_tunnel_connects_it_and_takes_the_place_of_the_one_before() {
    let gateway = Gateway::start(&toml("localhost")).await;
    let user = account(&gateway, "dora", Role::User).await;
    let id = tunnel_id(&gateway, user).await;
    let operator = Context::operator();
    let renamed = identity(&gateway).rename_tunnel(TunnelId(id), "doras", None, &operator);
    renamed.await.unwrap();
    let mut browser = Browser::to(
        gateway.connect_tls("localhost").await,
        gateway.https().port(),
    );
    browser.host = "localhost";
    browser.origin = format!("https://localhost:{}", gateway.https().port());
    browser.sign_in_local("dora", PASSWORD).await;
    let path = format!("/tunnels/{id}/keys/new");
    let home = browser.get("/").await;
    assert!(
        home.text.contains(&format!("href=\"{path}\"")),
        "{}",
        home.text
    );
    let csrf = browser.get(&path).await.field("csrf");
    let path = format!("/tunnels/{id}/keys/generate");
    let fields = [("csrf", &*csrf), ("name", "laptop")];
    let first = shown_key(&browser.post(&path, &fields).await);
    let service = Origin::echo().await;
    let mut agent = Running::start(&gateway, &first, None, &service);
    assert!(agent.up().await.starts_with("https://doras.tunnels.test"));
    assert!(browser.get("/").await.text.contains("agent is connected"));
    let second = shown_key(&browser.post(&path, &fields).await);
    assert_ne!(first, second);
    let error = tokio::time::timeout(Duration::from_secs(10), agent.error()).await;
    assert!(error.unwrap().contains("API key"));
    let mut agent = Running::start(&gateway, &second, None, &service);
    agent.up().await;
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there() {
    let (gateway, mut browser, user) = start().await;
    let csrf = browser.get("/").await.field("csrf");
    let page = browser.post("/api/keys/generate", &[("csrf", &csrf)]).await;
    let key = shown_key(&page);
    let first = Page::default();
    let keys = identity(&gateway).keys(Some(user), &first);
    let key_id = keys.await.unwrap().items[0].id;
    let tunnel = tunnel_id(&gateway, user).await;

    account(&gateway, "mallory", Role::User).await;
    let mut mallory = Browser::new(&gateway).await;
    mallory.sign_in_local("mallory", PASSWORD).await;
    let csrf = mallory.get("/").await.field("csrf");
    for id in [tunnel.to_string(), "999".into(), "x".into(), "%ff".into()] {
        let page = mallory.get(&format!("/tunnels/{id}/keys/new")).await;
        assert!(matches!(page.status, 400 | 404), "{id}: {}", page.status);
        let form = format!("/tunnels/{id}/keys/generate");
        let page = mallory.post(&form, &[("csrf", &csrf)]).await;
        assert!(matches!(page.status, 400 | 404), "{id}: {}", page.status);
        assert!(!page.text.contains("ptn_"));
    }
    for id in [key_id.to_string(), "999".into(), "x".into()] {
        let form = format!("/api/keys/{id}/revoke");
        assert_eq!(mallory.post(&form, &[("csrf", &csrf)]).await.status, 404);
    }
    assert!(is_good(&gateway, &key).await);
}

#[tokio::test]
async fn another_site_makes_and_revokes_nothing() {
    let (gateway, mut browser, user) = start().await;
    delete_tunnel(&gateway, user).await;
    let csrf = browser.get("/").await.field("csrf");
    let own = format!("Origin: {}", browser.origin);
    for form in FORMS {
        for (token, from) in [
            (&*csrf, "Origin: https://example.com"),
            (&csrf, "Sec-Fetch-Site: same-site"),
            ("", &own),
            ("x", &own),
        ] {
            let page = browser.post_from(form, &[("csrf", token)], &[from]).await;
            assert_eq!(page.status, 403, "{form} {from}");
        }
    }
    let page = Page::default();
    let identity = identity(&gateway);
    assert!(
        identity
            .keys(Some(user), &page)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let tunnels = identity.tunnels(Some(user), &page).await.unwrap();
    assert!(tunnels.items.is_empty(), "{tunnels:?}");
}
