//! The binary, with what it prints in files: a pipe that nobody reads would stop it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::{ExitStatus, Stdio},
};

use gateway::tls::InternalCa;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::HOST;
use crate::support::{Dir, Wire, client_config, eventually, within};

pub(crate) struct Program {
    pub(crate) dir: Dir,
    child: Child,
}

impl Program {
    /// Starts `portunus run` with the configuration, and waits until it is ready.
    pub(crate) async fn start(toml: &str) -> Self {
        let dir = Dir::new();
        dir.write("portunus.toml", toml);
        let output = |name| Stdio::from(File::create(dir.join(name)).unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_portunus"))
            .args(["run", "--threads", "2"])
            .current_dir(dir.path())
            // No variable of the machine the tests run on changes what they see.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut program = Self { dir, child };
        eventually(|| {
            let ended = program.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "it did not get ready: {}",
                program.output()
            );
            program.stdout().lines().any(|line| line == "ready")
        })
        .await;
        program
    }

    /// What it printed so far behind `name`.
    pub(crate) fn printed(&self, name: &str) -> Option<String> {
        let stdout = self.stdout();
        let mut lines = stdout.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(str::to_owned)
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.printed("https").unwrap().parse().unwrap()
    }

    pub(crate) async fn connect(&self) -> Wire {
        let ca = InternalCa::open(&self.dir.join("state")).unwrap();
        Wire::tls(self.https(), client_config(ca.root_pem()), HOST).await
    }

    /// Ends it.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        within(self.child.wait()).await.unwrap()
    }

    /// All that it printed, on standard output and standard error.
    pub(crate) fn output(&self) -> String {
        self.stdout() + &fs::read_to_string(self.dir.join("stderr")).unwrap()
    }

    fn stdout(&self) -> String {
        fs::read_to_string(self.dir.join("stdout")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}
