//! The `portunus` binary as an operator meets it.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

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

const PROGRAM: &str = env!("CARGO_BIN_EXE_portunus");

fn portunus(args: &[&str], dir: &Dir) -> Command {
    program(PROGRAM, args, dir)
}

fn program(program: &str, args: &[&str], dir: &Dir) -> Command {
    let mut command = Command::new(program);
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
        Self::spawn(portunus(&["run", "--threads", "2"], dir)).await
    }

    async fn spawn(mut command: Command) -> Self {
        let mut child = command
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

#[tokio::test]
async fn it_recovers_from_running_out_of_file_descriptors() {
    const DESCRIPTORS: usize = 64;
    let (dir, _origin) = fixture().await;
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" run --threads 2");
    let mut running = Running::spawn(program("sh", &["-c", &script, PROGRAM], &dir)).await;
    let mut log = BufReader::new(running.child.stderr.take().unwrap()).lines();
    let address = running.address("http");

    // The kernel takes them all; the gateway cannot.
    let mut clients = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        let mut client = Wire::tcp(address).await;
        client
            .send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
            .await;
        clients.push(client);
    }
    let mut lines = Vec::new();
    let told = |lines: &[String]| lines.iter().any(|line| line.contains("ulimit -n"));
    while !told(&lines) {
        let line = within(log.next_line()).await.unwrap();
        lines.push(line.expect("it goes on running"));
    }
    // Those inside are served.
    assert_eq!(clients[0].response().await.text(), "one");
    drop(clients);
    for _ in 0..3 {
        let mut client = Wire::tcp(address).await;
        assert_eq!(client.get("app.test", "/").await.text(), "one");
    }
    let mut admin = Wire::unix(&dir.join("admin.sock")).await;
    let metrics = admin.get("localhost", "/metrics").await;
    assert!(
        metrics.text().contains("portunus_panics_total 0\n"),
        "{}",
        metrics.text()
    );
    running.signal(Signal::TERM);
    while let Some(line) = within(log.next_line()).await.unwrap() {
        lines.push(line);
    }
    assert!(
        !lines.iter().any(|line| line.contains("panicked")),
        "{lines:#?}"
    );
    // A pause between two attempts, not a line for each of thousands.
    let warnings = lines.iter().filter(|line| line.contains("ulimit -n"));
    assert!(warnings.count() < 100);
    assert_eq!(within(running.child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn it_listens_where_it_says_and_nowhere_else() {
    let (dir, origin) = fixture().await;
    let more = "http = [\"127.0.0.1:0\", \"127.0.0.2:0\", \"unix:more.sock\"]";
    let toml = TOML
        .replace("ORIGIN", &origin.url())
        .replace("http = [\"127.0.0.1:0\"]", more);
    dir.write("portunus.toml", toml);
    let running = Running::start(&dir).await;
    let mut said: Vec<_> = running
        .addresses
        .iter()
        .map(|(_, address)| address.clone())
        .collect();
    said.sort();
    assert_eq!(said.len(), 5);

    let sockets = Sockets::of(running.child.id().unwrap());
    let mut listening = sockets.listening_tcp();
    listening.extend(sockets.listening_unix());
    listening.sort();
    assert_eq!(listening, said);
    for table in [
        "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "packet",
    ] {
        assert_eq!(sockets.rows(table), Vec::<Vec<String>>::new(), "{table}");
    }
}

/// The sockets of a process, as the kernel lists them.
struct Sockets {
    process: PathBuf,
    inodes: HashSet<String>,
}

impl Sockets {
    fn of(process: u32) -> Self {
        let process = PathBuf::from(format!("/proc/{process}"));
        let open = fs::read_dir(process.join("fd")).unwrap();
        let inodes = open.filter_map(|entry| {
            let target = fs::read_link(entry.unwrap().path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        });
        let inodes = inodes.collect();
        Self { process, inodes }
    }

    /// The fields of each of its rows in a table of `/proc/net`. Some kernels lack some tables.
    fn rows(&self, table: &str) -> Vec<Vec<String>> {
        let path = self.process.join("net").join(table);
        let text = fs::read_to_string(path).unwrap_or_default();
        let rows = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().map(str::to_owned).collect());
        let inode = match table {
            "unix" => 6,
            "packet" => 8,
            _ => 9,
        };
        rows.filter(|row: &Vec<String>| self.inodes.contains(&row[inode]))
            .collect()
    }

    fn listening_tcp(&self) -> Vec<String> {
        const LISTEN: &str = "0A";
        ["tcp", "tcp6"]
            .iter()
            .flat_map(|table| self.rows(table))
            .filter(|row| row[3] == LISTEN)
            .map(|row| {
                let (address, port) = row[1].split_once(':').unwrap();
                let port = u16::from_str_radix(port, 16).unwrap();
                match u32::from_str_radix(address, 16) {
                    Ok(address) => {
                        let address = Ipv4Addr::from(address.to_ne_bytes());
                        SocketAddr::from((address, port)).to_string()
                    }
                    Err(_) => row[1].clone(),
                }
            })
            .collect()
    }

    fn listening_unix(&self) -> Vec<String> {
        /// `SO_ACCEPTCON`
        const LISTEN: &str = "00010000";
        let rows = self.rows("unix").into_iter();
        rows.filter(|row| row[3] == LISTEN)
            .map(|row| format!("unix:{}", row[7]))
            .collect()
    }
}
