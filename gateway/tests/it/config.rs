//! The configuration loader: golden files, and bytes that are no configuration at all.
//!
//! Each `cases/*.toml` has a `*.out` beside it: the normal form of what it loads to (warnings
//! first, as comments), or every problem. `UPDATE_GOLDEN=1` writes the `*.out` files anew.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use gateway::config::{Loaded, Problems, load};

#[test]
fn every_case_loads_to_its_golden_file() {
    let mut differences = String::new();
    let cases = cases();
    assert!(
        cases.len() > 20,
        "the cases are not where they are looked for"
    );
    for case in &cases {
        let golden = case.with_extension("out");
        let actual = outcome(case);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &actual).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if actual != expected {
            let _ = writeln!(
                differences,
                "{}\n{}",
                golden.display(),
                difference(&expected, &actual)
            );
        }
    }
    assert!(
        differences.is_empty(),
        "run again with UPDATE_GOLDEN=1 if this is meant\n{differences}"
    );
}

#[test]
fn the_normal_form_loads_to_the_same_configuration() {
    let scratch = Scratch::new();
    let mut compared = 0;
    for case in cases() {
        let Ok(loaded) = load(&case, &environment) else {
            continue;
        };
        // The environment has the key.
        let printed = loaded.config.normal_form();
        let printed = printed.replace("master_key = \"***\"\n", "");
        if printed.contains("***") {
            continue;
        }
        let again = scratch
            .load(printed.as_bytes())
            .unwrap_or_else(|problems| panic!("{}\n{problems}", case.display()));
        assert_eq!(again.config, loaded.config, "{}", case.display());
        compared += 1;
    }
    assert!(compared > 5, "only {compared} cases were compared");
}

#[test]
fn secrets_are_in_the_configuration_and_not_in_its_normal_form() {
    let loaded = load(&directory().join("secrets.toml"), &environment).unwrap();
    let route = &loaded.config.sites[0].routes[0];
    let authorization = &route.request_headers.set[0].1;
    assert_eq!(
        authorization.to_str().unwrap(),
        "Bearer from-the-environment"
    );
    let printed = loaded.config.normal_form();
    let debugged = format!("{:?}", loaded.config);
    for secret in ["from-the-environment", "from-a-file", "written-here"] {
        assert!(!printed.contains(secret), "{secret} in\n{printed}");
        assert!(!debugged.contains(secret), "{secret} in\n{debugged}");
    }
}

#[test]
fn secrets_of_identity_are_not_shown_in_any_form() {
    for case in ["identity", "bad_auth", "bad_auth_nobody", "bad_access"] {
        let shown = outcome(&directory().join(format!("{case}.toml")));
        for secret in [
            "hidden",
            "0f0e0d0c",
            &MASTER_KEY[..8],
            "0123456789abcdef",
            "change-this",
            "AAAAAAAA",
            "too-short",
            "hunter2",
        ] {
            assert!(!shown.contains(secret), "{secret} in\n{shown}");
        }
    }
    let loaded = load(&directory().join("identity.toml"), &environment).unwrap();
    let auth = &loaded.config.auth;
    assert_eq!(auth.master_key.as_ref().unwrap().expose(), MASTER_KEY);
    let debugged = format!("{:?}", loaded.config);
    for secret in ["hidden", "0f0e0d0c", MASTER_KEY, "AAAAAAAA"] {
        assert!(!debugged.contains(secret), "{secret} in\n{debugged}");
    }
}

#[test]
fn names_every_file_that_was_read() {
    let loaded = load(&directory().join("includes.toml"), &environment).unwrap();
    let names: Vec<_> = loaded
        .files
        .iter()
        .map(|file| file.strip_prefix(directory()).unwrap())
        .collect();
    let expected = [
        "includes.toml",
        "sites/a.toml",
        "sites/b.toml",
        "sites/lone.conf",
    ]
    .map(Path::new);
    assert_eq!(names, expected);
}

#[test]
fn a_missing_file_is_a_problem_and_not_a_panic() {
    let problems = load(Path::new("/nowhere/portunus.toml"), &environment).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/nowhere/portunus.toml: cannot be read: there is no such file"
    );
}

/// Examples are copied, so they must work; the files they name are among the cases.
#[test]
fn the_examples_of_the_manual_load() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let manual = fs::read_to_string(manual).unwrap();
    let scratch = Scratch::new();
    let examples: Vec<_> = manual
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(
        examples.len() > 10,
        "only {} examples were found",
        examples.len()
    );
    for example in examples {
        if let Err(problems) = scratch.load(example.as_bytes()) {
            panic!("{problems}\n\nin\n{example}");
        }
    }
}

