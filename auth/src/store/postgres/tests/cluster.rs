//! A PostgreSQL server of the test's own: a fresh directory, a Unix socket in it, no port.
//!
//! A shell starts and stops it and reads commands from the test. When the test is gone, however it
//! ended, the shell reads the end of its input, stops the server and removes the directory. What
//! initdb makes is made once and copied.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use tokio_postgres::{Client, NoTls};

/// To be changed with [`TEMPLATE_SCRIPT`].
const TEMPLATE: &str = "postgresql-template-3";

/// `$1` the programs, `$2` the directory.
const TEMPLATE_SCRIPT: &str = r#"
set -eu
"$1/initdb" -D "$2/data" -U postgres -A trust -E UTF8 --locale=C --no-sync --wal-segsize=1
cat >>"$2/data/postgresql.conf" <<END
listen_addresses = ''
max_connections = 60
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
wal_level = minimal
max_wal_senders = 0
min_wal_size = 5MB
max_wal_size = 64MB
END
cat >"$2/data/pg_hba.conf" <<END
local all postgres trust
local all all scram-sha-256
hostssl all all 127.0.0.0/8 scram-sha-256
END
# As few files as possible: one database.
"$1/postgres" --single -D "$2/data" template1 <<END
CREATE ROLE portunus LOGIN PASSWORD 'secret'
ALTER DATABASE postgres RENAME TO portunus
ALTER DATABASE portunus OWNER TO portunus
END
"$1/postgres" --single -D "$2/data" portunus <<END
ALTER DATABASE template0 IS_TEMPLATE false
ALTER DATABASE template1 IS_TEMPLATE false
DROP DATABASE template0
DROP DATABASE template1
END
"#;

/// `$1` the programs, `$2` the directory, `$3` the server's options.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
start() {
    "$1/pg_ctl" -D "$2/data" -l "$2/log" -o "$3" -w -t 60 start
}
stop() {
    "$1/pg_ctl" -D "$2/data" -m "$3" -w -t 60 stop
}
while read -r command; do
    outcome=0
    case $command in
    start)
        # What a killed server left needs a moment to end.
        tries=0
        until start "$@"; do
            tries=$((tries + 1))
            if [ $tries -ge 200 ]; then outcome=1; break; fi
        done
        ;;
    stop) stop "$1" "$2" fast || outcome=1 ;;
    kill) kill -9 "$(head -n 1 "$2/data/postmaster.pid")" || outcome=1 ;;
    esac >>"$2/commands" 2>&1
    echo $outcome
done
stop "$1" "$2" immediate >/dev/null 2>&1
rm -rf "$2"
"#;

/// A running server with the database `portunus` of the role `portunus`.
pub(crate) struct Cluster {
    directory: PathBuf,
    keeper: Child,
    /// `None` only while dropping.
    commands: Option<ChildStdin>,
    outcomes: BufReader<ChildStdout>,
}

impl Cluster {
    /// A server that forgets commits when the machine crashes, which is no matter here.
    pub(crate) fn start() -> Self {
        Self::start_with("-F", &[])
    }

    /// A server that waits for the disk.
    pub(crate) fn start_durable() -> Self {
        Self::start_with("", &[])
    }

