//! An agent and a gateway that answers it, with everything in between.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use relay::tunnel::{
    agent::{Agent, Carriage, DialError, Event, Granted, Roots, Server, Service, Settings, bearer},
    carrier::Timing,
    edge::{Admission, OnConflict, Registry, handshake},
    protocol::{self, Hello, Kind},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::{echo, round_trip, within};

/// A gateway that knows one key and serves agents in clear on loopback.
struct Edge {
    address: SocketAddr,
    registry: Arc<Registry>,
    /// How the carriers were asked for.
    asked: Arc<Mutex<Vec<Carriage>>>,
    accepting: JoinHandle<()>,
    connections: CancellationToken,
}

/// What stands between an agent and the gateway.
#[derive(Clone, Copy, PartialEq)]
enum Path {
    Clear,
    /// Lets only WebSockets through.
    WebSocketsOnly,
    /// Overloaded once, then clear.
    BusyAtFirst,
}

impl Edge {
    async fn start(path: Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, path)
    }

    fn serve(listener: TcpListener, path: Path) -> Self {
        let address = listener.local_addr().unwrap();
        let registry: Arc<Registry> = Arc::default();
        let asked: Arc<Mutex<Vec<Carriage>>> = Arc::default();
        let connections = CancellationToken::new();
        let (shared, seen, cut) = (
            Arc::clone(&registry),
            Arc::clone(&asked),
            connections.clone(),
        );
        let accepting = tokio::spawn(async move {
            let mut busy = path == Path::BusyAtFirst;
            while let Ok((stream, _)) = listener.accept().await {
                let (registry, seen) = (Arc::clone(&shared), Arc::clone(&seen));
                let is_busy = std::mem::take(&mut busy);
                let answer = hyper::service::service_fn(move |request| {
                    let answer = answer(&registry, &seen, request, path, is_busy);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .with_upgrades();
                let cut = cut.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        served = served => drop(served),
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
        Self {
            address,
            registry,
            asked,
            accepting,
            connections,
        }
    }

    async fn session(&self) -> Arc<relay::tunnel::edge::Session> {
        let patience = Duration::from_secs(20);
        self.registry
            .wait_for("happy-panda", patience)
            .await
            .expect("an agent comes")
    }
}

fn answer(
    registry: &Arc<Registry>,
    seen: &Mutex<Vec<Carriage>>,
    mut request: Request<Incoming>,
    path: Path,
    busy: bool,
) -> Response<Full<Bytes>> {
    let refuse = |status, reason, pause| {
        handshake::refused(status, reason, pause).map(|text| Full::new(Bytes::from(text)))
    };
    if busy {
        let pause = Some(Duration::from_secs(1));
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "starting", pause);
    }
    let Some(carriage) = handshake::asked(request.headers()) else {
        return refuse(StatusCode::BAD_REQUEST, "no tunnel request", None);
    };
    seen.lock().push(carriage);
    if path == Path::WebSocketsOnly && carriage == Carriage::Raw {
        let mut plain = Response::new(Full::default());
        *plain.status_mut() = StatusCode::BAD_REQUEST;
        return plain;
    }
    if request.headers().get("authorization") != Some(&HeaderValue::from_static("Bearer right")) {
        return refuse(StatusCode::UNAUTHORIZED, "the API key is unknown", None);
    }
    let hello = Hello::read(request.headers()).unwrap();
    let granted = Granted {
        tunnel: "happy-panda".into(),
        url: "https://happy-panda.tunnels.test".into(),
        carriers: 2,
    };
    let response = handshake::granted(carriage, request.headers(), &granted);
    let upgrade = hyper::upgrade::on(&mut request);
    let registry = Arc::clone(registry);
    tokio::spawn(async move {
        let io = TokioIo::new(upgrade.await.unwrap());
        let carried = handshake::carry(io, carriage, Timing::default()).await;
        let Ok((carrier, run)) = carried else { return };
        let admitted = registry.admit(
            "happy-panda",
            hello.session,
            carrier,
            OnConflict::Replace,
            2,
        );
        if let Admission::Admitted(_membership) = admitted {
            run.await;
        }
    });
    response.map(|()| Full::default())
}

/// What an agent told, without what borrows.
#[derive(Debug, PartialEq)]
enum Told {
    Up(String),
    Carriers(usize),
    Down,
    Retry(Option<Duration>),
}

struct Running {
    events: mpsc::UnboundedReceiver<Told>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), DialError>>,
}

impl Running {
    fn start(server: &str, key: &str, service: SocketAddr) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let listener = Arc::new(move |event: Event<'_>| {
            let told = match event {
                Event::Up(granted) => Told::Up(granted.url.clone()),
                Event::Carriers(count) => Told::Carriers(count),
                Event::Down(_) => Told::Down,
                Event::Retry(error, _) => Told::Retry(error.retry_after()),
            };
            let _ = tell.send(told);
        });
        let settings = Settings {
            server: Server::parse(server, &Roots::System).unwrap(),
            proxy: None,
            key: bearer(key).unwrap(),
            tunnel: None,
            service: Service {
                address: service.to_string(),
            },
            carriers: 2,
            timing: Timing::default(),
        };
        let stop = CancellationToken::new();
        let agent = Agent::new(settings, listener);
        let stopped = stop.clone();
        let task = tokio::spawn(async move { agent.run(stopped).await });
        Self { events, stop, task }
    }

    async fn until(&mut self, wanted: &Told) {
        let found = async {
            while let Some(told) = self.events.recv().await {
                if told == *wanted {
                    return;
                }
            }
            panic!("the agent ended without {wanted:?}");
        };
        within(found).await;
    }
}

