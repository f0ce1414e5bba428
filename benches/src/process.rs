//! Child processes that end with the value that owns them, and free ports for them.
//!
//! Each server leads a process group of its own, so that its workers are found, counted and
//! killed with it, also when the run fails or is interrupted.

use std::{
    ffi::OsString,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::error::{Doing, Error, Result};

const START_LIMIT: Duration = Duration::from_secs(15);
const START_POLL: Duration = Duration::from_millis(20);
/// Of a log that explains a failure.
const LOG_LINES: usize = 20;

/// How a program is started.
#[derive(Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(&'static str, OsString)>,
}

impl Launch {
    pub fn new<A: Into<OsString>>(program: &Path, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
        }
    }

    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }
}

/// A running program with its children.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts a program on one core, with its output in `dir/log`, and waits until it accepts
    /// connections on every one of `ports`.
    pub async fn start(
        name: &'static str,
        launch: &Launch,
        core: usize,
        dir: &Path,
        ports: &[SocketAddr],
    ) -> Result<Self> {
        let mut process = Self::spawn(name, launch, core, dir)?;
        let limit = Instant::now() + START_LIMIT;
        for port in ports {
            while TcpStream::connect(port).await.is_err() {
                if process.exited()? {
                    return Err(process.failure("ended at once"));
                }
                if Instant::now() > limit {
                    return Err(process.failure("does not listen"));
                }
                sleep(START_POLL).await;
            }
        }
        Ok(process)
    }

    fn spawn(name: &'static str, launch: &Launch, core: usize, dir: &Path) -> Result<Self> {
        let log = dir.join("log");
        let output = File::create(&log).at("create", &log)?;
        let errors = output.try_clone().at("open", &log)?;
        let child = Command::new("taskset")
            .args(["--cpu-list", &core.to_string()])
            .arg(&launch.program)
            .args(&launch.args)
            .envs(launch.env.iter().cloned())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .doing(|| format!("start {name} with taskset (util-linux)"))?;
        // taskset becomes the program, so this id is the program's and its group's.
        let group = child
            .id()
            .map_or(Pid::from_raw(0), |id| Pid::from_raw(id.cast_signed()));
        Ok(Self {
            name,
            child,
            group,
            log,
        })
    }

    /// The process group: the leader and everything it started.
    pub fn group(&self) -> Pid {
        self.group
    }

    pub fn exited(&mut self) -> Result<bool> {
        let status = self.child.try_wait();
        Ok(status
            .doing(|| format!("wait for {}", self.name))?
            .is_some())
    }

    pub fn failure(&self, problem: &'static str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        Error::Process {
            name: self.name,
            problem,
            log: lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Group 0 would be our own.
        if self.group.as_raw() > 0 {
            killpg(self.group, Signal::SIGKILL).ok();
        }
    }
}

/// Loopback addresses nobody listens on. All are held at once, so they differ; another program
/// could take one before the server does, which then says so.
pub fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::with_capacity(N);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address).doing(|| "find a free port".to_owned())?;
        *address = listener
            .local_addr()
            .doing(|| "find a free port".to_owned())?;
        held.push(listener);
    }
    Ok(addresses)
}
