//! A browser without a screen: one connection, and the cookies it was given.

use std::collections::BTreeMap;

use super::{HOST, StandIn};
use crate::support::{Gateway, Wire};

pub(crate) struct Browser {
    wire: Wire,
    /// The gateway's own.
    pub(crate) host: &'static str,
    pub(crate) cookies: BTreeMap<String, String>,
    /// What the gateway's pages are under: `https://gw.test:PORT`.
    pub(crate) origin: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    head: crate::support::Head,
}

impl Answer {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.one(name)
    }

    #[track_caller]
    pub(crate) fn location(&self) -> &str {
        self.header("location")
            .unwrap_or_else(|| panic!("{} {}", self.status, self.text))
    }

    /// The whole `Set-Cookie` of a cookie.
    pub(crate) fn set_cookie(&self, name: &str) -> Option<&str> {
        let lines = self.head.all("set-cookie").into_iter();
        lines
            .into_iter()
            .find(|line| line.split('=').next() == Some(name))
    }

    /// The value of a hidden field of the page's form.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        let before = format!("name=\"{name}\" value=\"");
        let (_, after) = self
            .text
            .split_once(&before)
            .unwrap_or_else(|| panic!("{}", self.text));
        after.split('"').next().unwrap().to_owned()
    }

    pub(crate) fn has_session(&self) -> bool {
        self.set_cookie(super::browser::SESSION)
            .is_some_and(|line| !line.contains("Max-Age=0"))
    }
}

pub(crate) const SESSION: &str = "__Host-portunus_session";

impl Browser {
    pub(crate) async fn new(gateway: &Gateway) -> Self {
        Self::to(gateway.connect_tls(HOST).await, gateway.https().port())
    }

    pub(crate) fn to(wire: Wire, port: u16) -> Self {
        Self {
            wire,
            host: HOST,
            cookies: BTreeMap::new(),
            origin: format!("https://{HOST}:{port}"),
        }
    }

    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.ask(
            "GET",
            target,
            &["Accept: text/html", "Sec-Fetch-Site: none"],
            "",
        )
        .await
    }

    /// Sends a form of a page of the gateway's own.
    pub(crate) async fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("Origin: {}", self.origin);
        self.post_from(target, fields, &[&origin, "Sec-Fetch-Site: same-origin"])
            .await
    }

    pub(crate) async fn post_from(
        &mut self,
        target: &str,
        fields: &[(&str, &str)],
        from: &[&str],
    ) -> Answer {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let form = form.extend_pairs(fields).finish();
        let mut lines = vec!["Content-Type: application/x-www-form-urlencoded"];
        lines.extend(from);
        self.ask("POST", target, &lines, &form).await
    }

    pub(crate) async fn ask(
        &mut self,
        method: &str,
        target: &str,
        lines: &[&str],
        body: &str,
    ) -> Answer {
        let mut head = vec![
            format!("{method} {target} HTTP/1.1"),
            format!("Host: {}", self.host),
        ];
        head.extend(lines.iter().map(|&line| line.to_owned()));
        if method == "POST" {
            head.push(format!("Content-Length: {}", body.len()));
        }
        if !self.cookies.is_empty() {
            let pairs = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            head.push(format!("Cookie: {}", pairs.collect::<Vec<_>>().join("; ")));
        }
        self.wire
            .send(format!("{}\r\n\r\n{body}", head.join("\r\n")))
            .await;
        let response = self.wire.response().await;
        for line in response.head.all("set-cookie") {
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Answer {
            status: response.status,
            text: response.text().to_owned(),
            head: response.head,
        }
    }

    /// Goes to the provider, is `person` there, and comes back. Returns the callback's path and
    /// query, which was not asked for yet.
    pub(crate) async fn callback(
        &mut self,
        stand_in: &StandIn,
        provider: &str,
        person: &str,
    ) -> String {
        let begun = self.get(&format!("/auth/{provider}")).await;
        let back = stand_in.visit(begun.location(), person).await;
        back.strip_prefix(&self.origin).unwrap().to_owned()
    }

    /// The whole of signing in.
    pub(crate) async fn sign_in(
        &mut self,
        stand_in: &StandIn,
        provider: &str,
        person: &str,
    ) -> Answer {
        let callback = self.callback(stand_in, provider, person).await;
        self.get(&callback).await
    }

    /// Signs in with a local account.
    pub(crate) async fn sign_in_local(&mut self, name: &str, password: &str) -> Answer {
        let csrf = self.get("/auth/login").await.field("csrf");
        let fields = [("csrf", &*csrf), ("username", name), ("password", password)];
        self.post("/auth/login", &fields).await
    }

    /// Whether the first page knows somebody.
    pub(crate) async fn is_signed_in(&mut self) -> bool {
        let home = self.get("/").await;
        assert_eq!(home.status, 200);
        home.text.contains("You are signed in")
    }
}
