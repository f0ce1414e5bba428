//! Changing the configuration of a running gateway.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::support::{
    Gateway, Http2, Origin, PLAIN, PLAIN_AND_TLS, Wire, eventually, proxy, within,
};

/// One site on both listeners, with a route that every reload changes.
fn changing(origin: &Origin, round: usize) -> String {
    let extra = match round % 3 {
        0 => "",
        1 => "[[site.route]]\npath = [\"/extra\"]\nrespond = { body = \"extra\" }\n",
        _ => "[[site]]\nhosts = [\"other.test\"]\n[[site.route]]\nrespond = { body = \"other\" }\n",
    };
    format!(
        "{PLAIN_AND_TLS}[[site]]\nhosts = [\"app.test\"]\nhttp = \"serve\"\n\
         [[site.route]]\npath = [\"/api/*\"]\nproxy = [\"{url}\"]\n\
         [[site.route]]\npath = [\"/moved/*\"]\nproxy = [\"{url}\"]\nstrip_prefix = \"/moved\"\n\
         request_headers = {{ set = {{ x-round = \"{round}\" }} }}\n\
         [[site.route]]\nrespond = {{ body = \"round {round}\" }}\n{extra}",
        url = origin.url(),
    )
}

/// Requests one client has made.
#[derive(Default)]
struct Load {
    done: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    fn goes_on(&self) -> bool {
        self.done.fetch_add(1, Ordering::SeqCst);
        !self.stop.load(Ordering::SeqCst)
    }
}

