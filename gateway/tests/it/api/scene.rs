//! A gateway with a few people.

use std::time::Duration;

use auth::{
    identity::{Context, Identity},
    key::{Lifetime, NewKey},
    session::SessionId,
    user::{Provider, Role, SignIn, UserId},
};
use serde_json::Value;

use crate::support::{Dir, Gateway, PLAIN, Wire};

pub(crate) const HOST: &str = "gw.test";

/// A gateway with an administrator and two users.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) admin: Person,
    pub(crate) alice: Person,
    pub(crate) bob: Person,
}

#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) session: SessionId,
    /// The value of the session's cookie.
    pub(crate) cookie: String,
    /// A key that may do all its owner may.
    pub(crate) key: String,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'a> {
    Nobody,
    Key(&'a str),
    /// A browser on a page of the gateway's own.
    Browser(&'a Person),
    /// Over the control socket.
    Operator,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) json: Value,
    response: crate::support::Response,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// The code of a problem, which is told as RFC 9457 says.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, &str) {
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["status"], self.status, "{self:?}");
        assert!(self.json["title"].is_string() && self.json["detail"].is_string());
        (self.status, self.json["code"].as_str().unwrap())
    }
}

/// The configuration, with more keys before the tables.
pub(crate) fn toml(more: &str) -> String {
    format!("domain = \"{HOST}\"\ndev = true\n{more}\n{PLAIN}")
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(&toml("")).await
    }

    pub(crate) async fn with(toml: &str) -> Self {
        Self::in_dir(Dir::new(), toml).await
    }

    pub(crate) async fn in_dir(dir: Dir, toml: &str) -> Self {
        let gateway = Gateway::start_in(dir, toml).await;
        let identity = gateway.shared.identity.clone().unwrap();
        let admin = Person::come(&identity, "root").await;
        let changes = auth::identity::UserChanges {
            role: Some(Role::Admin),
            ..Default::default()
        };
        let operator = Context::operator();
        identity
            .update_user(admin.id, &changes, None, &operator)
            .await
            .unwrap();
        Self {
            admin,
            alice: Person::come(&identity, "alice").await,
            bob: Person::come(&identity, "bob").await,
            gateway,
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        self.gateway.shared.identity.as_ref().unwrap()
    }

    /// A key of `owner` with `scopes`.
    pub(crate) async fn key(&self, owner: UserId, scopes: &str) -> (u64, String) {
        make_key(self.identity(), owner, scopes).await
    }

    pub(crate) async fn get(&self, who: Who<'_>, path: &str) -> Answer {
        self.call(who, "GET", path, None).await
    }

    pub(crate) async fn call(
        &self,
        who: Who<'_>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let body = body.map(|body| body.to_string());
        self.send(who, method, path, &[], body.as_deref()).await
    }

    /// With more header lines.
    pub(crate) async fn send(
        &self,
        who: Who<'_>,
        method: &str,
        path: &str,
        more: &[&str],
        body: Option<&str>,
    ) -> Answer {
        let mut lines = vec![format!("{method} {path} HTTP/1.1"), format!("Host: {HOST}")];
        let mut wire = match who {
            Who::Operator => Wire::unix(&self.gateway.dir.join("state/control.sock")).await,
            _ => self.gateway.connect().await,
        };
        match who {
            Who::Nobody | Who::Operator => {}
            Who::Key(key) => lines.push(format!("Authorization: Bearer {key}")),
            Who::Browser(person) => {
                let csrf = self.identity().csrf_token(person.session);
                lines.push(format!("Cookie: __Host-portunus_session={}", person.cookie));
                lines.push(format!("Origin: https://{HOST}"));
                lines.push("Sec-Fetch-Site: same-origin".to_owned());
                lines.push(format!("X-CSRF-Token: {csrf}"));
            }
        }
        lines.extend(more.iter().map(|&line| line.to_owned()));
        if let Some(body) = body {
            if !more.iter().any(|line| line.starts_with("Content-Type")) {
                lines.push("Content-Type: application/json".to_owned());
            }
            lines.push(format!("Content-Length: {}", body.len()));
        }
        let body = body.unwrap_or_default();
        wire.send(format!("{}\r\n\r\n{body}", lines.join("\r\n")))
            .await;
        let response = wire.response().await;
        Answer {
            status: response.status,
            text: String::from_utf8_lossy(&response.body).into_owned(),
            json: serde_json::from_slice(&response.body).unwrap_or_default(),
            response,
        }
    }
}

impl Person {
    async fn come(identity: &Identity, name: &str) -> Self {
        let sign_in = SignIn {
            provider: Provider::GitHub,
            subject: format!("subject of {name}"),
            username: name.to_owned(),
            display_name: None,
            email: None,
            avatar_url: None,
            admin: false,
        };
        let anonymous = Context::anonymous(None, None);
        let (user, token) = identity.sign_in(&sign_in, &anonymous).await.unwrap();
        let now = identity.clock().now();
        let directory = identity.directory();
        let caller = directory.by_session(token.reveal(), now).unwrap();
        let (_, key) = make_key(identity, user.id, "*:*").await;
        Self {
            id: user.id,
            session: caller.session().unwrap(),
            cookie: token.reveal().to_owned(),
            key,
        }
    }
}

async fn make_key(identity: &Identity, owner: UserId, scopes: &str) -> (u64, String) {
    let new = NewKey {
        name: "made by a test".to_owned(),
        scopes: scopes.parse().unwrap(),
        lifetime: Lifetime::For(Duration::from_secs(3600)),
        tunnel: None,
    };
    let made = identity.create_key(owner, &new, &Context::operator()).await;
    let (key, secret) = made.unwrap();
    (key.id.0, secret.reveal().to_owned())
}
