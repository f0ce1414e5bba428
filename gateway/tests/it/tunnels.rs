//! Tunnels, from an agent that dials in to a visitor of its name.

use std::sync::Arc;

use auth::{
    identity::{Context, Identity},
    key::{KeyId, Lifetime, NewKey},
    scope::Scopes,
    user::{Role, UserId},
};
use relay::tunnel::{
    agent::{Agent, DialError, Event, Roots, Server, Service, Settings, bearer},
    carrier::Timing,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::{Gateway, Origin, TLS, WebSocket, Wire, eventually, within};

const NAME: &str = "happy-panda-dancing";
const HOST: &str = "happy-panda-dancing.tunnels.test";

fn config(more: &str) -> String {
    format!(
        "domain = \"localhost\"\ndev = true\n{TLS}\n[tunnels]\ndomain = \"tunnels.test\"\n\
         wait = \"50ms\"\n{more}\n"
    )
}

/// A gateway with a user who has a tunnel and a key.
struct Scene {
    gateway: Gateway,
    user: UserId,
    key: String,
    key_id: KeyId,
}

impl Scene {
    async fn start(more: &str) -> Self {
        let gateway = Gateway::start(&config(more)).await;
        let context = Context::operator();
        let identity = identity(&gateway);
        let user = identity
            .create_local("carla", "correct horse battery", Role::User, &context)
            .await
            .unwrap();
        let tunnels = identity.tunnels(Some(user.id), &page()).await.unwrap();
        match tunnels.items.first() {
            Some(tunnel) => drop(
                identity
                    .rename_tunnel(tunnel.id, NAME, None, &context)
                    .await
                    .unwrap(),
            ),
            None => drop(
                identity
                    .create_tunnel(user.id, Some(NAME), &context)
                    .await
                    .unwrap(),
            ),
        }
        let (key_id, key) = new_key(identity, user.id).await;
        Self {
            user: user.id,
            gateway,
            key,
            key_id,
        }
    }

    /// An agent for `service` that is connected.
    async fn agent(&self, service: &Origin) -> Running {
        let mut agent = Running::start(&self.gateway, &self.key, None, service);
        agent.up().await;
        agent
    }

    async fn visit(&self) -> Wire {
        self.gateway.connect_tls(HOST).await
    }
}

fn identity(gateway: &Gateway) -> &Identity {
    gateway.shared.identity.as_ref().unwrap()
}

fn page() -> auth::identity::Page {
    auth::identity::Page {
        cursor: None,
        limit: 10,
    }
}

pub(crate) async fn new_key(identity: &Identity, owner: UserId) -> (KeyId, String) {
    let new = NewKey {
        name: "laptop".into(),
        scopes: Scopes::least(),
        lifetime: Lifetime::Default,
        tunnel: None,
    };
    let (key, secret) = identity
        .create_key(owner, &new, &Context::operator())
        .await
        .unwrap();
    identity.directory().caught_up(key.revision).await;
    (key.id, secret.reveal().to_owned())
}

/// An agent that runs.
pub(crate) struct Running {
    urls: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<Result<(), DialError>>,
}

impl Running {
    pub(crate) fn start(
        gateway: &Gateway,
        key: &str,
        name: Option<&str>,
        service: &Origin,
    ) -> Self {
        let (tell, urls) = mpsc::unbounded_channel();
        let listener = Arc::new(move |event: Event<'_>| {
            if let Event::Up(granted) = event {
                let _ = tell.send(granted.url.clone());
            }
        });
        let server = format!("https://localhost:{}", gateway.https().port());
        let settings = Settings {
            server: Server::parse(&server, &Roots::Pem(gateway.root_pem())).unwrap(),
            proxy: None,
            key: bearer(key).unwrap(),
            tunnel: name.map(str::to_owned),
            service: Service {
                address: service.address().to_string(),
            },
            carriers: 2,
            timing: Timing::default(),
        };
        let agent = Agent::new(settings, listener);
        Self {
            urls,
            task: tokio::spawn(async move { agent.run(CancellationToken::new()).await }),
        }
    }

    pub(crate) async fn up(&mut self) -> String {
        within(self.urls.recv())
            .await
            .expect("the agent is still there")
    }

    pub(crate) async fn error(self) -> String {
        let ended = within(self.task).await.unwrap();
        ended.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn a_visitor_reaches_the_service_behind_an_agent() {
    let scene = Scene::start("").await;
    let service = Origin::echo().await;
    let mut agent = Running::start(&scene.gateway, &scene.key, None, &service);
    let url = agent.up().await;
    let port = scene.gateway.https().port();
    assert_eq!(url, format!("https://{HOST}:{port}"));
    let mut visitor = scene.visit().await;
    let answer = visitor.get(HOST, "/a%2Fb?x=%7e&x=1&&").await;
    assert_eq!(answer.status, 200);
    let seen = answer.echoed();
    assert_eq!(seen.target(), "/a%2Fb?x=%7e&x=1&&");
    assert_eq!(seen.one("host"), Some(HOST));
    assert_eq!(seen.one("x-forwarded-proto"), Some("https"));
    // The virtual connection is used again.
    for _ in 0..5 {
        assert_eq!(visitor.get(HOST, "/").await.status, 200);
    }
    assert_eq!(service.accepted(), 1);
}

#[tokio::test]
async fn a_websocket_passes_through_a_tunnel() {
    let scene = Scene::start("").await;
    let service = Origin::bind().await;
    let _agent = scene.agent(&service).await;
    let visitor = scene.visit().await;
    let url = format!("wss://{HOST}/ws");
    let (mut upstream, mut client) = tokio::join!(
        async { WebSocket::take(service.accept().await).await },
        WebSocket::open(visitor, &url)
    );
    client.send("there").await;
    assert_eq!(upstream.next().await.unwrap().into_text().unwrap(), "there");
    upstream.send("back").await;
    assert_eq!(client.next().await.unwrap().into_text().unwrap(), "back");
}

#[tokio::test]
async fn an_unknown_name_is_named_on_its_page_and_escaped() {
    let scene = Scene::start("").await;
    let mut visitor = scene.gateway.connect_tls("nobody.tunnels.test").await;
    let answer = visitor
        .ask(&[
            "GET / HTTP/1.1",
            "Host: nobody.tunnels.test",
            "Accept: text/html",
        ])
        .await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.text().contains("nobody.tunnels.test"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn an_agent_that_is_away_is_waited_for_and_then_missed() {
    let scene = Scene::start("").await;
    let mut visitor = scene.visit().await;
    let answer = visitor.get(HOST, "/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn a_service_that_is_down_is_not_the_gateways_fault() {
    let scene = Scene::start("").await;
    let service = Origin::bind().await;
    let agent = scene.agent(&service).await;
    drop(service);
    let mut visitor = scene.visit().await;
    let answer = visitor.get(HOST, "/").await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("service behind it is not answering"));
    drop(agent);
}

#[tokio::test]
async fn a_revoked_key_ends_the_agent() {
    let scene = Scene::start("").await;
    let service = Origin::echo().await;
    let agent = scene.agent(&service).await;
    let context = Context::operator();
    identity(&scene.gateway)
        .revoke_key(scene.key_id, &context)
        .await
        .unwrap();
    let error = agent.error().await;
    assert!(error.contains("API key"), "{error}");
    let mut visitor = scene.visit().await;
    assert_eq!(visitor.get(HOST, "/").await.status, 503);
}

#[tokio::test]
async fn a_name_that_is_given_up_leaves_its_agent() {
    for delete in [true, false] {
        let scene = Scene::start("").await;
        let service = Origin::echo().await;
        let _agent = scene.agent(&service).await;
        assert_eq!(scene.visit().await.get(HOST, "/").await.status, 200);
        let (identity, operator) = (identity(&scene.gateway), Context::operator());
        let tunnel = identity.directory().tunnel_named(NAME).unwrap();
        match delete {
            true => identity
                .delete_tunnel(tunnel.id, None, &operator)
                .await
                .unwrap(),
            false => drop(
                identity
                    .rename_tunnel(tunnel.id, "other", None, &operator)
                    .await
                    .unwrap(),
            ),
        }
        // Somebody else takes the name: what is behind it is not the agent of before.
        let next = identity
            .create_local("dora", "correct horse battery", Role::Admin, &operator)
            .await
            .unwrap();
        identity
            .create_tunnel(next.id, Some(NAME), &operator)
            .await
            .unwrap();
        let tunnels = scene.gateway.shared.tunnels.as_ref().unwrap();
        eventually(|| !tunnels.is_connected(NAME)).await;
        assert_eq!(scene.visit().await.get(HOST, "/").await.status, 503);
    }
}

#[tokio::test]
async fn a_key_that_may_not_connect_makes_no_tunnel() {
    let scene = Scene::start("").await;
    let service = Origin::echo().await;
    let (identity, operator) = (identity(&scene.gateway), Context::operator());
    let tunnel = identity.directory().tunnel_named(NAME).unwrap();
    identity
        .delete_tunnel(tunnel.id, None, &operator)
        .await
        .unwrap();
    let new = NewKey {
        name: "reader".into(),
        scopes: "*:read".parse().unwrap(),
        lifetime: Lifetime::Default,
        tunnel: None,
    };
    let made = identity.create_key(scene.user, &new, &operator).await;
    let (key, secret) = made.unwrap();
    identity.directory().caught_up(key.revision).await;
    let agent = Running::start(&scene.gateway, secret.reveal(), None, &service);
    let error = agent.error().await;
    assert!(error.contains("tunnel:connect"), "{error}");
    let left = identity.tunnels(Some(scene.user), &page()).await.unwrap();
    assert!(left.items.is_empty());
}

#[tokio::test]
async fn an_agent_needs_a_key_and_gets_its_owners_tunnels_only() {
    let scene = Scene::start("").await;
    let service = Origin::echo().await;
    let mallory = identity(&scene.gateway)
        .create_local(
            "mallory",
            "correct horse battery",
            Role::User,
            &Context::operator(),
        )
        .await
        .unwrap();
    assert_ne!(mallory.id, scene.user);
    let (_, stolen) = new_key(identity(&scene.gateway), mallory.id).await;
    let unknown = "ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA";
    for (key, name, problem) in [
        ("nonsense", None, "API key is not good"),
        (unknown, None, "API key is not good"),
        (&stolen, Some(NAME), "may not connect"),
        (&scene.key, Some("nobody"), "may not connect"),
    ] {
        let error = Running::start(&scene.gateway, key, name, &service)
            .error()
            .await;
        assert!(error.contains(problem), "{error}");
        assert!(!error.contains(key));
    }
    let visitors = scene.visit().await.get(HOST, "/").await;
    assert_eq!(visitors.status, 503);
}

#[tokio::test]
async fn a_second_agent_takes_over_without_a_wrong_answer() {
    let scene = Scene::start("").await;
    let (old, new) = (Origin::echo().await, Origin::echo().await);
    let first = scene.agent(&old).await;
    assert_eq!(scene.visit().await.get(HOST, "/").await.status, 200);
    let _second = scene.agent(&new).await;
    // It does not come back and take the name in its turn.
    let error = first.error().await;
    assert!(error.contains("another agent"), "{error}");
    let mut visitor = scene.visit().await;
    for _ in 0..20 {
        assert_eq!(visitor.get(HOST, "/").await.status, 200);
    }
    assert!(new.accepted() > 0);
}

#[tokio::test]
async fn a_first_agent_can_be_kept() {
    let scene = Scene::start("on_conflict = \"refuse\"").await;
    let service = Origin::echo().await;
    let _first = scene.agent(&service).await;
    let second = Running::start(&scene.gateway, &scene.key, None, &service);
    let error = second.error().await;
    assert!(error.contains("another agent"), "{error}");
}

#[tokio::test]
async fn a_request_body_over_the_limit_is_refused() {
    let scene = Scene::start("max_request = \"1KB\"").await;
    let service = Origin::echo().await;
    let _agent = scene.agent(&service).await;
    let mut visitor = scene.visit().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1001\r\n\r\n");
    visitor.send(head).await;
    assert_eq!(visitor.response().await.status, 413);
}

#[tokio::test]
async fn a_tunnel_is_an_upstream_of_any_site() {
    let site = "[[site]]\nhosts = [\"app.test\"]\n  [[site.route]]\n  proxy = [\"tunnel:happy-panda-dancing\"]";
    let scene = Scene::start(site).await;
    let service = Origin::echo().await;
    let _agent = scene.agent(&service).await;
    let mut visitor = scene.gateway.connect_tls("app.test").await;
    let answer = visitor.get("app.test", "/x").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.echoed().one("host"), Some("app.test"));
}

#[tokio::test]
async fn a_stopping_gateway_lets_its_agents_go() {
    let scene = Scene::start("").await;
    let service = Origin::echo().await;
    let _agent = scene.agent(&service).await;
    let shared = Arc::clone(&scene.gateway.shared);
    let tunnels = shared.tunnels.as_ref().unwrap();
    assert_eq!(tunnels.connected(), 1);
    scene.gateway.begin_stop();
    eventually(|| tunnels.connected() == 0).await;
}

#[tokio::test]
async fn connections_that_somebody_has_are_still_swept() {
    let scene = Scene::start("").await;
    let tunnels = scene.gateway.shared.tunnels.as_ref().unwrap();
    let kept = tunnels.pool(NAME);
    tunnels.sweep();
    assert!(Arc::ptr_eq(&kept, &tunnels.pool(NAME)));
    let gone = Arc::downgrade(&kept);
    drop(kept);
    tunnels.sweep();
    let made = tunnels.pool(NAME);
    assert!(gone.upgrade().is_none_or(|old| !Arc::ptr_eq(&old, &made)));
}
