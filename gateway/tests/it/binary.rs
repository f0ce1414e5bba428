//! The `portunus` binary as an operator meets it.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::support::{Dir, Origin, Wire, eventually, program::curl, within};

const TOML: &str = r#"
data_dir = "state"
[listen]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "unix:admin.sock"
[[site]]
hosts = ["app.test"]
http = "serve"
  [[site.route]]
  path = ["/api/*"]
  proxy = ["ORIGIN"]
  [[site.route]]
  respond = { body = "one" }
"#;

fn portunus(args: &[&str], dir: &Dir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portunus"));
    command
        .args(args)
        .current_dir(dir.path())
        .env_remove("PORTUNUS_CONFIG")
        .env_remove("LOG_LEVEL")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Exit code, standard output, standard error.
async fn run(args: &[&str], dir: &Dir) -> (i32, String, String) {
    let output = within(portunus(args, dir).output()).await.unwrap();
    (
        output.status.code().expect("ended by a signal"),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// `portunus run`, ready.
struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    addresses: Vec<(String, String)>,
}

impl Running {
    async fn start(dir: &Dir) -> Self {
        let mut child = portunus(&["run", "--threads", "2"], dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = Vec::new();
        loop {
            let line = within(stdout.next_line()).await.unwrap();
            let Some(line) = line else {
                let mut problem = String::new();
                let mut stderr = child.stderr.take().unwrap();
                within(stderr.read_to_string(&mut problem)).await.unwrap();
                panic!("it did not get ready: {problem}");
            };
            if line == "ready" {
                return Self {
                    child,
                    stdout,
                    addresses,
                };
            }
            let (name, address) = line.split_once(' ').unwrap();
            addresses.push((name.to_owned(), address.to_owned()));
        }
    }

    fn address(&self, protocol: &str) -> SocketAddr {
        let found = self.addresses.iter().find(|(name, _)| name == protocol);
        found.unwrap().1.parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// The exit code, and what it wrote to standard error.
    async fn exit(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        within(stderr.read_to_string(&mut text)).await.unwrap();
        (within(self.child.wait()).await.unwrap().code(), text)
    }
}

async fn fixture() -> (Dir, Origin) {
    let (dir, origin) = (Dir::new(), Origin::bind().await);
    dir.write("portunus.toml", TOML.replace("ORIGIN", &origin.url()));
    (dir, origin)
}

#[tokio::test]
async fn check_says_ok_or_where_it_is_not() {
    let (dir, _origin) = fixture().await;
    let (code, out, err) = run(&["check"], &dir).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "portunus.toml: ok, 1 site, 2 routes\n");

    let broken = TOML.replace("respond", "respnd").replace("hosts", "host");
    dir.write("portunus.toml", broken);
    let (code, out, err) = run(&["check", "--config", "portunus.toml"], &dir).await;
    assert_eq!((code, out.as_str()), (64, ""));
    for part in [
        "portunus.toml:8:1: unknown key `host`\n    host = [\"app.test\"]\n    ^^^^\n",
        "hint: did you mean `hosts`?",
        "portunus.toml:14:3: unknown key `respnd`\n",
        "hint: did you mean `respond`?",
    ] {
        assert!(err.contains(part), "{part:?} is not in\n{err}");
    }
    let (code, _, err) = run(&["check", "--config", "nowhere.toml"], &dir).await;
    assert_eq!(code, 64);
    assert!(
        err.contains("nowhere.toml: cannot be read: there is no such file"),
        "{err}"
    );
    let (code, _, err) = run(&["run"], &dir).await;
    assert_eq!(code, 64);
    assert!(err.contains("portunus.toml:14:3"), "{err}");
}

#[tokio::test]
async fn run_prints_its_addresses_and_then_ready() {
    let (dir, _origin) = fixture().await;
    let running = Running::start(&dir).await;
    let names: Vec<_> = running
        .addresses
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["https", "http", "admin"]);
    assert_ne!(running.address("http").port(), 0);
    let admin = format!("unix:{}", dir.join("admin.sock").display());
    assert_eq!(running.addresses[2].1, admin);
    let mut client = Wire::tcp(running.address("http")).await;
    assert_eq!(client.get("app.test", "/").await.text(), "one");
}

#[tokio::test]
async fn the_printed_root_makes_curl_accept_the_certificate() {
    let (dir, _origin) = fixture().await;
    let running = Running::start(&dir).await;
    let (code, root, err) = run(&["ca"], &dir).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let root = dir.write("root.pem", root);
    let port = running.address("https").port();
    let output = curl(&[
        "-q",
        "--silent",
        "--show-error",
        "--fail",
        "--cacert",
        root.to_str().unwrap(),
        "--resolve",
        &format!("app.test:{port}:127.0.0.1"),
        &format!("https://app.test:{port}/"),
    ])
    .await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.stdout, b"one");
}

#[tokio::test]
async fn sighup_reloads() {
    let (dir, origin) = fixture().await;
    let running = Running::start(&dir).await;
    let mut client = Wire::tcp(running.address("http")).await;
    assert_eq!(client.get("app.test", "/").await.text(), "one");
    let toml = TOML.replace("ORIGIN", &origin.url()).replace("one", "two");
    dir.write("portunus.toml", &toml);
    running.signal(Signal::HUP);
    within(async { while client.get("app.test", "/").await.text() != "two" {} }).await;

    // A broken file changes nothing; the reason is on standard error, where logs go.
    dir.write("portunus.toml", toml.replace("respond", "respnd"));
    running.signal(Signal::HUP);
    let mut admin = Wire::unix(&dir.join("admin.sock")).await;
    let failed = "portunus_reloads_total{result=\"failed\"} 1";
    within(async {
        while !admin
            .get("localhost", "/metrics")
            .await
            .text()
            .contains(failed)
        {}
    })
    .await;
    assert_eq!(client.get("app.test", "/").await.text(), "two");
    running.signal(Signal::TERM);
    let (code, log) = running.exit().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("portunus.toml:14:3"), "{log}");
}

