//! Any text as a configuration file: it loads or its problems are told. What loads also loads
//! from its own normal form, which is then the same.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use gateway::config::{self, Config};
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("portunus-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("the temporary directory can be written");
    directory.join("portunus.toml")
});

fuzz_target!(|text: &[u8]| {
    let Some(first) = load(text) else { return };
    let normal = first.normal_form();
    // Masked values are not the ones that were there.
    if normal.contains("***") {
        return;
    }
    let second = load(normal.as_bytes()).expect("the normal form loads");
    assert_eq!(second.normal_form(), normal);
});

fn load(text: &[u8]) -> Option<Config> {
    fs::write(&*FILE, text).expect("the temporary directory can be written");
    let environment = |name: &str| (name == "NAME").then(|| "value".to_owned());
    match config::load(&FILE, &environment) {
        Ok(loaded) => Some(loaded.config),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            assert!(!problems.to_string().contains('\u{1b}'));
            None
        }
    }
}
