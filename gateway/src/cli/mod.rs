//! The command line: parse, call, turn errors into exit codes.

mod audit;
mod backup;
mod control;
mod hash_password;
mod keys;
mod reload;
mod sessions;
mod show;
mod tunnels;
mod users;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use self::control::Failed;
use crate::{
    app::{self, App, Outside, StartError},
    config::{self, Loaded},
    identity::{self, Background},
    lifecycle, observe,
    tls::InternalCa,
};

/// The command was understood but the configuration is wrong (EX_USAGE of sysexits).
const EXIT_CONFIG: u8 = 64;
/// Something outside the configuration is in the way: a taken port, a file, the running gateway.
const EXIT_FAILURE: u8 = 1;
/// The gateway that was to be asked is not running (EX_UNAVAILABLE of sysexits).
const EXIT_NOT_RUNNING: u8 = 69;

#[derive(Debug, Parser)]
#[command(
    name = "portunus",
    version,
    about = "An edge gateway: HTTPS, routing, single-page apps and WebSockets in one binary",
    after_help = "Examples:\n  \
        portunus check  --config portunus.toml\n  \
        portunus run    --config portunus.toml\n  \
        portunus reload --config portunus.toml\n  \
        portunus keys create --user alice --name laptop\n  \
        portunus backup /var/backups/portunus.redb\n  \
        portunus ca     --config portunus.toml > root.pem && curl --cacert root.pem https://localhost:8443/"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the gateway: prints every bound address, one per line, then "ready"
    #[command(after_help = "Examples:\n  \
        portunus run --config /etc/portunus/portunus.toml\n  \
        PORTUNUS_CONFIG=conf/dev.toml portunus run\n\n\
        Signals: SIGHUP reloads; SIGTERM and SIGINT finish what is in flight and exit 0;\n\
        a second one exits at once.")]
    Run(Run),
    /// Check a configuration: exit 0, or every problem with its place and exit 64
    #[command(after_help = "Examples:\n  \
        portunus check --config portunus.toml\n  \
        portunus check --config portunus.toml --print    (every effective value, secrets masked)")]
    Check(Check),
    /// Ask the running gateway to load its configuration again (also: SIGHUP)
    #[command(after_help = "Examples:\n  \
        portunus reload --config portunus.toml\n  \
        portunus reload --admin 127.0.0.1:9180\n\n\
        The new configuration is proven before it is used. If it is not sound the gateway goes on\n\
        as it was, the problems are printed, and the exit code is 64.")]
    Reload(Reload),
    /// Print the root certificate (PEM) of the internal CA
    #[command(after_help = "Examples:\n  \
        portunus ca --config conf/dev.toml > root.pem\n  \
        curl --cacert root.pem https://localhost:8443/")]
    Ca(Config),
    /// API keys of the running gateway
    #[command(after_help = "Examples:\n  \
        portunus keys create --user alice --name laptop\n  \
        portunus keys list --user alice\n  \
        portunus keys rotate 7 --overlap 24h\n  \
        portunus keys revoke 7")]
    Keys(Operate<keys::Command>),
    /// Users of the running gateway
    #[command(after_help = "Examples:\n  \
        portunus users list\n  \
        portunus users set-role alice admin\n  \
        portunus users disable 12")]
    Users(Operate<users::Command>),
    /// Tunnels of the running gateway
    #[command(after_help = "Examples:\n  \
        portunus tunnels list\n  \
        portunus tunnels create --user alice --name demo")]
    Tunnels(Operate<tunnels::Command>),
    /// Browsers that are signed in to the running gateway
    #[command(after_help = "Examples:\n  \
        portunus sessions list --user alice\n  \
        portunus sessions revoke --user alice")]
    Sessions(Operate<sessions::Command>),
    /// Who did what
    #[command(after_help = "Examples:\n  \
        portunus audit list --event key.\n  \
        portunus audit verify\n  \
        portunus audit export --out audit.jsonl\n\n\
        verify and export also work while the gateway is stopped.")]
    Audit(Operate<audit::Command>),
    /// Copy the store to a new file, while the gateway runs or not
    #[command(after_help = "Examples:\n  \
        portunus backup /var/backups/portunus-$(date +%F).redb\n\n\
        The master key is not in it: keep that elsewhere. Without it what is sealed stays sealed.")]
    Backup(Backup),
    /// Make the store from a backup, while the gateway is stopped
    #[command(after_help = "Examples:\n  \
        portunus restore /var/backups/portunus-2026-04-15.redb\n  \
        portunus restore --replace backup.redb    (moves the store that is there aside)")]
    Restore(Restore),
    /// Read a password from standard input and print its hash, for `basic` in a configuration
    #[command(after_help = "Examples:\n  \
        portunus hash-password < password.txt\n  \
        systemd-ask-password | portunus hash-password")]
    HashPassword,
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
struct Config {
    /// The configuration file
    #[arg(
        short,
        long,
        env = "PORTUNUS_CONFIG",
        default_value = "portunus.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

/// The same, where it may stand after a subcommand as well.
#[derive(Debug, Args)]
struct GlobalConfig {
    /// The configuration file
    #[arg(
        short,
        long,
        global = true,
        env = "PORTUNUS_CONFIG",
        default_value = "portunus.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

impl From<GlobalConfig> for Config {
    fn from(global: GlobalConfig) -> Self {
        Self {
            config: global.config,
        }
    }
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    config: Config,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    config: Config,
    /// Print the configuration in normal form
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Args)]
struct Reload {
    #[command(flatten)]
    config: Config,
    /// The admin listener, instead of the one in the configuration file
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

#[derive(Debug, Args)]
struct Operate<C: Subcommand> {
    #[command(subcommand)]
    command: C,
    #[command(flatten)]
    config: GlobalConfig,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Args)]
struct Backup {
    #[command(flatten)]
    config: Config,
    /// The new file
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Args)]
struct Restore {
    #[command(flatten)]
    config: Config,
    /// The backup
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// Move a store that is there aside
    #[arg(long)]
    replace: bool,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => start(&args),
        Command::Check(args) => check(&args),
        Command::Reload(args) => reload::reload(&args.config.config, args.admin.as_deref()),
        Command::Ca(args) => print_root(&args),
        Command::Keys(args) => outcome(keys::run(&args.config.into(), args.json, &args.command)),
        Command::Users(args) => outcome(users::run(&args.config.into(), args.json, &args.command)),
        Command::Tunnels(args) => {
            outcome(tunnels::run(&args.config.into(), args.json, &args.command))
        }
        Command::Sessions(args) => {
            outcome(sessions::run(&args.config.into(), args.json, &args.command))
        }
        Command::Audit(args) => match audit::run(&args.config.into(), args.json, &args.command) {
            Ok(code) => code,
            Err(failed) => failed.report(),
        },
        Command::Backup(args) => outcome(backup::backup(&args.config, &args.to)),
        Command::Restore(args) => outcome(backup::restore(&args.config, &args.from, args.replace)),
        Command::HashPassword => match hash_password::hash(std::io::stdin().lock()) {
            Ok(hash) => {
                println!("{hash}");
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error),
        },
        Command::Version => {
            println!("portunus {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn outcome(done: Result<(), Failed>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(),
    }
}

fn start(args: &Run) -> ExitCode {
    let Loaded { config, .. } = match load(&args.config) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let level = observe::log::install(&config.log.level);
    if config.dev {
        tracing::warn!("development mode: start checks are relaxed; do not expose this gateway");
    }
    let background = match Background::start() {
        Ok(background) => background,
        Err(error) => return failed(&format!("cannot start a runtime: {error}")),
    };
    let identity = match background.run(identity::open(&config)) {
        Ok(identity) => identity,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let outside = Outside {
        source: app::file_source(args.config.config.clone()),
        level: Some(level),
        identity: identity.clone(),
        background: background.handle().clone(),
    };
    let app = match App::new(&config, outside, std::io::stdout()) {
        Ok(app) => app,
        Err(error) => return cannot_start(&error),
    };
    for (protocol, address) in app.addresses() {
        println!("{protocol} {address}");
    }
    if let Some(link) = background.run(app.set_up_link()) {
        println!("set-up: {}", link.expose());
    }
    let threads = args.threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    // A client that did not finish in time is no failure of ours, but worth another code than 0.
    let clean = lifecycle::run(app, threads, || println!("ready"));
    if let Some(identity) = identity {
        background.run(identity.close());
    }
    background.stop();
    match clean {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_FAILURE),
    }
}

fn failed(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(EXIT_FAILURE)
}

fn cannot_start(error: &StartError) -> ExitCode {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(EXIT_FAILURE)
}

fn check(args: &Check) -> ExitCode {
    match load(&args.config) {
        Ok(loaded) => {
            if args.print {
                print!("{}", loaded.config.normal_form());
            } else {
                let sites = loaded.config.sites.len();
                let routes: usize = loaded
                    .config
                    .sites
                    .iter()
                    .map(|site| site.routes.len())
                    .sum();
                println!(
                    "{}: ok, {sites} {}, {routes} {}",
                    args.config.config.display(),
                    plural(sites, "site"),
                    plural(routes, "route"),
                );
            }
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn print_root(args: &Config) -> ExitCode {
    let Loaded { config, .. } = match load(args) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match InternalCa::open(&config.data_dir) {
        Ok(ca) => {
            print!("{}", ca.root_pem());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Reads the configuration, with warnings on standard error; problems become exit code 64.
fn load(args: &Config) -> Result<Loaded, ExitCode> {
    match config::load(&args.config, &|name| std::env::var(name).ok()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            Ok(loaded)
        }
        Err(problems) => {
            eprintln!("{problems}");
            Err(ExitCode::from(EXIT_CONFIG))
        }
    }
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => noun.to_owned(),
        _ => format!("{noun}s"),
    }
}
