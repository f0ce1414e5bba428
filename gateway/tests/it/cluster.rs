//! Two gateways on one PostgreSQL: what is done at one holds at the other, at once; and both live
//! through the server's absence.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use auth::{
    identity::{Context, Identity},
    key::{KeyId, Lifetime, NewKey},
    store::Revision,
    user::{Role, UserId},
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{
    Message, client::IntoClientRequest, http::HeaderValue as Text,
};

use crate::{
    sign_in::{Browser, SESSION, StandIn},
    support::{Cluster, Gateway, Origin, WebSocket, Wire, within},
    tunnels::Running,
};

/// Within it a revocation at one gateway holds at every other.
const AT_ONCE: Duration = Duration::from_secs(1);
const NAME: &str = "carla";
const PASSWORD: &str = "correct horse battery";
/// What seals at one is opened at the other.
const MASTER_KEY: &str = "8f0c1d7be24a95f63b58a1d0c97e42f6135bda08ec74f92d60b1a37c5e48fd29";
/// The port that browsers reach both gateways at, through what balances the load.
const PORT: u16 = 8443;

/// Two gateways, the server they share, and services that only keys may use.
struct Scene {
    cluster: Cluster,
    one: Gateway,
    other: Gateway,
    _service: Origin,
    /// Behind `ws.test`, for the test to play.
    live: Origin,
}

impl Scene {
    /// Gateways at `domain`, with more keys before the tables and more tables.
    async fn start(domain: &str, keys: &str, tables: &str) -> Self {
        let cluster = Cluster::start();
        let (service, live) = (Origin::echo().await, Origin::bind().await);
        let site = |name: &str, url: String| {
            format!(
                "[[site]]\nhosts = [\"{name}.test\"]\nname = \"{name}\"\nhttp = \"serve\"\n\
                 [[site.route]]\nname = \"api\"\nproxy = [\"{url}\"]\n\
                 access = {{ key = {{ scope = \"route:access:{name}/api\" }} }}\n"
            )
        };
        let toml = format!(
            "domain = \"{domain}\"\ndev = true\ndata_dir = \"state\"\nstore = \"{}\"\n\
             master_key = \"{}\"\n{keys}\n\
             [listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n\
             admin = \"127.0.0.1:0\"\nredirect_port = {PORT}\n{tables}\n{}{}",
            cluster.url(),
            MASTER_KEY,
            site("app", service.url()),
            site("ws", live.url()),
        );
        Self {
            one: Gateway::start(&toml).await,
            other: Gateway::start(&toml).await,
            cluster,
            _service: service,
            live,
        }
    }

    /// Made at the first gateway.
    async fn user(&self) -> UserId {
        let context = Context::operator();
        let made = identity(&self.one).create_local(NAME, PASSWORD, Role::User, &context);
        made.await.unwrap().id
    }
}

fn identity(gateway: &Gateway) -> &Identity {
    gateway.shared.identity.as_ref().unwrap()
}

/// A key that may use the service and bring tunnels.
async fn make_key(gateway: &Gateway, owner: UserId) -> (KeyId, Revision, String) {
    let new = NewKey {
        name: "laptop".to_owned(),
        scopes: "route:access,tunnel:connect".parse().unwrap(),
        lifetime: Lifetime::Default,
        tunnel: None,
    };
    let context = Context::operator();
    let made = identity(gateway).create_key(owner, &new, &context).await;
    let (key, secret) = made.unwrap();
    (key.id, key.revision, secret.reveal().to_owned())
}

/// The status of a request to the service through `gateway`.
async fn status(gateway: &Gateway, key: &str) -> u16 {
    let mut client = gateway.connect().await;
    let bearer = format!("Authorization: Bearer {key}");
    let lines = ["GET / HTTP/1.1", "Host: app.test", &bearer];
    client.ask(&lines).await.status
}

/// Asks again and again until the answer is as wanted; fails after [`AT_ONCE`].
async fn at_once<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !within(holds()).await {
        assert!(began.elapsed() < AT_ONCE, "{what}: not within {AT_ONCE:?}");
    }
}