const TARGETS: [&str; 3] = ["/api/x", "/moved/y", "/"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request() {
    let origin = Origin::echo().await;
    let gateway = Arc::new(Gateway::start(&changing(&origin, 0)).await);
    let loads: [Arc<Load>; 4] = Default::default();
    let [kept, fresh, tls, http2] = loads.clone();
    let clients = [
        tokio::spawn(keep_one_connection(Arc::clone(&gateway), kept)),
        tokio::spawn(connect_anew(Arc::clone(&gateway), fresh)),
        tokio::spawn(handshake_anew(Arc::clone(&gateway), tls)),
        tokio::spawn(keep_one_http2_connection(Arc::clone(&gateway), http2)),
    ];
    for round in 1..=20 {
        gateway.reload(&changing(&origin, round)).await.unwrap();
        let before = loads
            .each_ref()
            .map(|load| load.done.load(Ordering::SeqCst));
        // Every client has made whole requests with this configuration.
        eventually(|| {
            clients.iter().any(tokio::task::JoinHandle::is_finished)
                || loads
                    .iter()
                    .zip(before)
                    .all(|(load, before)| load.done.load(Ordering::SeqCst) >= before + 3)
        })
        .await;
    }
    for load in &loads {
        load.stop.store(true, Ordering::SeqCst);
    }
    for client in clients {
        within(client).await.unwrap();
    }
    assert_eq!(gateway.metric("portunus_reloads_total{result=\"ok\"}"), 20);
    let text = gateway.connect().await.get("app.test", "/").await;
    assert_eq!(text.text(), "round 20");
}

async fn keep_one_connection(gateway: Arc<Gateway>, load: Arc<Load>) {
    let mut client = gateway.connect().await;
    let mut targets = TARGETS.iter().cycle();
    while load.goes_on() {
        assert_eq!(
            client.get("app.test", targets.next().unwrap()).await.status,
            200
        );
    }
}

async fn connect_anew(gateway: Arc<Gateway>, load: Arc<Load>) {
    let mut targets = TARGETS.iter().cycle();
    while load.goes_on() {
        let mut client = gateway.connect().await;
        assert_eq!(
            client.get("app.test", targets.next().unwrap()).await.status,
            200
        );
    }
}

async fn handshake_anew(gateway: Arc<Gateway>, load: Arc<Load>) {
    let mut targets = TARGETS.iter().cycle();
    while load.goes_on() {
        let mut client = gateway.connect_tls("app.test").await;
        assert_eq!(
            client.get("app.test", targets.next().unwrap()).await.status,
            200
        );
    }
}

async fn keep_one_http2_connection(gateway: Arc<Gateway>, load: Arc<Load>) {
    let mut client = Http2::connect(&gateway, "app.test").await;
    let mut targets = TARGETS.iter().cycle();
    while load.goes_on() {
        let uri = format!("https://app.test{}", targets.next().unwrap());
        assert_eq!(client.get(&uri).await.head.status, 200);
    }
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_the_route_it_began_on() {
    let origin = Origin::bind().await;
    let gateway = Gateway::proxy(&origin.url(), "").await;
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let other = Origin::echo().await;
    gateway.reload(&proxy(&other.url(), "")).await.unwrap();
    upstream.answer("from the old one").await;
    assert_eq!(client.response().await.text(), "from the old one");
    // The same connection takes the new route next.
    client.get("app.test", "/").await.echoed();
}

#[tokio::test]
async fn an_upstream_that_stays_keeps_its_connections() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&changing(&origin, 0)).await;
    let mut client = gateway.connect().await;
    for round in 1..4 {
        client.get("app.test", "/api/").await.echoed();
        client.get("app.test", "/moved/").await.echoed();
        gateway.reload(&changing(&origin, round)).await.unwrap();
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_says_why() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&changing(&origin, 0)).await;
    let mut client = gateway.connect().await;
    let failing = |problem: &'static str, toml: String| (problem, toml);
    let taken = Origin::bind().await;
    let one = changing(&origin, 1);
    for (problem, toml) in [
        failing(
            "portunus.toml:3:2: unknown key `lissten`",
            one.replace("[listen]", "[lissten]"),
        ),
        failing("portunus.toml:1", "not toml".into()),
        failing("hint: ", one.replace("strip_prefix", "strip_prefx")),
        failing(
            "is already in use\nhint: ",
            one.replace(
                "http = [\"127.0.0.1:0\"]",
                &format!("http = [\"127.0.0.1:0\", \"{}\"]", taken.address()),
            ),
        ),
        failing(
            "data_dir cannot change",
            one.replace("\"state\"", "\"elsewhere\""),
        ),
        failing(
            "listen.admin cannot change",
            one.replace("\"off\"", "\"127.0.0.1:0\""),
        ),
    ] {
        let error = gateway.reload(&toml).await.unwrap_err();
        assert!(error.contains(problem), "{error}");
        assert_eq!(
            client.get("app.test", "/extra").await.text(),
            "round 0",
            "{problem}"
        );
        let mut fresh = gateway.connect_tls("app.test").await;
        assert_eq!(
            fresh.get("app.test", "/").await.text(),
            "round 0",
            "{problem}"
        );
    }
    assert_eq!(
        gateway.metric("portunus_reloads_total{result=\"failed\"}"),
        6
    );
    // The next sound one is taken.
    gateway.reload(&one).await.unwrap();
    assert_eq!(client.get("app.test", "/extra").await.text(), "extra");
}

const SITE: &str = "[[site]]\nhosts = [\"*\"]\n[[site.route]]\nproxy = [\"ORIGIN\"]\n";

