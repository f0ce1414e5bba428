//! `portunus tunnels`.

use clap::Subcommand;
use serde_json::json;

use super::{
    Config,
    control::{Control, Failed},
    show::{self, Column},
    users,
};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("OWNER", "/owner"),
    ("NAME", "/name"),
    ("CREATED", "/created_at"),
];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a tunnel
    #[command(after_help = "Examples:\n  \
        portunus tunnels create --user alice\n  \
        portunus tunnels create --user alice --name demo")]
    Create {
        /// Whose it shall be: a user's number or name
        #[arg(long, value_name = "USER")]
        user: String,
        /// Its label under the tunnel domain [default: three words]
        #[arg(long)]
        name: Option<String>,
    },
    /// Tunnels
    List {
        /// Only those of this user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// Delete a tunnel; keys that are bound to it work no longer
    Delete { id: u64 },
}

pub(super) fn run(config: &Config, json: bool, command: &Command) -> Result<(), Failed> {
    let control = Control::of(&config.config)?;
    match command {
        Command::Create { user, name } => {
            let body = json!({ "owner": users::id_of(&control, user)?, "name": name });
            show::one(&control.post("/api/v1/tunnels", &body)?, json, COLUMNS);
        }
        Command::List { user } => {
            let filter = users::filter(&control, "owner", user.as_deref())?;
            let tunnels = control.list(&format!("/api/v1/tunnels{filter}"))?;
            show::list(&tunnels, json, COLUMNS);
        }
        Command::Delete { id } => {
            let path = format!("/api/v1/tunnels/{id}");
            let tunnel = control.get(&path)?;
            control.delete(&path)?;
            show::done(&format!("deleted tunnel {id}"), &tunnel, json);
        }
    }
    Ok(())
}
