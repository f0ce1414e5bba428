//! A stand-in for GitHub and GitLab: their OAuth endpoints and the few API calls a sign-in makes, as
//! they document them, errors and habits included. For tests, and to sign in on one's own machine.
//!
//! ```text
//! cargo run -p auth --example oauth-stand-in -- [--listen ADDRESS] [--client-id ID]
//!     [--client-secret SECRET] [--callback PREFIX] [--until-stdin-closes]
//! ```
//!
//! It prints `listening on http://ADDRESS`, by default a free port of 127.0.0.1. `base_url` of both
//! providers is that URL. `--callback` is the registered callback: redirects go to it and below, and
//! anywhere when it is not given. The last switch ends the process with the one that started it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /login/oauth/authorize`, `GET /oauth/authorize` | GitHub's and GitLab's page, with a button for each user and one to refuse; `&auto=alice` and `&auto=deny` press one |
//! | `POST /login/oauth/access_token`, `POST /oauth/token` | a token for a code |
//! | `GET /user`, `GET /user/emails`, `POST /applications/ID/token` | GitHub's API, also under `/api/v3` |
//! | `GET /api/v4/user`, `GET /oauth/token/info` | GitLab's API |
//! | `POST /_faults` `{"token":"500"}` | breaks a step from now on, `{}` mends all; see `faults.rs` |
//! | `POST /_tokens` `{"provider":"github","login":"alice","client_id":"other"}` | a token without a sign-in, by default of its own application |
//! | `POST /_expire` | all codes are too old from now on |
//! | `GET /_requests` | `["POST /oauth/token", …]`: what was asked, without queries |
//! | `GET /_issued` | every code and token that was given out |

mod answer;
mod faults;
mod github;
mod gitlab;
mod ledger;
mod page;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use self::answer::Asked;
use self::faults::{Fault, Faults};
use self::ledger::{Brand, Ledger, Registration};

const USAGE: &str = "usage: oauth-stand-in [--listen ADDRESS] [--client-id ID] [--client-secret SECRET] [--callback PREFIX] [--until-stdin-closes]";
/// The largest request body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long to wait after `accept` failed, so that a full descriptor table is not a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything the two providers remember.
struct StandIn {
    ledger: Mutex<Ledger>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<String>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some((listen, registration, with_parent)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    if with_parent {
        std::thread::spawn(end_with_stdin);
    }
    match serve(listen, registration).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot listen on {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(
    mut arguments: impl Iterator<Item = String>,
) -> Option<(SocketAddr, Registration, bool)> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut registration = Registration::default();
    let mut with_parent = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--listen" => listen = arguments.next()?.parse().ok()?,
            "--client-id" => registration.client_id = arguments.next()?,
            "--client-secret" => registration.client_secret = arguments.next()?,
            "--callback" => registration.callback = Some(arguments.next()?),
            "--until-stdin-closes" => with_parent = true,
            _ => return None,
        }
    }
    Some((listen, registration, with_parent))
}

fn end_with_stdin() {
    // An error is the end of it as well.
    drop(io::copy(&mut io::stdin(), &mut io::sink()));
    std::process::exit(0);
}

async fn serve(listen: SocketAddr, registration: Registration) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let stand_in = Arc::new(StandIn {
        ledger: Mutex::new(Ledger::new(registration)),
        faults: Mutex::default(),
        requests: Mutex::default(),
    });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&stand_in)))),
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, stand_in: Arc<StandIn>) {
    let service = service_fn(|request| respond(request, &stand_in));
    // A client that hangs up, and the fault that hangs up on one, are no news.
    drop(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn respond(
    request: Request<Incoming>,
    stand_in: &StandIn,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    let asked = Asked::new(head, body);
    if asked.path().starts_with("/_") {
        return Ok(control(&asked, stand_in));
    }
    let line = format!("{} {}", asked.method(), asked.path());
    stand_in.requests.lock().push(line);
    let Some((brand, step)) = step_of(&asked) else {
        return Ok(answer::json(
            StatusCode::NOT_FOUND,
            &json!({ "message": "Not Found" }),
        ));
    };
    let fault = stand_in.faults.lock().of(step);
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::HangUp) => Err(io::Error::other("hung up, as asked")),
        Some(Fault::Answer(fault)) => Ok(fault.answer(brand)),
        Some(Fault::Code(code)) => Ok(match brand {
            Brand::GitHub => github::refuse(step, &asked, &code),
            Brand::GitLab => gitlab::refuse(step, &asked, &code),
        }),
        None => {
            let mut ledger = stand_in.ledger.lock();
            Ok(match brand {
                Brand::GitHub => github::answer(step, &asked, &mut ledger),
                Brand::GitLab => gitlab::answer(step, &asked, &mut ledger),
            })
        }
    }
}

/// A call that a sign-in makes. Its name is that of [`faults`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Authorize,
    Token,
    Audience,
    User,
    Emails,
}

fn step_of(asked: &Asked) -> Option<(Brand, Step)> {
    let path = asked.path();
    let github = path.strip_prefix("/api/v3").unwrap_or(path);
    Some(match (asked.method(), path) {
        (&Method::GET | &Method::POST, "/login/oauth/authorize") => {
            (Brand::GitHub, Step::Authorize)
        }
        (&Method::POST, "/login/oauth/access_token") => (Brand::GitHub, Step::Token),
        (&Method::GET | &Method::POST, "/oauth/authorize") => (Brand::GitLab, Step::Authorize),
        (&Method::POST, "/oauth/token") => (Brand::GitLab, Step::Token),
        (&Method::GET, "/oauth/token/info") => (Brand::GitLab, Step::Audience),
        (&Method::GET, "/api/v4/user") => (Brand::GitLab, Step::User),
        (&Method::GET, _) if github == "/user" => (Brand::GitHub, Step::User),
        (&Method::GET, _) if github == "/user/emails" => (Brand::GitHub, Step::Emails),
        (&Method::POST, _) if github.starts_with("/applications/") => {
            (Brand::GitHub, Step::Audience)
        }
        _ => return None,
    })
}

fn control(asked: &Asked, stand_in: &StandIn) -> Response<Full<Bytes>> {
    let body: Value = serde_json::from_slice(asked.body()).unwrap_or_default();
    let bad = |what: &str| answer::json(StatusCode::BAD_REQUEST, &json!({ "error": what }));
    match (asked.method(), asked.path()) {
        (&Method::POST, "/_faults") => match Faults::read(&body) {
            Some(faults) => {
                *stand_in.faults.lock() = faults;
                answer::json(StatusCode::OK, &json!({}))
            }
            None => bad("an object of steps and faults is needed, see faults.rs"),
        },
        (&Method::POST, "/_tokens") => match stand_in.ledger.lock().issue(&body) {
            Some(token) => answer::json(StatusCode::OK, &json!({ "access_token": token })),
            None => bad("a provider and one of its logins are needed"),
        },
        (&Method::POST, "/_expire") => {
            stand_in.ledger.lock().expire_codes();
            answer::json(StatusCode::OK, &json!({}))
        }
        (&Method::GET, "/_requests") => {
            answer::json(StatusCode::OK, &json!(*stand_in.requests.lock()))
        }
        (&Method::GET, "/_issued") => {
            answer::json(StatusCode::OK, &json!(stand_in.ledger.lock().issued()))
        }
        (&Method::GET, "/_elsewhere") => {
            stand_in.requests.lock().push("GET /_elsewhere".to_owned());
            answer::json(StatusCode::OK, &json!({}))
        }
        _ => answer::json(
            StatusCode::NOT_FOUND,
            &json!({ "error": "no such control" }),
        ),
    }
}