#[tokio::test]
async fn signals_count_from_the_moment_it_is_ready() {
    let (dir, origin) = fixture().await;
    for _ in 0..10 {
        let running = Running::start(&dir).await;
        let toml = TOML.replace("ORIGIN", &origin.url()).replace("one", "two");
        dir.write("portunus.toml", &toml);
        running.signal(Signal::HUP);
        let mut client = Wire::tcp(running.address("http")).await;
        within(async { while client.get("app.test", "/").await.text() != "two" {} }).await;
        running.signal(Signal::TERM);
        assert_eq!(running.exit().await.0, Some(0));
        let running = Running::start(&dir).await;
        running.signal(Signal::TERM);
        assert_eq!(running.exit().await.0, Some(0));
        dir.write("portunus.toml", TOML.replace("ORIGIN", &origin.url()));
    }
}

#[tokio::test]
async fn the_reload_command_asks_the_running_gateway() {
    let (dir, origin) = fixture().await;
    let running = Running::start(&dir).await;
    let toml = TOML.replace("ORIGIN", &origin.url()).replace("one", "two");
    dir.write("portunus.toml", &toml);
    let (code, out, err) = run(&["reload"], &dir).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "reloaded\n", ""));
    let mut client = Wire::tcp(running.address("http")).await;
    assert_eq!(client.get("app.test", "/").await.text(), "two");

    dir.write(
        "portunus.toml",
        toml.replace("strip_prefix", "x")
            .replace("respond", "respnd"),
    );
    let admin = format!("unix:{}", dir.join("admin.sock").display());
    let (code, _, err) = run(&["reload", "--admin", &admin], &dir).await;
    assert_eq!(code, 64);
    assert!(
        err.contains("portunus.toml:14:3: unknown key `respnd`"),
        "{err}"
    );
    assert_eq!(client.get("app.test", "/").await.text(), "two");

    running.signal(Signal::TERM);
    assert_eq!(running.exit().await.0, Some(0));
    let (code, _, err) = run(&["reload", "--admin", &admin], &dir).await;
    assert_eq!(code, 1);
    assert!(err.contains("hint: "), "{err}");
}