async fn carries(edge: &Edge) {
    let stream = edge.session().await.open(Kind::Tcp).await.unwrap();
    let bytes = vec![b'x'; 300_000];
    assert!(within(round_trip(stream, &bytes)).await.unwrap() == bytes);
}

#[tokio::test]
async fn an_agent_brings_up_two_carriers() {
    let edge = Edge::start(Path::Clear).await;
    let mut agent = Running::start(&format!("http://{}", edge.address), "right", echo().await);
    agent
        .until(&Told::Up("https://happy-panda.tunnels.test".into()))
        .await;
    agent.until(&Told::Carriers(2)).await;
    carries(&edge).await;
    assert_eq!(*edge.asked.lock(), [Carriage::Raw, Carriage::Raw]);
    agent.stop.cancel();
    within(agent.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn where_upgrade_is_taken_away_a_websocket_carries() {
    let edge = Edge::start(Path::WebSocketsOnly).await;
    let mut agent = Running::start(&format!("http://{}", edge.address), "right", echo().await);
    agent.until(&Told::Carriers(1)).await;
    carries(&edge).await;
    assert_eq!(edge.asked.lock()[..2], [Carriage::Raw, Carriage::WebSocket]);
}

#[tokio::test]
async fn a_wrong_key_ends_the_agent_with_the_gateways_words() {
    let edge = Edge::start(Path::Clear).await;
    let agent = Running::start(&format!("http://{}", edge.address), "wrong", echo().await);
    let error = within(agent.task).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the API key is unknown");
    assert_eq!(edge.asked.lock().len(), 1);
}

#[tokio::test]
async fn a_busy_gateway_is_asked_again_when_it_wants() {
    let edge = Edge::start(Path::BusyAtFirst).await;
    let mut agent = Running::start(&format!("http://{}", edge.address), "right", echo().await);
    agent
        .until(&Told::Retry(Some(Duration::from_secs(1))))
        .await;
    agent.until(&Told::Carriers(1)).await;
}

#[tokio::test]
async fn an_agent_comes_back_after_its_gateway_was_gone() {
    let edge = Edge::start(Path::Clear).await;
    let address = edge.address;
    let mut agent = Running::start(&format!("http://{address}"), "right", echo().await);
    agent.until(&Told::Carriers(2)).await;
    edge.accepting.abort();
    assert!(within(edge.accepting).await.unwrap_err().is_cancelled());
    edge.registry.end("happy-panda");
    edge.connections.cancel();
    agent.until(&Told::Down).await;
    agent.until(&Told::Retry(None)).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let edge = Edge::serve(socket.listen(16).unwrap(), Path::Clear);
    agent.until(&Told::Carriers(2)).await;
    carries(&edge).await;
}

#[test]
fn requests_that_ask_for_no_carrier_are_told_apart() {
    for fields in [
        &[][..],
        &[("upgrade", "h2c")],
        &[("upgrade", "websocket")],
        &[("upgrade", "websocket"), ("sec-websocket-version", "13")],
        &[
            ("upgrade", "websocket"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "a"),
        ],
    ] {
        let mut headers = http::HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        assert_eq!(handshake::asked(&headers), None, "{fields:?}");
    }
    assert_eq!(protocol::UPGRADE.as_bytes(), protocol::ALPN);
}
