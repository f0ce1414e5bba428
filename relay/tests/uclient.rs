//! coturn's client against our server, on sockets: every transport, and what has to fail.
//!
//! `turnutils_uclient` exits with 0 even if everything is lost, so its report is read.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where its world cannot be set up"
)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    process::Output,
    sync::Arc,
    time::Duration,
};

use relay::{
    io::{Parts, Relay, ShardSockets, SystemClock},
    turn::{Config, Credentials, FiveTuple, PortMode, RelayAddress, Secret, Transport},
};
use tokio::{net::TcpSocket, process::Command};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A server on both loopback addresses with one port for UDP and TCP, and a peer that sends
/// everything back.
struct Fixture {
    relay: Arc<Relay>,
    port: u16,
    echo: u16,
}

impl Fixture {
    fn start() -> Self {
        Self::with(|config| config.peers = config.peers.clone().allow_loopback_for_tests())
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let credentials = Credentials {
            realm: "example.com".into(),
            users: [("alice".to_owned(), Secret::new("pw"))].into(),
            secrets: vec![Secret::new("s3cret")],
            strict_expiry: false,
        };
        let mut config = Config::new(credentials, [V4, V6].map(RelayAddress::new).to_vec());
        // Below those the system gives to clients and peers. Other tests use them too; a port that is
        // taken is tried and left.
        config.ports = "20000-30000".parse().unwrap();
        change(&mut config);
        let (port, sockets) = sockets();
        let relay = Relay::start(Parts {
            config,
            shards: vec![sockets],
            bind: Arc::new(UdpSocket::bind),
            clock: Arc::new(SystemClock),
            on_event: Arc::new(|_| ()),
        });
        Self {
            relay: Arc::new(relay.unwrap()),
            port,
            echo: echo(),
        }
    }

    /// Runs the client as alice, over UDP and IPv4 unless the arguments say otherwise.
    async fn client(&self, arguments: &[&str]) -> Report {
        let (port, echo) = (self.port.to_string(), self.echo.to_string());
        let mut command = Command::new("turnutils_uclient");
        command.args([
            "-u", "alice", "-w", "pw", "-c", "-n", "5", "-p", &port, "-r", &echo,
        ]);
        let output = command.args(arguments).kill_on_drop(true).output().await;
        Report::of(&output.expect("turnutils_uclient of the package coturn"))
    }
}

/// What the client says at its end.
#[derive(Debug)]
struct Report {
    text: String,
    success: bool,
}

impl Report {
    fn of(output: &Output) -> Self {
        let text = [&output.stdout[..], &output.stderr].concat();
        Self {
            text: String::from_utf8_lossy(&text).into_owned(),
            success: output.status.success(),
        }
    }

    /// Messages sent and messages lost.
    fn counts(&self) -> Option<(u64, u64)> {
        let number = |after: &str| {
            let (_, rest) = self.text.rsplit_once(after)?;
            let digits = rest.trim_start_matches([' ', '=']);
            let end = digits.find(|c: char| !c.is_ascii_digit())?;
            digits[..end].parse().ok()
        };
        Some((number("tot_send_msgs")?, number("Total lost packets")?))
    }

    #[track_caller]
    fn assert_nothing_lost(&self) {
        let counts = self.counts();
        assert!(
            matches!(counts, Some((sent, 0)) if sent > 0),
            "{counts:?}\n{}",
            self.text
        );
    }

    #[track_caller]
    fn assert_refused(&self, because: &str) {
        assert!(
            !self.success && self.text.contains(because),
            "{}",
            self.text
        );
    }
}

fn sockets() -> (u16, ShardSockets) {
    for _ in 0..100 {
        let first = UdpSocket::bind((V4, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let rest = || -> io::Result<_> {
            let udp = vec![first, UdpSocket::bind((V6, port))?];
            let tcp = vec![
                TcpListener::bind((V4, port))?,
                TcpListener::bind((V6, port))?,
            ];
            Ok(ShardSockets { udp, tcp })
        };
        if let Ok(sockets) = rest() {
            return (port, sockets);
        }
    }
    panic!("no port is free for UDP and TCP of both families");
}

/// A peer that is no client of the server. Its thread ends with the test's process.
fn echo() -> u16 {
    for _ in 0..100 {
        let v4 = UdpSocket::bind((V4, 0)).unwrap();
        let port = v4.local_addr().unwrap().port();
        let Ok(v6) = UdpSocket::bind((V6, port)) else {
            continue;
        };
        for socket in [v4, v6] {
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            });
        }
        return port;
    }
    panic!("no port is free in both families");
}