#[tokio::test]
async fn listeners_come_and_go_with_reloads() {
    let origin = Origin::bind().await;
    let with = |listeners: &str| {
        let listeners = format!("http = [{listeners}]");
        PLAIN.replace("http = [\"127.0.0.1:0\"]", &listeners)
            + &SITE.replace("ORIGIN", &origin.url())
    };
    let gateway = Gateway::start(&with("\"127.0.0.1:0\"")).await;
    let path = gateway.dir.join("new.sock");
    gateway
        .reload(&with("\"127.0.0.1:0\", \"unix:new.sock\""))
        .await
        .unwrap();

    let mut busy = Wire::unix(&path).await;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let mut idle = Wire::unix(&path).await;
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut other = origin.accept().await;
    other.request().await;
    other.answer("ok").await;
    idle.response().await;

    gateway.reload(&with("\"127.0.0.1:0\"")).await.unwrap();
    // Idle connections end at once, the socket goes, the request in flight finishes.
    idle.ended().await;
    eventually(|| !path.exists()).await;
    upstream.answer("finished").await;
    let response = busy.response().await;
    assert_eq!(response.text(), "finished");
    assert_eq!(response.header("connection"), Some("close"));
    busy.ended().await;

    // The listener that stayed was not touched.
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut one, mut two) = (upstream, other);
    let served = async {
        tokio::select! {
            _ = one.request() => one.answer("still").await,
            _ = two.request() => two.answer("still").await,
        }
    };
    within(served).await;
    assert_eq!(client.response().await.text(), "still");
}

#[tokio::test]
async fn a_listener_that_failed_to_come_leaves_no_socket_behind() {
    let origin = Origin::echo().await;
    let site = SITE.replace("ORIGIN", &origin.url());
    let gateway = Gateway::start(&format!("{PLAIN}{site}")).await;
    let _taken = UnixListener::bind(gateway.dir.join("taken.sock")).unwrap();
    let both = "http = [\"127.0.0.1:0\", \"unix:new.sock\", \"unix:taken.sock\"]";
    let toml = PLAIN.replace("http = [\"127.0.0.1:0\"]", both);
    let error = gateway.reload(&format!("{toml}{site}")).await.unwrap_err();
    assert!(error.contains("taken.sock"), "{error}");
    // The next reload can have it.
    let one = "http = [\"127.0.0.1:0\", \"unix:new.sock\"]";
    let toml = PLAIN.replace("http = [\"127.0.0.1:0\"]", one);
    gateway.reload(&format!("{toml}{site}")).await.unwrap();
    Wire::unix(&gateway.dir.join("new.sock"))
        .await
        .get("a", "/")
        .await
        .echoed();
}

#[tokio::test]
async fn two_listeners_on_port_zero_are_two_listeners() {
    let toml = |listeners: &str, body: &str| {
        let listeners = format!("http = [{listeners}]");
        let site = format!(
            "[[site]]\nhosts = [\"*\"]\n[[site.route]]\nrespond = {{ body = \"{body}\" }}\n"
        );
        PLAIN.replace("http = [\"127.0.0.1:0\"]", &listeners) + &site
    };
    let two = "\"127.0.0.1:0\", \"127.0.0.1:0\"";
    let gateway = Gateway::start(&toml(two, "a")).await;
    let [one, other] = gateway.all_http()[..] else {
        panic!("not two addresses");
    };
    gateway.reload(&toml(two, "b")).await.unwrap();
    for address in [one, other] {
        assert_eq!(Wire::tcp(address).await.get("x", "/").await.text(), "b");
    }
    // Gone from the configuration, gone from the machine.
    gateway
        .reload(&toml("\"unix:only.sock\"", "c"))
        .await
        .unwrap();
    for address in [one, other] {
        eventually(|| std::net::TcpStream::connect(address).is_err()).await;
    }
}

#[tokio::test]
async fn the_last_https_listener_can_go_and_plain_http_serves_then() {
    let origin = Origin::echo().await;
    let site = SITE
        .replace("ORIGIN", &origin.url())
        .replace('*', "app.test");
    let gateway = Gateway::start(&format!("{PLAIN_AND_TLS}{site}")).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("app.test", "/").await.status, 308);
    gateway.reload(&format!("{PLAIN}{site}")).await.unwrap();
    client.get("app.test", "/").await.echoed();
    // And come back.
    gateway
        .reload(&format!("{PLAIN_AND_TLS}{site}"))
        .await
        .unwrap();
    assert_eq!(client.get("app.test", "/").await.status, 308);
}

