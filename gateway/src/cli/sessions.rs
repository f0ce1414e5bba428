//! `portunus sessions`.

use clap::Subcommand;

use super::{
    Config,
    control::{Control, Failed},
    show::{self, Column},
    users,
};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("USER", "/user"),
    ("CREATED", "/created_at"),
    ("LAST SEEN", "/last_seen_at"),
    ("FROM", "/ip"),
    ("BY", "/user_agent"),
];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Browsers that are signed in
    List {
        /// Only those of this user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// Sign a browser out, or all of a user's
    #[command(after_help = "Examples:\n  \
        portunus sessions revoke 12\n  \
        portunus sessions revoke --user alice")]
    Revoke {
        /// The number of the session
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        id: Option<u64>,
        /// All sessions of this user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
}

pub(super) fn run(config: &Config, json: bool, command: &Command) -> Result<(), Failed> {
    let control = Control::of(&config.config)?;
    match command {
        Command::List { user } => {
            let filter = users::filter(&control, "user", user.as_deref())?;
            let sessions = control.list(&format!("/api/v1/sessions{filter}"))?;
            show::list(&sessions, json, COLUMNS);
        }
        Command::Revoke { id: Some(id), .. } => {
            let path = format!("/api/v1/sessions/{id}");
            let session = control.get(&path)?;
            control.delete(&path)?;
            show::done(&format!("session {id} has ended"), &session, json);
        }
        Command::Revoke { user, .. } => {
            let user = users::find(&control, user.as_deref().unwrap_or_default())?;
            control.delete(&format!("/api/v1/sessions?user={}", user["id"]))?;
            show::done("all sessions of the user have ended", &user, json);
        }
    }
    Ok(())
}
