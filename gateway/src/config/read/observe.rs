//! Reads `[log]`, and `LOG_LEVEL` where the file says nothing.

use super::{
    super::{AccessLog, Diagnostic, Log},
    context::Fault,
    table::{Table, closest},
    text::Text,
};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const VARIABLE: &str = "LOG_LEVEL";

pub(super) fn read(root: &Table<'_>) -> Log {
    let table = root.table("log", "log");
    let access = table.parse("access", access).unwrap_or(AccessLog::Json);
    let log = Log {
        level: level(&table),
        access,
    };
    table.finish();
    log
}

fn level(table: &Table<'_>) -> String {
    let variable = (table.context().environment)(VARIABLE).filter(|value| !value.is_empty());
    let default = || "info".to_owned();
    let Some(text) = table.text("level") else {
        let Some(value) = variable else {
            return default();
        };
        return filter(&value).unwrap_or_else(|_| {
            let source = table.place.source;
            let mut problem = Diagnostic::of_file(
                &source.path,
                format!("the environment variable `{VARIABLE}` is not a log level"),
            );
            problem.hint = Some(format!("the levels are {}", super::table::list(&LEVELS)));
            table.context().problem(source.order, problem);
            default()
        });
    };
    if variable.is_some() {
        text.place.warn(
            format!("the environment variable `{VARIABLE}` is set and not used"),
            "the file wins; remove `level` to use the variable",
        );
    }
    text.parse(|text| {
        filter(&text.value).map_err(|bad| {
            let hint = match closest(&bad, &LEVELS) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("the levels are {}", super::table::list(&LEVELS)),
            };
            Fault::hint(format!("`{text}` is not a log level"), hint)
        })
    })
    .unwrap_or_else(default)
}

/// `debug` or `info,portunus=debug`, in lower case; else the part that is wrong.
fn filter(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    for part in text.split(',') {
        let (target, level) = part.rsplit_once('=').unwrap_or(("any", part));
        let target_fits = !target.is_empty()
            && target
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-'));
        if !target_fits || !LEVELS.contains(&level) {
            return Err(level.to_owned());
        }
    }
    Ok(text)
}

fn access(text: &Text<'_>) -> Result<AccessLog, Fault> {
    const FORMS: [&str; 3] = ["json", "combined", "off"];
    match text.value.as_str() {
        "json" => Ok(AccessLog::Json),
        "combined" => Ok(AccessLog::Combined),
        "off" => Ok(AccessLog::Off),
        other => Err(Fault::hint(
            format!("`{text}` is not a form of access log"),
            match closest(other, &FORMS) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("there are {}", super::table::list(&FORMS)),
            },
        )),
    }
}
