//! `portunus keys`.

use clap::Subcommand;
use serde_json::{Value, json};

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
    ("PREFIX", "/prefix"),
    ("ACTIVE", "/active"),
    ("SCOPES", "/scopes"),
    ("EXPIRES", "/expires_at"),
    ("LAST USED", "/last_used/at"),
];
const DETAILS: &[Column] = &[
    ("id", "/id"),
    ("owner", "/owner"),
    ("name", "/name"),
    ("prefix", "/prefix"),
    ("active", "/active"),
    ("scopes", "/scopes"),
    ("tunnel", "/tunnel"),
    ("created", "/created_at"),
    ("expires", "/expires_at"),
    ("revoked", "/revoked_at"),
    ("successor", "/successor"),
    ("last used", "/last_used/at"),
    ("  from", "/last_used/ip"),
    ("  by", "/last_used/user_agent"),
];
const MADE: &[Column] = &[
    ("id", "/key/id"),
    ("name", "/key/name"),
    ("scopes", "/key/scopes"),
    ("expires", "/key/expires_at"),
    ("key", "/secret"),
];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; it is shown once
    #[command(after_help = "Examples:\n  \
        portunus keys create --user alice --name laptop\n  \
        portunus keys create --user alice --name ci --scope tunnel:connect:happy-* --expires 30d\n  \
        portunus keys create --user ops --name scraper --scope '*:read' --expires never --json")]
    Create {
        /// Whose it shall be: a user's number or name
        #[arg(long, value_name = "USER")]
        user: String,
        /// What to call it
        #[arg(long)]
        name: String,
        /// What it may be used for, several times if need be [default: tunnel:connect]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// How long it is good for: 45s, 30m, 12h, 90d or never [default: 90d]
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Lifetime>,
        /// The number of the only tunnel it shall speak for
        #[arg(long, value_name = "ID")]
        tunnel: Option<u64>,
    },
    /// Keys, revoked and expired ones as well
    List {
        /// Only those of this user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// One key, without itself
    Show { id: u64 },
    /// Make a key useless, now
    Revoke { id: u64 },
    /// Make a key that takes the place of another; it is shown once
    #[command(after_help = "Examples:\n  \
        portunus keys rotate 7\n  \
        portunus keys rotate 7 --overlap 24h    (the old one works on for a day)")]
    Rotate {
        id: u64,
        /// How long the old key works on, 7 days at most
        #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "0s")]
        overlap: u64,
    },
}

/// How long a key is good for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lifetime {
    Seconds(u64),
    Never,
}

pub(super) fn run(config: &Config, json: bool, command: &Command) -> Result<(), Failed> {
    let control = Control::of(&config.config)?;
    match command {
        Command::Create {
            user,
            name,
            scopes,
            expires,
            tunnel,
        } => {
            let mut body = json!({
                "owner": users::id_of(&control, user)?,
                "name": name,
                "tunnel": tunnel,
            });
            if !scopes.is_empty() {
                body["scopes"] = Value::from(scopes.as_slice());
            }
            match expires {
                None => {}
                Some(Lifetime::Never) => body["expires_in"] = Value::Null,
                Some(Lifetime::Seconds(seconds)) => body["expires_in"] = (*seconds).into(),
            }
            show::one(&control.post("/api/v1/keys", &body)?, json, MADE);
        }
        Command::List { user } => {
            let filter = users::filter(&control, "owner", user.as_deref())?;
            let keys = control.list(&format!("/api/v1/keys{filter}"))?;
            show::list(&keys, json, COLUMNS);
        }
        Command::Show { id } => {
            show::one(&control.get(&format!("/api/v1/keys/{id}"))?, json, DETAILS);
        }
        Command::Revoke { id } => {
            let path = format!("/api/v1/keys/{id}");
            control.delete(&path)?;
            show::done(&format!("revoked key {id}"), &control.get(&path)?, json);
        }
        Command::Rotate { id, overlap } => {
            let path = format!("/api/v1/keys/{id}/rotate?overlap={overlap}");
            show::one(&control.post(&path, &Value::Null)?, json, MADE);
        }
    }
    Ok(())
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    match text {
        "never" => Ok(Lifetime::Never),
        _ => seconds(text).map(Lifetime::Seconds),
    }
}

/// `45s`, `30m`, `12h` or `90d` in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no time; write 45s, 30m, 12h or 90d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number = text
        .strip_suffix(unit)
        .and_then(|text| text.parse::<u64>().ok());
    number
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(lifetime("90d"), Ok(Lifetime::Seconds(7_776_000)));
        assert_eq!(lifetime("never"), Ok(Lifetime::Never));
        assert_eq!(seconds("0s"), Ok(0));
        for wrong in [
            "",
            "d",
            "90",
            "-1d",
            "1.5h",
            "1w",
            "99999999999999999d",
            "5é",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
