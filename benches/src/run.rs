//! The rounds: for each row, each round, each server in turn. Taking turns spreads whatever else
//! the machine does over all servers alike; the median of the rounds drops what is left of it.

use std::{path::PathBuf, time::Duration};

use tokio::time::sleep;

use crate::{
    error::Result,
    load::{Idle, Outcome, Target, check, connect, h2load, wrk},
    machine,
    origin::Origin,
    row::{Load, Row},
    servers::{Running, Server},
    usage::{CpuTime, memory_kib},
    workspace::Workspace,
};

/// Before the first round of a row, so that pools are filled and code is in the caches.
const WARM_UP: Duration = Duration::from_secs(1);
/// Connections opened and closed before memory is read the first time, so that what a server
/// allocates once is not counted as the cost of a connection.
const IDLE_WARM_UP: usize = 200;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub servers: Vec<Server>,
    pub rows: Vec<Row>,
    pub rounds: usize,
    pub seconds: u64,
    pub idle_connections: usize,
    /// How long a server may tidy up before its memory is read.
    pub settle: Duration,
    pub server_core: usize,
    pub load_core: usize,
    /// Portunus's program, absolute.
    pub portunus: PathBuf,
}

/// What came out: `cells[row][server]`, in the order of the plan's rows and of `servers`.
#[derive(Debug)]
pub struct Results {
    /// Those that are installed, with their versions.
    pub servers: Vec<(Server, String)>,
    pub cells: Vec<Vec<Cell>>,
}

impl Results {
    pub fn failures(&self) -> usize {
        let cells = self.cells.iter().flatten();
        cells.filter(|cell| matches!(cell, Cell::Failed)).count()
    }
}

#[derive(Clone, Debug)]
pub enum Cell {
    /// One sample for each round.
    Measured(Vec<Sample>),
    /// The server does not do this.
    NotServed,
    /// Said on standard error.
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub enum Sample {
    Load {
        /// CPU time of the server per request.
        cpu: Duration,
        requests_per_second: f64,
        p99: Duration,
    },
    /// KiB of server memory per idle connection.
    Idle { kib: f64 },
}

pub async fn run(plan: &Plan) -> Result<Results> {
    let workspace = Workspace::create()?;
    let origin = Origin::start(&workspace, plan.load_core).await?;
    let mut bench = Bench {
        plan,
        workspace: &workspace,
        origin: &origin,
        contenders: Vec::new(),
    };
    for server in &plan.servers {
        bench.enlist(*server).await?;
    }
    let mut cells = Vec::new();
    for row in &plan.rows {
        cells.push(bench.row(row).await);
    }
    let servers = bench
        .contenders
        .into_iter()
        .map(|one| (one.server, one.version));
    Ok(Results {
        servers: servers.collect(),
        cells,
    })
}

struct Bench<'a> {
    plan: &'a Plan,
    workspace: &'a Workspace,
    origin: &'a Origin,
    contenders: Vec<Contender>,
}

struct Contender {
    server: Server,
    binary: PathBuf,
    version: String,
    running: Running,
}

impl Bench<'_> {
    async fn enlist(&mut self, server: Server) -> Result<()> {
        let Some(binary) = server.binary(&self.plan.portunus) else {
            eprintln!(
                "{} is not here and left out: {}",
                server.name(),
                server.remedy()
            );
            return Ok(());
        };
        let version = machine::version(&binary, server.version_argument()).await;
        let running = self.start(server, &binary).await?;
        self.contenders.push(Contender {
            server,
            binary,
            version,
            running,
        });
        Ok(())
    }

    async fn start(&self, server: Server, binary: &std::path::Path) -> Result<Running> {
        let origin = self.origin.address;
        Running::start(
            server,
            binary,
            self.workspace,
            origin,
            self.plan.server_core,
        )
        .await
    }

    async fn row(&mut self, row: &Row) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self
            .contenders
            .iter()
            .map(|one| match row.is_file() && !one.server.serves_files() {
                true => Cell::NotServed,
                false => Cell::Measured(Vec::new()),
            })
            .collect();
        for round in 0..self.plan.rounds {
            for (index, cell) in cells.iter_mut().enumerate() {
                let Cell::Measured(samples) = cell else {
                    continue;
                };
                let name = self.contenders[index].server.name();
                eprint!(
                    "{}: round {} of {}, {name}: ",
                    row.title,
                    round + 1,
                    self.plan.rounds
                );
                match self.sample(row, round, index).await {
                    Ok(sample) => {
                        eprintln!("{sample}");
                        samples.push(sample);
                    }
                    Err(error) => {
                        eprintln!("FAILED: {error}");
                        *cell = Cell::Failed;
                    }
                }
            }
        }
        cells
    }

    async fn sample(&mut self, row: &Row, round: usize, index: usize) -> Result<Sample> {
        if row.load == Load::Idle {
            return self.idle(row, index).await;
        }
        let duration = Duration::from_secs(self.plan.seconds);
        let workspace = self.workspace;
        let running = &mut self.contenders[index].running;
        let target = target(workspace, running, row);
        if round == 0 {
            check(&target).await?;
            load(row, &target, WARM_UP).await?;
        }
        let before = CpuTime::of(running.group())?;
        let outcome = load(row, &target, duration).await;
        running.alive()?;
        let outcome = outcome?;
        let cpu = CpuTime::of(running.group())?.since(&before)?;
        Ok(Sample::Load {
            cpu: cpu.div_f64(outcome.requests as f64),
            requests_per_second: outcome.requests as f64 / outcome.elapsed.as_secs_f64(),
            p99: outcome.p99,
        })
    }

    /// Always a fresh server: what others left in its heap would hide what is asked for.
    async fn idle(&self, row: &Row, index: usize) -> Result<Sample> {
        let contender = &self.contenders[index];
        let mut running = self.start(contender.server, &contender.binary).await?;
        let target = target(self.workspace, &running, row);
        drop(Idle::open(&target, IDLE_WARM_UP).await?);
        sleep(self.plan.settle).await;
        let before = memory_kib(running.group())?;
        let connections = Idle::open(&target, self.plan.idle_connections).await?;
        sleep(self.plan.settle).await;
        let after = memory_kib(running.group())?;
        running.alive()?;
        drop(connections);
        let grown = after as f64 - before as f64;
        Ok(Sample::Idle {
            kib: grown / self.plan.idle_connections as f64,
        })
    }
}

fn target<'a>(workspace: &'a Workspace, running: &Running, row: &'a Row) -> Target<'a> {
    Target {
        workspace,
        address: if row.tls { running.https } else { running.http },
        tls: row.tls,
        path: row.path,
        body: row.body,
    }
}

async fn load(row: &Row, target: &Target<'_>, duration: Duration) -> Result<Outcome> {
    match row.load {
        Load::Wrk { connections } => wrk(target, connections, duration).await,
        Load::H2load {
            connections,
            streams,
        } => h2load(target, connections, streams, duration).await,
        Load::Connect { workers } => connect(target, workers, duration).await,
        Load::Idle => unreachable!("idle connections are no load over time"),
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Load {
                cpu,
                requests_per_second,
                p99,
            } => {
                write!(
                    f,
                    "{cpu:.1?} CPU, {requests_per_second:.0}/s, p99 {p99:.1?}"
                )
            }
            Self::Idle { kib } => write!(f, "{kib:.1} KiB"),
        }
    }
}