#[tokio::test]
async fn sigterm_ends_an_idle_gateway_at_once_and_cleanly() {
    let (dir, _origin) = fixture().await;
    for signal in [Signal::TERM, Signal::INT] {
        let running = Running::start(&dir).await;
        let mut idle = Wire::tcp(running.address("http")).await;
        idle.get("app.test", "/").await;
        let post = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbody";
        idle.send(post).await;
        assert_eq!(idle.response().await.text(), "one");
        let began = std::time::Instant::now();
        running.signal(signal);
        idle.ended().await;
        let (code, log) = running.exit().await;
        assert_eq!(code, Some(0), "{log}");
        // Well under the drain deadline, pingora's own grace period, and what a client that is
        // still sending gets.
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{:?}",
            began.elapsed()
        );
        assert!(!dir.join("admin.sock").exists());
    }
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight() {
    let (dir, origin) = fixture().await;
    let running = Running::start(&dir).await;
    let address = running.address("http");
    let mut client = Wire::tcp(address).await;
    client
        .send("GET /api/ HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    running.signal(Signal::TERM);
    eventually(|| std::net::TcpStream::connect(address).is_err()).await;
    upstream.answer("finished").await;
    assert_eq!(client.response().await.text(), "finished");
    assert_eq!(running.exit().await.0, Some(0));
}

#[tokio::test]
async fn what_is_stuck_is_cut_at_the_drain_deadline_or_by_a_second_signal() {
    let (dir, origin) = fixture().await;
    for (deadline, second) in [("200ms", false), ("1h", true)] {
        let limits = format!("[listen.limits]\ndrain_timeout = \"{deadline}\"\n[[site]]");
        let toml = TOML
            .replace("ORIGIN", &origin.url())
            .replace("[[site]]", &limits);
        dir.write("portunus.toml", toml);
        let running = Running::start(&dir).await;
        let mut client = Wire::tcp(running.address("http")).await;
        client
            .send("GET /api/ HTTP/1.1\r\nHost: app.test\r\n\r\n")
            .await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        let address = running.address("http");
        running.signal(Signal::TERM);
        if second {
            eventually(|| std::net::TcpStream::connect(address).is_err()).await;
            running.signal(Signal::TERM);
        }
        client.ended().await;
        assert_eq!(running.exit().await.0, Some(1));
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_a_way_out() {
    let (dir, origin) = fixture().await;
    let taken = origin.address();
    let toml = TOML
        .replace("ORIGIN", "http://127.0.0.1:1")
        .replace("http = [\"127.0.0.1:0\"]", &format!("http = [\"{taken}\"]"));
    dir.write("portunus.toml", toml);
    let (code, out, err) = run(&["run"], &dir).await;
    assert_eq!((code, out.as_str()), (1, ""));
    let told = format!("error: cannot listen on {taken}: the address is already in use\nhint: ");
    assert!(err.contains(&told), "{err}");
    assert!(err.contains("ss -ltnp"), "{err}");
}

#[tokio::test]
async fn the_access_log_goes_to_standard_output() {
    let (dir, _origin) = fixture().await;
    let mut running = Running::start(&dir).await;
    let mut client = Wire::tcp(running.address("http")).await;
    client.get("app.test", "/logged").await;
    let line = within(running.stdout.next_line()).await.unwrap().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["target"], "/logged");
    running.signal(Signal::TERM);
    let (code, log) = running.exit().await;
    assert_eq!(code, Some(0));
    // One JSON object per line there as well.
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn version_and_help_exit_cleanly() {
    let dir = Dir::new();
    let (code, out, _) = run(&["version"], &dir).await;
    assert_eq!(code, 0);
    assert_eq!(out, format!("portunus {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["run", "check", "reload", "ca"] {
        let (code, out, _) = run(&[command, "--help"], &dir).await;
        assert_eq!(code, 0);
        assert!(out.contains(&format!("portunus {command}")), "{out}");
    }
    let (code, _, err) = run(&["rnu"], &dir).await;
    assert_eq!(code, 2);
    assert!(err.contains("unrecognized subcommand 'rnu'"), "{err}");
}