    /// A server with these options and these files beside its data, named relative to it.
    pub(crate) fn start_with(options: &str, files: &[(&str, &str)]) -> Self {
        let programs = Programs::find();
        let template = template(&programs);
        let name = format!("portunus-pg-{:016x}", fastrand::u64(..));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let copied = Command::new("cp")
            .args(["-a".as_ref(), template.as_os_str()])
            .arg(directory.join("data"))
            .status();
        assert!(copied.unwrap().success());
        programs.give_to_server(&directory);
        for (name, content) in files {
            let path = directory.join("data").join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            programs.give_to_server(&path);
        }
        let mut keeper = programs
            .shell(SCRIPT, &directory)
            .arg(format!("-k {} {options}", directory.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut cluster = Self {
            directory,
            commands: keeper.stdin.take(),
            outcomes: BufReader::new(keeper.stdout.take().unwrap()),
            keeper,
        };
        cluster.command("start");
        cluster
    }

    /// `start`, `stop` or `kill`, and waits until it is done.
    pub(crate) fn command(&mut self, command: &str) {
        let commands = self.commands.as_mut().unwrap();
        writeln!(commands, "{command}").unwrap();
        let mut outcome = String::new();
        self.outcomes.read_line(&mut outcome).unwrap();
        let log = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        assert_eq!(outcome, "0\n", "{}{}", log("commands"), log("log"));
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The address that a gateway has.
    pub(crate) fn url(&self) -> String {
        self.url_of("portunus:secret", "portunus")
    }

    pub(crate) fn url_of(&self, credentials: &str, database: &str) -> String {
        let host = self.directory.to_str().unwrap().replace('/', "%2F");
        format!("postgres://{credentials}@{host}/{database}")
    }

    /// A connection of the superuser.
    pub(crate) async fn admin(&self) -> Client {
        let url = self.url_of("postgres", "portunus");
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.keeper.wait();
        // Root's own files in it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// PostgreSQL's programs, and who may run them: the server refuses to be root.
struct Programs {
    directory: PathBuf,
    user: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path =
            std::env::split_paths(&path).find(|directory| directory.join("initdb").exists());
        let directory = on_path.or_else(newest_of_debian);
        let directory = directory.expect("PostgreSQL's initdb is needed; see .ci/setup test");
        let is_root = rustix::process::geteuid().is_root();
        Self {
            directory,
            user: is_root.then(|| (id_of_postgres("-u"), id_of_postgres("-g"))),
        }
    }

    fn give_to_server(&self, directory: &Path) {
        if let Some((user, group)) = self.user {
            chown(directory, Some(user), Some(group)).unwrap();
        }
    }

    fn shell(&self, script: &str, directory: &Path) -> Command {
        let mut command = match self.user {
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}"));
                command.arg(format!("--regid={group}"));
                command.args(["--clear-groups", "sh"]);
                command
            }
            None => Command::new("sh"),
        };
        command.args(["-c", script, "sh"]);
        command.arg(&self.directory).arg(directory);
        command.current_dir(directory);
        command
    }
}

/// `/usr/lib/postgresql/15/bin`, of the greatest number.
fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let numbered = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let directory = version.path().join("bin");
        directory
            .join("initdb")
            .exists()
            .then_some((number, directory))
    });
    numbered.max().map(|(_, directory)| directory)
}

fn id_of_postgres(which: &str) -> u32 {
    let output = Command::new("id")
        .args([which, "postgres"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// What initdb makes, beside the test binary, for all tests.
fn template(programs: &Programs) -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    let beside = binary.parent().unwrap();
    // Another version cannot read it.
    let server = fs::metadata(programs.directory.join("postgres")).unwrap();
    let name = format!("{TEMPLATE}-{:x}-{:x}", server.mtime(), server.size());
    let template = beside.join(&name);
    let lock = fs::File::create(beside.join(format!("{name}.lock"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if template.exists() {
        return template;
    }
    let scratch = std::env::temp_dir().join(format!("portunus-pg-{:016x}", fastrand::u64(..)));
    fs::create_dir(&scratch).unwrap();
    programs.give_to_server(&scratch);
    let made = programs.shell(TEMPLATE_SCRIPT, &scratch).output().unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let unfinished = beside.join(format!("{name}.new"));
    let _ = fs::remove_dir_all(&unfinished);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(scratch.join("data"))
        .arg(&unfinished)
        .status();
    assert!(copied.unwrap().success());
    fs::rename(&unfinished, &template).unwrap();
    fs::remove_dir_all(&scratch).unwrap();
    template
}
