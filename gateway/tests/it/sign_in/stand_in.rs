//! The stand-in for GitHub and GitLab, as a process of its own.

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::{Wire, within};

pub(crate) struct StandIn {
    pub(crate) url: String,
    _child: Child,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let mut child = Command::new(program())
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the stand-in is built: cargo build --package auth --example oauth-stand-in");
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within(output.next_line()).await.unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { url, _child: child }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Breaks these steps and no others.
    pub(crate) async fn break_steps(&self, faults: &Value) {
        let body = faults.to_string();
        let length = format!("Content-Length: {}", body.len());
        let mut wire = Wire::tcp(self.address()).await;
        let head = ["POST /_faults HTTP/1.1", "Host: stand-in", &length];
        wire.send(format!("{}\r\n\r\n{body}", head.join("\r\n")))
            .await;
        assert_eq!(wire.response().await.status, 200);
    }

    /// A token of `login` at GitHub that was given to the application `client_id`.
    pub(crate) async fn token(&self, login: &str, client_id: &str) -> String {
        let body = json!({ "provider": "github", "login": login, "client_id": client_id });
        let body = body.to_string();
        let length = format!("Content-Length: {}", body.len());
        let head = ["POST /_tokens HTTP/1.1", "Host: stand-in", &length];
        let mut wire = Wire::tcp(self.address()).await;
        wire.send(format!("{}\r\n\r\n{body}", head.join("\r\n")))
            .await;
        let issued: Value = serde_json::from_slice(&wire.response().await.body).unwrap();
        issued["access_token"].as_str().unwrap().to_owned()
    }

    /// What a person does at the provider: `answer` is who they are, or `deny`. Returns where the
    /// browser is sent.
    pub(crate) async fn visit(&self, authorize: &str, answer: &str) -> String {
        let target = authorize.strip_prefix(&self.url).unwrap();
        let mut wire = Wire::tcp(self.address()).await;
        let sent = wire
            .get("stand-in", &format!("{target}&auto={answer}"))
            .await;
        sent.header("location").unwrap().to_owned()
    }
}

/// Beside the binary under test.
fn program() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_portunus"));
    built.parent().unwrap().join("examples/oauth-stand-in")
}
