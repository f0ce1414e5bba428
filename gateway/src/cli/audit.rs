//! `portunus audit`: of the running gateway, or of the store of one that is not running.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::ExitCode,
};

use auth::audit::{Chain, Id, Reader};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Config, EXIT_FAILURE,
    control::{self, Control, Failed, in_query},
    show::{self, Column},
    users,
};
use crate::identity::{self, Background};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("TIME", "/time"),
    ("EVENT", "/event"),
    ("ACTOR", "/actor/kind"),
    ("", "/actor/id"),
    ("ON", "/resource/kind"),
    ("", "/resource/id"),
    ("FROM", "/personal/ip"),
    ("DETAIL", "/payload/detail"),
];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The newest rows
    #[command(after_help = "Examples:\n  \
        portunus audit list --limit 20\n  \
        portunus audit list --event key. --user alice")]
    List {
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Only what this user did
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Only this event; one that ends with a dot is all that begin with it
        #[arg(long)]
        event: Option<String>,
    },
    /// Check that nothing was changed, cut or put back; exit 1 if something was
    Verify,
    /// The whole trail as lines of JSON
    #[command(after_help = "Examples:\n  \
        portunus audit export > audit.jsonl\n  \
        portunus audit export --out audit.jsonl")]
    Export {
        /// A new file instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(config: &Config, json: bool, command: &Command) -> Result<ExitCode, Failed> {
    let config = control::load(&config.config)?;
    let control = Control::new(&config)?;
    match command {
        Command::List { limit, user, event } => {
            let mut path = format!("/api/v1/audit?limit={limit}");
            if let Some(user) = user {
                path.push_str(&format!("&actor={}", users::id_of(&control, user)?));
            }
            if let Some(event) = event {
                path.push_str(&format!("&event={}", in_query(event)));
            }
            let page = control.get(&path)?;
            let rows = page["items"].as_array().cloned().unwrap_or_default();
            show::list(&rows, json, COLUMNS);
        }
        Command::Verify => {
            let report = match control.is_running() {
                true => control.get("/api/v1/audit/verify")?,
                false => verify_stopped(&config)?,
            };
            return Ok(tell(&report, json));
        }
        Command::Export { out } => {
            let mut out: Box<dyn Write> = match out {
                None => Box::new(io::stdout().lock()),
                Some(path) => Box::new(new_file(path)?),
            };
            match control.is_running() {
                true => control.copy("/api/v1/audit/export", &mut out)?,
                false => export_stopped(&config, &mut out)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A file that was not there before, for its owner only.
pub(super) fn new_file(path: &PathBuf) -> Result<std::fs::File, Failed> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failed::new(format!("{}: {error}", path.display())))
}

fn tell(report: &Value, json: bool) -> ExitCode {
    let valid = report["valid"] == true;
    let entries = &report["entries"];
    let sentence = match valid {
        true => format!(
            "whole: {entries} rows, {} signed checkpoints agree",
            report["checkpoints"]
        ),
        false => format!(
            "BROKEN at row {}: {} ({entries} rows before it are whole)",
            report["brokenAt"],
            report["reason"].as_str().unwrap_or_default(),
        ),
    };
    show::done(&sentence, report, json);
    match valid {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_FAILURE),
    }
}

fn verify_stopped(config: &crate::config::Config) -> Result<Value, Failed> {
    let background = Background::start()?;
    let report = background.run(async {
        let reader = open(config).await?;
        reader.verify(&[]).await.map_err(Failed::new)
    })?;
    let mut value = json!({
        "valid": report.valid,
        "entries": report.entries,
        "erased": report.erased,
        "checkpoints": report.checkpoints,
    });
    if let Some(id) = report.broken_at {
        value["brokenAt"] = id.0.into();
    }
    if let Some(reason) = report.reason {
        value["reason"] = reason.to_string().into();
    }
    Ok(value)
}

fn export_stopped(config: &crate::config::Config, out: &mut dyn Write) -> Result<(), Failed> {
    let background = Background::start()?;
    background.run(async {
        let mut export = open(config).await?.export(Id(1));
        while let Some(lines) = export.next().await.map_err(Failed::new)? {
            out.write_all(&lines)?;
        }
        out.flush()?;
        Ok(())
    })
}

async fn open(config: &crate::config::Config) -> Result<Reader, Failed> {
    let (store, seal) = identity::open_stopped(config).await.map_err(Failed::new)?;
    let opened = Reader::open(store, &seal, Chain::DEFAULT).await;
    opened.map_err(Failed::new)
}
