//! `portunus users`.

use std::io::BufRead;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Config,
    control::{Control, Failed, in_query},
    show::{self, Column},
};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/username"),
    ("PROVIDER", "/provider"),
    ("ROLE", "/role"),
    ("DISABLED", "/disabled"),
    ("LAST SIGN-IN", "/last_sign_in_at"),
];
const DETAILS: &[Column] = &[
    ("id", "/id"),
    ("name", "/username"),
    ("display name", "/display_name"),
    ("email", "/email"),
    ("provider", "/provider"),
    ("subject", "/subject"),
    ("role", "/role"),
    ("disabled", "/disabled"),
    ("created", "/created_at"),
    ("last sign-in", "/last_sign_in_at"),
];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// All users
    List {
        /// Only those with this in their name or address
        #[arg(long, value_name = "TEXT")]
        text: Option<String>,
    },
    /// One user
    Show {
        /// The user's number or name
        user: String,
    },
    /// Make a local account; its password is read from standard input
    #[command(after_help = "Examples:\n  \
        portunus users create carol < password.txt\n  \
        openssl rand -base64 18 | tee carol.txt | portunus users create carol --admin")]
    Create {
        /// The name to sign in with
        name: String,
        /// As an administrator
        #[arg(long)]
        admin: bool,
    },
    /// Give a user the role user or admin
    SetRole {
        /// The user's number or name
        user: String,
        #[arg(value_parser = ["user", "admin"])]
        role: String,
    },
    /// Sign a user out and let nobody in with their keys
    Disable {
        /// The user's number or name
        user: String,
    },
    /// Let a disabled user in again
    Enable {
        /// The user's number or name
        user: String,
    },
    /// Delete a user with sessions, keys and tunnels; the audit trail stays
    Delete {
        /// The user's number or name
        user: String,
    },
}

pub(super) fn run(config: &Config, json: bool, command: &Command) -> Result<(), Failed> {
    let control = Control::of(&config.config)?;
    match command {
        Command::List { text } => {
            let filter = text
                .as_deref()
                .map(|text| format!("&text={}", in_query(text)));
            let path = format!("/api/v1/users?limit=500{}", filter.unwrap_or_default());
            show::list(&control.list(&path)?, json, COLUMNS);
        }
        Command::Show { user } => {
            show::one(&find(&control, user)?, json, DETAILS);
        }
        Command::Create { name, admin } => {
            let role = if *admin { "admin" } else { "user" };
            let body = json!({ "username": name, "password": password()?, "role": role });
            let user = control.post("/api/v1/users", &body)?;
            show::one(&user, json, DETAILS);
        }
        Command::SetRole { user, role } => {
            let user = change(&control, user, &json!({ "role": role }))?;
            show::one(&user, json, DETAILS);
        }
        Command::Disable { user } => {
            let user = change(&control, user, &json!({ "disabled": true }))?;
            show::one(&user, json, DETAILS);
        }
        Command::Enable { user } => {
            let user = change(&control, user, &json!({ "disabled": false }))?;
            show::one(&user, json, DETAILS);
        }
        Command::Delete { user } => {
            let user = find(&control, user)?;
            control.delete(&path_of(&user))?;
            let sentence = format!("deleted user {} ({})", user["id"], user["username"]);
            show::done(&sentence, &user, json);
        }
    }
    Ok(())
}

/// The user of this number or name.
pub(super) fn find(control: &Control, wanted: &str) -> Result<Value, Failed> {
    if let Ok(id) = wanted.parse::<u64>() {
        return control.get(&format!("/api/v1/users/{id}"));
    }
    let path = format!("/api/v1/users?limit=500&text={}", in_query(wanted));
    let mut found = control.list(&path)?;
    found.retain(|user| user["username"] == wanted);
    match (found.pop(), found.is_empty()) {
        (Some(user), true) => Ok(user),
        (None, _) => Err(Failed::new(format!("there is no user '{wanted}'"))
            .hint("`portunus users list` shows all")),
        (Some(_), false) => Err(Failed::new(format!("several users are called '{wanted}'"))
            .hint("give the number instead; `portunus users list` shows it")),
    }
}

fn change(control: &Control, wanted: &str, changes: &Value) -> Result<Value, Failed> {
    let user = find(control, wanted)?;
    control.patch(&path_of(&user), changes)
}

fn path_of(user: &Value) -> String {
    format!("/api/v1/users/{}", user["id"])
}

fn password() -> Result<String, Failed> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    match password.is_empty() {
        true => Err(Failed::new("there is no password on standard input")
            .hint("portunus users create NAME < password.txt")),
        false => Ok(password.to_owned()),
    }
}

/// The number of a user, for other commands.
pub(super) fn id_of(control: &Control, wanted: &str) -> Result<u64, Failed> {
    let user = find(control, wanted)?;
    user["id"]
        .as_u64()
        .ok_or_else(|| Failed::new("the gateway's answer has no id"))
}

/// `?NAME=` with the number of a user, if one is asked for.
pub(super) fn filter(
    control: &Control,
    name: &str,
    wanted: Option<&str>,
) -> Result<String, Failed> {
    Ok(match wanted {
        Some(wanted) => format!("?limit=500&{name}={}", id_of(control, wanted)?),
        None => "?limit=500".to_owned(),
    })
}