/// Whatever the bytes, the loader answers; what it says must be printable, too.
#[test]
fn no_bytes_make_the_loader_panic() {
    let scratch = Scratch::new();
    let mut random = fastrand::Rng::with_seed(0x706f_7274);
    let seeds: Vec<Vec<u8>> = cases().iter().map(|case| fs::read(case).unwrap()).collect();
    for _ in 0..300 {
        let length = random.usize(..200);
        let noise: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        render(scratch.load(&noise));
    }
    for round in 0..2000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..random.usize(1..4) {
            mutate(&mut bytes, &mut random, &seeds);
        }
        render(scratch.load(&bytes));
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng, seeds: &[Vec<u8>]) {
    const INTERESTING: &[&str] = &[
        "\"",
        "[",
        "]]",
        "{",
        "}",
        "=",
        "\n",
        "*",
        "${",
        "}",
        "..",
        "%",
        "\u{0}",
        "ü",
        "\u{1b}",
        "'''",
        "-1",
        "99999999999999999999",
        "1e400",
        "true",
        ":",
        "//",
        "{ file = \"\" }",
        "\"\"",
        "[]",
        "{}",
        "\\u",
        ".",
    ];
    let at = random.usize(..=bytes.len());
    let until = (at + random.usize(..12)).min(bytes.len());
    match random.u8(..5) {
        0 => drop(bytes.drain(at..until)),
        1 => bytes.truncate(at),
        2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        3 => {
            let other = &seeds[random.usize(..seeds.len())];
            let start = random.usize(..=other.len());
            let end = (start + random.usize(..40)).min(other.len());
            drop(bytes.splice(at..until, other[start..end].iter().copied()));
        }
        _ => {
            let text = INTERESTING[random.usize(..INTERESTING.len())];
            drop(bytes.splice(at..until, text.bytes()));
        }
    }
}

fn render(loaded: Result<Loaded, Problems>) {
    match loaded {
        Ok(loaded) => assert!(!loaded.config.normal_form().is_empty()),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            let shown = problems.to_string();
            assert!(
                !shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'),
                "{shown:?}"
            );
        }
    }
}

/// A directory for files that are written by a test, with links to what the cases may name.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portunus-config-{}-{unique}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        fs::create_dir_all(&scratch).unwrap();
        for shared in [
            "www",
            "certs",
            "sites",
            "secret.txt",
            "secret.hash",
            "master.key",
        ] {
            symlink(directory().join(shared), scratch.join(shared)).unwrap();
        }
        Self(scratch)
    }

    fn load(&self, text: &[u8]) -> Result<Loaded, Problems> {
        let file = self.0.join("portunus.toml");
        fs::write(&file, text).unwrap();
        load(&file, &environment)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn outcome(case: &Path) -> String {
    let stem = case.file_stem().unwrap().to_string_lossy();
    let environment = |name: &str| match (name, &*stem) {
        ("LOG_LEVEL", "bad_log_level_variable") => Some("loud".to_owned()),
        // Only some of the cases are about it.
        ("LOG_LEVEL", stem) if !stem.starts_with("log_level") => None,
        ("PORTUNUS_MASTER_KEY", stem) if stem.starts_with("no_master_key") => None,
        (name, "variables_identity") => variables(name).map(str::to_owned),
        ("GITHUB_CLIENT_ID", "bad_variables_identity") => Some("github".to_owned()),
        ("JWT_SECRET", "bad_variables_identity") => Some("change-this".to_owned()),
        ("PORTUNUS_MASTER_KEY", "bad_variables_identity") => Some("CHANGE_ME".to_owned()),
        (name, _) => environment(name),
    };
    let text = match load(case, &environment) {
        Ok(loaded) => {
            let mut text = String::new();
            for warning in &loaded.warnings {
                for line in format!("warning: {warning}").lines() {
                    let _ = writeln!(text, "# {line}");
                }
            }
            text + &loaded.config.normal_form()
        }
        Err(problems) => format!("{problems}\n"),
    };
    let here = directory();
    text.replace(&format!("{}/", here.display()), "")
        .replace(&here.display().to_string(), ".")
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "TOKEN" => "from-the-environment",
        "PORT" => "8000",
        "EMPTY" => "",
        "LOG_LEVEL" => "Debug",
        "PORTUNUS_MASTER_KEY" => MASTER_KEY,
        _ => return None,
    };
    Some(value.to_owned())
}

const MASTER_KEY: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";

/// The environment of a system that is replaced.
fn variables(name: &str) -> Option<&'static str> {
    Some(match name {
        "DATABASE_URL" => "postgresql://db/portunus",
        "PORTUNUS_MASTER_KEY" => "1d94b6f3027ac8e55b3f60d97e21c48af6830b5dc9e7a2146b8d50f3c71e9a28",
        "EXPECTED_MIGRATION" => "0003",
        "GITHUB_CLIENT_ID" => "from-the-environment",
        "GITHUB_CLIENT_SECRET" | "GITLAB_CLIENT_SECRET" => "hidden-from-the-environment",
        "TERRATUNNEL_GITHUB_ADMIN_USERS" => "alice, bob,",
        "GITLAB_CLIENT_ID" => "not-used",
        "TERRATUNNEL_GITLAB_ADMIN_USERS" => "carol",
        "JWT_SECRET" => "c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44",
        _ => return None,
    })
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/config/cases")
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    cases.sort();
    cases
}

/// The lines that are only in one of the two, by their longest common subsequence.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let skip = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if a == b {
                common[i + 1][j + 1] + 1
            } else {
                skip
            };
        }
    }
    let (mut i, mut j, mut shown) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            let _ = writeln!(shown, "{:>4} -{}", i + 1, old[i]);
            i += 1;
        } else {
            let _ = writeln!(shown, "{:>4} +{}", j + 1, new[j]);
            j += 1;
        }
    }
    shown
}