/// Status and JSON of a page of the admin listener.
async fn admin(gateway: &Gateway, path: &str) -> (u16, Value) {
    let answer = Wire::tcp(gateway.admin())
        .await
        .get("localhost", path)
        .await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// Asks the admin listener until `wanted` is true of the answer.
async fn admin_says(gateway: &Gateway, path: &str, wanted: impl Fn(u16, &Value) -> bool) {
    within(async {
        let mut glances = tokio::time::interval(Duration::from_millis(20));
        loop {
            let (status, body) = admin(gateway, path).await;
            if wanted(status, &body) {
                return;
            }
            glances.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_made_at_one_is_good_at_the_other_and_refused_there_once_revoked() {
    let scene = Scene::start("gw.test", "", "").await;
    let user = scene.user().await;
    let (key, _, secret) = make_key(&scene.one, user).await;
    at_once("a new key", || async {
        status(&scene.other, &secret).await == 200
    })
    .await;
    let context = Context::operator();
    let revoked = identity(&scene.one).revoke_key(key, &context).await;
    revoked.unwrap();
    assert_eq!(status(&scene.one, &secret).await, 401);
    at_once("a revoked key", || async {
        status(&scene.other, &secret).await == 401
    })
    .await;
}

#[tokio::test]
async fn a_revocation_at_one_ends_what_is_open_at_the_other() {
    let tunnels = "[tunnels]\ndomain = \"tunnels.test\"\nwait = \"50ms\"";
    let scene = Scene::start("localhost", "", tunnels).await;
    let user = scene.user().await;
    let (key, revision, secret) = make_key(&scene.one, user).await;
    identity(&scene.other).directory().caught_up(revision).await;
    let behind = Origin::echo().await;
    let mut agent = Running::start(&scene.other, &secret, None, &behind);
    agent.up().await;
    let mut request = "ws://ws.test/".into_client_request().unwrap();
    let bearer = Text::from_str(&format!("Bearer {secret}")).unwrap();
    request.headers_mut().insert("authorization", bearer);
    let wire = scene.other.connect().await.into_stream();
    let open = within(tokio_tungstenite::client_async(request, wire));
    let serve = async { WebSocket::take(scene.live.accept().await).await };
    let (opened, mut server) = tokio::join!(open, serve);
    let mut client = WebSocket(opened.unwrap().0);
    client.send(Message::text("hello")).await;
    assert_eq!(server.next().await, Some(Message::text("hello")));

    let context = Context::operator();
    let revoked = identity(&scene.one).revoke_key(key, &context).await;
    revoked.unwrap();
    let began = Instant::now();
    let (at_client, at_server) = tokio::join!(client.closed(), server.closed());
    assert_eq!((at_client.0, at_server.0), (1008, 1008));
    let connected = scene.other.shared.tunnels.as_ref().unwrap();
    crate::support::eventually(|| connected.connected() == 0).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let error = agent.error().await;
    assert!(error.contains("API key"), "{error}");
}

#[tokio::test]
async fn a_session_is_of_both_and_ends_at_both() {
    let scene = Scene::start("gw.test", "", "").await;
    scene.user().await;
    let mut here = Browser::to(scene.one.connect_tls("gw.test").await, PORT);
    assert!(here.sign_in_local(NAME, PASSWORD).await.has_session());
    let mut there = Browser::to(scene.other.connect_tls("gw.test").await, PORT);
    there.cookies = here.cookies.clone();
    let began = Instant::now();
    while !there.is_signed_in().await {
        assert!(began.elapsed() < AT_ONCE);
    }
    // The form of one gateway's page is taken by the other.
    let csrf = there.get("/").await.field("csrf");
    let left = here.post("/auth/logout", &[("csrf", &*csrf)]).await;
    assert_eq!(left.status, 303, "{}", left.text);
    assert!(!here.is_signed_in().await);
    let began = Instant::now();
    while there.is_signed_in().await {
        assert!(began.elapsed() < AT_ONCE);
    }
}

#[tokio::test]
async fn a_sign_in_begun_at_one_is_completed_at_the_other_once() {
    let stand_in = StandIn::start().await;
    let auth = format!(
        "[auth]\ngithub = {{ client_id = \"stand-in-client\", \
         client_secret = \"stand-in-secret\", base_url = \"{}\" }}",
        stand_in.url
    );
    let scene = Scene::start("gw.test", "", &auth).await;
    let browser = |wire| Browser::to(wire, PORT);
    let mut here = browser(scene.one.connect_tls("gw.test").await);
    let callback = here.callback(&stand_in, "github", "alice").await;
    let mut there = browser(scene.other.connect_tls("gw.test").await);
    there.cookies = here.cookies.clone();
    let entered = there.get(&callback).await;
    assert_eq!((entered.status, entered.location()), (302, "/"));
    assert!(there.cookies.contains_key(SESSION));
    let again = here.get(&callback).await;
    assert_eq!((again.status, again.has_session()), (400, false));

    // Both at the same time.
    for _ in 0..5 {
        let mut here = browser(scene.one.connect_tls("gw.test").await);
        let callback = here.callback(&stand_in, "github", "carol").await;
        let mut there = browser(scene.other.connect_tls("gw.test").await);
        there.cookies = here.cookies.clone();
        let (first, second) = tokio::join!(here.get(&callback), there.get(&callback));
        assert_ne!(first.has_session(), second.has_session(), "one of the two");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_told_and_what_is_in_memory_goes_on() {
    let mut scene = Scene::start("gw.test", "", "").await;
    let user = scene.user().await;
    let (_, revision, secret) = make_key(&scene.one, user).await;
    let theirs = identity(&scene.other);
    theirs.directory().caught_up(revision).await;
    for gateway in [&scene.one, &scene.other] {
        assert_eq!(admin(gateway, "/health").await.1["db"], "up");
        assert_eq!(admin(gateway, "/health/ready").await.0, 200);
    }

    scene.cluster.command("stop");
    for gateway in [&scene.one, &scene.other] {
        admin_says(gateway, "/health", |status, body| {
            assert_eq!((status, &body["status"]), (200, &"ok".into()));
            body["db"] == "down"
        })
        .await;
        let (ready, body) = admin(gateway, "/health/ready").await;
        assert_eq!((ready, &body["status"]), (503, &"not_ready".into()));
        assert_eq!(body["reason"], "db_down");
        for _ in 0..3 {
            assert_eq!(status(gateway, &secret).await, 200);
            let unknown = "ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA";
            assert_eq!(status(gateway, unknown).await, 401);
        }
    }

    scene.cluster.command("start");
    for gateway in [&scene.one, &scene.other] {
        admin_says(gateway, "/health/ready", |status, _| status == 200).await;
        assert_eq!(admin(gateway, "/health").await.1["db"], "up");
    }
    let (_, revision, secret) = make_key(&scene.one, user).await;
    let theirs = identity(&scene.other);
    within(theirs.directory().caught_up(revision)).await;
    assert_eq!(status(&scene.other, &secret).await, 200);
}

#[tokio::test]
async fn without_the_migration_it_expects_a_gateway_is_not_ready() {
    let expected = "expected_migration = \"later-1\"";
    let scene = Scene::start("gw.test", expected, "").await;
    for gateway in [&scene.one, &scene.other] {
        let (status, body) = admin(gateway, "/health/ready").await;
        let missing = r#"{"status":"not_ready","reason":"migration_missing","expected":"later-1"}"#;
        let missing: Value = serde_json::from_str(missing).unwrap();
        assert_eq!((status, body), (503, missing));
        // No less alive for it.
        let (status, body) = admin(gateway, "/health").await;
        assert_eq!((status, &body["db"]), (200, &"up".into()));
    }
    let done = "INSERT INTO portunus.migrations (name) VALUES ('later-1')";
    scene
        .cluster
        .admin()
        .await
        .batch_execute(done)
        .await
        .unwrap();
    for gateway in [&scene.one, &scene.other] {
        admin_says(gateway, "/health/ready", |status, _| status == 200).await;
    }
}
