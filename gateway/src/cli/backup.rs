//! `portunus backup` and `portunus restore`.

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use auth::store::{RedbStore, StoreError};

use super::{
    Config,
    audit::new_file,
    control::{self, Control, Failed},
};
use crate::{
    app,
    config::Config as Settings,
    identity::{Background, STORE_FILE},
};

/// Writes a copy of the store to the new file `to`: of the running gateway, or of the file.
pub(super) fn backup(config: &Config, to: &PathBuf) -> Result<(), Failed> {
    let config = control::load(&config.config)?;
    only_embedded(&config)?;
    let control = Control::new(&config)?;
    match control.is_running() {
        true => from_running(&control, to)?,
        false => from_file(&config, to)?,
    }
    println!("{}", to.display());
    Ok(())
}

/// The copy appears under its name when it is complete and on disk.
fn from_running(control: &Control, to: &PathBuf) -> Result<(), Failed> {
    if to.exists() {
        return Err(exists(to));
    }
    let mut name = to.clone().into_os_string();
    name.push(".part");
    let part = PathBuf::from(name);
    let copied = (|| {
        let mut file = BufWriter::new(new_file(&part)?);
        control.copy("/control/backup", &mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::hard_link(&part, to).map_err(|error| Failed::new(format!("{}: {error}", to.display())))
    })();
    // Whether it worked or not, what is left of it is not wanted.
    let _ = fs::remove_file(&part);
    copied
}

fn from_file(config: &Settings, to: &Path) -> Result<(), Failed> {
    let path = config.data_dir.join(STORE_FILE);
    if !path.exists() {
        return Err(Failed::new(format!(
            "there is no store at {}",
            path.display()
        )));
    }
    let background = Background::start()?;
    background.run(async {
        let store = RedbStore::open(&path).await.map_err(Failed::new)?;
        store.backup(to).await.map_err(Failed::new)?;
        Ok(())
    })
}

/// Makes the store from the file `from`. What is there is moved aside if `replace` is said.
pub(super) fn restore(config: &Config, from: &Path, replace: bool) -> Result<(), Failed> {
    let config = control::load(&config.config)?;
    only_embedded(&config)?;
    if Control::new(&config)?.is_running() {
        return Err(
            Failed::new("the gateway is running; its store cannot be replaced")
                .hint("stop it, restore, and start it again"),
        );
    }
    if !from.is_file() {
        return Err(Failed::new(format!("there is no file {}", from.display())));
    }
    app::create_data_dir(&config.data_dir)?;
    let path = config.data_dir.join(STORE_FILE);
    let background = Background::start()?;
    background.run(async {
        let aside =
            match path.exists() {
                true if !replace => return Err(exists(&path).hint(
                    "`--replace` moves it aside and restores; without it nothing is overwritten",
                )),
                true => Some(move_aside(&path).await?),
                false => None,
            };
        match RedbStore::restore(from, &path).await {
            Ok(revision) => {
                println!("restored to revision {revision}");
                if let Some(aside) = aside {
                    println!("the store before is {}", aside.display());
                }
                Ok(())
            }
            Err(error) => {
                if let Some(aside) = aside {
                    fs::rename(&aside, &path)?;
                }
                Err(Failed::new(error))
            }
        }
    })
}

/// Moves the store to another name, if nobody uses it.
async fn move_aside(path: &Path) -> Result<PathBuf, Failed> {
    match RedbStore::open(path).await {
        Ok(store) => drop(store),
        Err(error @ StoreError::Locked { .. }) => return Err(Failed::new(error)),
        // A store that cannot be read is what a backup is for.
        Err(error) => eprintln!("warning: the store before cannot be opened: {error}"),
    }
    let mut number = 1;
    let aside = loop {
        let aside = path.with_extension(format!("redb.before-{number}"));
        if !aside.exists() {
            break aside;
        }
        number += 1;
    };
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn only_embedded(config: &Settings) -> Result<(), Failed> {
    match config.auth.store {
        None => Ok(()),
        Some(_) => Err(Failed::new("the store is a PostgreSQL database")
            .hint("back it up and restore it with its own tools, such as pg_dump and pg_restore")),
    }
}

fn exists(path: &Path) -> Failed {
    Failed::new(format!("{} is there already", path.display()))
}
