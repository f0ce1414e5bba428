//! From parsed TOML to the runtime types of [`super`].
//!
//! In go the tables of the main file and of the included ones; out come a [`Config`] and, in
//! the [`Context`], everything that is wrong. A reader never stops at a problem: it records it at
//! its [`Place`](context::Place), uses the default and goes on, so that one run reports them all.
//! The configuration is only used when there was none.
//!
//! One file per section ([`listen`], [`tls`], [`auth`], [`observe`], [`site`], [`route`] with its
//! [`access`] and its handlers [`proxy`], [`files`], [`respond`]); [`table`], [`value`] and [`text`] ask TOML for keys and
//! types; [`units`], [`host`], [`address`], [`header`], [`path`] read strings.

mod access;
mod address;
mod auth;
mod context;
mod files;
mod header;
mod host;
mod later;
mod listen;
mod observe;
mod order;
mod path;
mod proxy;
mod respond;
mod route;
mod site;
mod table;
mod text;
mod tls;
mod tunnels;
pub(super) mod units;
mod value;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub(super) use self::context::Context;
use self::{
    context::{Fault, Place, Shown},
    table::Table,
    text::absolute,
};
use super::{Access, Config, include, source::Source};

/// A file and what is in it.
pub(super) struct Document<'a> {
    pub(super) source: &'a Source,
    table: DeTable<'a>,
}

impl<'a> Document<'a> {
    /// Records what is not TOML, once per line. Of such a file only an `include` before the first
    /// mistake is kept: the included files are still worth reading, while anything else would only
    /// be followed by problems that are none.
    pub(super) fn parse(source: &'a Source, context: &Context<'_>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let mut table = table.into_inner();
        let mut lines = Vec::new();
        for error in &errors {
            let span = error.span().unwrap_or_default();
            let line = source.line(span.start);
            if !lines.contains(&line) {
                lines.push(line);
                context.problem(
                    source.order,
                    source.diagnostic(span, error.message().into(), None),
                );
            }
        }
        let first = errors
            .iter()
            .filter_map(|error| Some(error.span()?.start))
            .min();
        if !errors.is_empty() {
            let include = table.remove_entry("include");
            let kept = include.filter(|(_, value)| first.is_some_and(|at| value.span().end <= at));
            table = kept.into_iter().collect();
        }
        Self { source, table }
    }

    fn table(&'a self, context: &'a Context<'a>) -> Table<'a> {
        Table::new(
            "",
            &self.table,
            Place {
                context,
                source: self.source,
                start: 0,
                end: 0,
                shown: Shown::Line,
            },
        )
    }
}

/// The files that `include` of the main file names, each once.
pub(super) fn includes<'a>(main: &'a Document<'a>, context: &'a Context<'a>) -> Vec<PathBuf> {
    let directory = main.source.directory();
    let mut found: Vec<PathBuf> = Vec::new();
    let matched = main.table(context).parse_list("include", |text| {
        let matched = include::expand(directory, &text.value)
            .map_err(|error| Fault::new(format!("`{text}` cannot be looked up: {error}")))?;
        match matched.as_slice() {
            [path] if !text.value.contains('*') && !path.is_file() => Err(Fault::hint(
                format!("`{text}` cannot be included: there is no such file"),
                "only a pattern with a `*` may match nothing",
            )),
            _ => Ok(matched),
        }
    });
    for path in matched.unwrap_or_default().into_iter().flatten() {
        let known = same_file(&path, &main.source.path)
            || found.iter().any(|other| same_file(other, &path));
        if !known {
            found.push(path);
        }
    }
    found
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Reads the main file, then the sites of the included ones.
pub(super) fn config<'a>(
    main: &'a Document<'a>,
    included: &'a [Document<'a>],
    context: &'a Context<'a>,
) -> Config {
    let table = main.table(context);
    table.get("include");
    let directory = main.source.directory();
    let dev = table.flag("dev").unwrap_or(false);
    let data_dir = table
        .parse("data_dir", text::Text::path)
        .unwrap_or_else(|| {
            if dev {
                absolute(&directory.join(".portunus"))
            } else {
                PathBuf::from("/var/lib/portunus")
            }
        });
    let listen = listen::read(&table);
    let mut seen = site::Seen {
        hosts: Vec::new(),
        domain: table.has("domain"),
        own: table.parse("domain", |text| host::exact(&text.value, text)),
    };
    let mut config = Config {
        domain: seen.own.clone(),
        auth: auth::read(&table, dev),
        dev,
        data_dir,
        tls: tls::read(&table, &listen),
        listen,
        log: observe::read(&table),
        tunnels: tunnels::read(&table),
        sites: Vec::new(),
    };
    for site in table.tables("site", "site") {
        config.sites.push(site::read(&site, &mut seen));
    }
    table.finish();
    for document in included {
        let table = document.table(context);
        main_only(&table);
        for site in table.tables("site", "site") {
            config.sites.push(site::read(&site, &mut seen));
        }
        table.finish();
    }
    let routes = config.sites.iter().flat_map(|site| &site.routes);
    let mut accesses = routes.filter_map(|route| route.access.as_deref());
    config.auth.used |= accesses.any(Access::needs_identity);
    auth::require_key(&table, &config.auth, dev);
    config
}

/// Refuses in an included file what only the main file may have.
fn main_only(table: &Table<'_>) {
    for key in [
        "domain",
        "dev",
        "data_dir",
        "store",
        "master_key",
        "expected_migration",
        "include",
        "listen",
        "tls",
        "auth",
        "tunnels",
        "log",
    ] {
        if let Some(place) = table.key(key) {
            place.error_hint(
                format!("`{key}` in an included file"),
                "included files hold `[[site]]` tables; move this to the main file",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::read_files, *};

    #[test]
    fn the_manual_describes_every_key_in_its_section() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manual = fs::read_to_string(root.join("../docs/configuration.md")).unwrap();
        let context = Context::new(&|_| Some("1".into()));
        for case in [
            "everything.toml",
            "identity.toml",
            "secrets.toml",
            "tunnels.toml",
        ] {
            let main = Source::read(&root.join("tests/it/config/cases").join(case), 0).unwrap();
            read_files(&main, &context);
        }
        let known = context.known.borrow();
        assert!(known.len() > 60, "only {} keys were asked for", known.len());
        for (section, key) in known.iter() {
            let text = section_of(&manual, section);
            assert!(
                text.contains(&format!("`{key}`")),
                "`{key}` is not in `[{section}]` of the manual"
            );
        }
    }

    /// The text below the heading of a section, up to the next heading.
    fn section_of<'m>(manual: &'m str, section: &str) -> &'m str {
        let names = match section {
            "" => vec!["## Top level".to_owned()],
            "file" => vec!["## Strings (`file`)".to_owned()],
            _ => vec![format!("# `[{section}]`\n"), format!("# `[[{section}]]`\n")],
        };
        let start = names
            .iter()
            .find_map(|name| Some(manual.find(name)? + name.len()));
        let text = &manual[start.unwrap_or_else(|| panic!("no heading for `[{section}]`"))..];
        text.find("\n#").map_or(text, |end| &text[..end])
    }
}
