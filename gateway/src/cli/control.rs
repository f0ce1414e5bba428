//! Asking the running gateway, over the control socket in its data directory.

use std::{
    fmt,
    io::{self, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use super::{EXIT_CONFIG, EXIT_FAILURE, EXIT_NOT_RUNNING};
use crate::{
    app::CONTROL_SOCKET,
    config::{self, Config},
};

/// A page of a list is far smaller.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// What is not itself in the value of a query.
const IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?');

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(super) struct Failed {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failed {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self {
            code: EXIT_FAILURE,
            message: message.to_string(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

/// The configuration that says where everything is.
pub(super) fn load(path: &Path) -> Result<Config, Failed> {
    match config::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => Ok(loaded.config),
        Err(problems) => Err(Failed {
            code: EXIT_CONFIG,
            message: format!("the configuration has problems\n{problems}"),
            hint: None,
        }),
    }
}

/// The running gateway.
pub(super) struct Control {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Control {
    /// The gateway of the configuration file `path`.
    pub(super) fn of(path: &Path) -> Result<Self, Failed> {
        Self::new(&load(path)?)
    }

    pub(super) fn new(config: &Config) -> Result<Self, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            socket: config.data_dir.join(CONTROL_SOCKET),
            runtime,
        })
    }

    /// Whether a gateway answers.
    pub(super) fn is_running(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failed> {
        self.ask(&Method::GET, path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        self.ask(&Method::POST, path, Some(body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        self.ask(&Method::PATCH, path, Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, Failed> {
        self.ask(&Method::DELETE, path, None)
    }

    /// Every page of a list. `path` may have a query.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Value>, Failed> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = match &cursor {
                Some(cursor) => self.get(&format!("{path}{joint}cursor={cursor}"))?,
                None => self.get(path)?,
            };
            all.extend(page["items"].as_array().into_iter().flatten().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(all),
            }
        }
    }

    /// Copies the body of the answer to `out`.
    pub(super) fn copy(&self, path: &str, out: &mut dyn Write) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let (status, mut body) = self.exchange(&Method::GET, path, None).await?;
            if status != StatusCode::OK {
                return Err(refused(status, &read(body).await?));
            }
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| broken(&error))?;
                if let Some(data) = frame.data_ref() {
                    out.write_all(data)?;
                }
            }
            out.flush()?;
            Ok(())
        })
    }

    fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
        self.runtime.block_on(async {
            let (status, body) = self.exchange(method, path, body).await?;
            let answer = read(body).await?;
            match status.is_success() {
                true => Ok(answer),
                false => Err(refused(status, &answer)),
            }
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Incoming), Failed> {
        let stream = tokio::net::UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.not_running(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        tokio::spawn(connection);
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(text.into_bytes().into()))
            .map_err(Failed::new)?;
        let request: Request<Full<bytes::Bytes>> = request;
        let response = sender.send_request(request).await;
        let (parts, body) = response.map_err(|error| broken(&error))?.into_parts();
        Ok((parts.status, body))
    }

    fn not_running(&self, error: &io::Error) -> Failed {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failed {
                code: EXIT_NOT_RUNNING,
                message: format!("the gateway is not running: nobody answers at {socket}"),
                hint: Some(
                    "start it with `portunus run`; is this its configuration file (--config), and does it have a `domain`?"
                        .into(),
                ),
            },
            io::ErrorKind::PermissionDenied => Failed::new(format!("{socket}: {error}"))
                .hint("run this as the user the gateway runs as, or as root"),
            _ => Failed::new(format!("{socket}: {error}")),
        }
    }
}

/// A value for a query string.
pub(super) fn in_query(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, IN_QUERY)
}

async fn read(body: Incoming) -> Result<Value, Failed> {
    let mut body = Limited::new(body, MAX_ANSWER);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    Ok(match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes)
            .map_err(|error| Failed::new(format!("the gateway's answer is no JSON: {error}")))?,
    })
}

fn refused(status: StatusCode, answer: &Value) -> Failed {
    match answer["detail"].as_str() {
        Some(detail) => Failed::new(detail),
        None => Failed::new(format!("the gateway answered {status}")),
    }
}

fn broken(error: &dyn fmt::Display) -> Failed {
    Failed::new(format!("the gateway broke the connection off: {error}"))
}
