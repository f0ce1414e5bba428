//! `bench-front-door`: measures Portunus beside nginx, HAProxy and Caddy. See docs/performance.md.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    Result,
    error::Doing,
    report,
    row::{ROWS, Row},
    run::{Plan, run},
    servers::Server,
};
use clap::{Parser, builder::PossibleValuesParser};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

/// Descriptors for the idle connections, both ends, and to spare.
const DESCRIPTORS: u64 = 16_384;

/// Measure Portunus beside nginx, HAProxy and Caddy
///
/// The server under test runs on one core, load and origin on another, all on loopback and in a
/// temporary directory. A full run takes about a quarter of an hour; the machine should have
/// nothing else to do.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bench-front-door --quick                        does everything work?
  bench-front-door --only h1-tls,connect --servers portunus,nginx
  bench-front-door --out docs/performance.md      the numbers of the documentation")]
struct Args {
    /// Measure only these rows
    #[arg(long, value_name = "ROW", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(ROWS.map(|row| row.name)))]
    only: Vec<String>,
    /// Measure only these servers
    #[arg(long, value_delimiter = ',', value_name = "NAME",
          default_values = ["portunus", "nginx", "haproxy", "caddy"])]
    servers: Vec<Server>,
    /// Rounds of each row; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Length of a round in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// One round of two seconds: a smoke test, not a measurement
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Idle connections that share the memory measured
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=4000))]
    idle_connections: u64,
    /// The portunus program [default: beside this one]
    #[arg(long, value_name = "PATH")]
    portunus: Option<PathBuf>,
    /// Write the results between the markers of this document too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Core of the server under test
    #[arg(long, value_name = "N", default_value_t = 0)]
    server_core: usize,
    /// Core of the generator and the origin
    #[arg(long, value_name = "N", default_value_t = 1)]
    load_core: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let measured = async {
        prepare(args.load_core)?;
        measure(&args).await
    };
    // Whatever ends first: dropping the other future kills every process it started.
    let ended = tokio::select! {
        ended = measured => ended,
        stopped = stop_signal() => stopped.map(|()| {
            eprintln!("stopped");
            130
        }),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &Args) -> Result<u8> {
    let plan = plan(args)?;
    let results = run(&plan).await?;
    let text = report::markdown(&plan, &results).await;
    println!("\n{text}");
    if let Some(path) = &args.out {
        report::insert(path, &text)?;
    }
    match results.failures() {
        0 => Ok(0),
        failures => {
            eprintln!("results that FAILED: {failures}, see above");
            Ok(1)
        }
    }
}

fn plan(args: &Args) -> Result<Plan> {
    let rows = match args.only.is_empty() {
        true => ROWS.to_vec(),
        false => args
            .only
            .iter()
            .filter_map(|name| Row::named(name))
            .collect(),
    };
    let portunus = match &args.portunus {
        Some(path) => path.clone(),
        None => {
            let own = std::env::current_exe().doing(|| "find this program".to_owned())?;
            own.with_file_name("portunus")
        }
    };
    let (rounds, seconds, settle) = match args.quick {
        true => (1, 2, Duration::from_secs(1)),
        false => (args.rounds as usize, args.seconds, Duration::from_secs(3)),
    };
    Ok(Plan {
        servers: args.servers.clone(),
        rows,
        rounds,
        seconds,
        idle_connections: args.idle_connections as usize,
        settle,
        server_core: args.server_core,
        load_core: args.load_core,
        portunus: std::path::absolute(&portunus).at("find", &portunus)?,
    })
}

/// Moves this program to the core of the load, where the generators and the origin follow it, and
/// allows it the descriptors it needs.
fn prepare(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores
        .set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores))
        .doing(|| format!("move to core {core}; two cores are needed, see --load-core"))?;
    let limit = Resource::RLIMIT_NOFILE;
    let (soft, hard) = getrlimit(limit).doing(|| "read the limit of descriptors".to_owned())?;
    setrlimit(limit, soft.max(DESCRIPTORS.min(hard)), hard)
        .doing(|| "raise the limit of descriptors".to_owned())
}

/// Ctrl-C, or being asked to end.
async fn stop_signal() -> Result<()> {
    let listen = |kind| signal(kind).doing(|| "listen for signals".to_owned());
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
        _ = hang_up.recv() => (),
    }
    Ok(())
}