#[tokio::test]
async fn channel_data_over_udp() {
    let fixture = Fixture::start();
    let report = fixture
        .client(&["-e", "127.0.0.1", "-m", "4", "127.0.0.1"])
        .await;
    report.assert_nothing_lost();
    let stats = fixture.relay.stats().await[0];
    assert!(
        stats.0.sent_packets >= 20 && stats.0.received_packets >= 20,
        "{stats:?}"
    );
}

#[tokio::test]
async fn send_indications_over_udp() {
    let fixture = Fixture::start();
    let report = fixture
        .client(&["-s", "-e", "127.0.0.1", "127.0.0.1"])
        .await;
    report.assert_nothing_lost();
}

#[tokio::test]
async fn channel_data_over_tcp() {
    let fixture = Fixture::start();
    let report = fixture
        .client(&["-t", "-e", "127.0.0.1", "127.0.0.1"])
        .await;
    report.assert_nothing_lost();
}

#[tokio::test]
async fn send_indications_over_tcp() {
    let fixture = Fixture::start();
    let report = fixture
        .client(&["-t", "-s", "-e", "127.0.0.1", "127.0.0.1"])
        .await;
    report.assert_nothing_lost();
}

#[tokio::test]
async fn ipv6_client_and_ipv6_peer() {
    let fixture = Fixture::start();
    fixture
        .client(&["-x", "-e", "::1", "::1"])
        .await
        .assert_nothing_lost();
    fixture
        .client(&["-x", "-t", "-e", "::1", "::1"])
        .await
        .assert_nothing_lost();
}

#[tokio::test]
async fn ipv4_client_and_ipv6_peer() {
    let fixture = Fixture::start();
    fixture
        .client(&["-x", "-e", "::1", "127.0.0.1"])
        .await
        .assert_nothing_lost();
}

#[tokio::test]
async fn both_families_in_one_allocation() {
    let fixture = Fixture::start();
    fixture
        .client(&["-Z", "-e", "127.0.0.1", "127.0.0.1"])
        .await
        .assert_nothing_lost();
}

#[tokio::test]
async fn dont_fragment() {
    let fixture = Fixture::start();
    fixture
        .client(&["-g", "-e", "127.0.0.1", "127.0.0.1"])
        .await
        .assert_nothing_lost();
    fixture
        .client(&["-g", "-s", "-e", "127.0.0.1", "127.0.0.1"])
        .await
        .assert_nothing_lost();
}

#[tokio::test]
async fn two_clients_of_the_server_reach_each_other() {
    // Loopback is not opened: the relay addresses themselves are allowed.
    let fixture = Fixture::with(|_| ());
    let report = fixture.client(&["-y", "-m", "2", "127.0.0.1"]).await;
    report.assert_nothing_lost();
}

#[tokio::test]
async fn ports_can_be_shared() {
    let fixture = Fixture::with(|config| {
        config.port_mode = PortMode::Shared;
        config.peers = config.peers.clone().allow_loopback_for_tests();
    });
    fixture
        .client(&["-e", "127.0.0.1", "127.0.0.1"])
        .await
        .assert_nothing_lost();
}

#[tokio::test]
async fn a_client_that_moves() {
    let fixture = Fixture::with(|config| {
        config.mobility = true;
        config.peers = config.peers.clone().allow_loopback_for_tests();
    });
    fixture
        .client(&["-M", "-e", "127.0.0.1", "127.0.0.1"])
        .await
        .assert_nothing_lost();
}

#[tokio::test]
async fn timed_credentials() {
    let fixture = Fixture::start();
    let report = fixture
        .client(&["-W", "s3cret", "-e", "127.0.0.1", "127.0.0.1"])
        .await;
    report.assert_nothing_lost();
}

