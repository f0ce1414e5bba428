//! Who may use a route: every kind of `access`, over real sockets.

mod assertion;
mod basic;
mod deprecated;
mod forward_auth;
mod jwt;
mod keys;
mod rules;
mod sessions;
mod verify;

use auth::{
    apikey::ApiKey,
    identity::{Context, Identity},
    key::{Key, Lifetime, NewKey},
    user::{Provider, SignIn, User},
};

use crate::support::{Gateway, Origin, PLAIN, Response, Wire};

/// `app.test` in front of `origin`, with the keys `route` for its route.
fn app(origin: &Origin, route: &str) -> String {
    let url = origin.url();
    format!(
        "domain = \"gw.test\"\ndev = true\n{PLAIN}\n[[site]]\nhosts = [\"app.test\", \"other.test\"]\n\
         name = \"app\"\n  [[site.route]]\n  name = \"all\"\n  proxy = [\"{url}\"]\n{route}\n"
    )
}

/// A gateway with people, and a service behind it that answers what it was asked.
struct Fixture {
    gateway: Gateway,
    origin: Origin,
    client: Wire,
}

impl Fixture {
    async fn new(route: &str) -> Self {
        let origin = Origin::echo().await;
        let gateway = Gateway::start(&app(&origin, route)).await;
        let client = gateway.connect().await;
        Self {
            gateway,
            origin,
            client,
        }
    }

    fn identity(&self) -> &Identity {
        let identity = self.gateway.shared.identity.as_ref();
        identity.expect("the configuration has a domain")
    }

    /// Signs somebody in at the domain: their record and the value of their cookie there.
    async fn sign_in(&self, name: &str, admin: bool) -> (User, String) {
        let sign_in = SignIn {
            provider: Provider::GitHub,
            subject: name.to_owned(),
            username: name.to_owned(),
            display_name: None,
            email: Some(format!("{name}@example.com")),
            avatar_url: None,
            admin,
        };
        let anonymous = Context::anonymous(None, None);
        let (user, token) = self.identity().sign_in(&sign_in, &anonymous).await.unwrap();
        (user.record, token.reveal().to_owned())
    }

    async fn key(&self, scopes: &str) -> (Key, ApiKey) {
        let (user, _) = self.sign_in("alice", false).await;
        let new = NewKey {
            name: "test".into(),
            scopes: scopes.parse().unwrap(),
            lifetime: Lifetime::Default,
            tunnel: None,
        };
        let operator = Context::operator();
        let (key, secret) = self
            .identity()
            .create_key(user.id, &new, &operator)
            .await
            .unwrap();
        (key.record, secret)
    }

    /// `GET /` of `app.test` with more lines.
    async fn get(&mut self, lines: &[&str]) -> Response {
        self.get_from("app.test", "/", lines).await
    }

    async fn get_from(&mut self, host: &str, target: &str, lines: &[&str]) -> Response {
        let (request, host) = (format!("GET {target} HTTP/1.1"), format!("Host: {host}"));
        let all: Vec<_> = [request.as_str(), &host]
            .into_iter()
            .chain(lines.iter().copied())
            .collect();
        self.client.ask(&all).await
    }
}

/// What a program is told that is not let in.
#[track_caller]
fn assert_refused(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{}", response.text());
    let content_type = response.header("content-type");
    assert_eq!(content_type, Some("application/problem+json"));
    let problem: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem["status"], status);
}