/// TCP addresses that were free a moment ago, on loopback addresses that no other test is likely
/// to use, so that they stay free.
fn free<const N: usize>() -> [String; N] {
    let bound = [(); N].map(|()| {
        let ip = Ipv4Addr::new(
            127,
            fastrand::u8(1..),
            fastrand::u8(..),
            fastrand::u8(1..255),
        );
        std::net::TcpListener::bind((ip, 0)).unwrap()
    });
    bound.map(|listener| listener.local_addr().unwrap().to_string())
}

#[tokio::test]
async fn an_address_does_not_change_what_it_speaks_within_a_reload() {
    let toml = |http: &[&String], https: &[&String]| {
        let site = SITE.replace("proxy = [\"ORIGIN\"]", "respond = { body = \"ok\" }");
        let site = site
            .replace('*', "app.test")
            .replace("]\n[[", "]\nhttp = \"serve\"\n[[");
        PLAIN_AND_TLS
            .replace("http = [\"127.0.0.1:0\"]", &format!("http = {http:?}"))
            .replace("https = [\"127.0.0.1:0\"]", &format!("https = {https:?}"))
            + &site
    };
    let [one, two, three] = free();
    let gateway = Gateway::start(&toml(&[&one, &two], &[&three])).await;
    for (http, https) in [
        (&[&one][..], &[&two, &three][..]),
        (&[&one, &two, &three], &[]),
        (&[&three, &two], &[&one]),
    ] {
        let error = gateway.reload(&toml(http, https)).await.unwrap_err();
        assert!(error.contains("restart"), "{error}");
        for address in [&one, &two] {
            let mut client = Wire::tcp(address.parse().unwrap()).await;
            assert_eq!(client.get("app.test", "/").await.text(), "ok");
        }
        let mut client = gateway.connect_tls("app.test").await;
        assert_eq!(client.get("app.test", "/").await.text(), "ok");
    }
    // It can go in one reload and come back in the next.
    gateway.reload(&toml(&[&one], &[&three])).await.unwrap();
    gateway
        .reload(&toml(&[&one], &[&two, &three]))
        .await
        .unwrap();
    let two = two.parse().unwrap();
    let mut client = Wire::tls(two, gateway.client_config(), "app.test").await;
    assert_eq!(client.get("app.test", "/").await.text(), "ok");
}

#[tokio::test]
async fn a_listener_can_come_and_go_with_every_reload() {
    let toml = |listeners: &str, round: usize| {
        let listeners = format!("http = [{listeners}]");
        let body = format!("respond = {{ body = \"{round}\" }}");
        PLAIN.replace("http = [\"127.0.0.1:0\"]", &listeners)
            + &SITE.replace("proxy = [\"ORIGIN\"]", &body)
    };
    let [tcp] = free();
    let without = "\"127.0.0.1:0\"";
    let with = format!("{without}, \"unix:new.sock\", \"{tcp}\"");
    let gateway = Gateway::start(&toml(without, 0)).await;
    let mut stays = gateway.connect().await;
    let path = gateway.dir.join("new.sock");
    let tcp: SocketAddr = tcp.parse().unwrap();
    for round in 1..=50 {
        gateway.reload(&toml(&with, round)).await.unwrap();
        // Even a listener that has a connection by then.
        let mut unix = Wire::unix(&path).await;
        let mut other = Wire::tcp(tcp).await;
        for client in [&mut unix, &mut other, &mut stays] {
            assert_eq!(client.get("a", "/").await.text(), round.to_string());
        }
        gateway.reload(&toml(without, round)).await.unwrap();
        // Gone when the reload says that it is done.
        assert!(!path.exists());
        assert!(std::net::TcpStream::connect(tcp).is_err());
        unix.ended().await;
        other.ended().await;
    }
    assert_eq!(stays.get("a", "/").await.text(), "50");
    gateway.metric_is("portunus_connections", 1).await;
}