#[tokio::test]
async fn wrong_and_expired_credentials_are_refused() {
    let fixture = Fixture::start();
    let wrong = ["-w", "guess", "-e", "127.0.0.1", "127.0.0.1"];
    fixture
        .client(&wrong)
        .await
        .assert_refused("Cannot complete Allocation");
    // The password is the HMAC-SHA1 under "s3cret", and right.
    let expired = [
        "-u",
        "1000000000:a",
        "-w",
        EXPIRED,
        "-e",
        "127.0.0.1",
        "127.0.0.1",
    ];
    fixture
        .client(&expired)
        .await
        .assert_refused("Cannot complete Allocation");
    assert_eq!(fixture.relay.allocations(|_| ()).await, []);
}

/// `printf 1000000000:a | openssl dgst -sha1 -hmac s3cret -binary | base64`
const EXPIRED: &str = "V0PjWkpgH926mhUq/S84TzGCrmI=";

#[tokio::test]
async fn peers_on_this_host_are_forbidden() {
    let fixture = Fixture::with(|_| ());
    let report = fixture.client(&["-e", "127.0.0.1", "127.0.0.1"]).await;
    report.assert_refused("403");
    let report = fixture
        .client(&["-x", "-e", "::ffff:127.0.0.1", "127.0.0.1"])
        .await;
    report.assert_refused("403");
    let report = fixture.client(&["-x", "-e", "::1", "127.0.0.1"]).await;
    report.assert_refused("403");
}

/// The front door hands over streams; here they come from a listener of the test.
#[tokio::test]
async fn a_stream_that_is_handed_over_is_served() {
    let fixture = Fixture::start();
    let listener = tokio::net::TcpListener::bind((V4, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let relay = Arc::clone(&fixture.relay);
    tokio::spawn(async move {
        while let Ok((stream, client)) = listener.accept().await {
            relay.serve(stream, FiveTuple::new(client, server, Transport::Tls));
        }
    });
    let port = server.port().to_string();
    let report = fixture
        .client(&["-t", "-p", &port, "-e", "127.0.0.1", "127.0.0.1"])
        .await;
    report.assert_nothing_lost();
}

#[tokio::test]
async fn channel_data_over_tls() {
    let fixture = Fixture::start();
    let listener = tokio::net::TcpListener::bind((V4, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let (relay, acceptor) = (Arc::clone(&fixture.relay), acceptor());
    tokio::spawn(async move {
        while let Ok((stream, client)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                relay.serve(stream, FiveTuple::new(client, server, Transport::Tls));
            }
        }
    });
    let port = server.port().to_string();
    let tls = ["-t", "-S", "-p", &port, "-e", "127.0.0.1", "127.0.0.1"];
    fixture.client(&tls).await.assert_nothing_lost();
    fixture
        .client(&[&["-s"], &tls[..]].concat())
        .await
        .assert_nothing_lost();
}

fn acceptor() -> tokio_rustls::TlsAcceptor {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.unwrap()).into()
}

#[tokio::test]
async fn another_protocol_on_tcp_is_hung_up_on() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let fixture = Fixture::start();
    let socket = TcpSocket::new_v4().unwrap();
    let address = SocketAddr::new(V4, fixture.port);
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

#[tokio::test]
async fn an_allocation_ends_with_its_connection_and_when_it_is_kicked() {
    let fixture = Fixture::start();
    let clients = ["-t", "-n", "1", "-m", "2", "-e", "127.0.0.1", "127.0.0.1"];
    fixture.client(&clients).await.assert_nothing_lost();
    while !fixture.relay.allocations(|_| ()).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let arguments = ["-n", "100000", "-e", "127.0.0.1", "127.0.0.1"];
    let client = fixture.client(&arguments);
    let kicked = async {
        while fixture.relay.kick(|view| view.user == "alice").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        report = client => panic!("{report:?}"),
        () = kicked => (),
    }
    assert_eq!(fixture.relay.allocations(|_| ()).await, []);
}
