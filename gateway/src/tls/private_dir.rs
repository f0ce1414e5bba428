//! A directory of secrets on disk, written so that a crash leaves the old state or the new one.
//!
//! A new directory appears whole, by the rename of a finished one. A file is replaced by the
//! rename of a finished one. Both are on disk before they get their name. Modes that let others
//! in are taken back, and it is said.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::TlsError;

pub(super) const DIRECTORY_MODE: u32 = 0o700;
pub(super) const KEY_MODE: u32 = 0o600;
pub(super) const CERTIFICATE_MODE: u32 = 0o644;

/// A file to write: name, mode, content.
pub(super) type NewFile<'a> = (&'a str, u32, &'a str);

/// Creates `directory` with all `files` or not at all. `false`: somebody else has created it in
/// the meantime and nothing was written.
pub(super) fn create(directory: &Path, files: &[NewFile<'_>]) -> Result<bool, TlsError> {
    let parent = directory.parent().unwrap_or(Path::new("."));
    let builder = |recursive| {
        let mut builder = DirBuilder::new();
        builder.recursive(recursive).mode(DIRECTORY_MODE);
        builder
    };
    builder(true)
        .create(parent)
        .map_err(|error| failed(parent, "create the directory", error))?;
    let draft = parent.join(format!(
        ".{}.{:016x}",
        name_of(directory),
        fastrand::u64(..)
    ));
    builder(false)
        .create(&draft)
        .map_err(|error| failed(&draft, "create the directory", error))?;
    let outcome = fill_and_rename(&draft, directory, files);
    if !matches!(outcome, Ok(true)) {
        // What is left behind would be secrets nobody uses; the first error is the one to report.
        let _ = fs::remove_dir_all(&draft);
    }
    outcome
}

fn fill_and_rename(
    draft: &Path,
    directory: &Path,
    files: &[NewFile<'_>],
) -> Result<bool, TlsError> {
    for &(name, mode, content) in files {
        write(&draft.join(name), mode, content)?;
    }
    sync(draft)?;
    match fs::rename(draft, directory) {
        Ok(()) => sync(directory.parent().unwrap_or(Path::new("."))).map(|()| true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(failed(directory, "create the directory", error)),
    }
}

/// Replaces (or creates) one file.
pub(super) fn replace(path: &Path, mode: u32, content: &str) -> Result<(), TlsError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let draft = parent.join(format!(".{}.{:016x}", name_of(path), fastrand::u64(..)));
    let outcome = write(&draft, mode, content)
        .and_then(|()| fs::rename(&draft, path).map_err(|error| failed(path, "write", error)))
        .and_then(|()| sync(parent));
    if outcome.is_err() {
        let _ = fs::remove_file(&draft);
    }
    outcome
}

/// The text of a file; `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, TlsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "read", error)),
    }
}

/// Takes away what group and others may do. Restored backups and volumes with a group of their
/// own (`fsGroup`) widen modes without anybody meaning to, so this repairs instead of refusing.
pub(super) fn close_to_others(path: &Path, mode: u32) -> Result<(), TlsError> {
    let found = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, "read the mode", error)),
    };
    if found & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| failed(path, "take the access of other users away", error))?;
    tracing::warn!(
        path = %path.display(),
        "other users could read a secret of the internal CA (mode {found:04o}); the mode is now \
         {mode:04o}. If somebody untrusted had access, remove the directory to create a new CA"
    );
    Ok(())
}

fn write(path: &Path, mode: u32, content: &str) -> Result<(), TlsError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        })
        .map_err(|error| failed(path, "write", error))
}

/// Makes renames within a directory last.
fn sync(directory: &Path) -> Result<(), TlsError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|error| failed(directory, "write to disk", error))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn failed(path: &Path, doing: &'static str, error: io::Error) -> TlsError {
    TlsError::Io {
        path: path.to_owned(),
        doing,
        error,
    }
}
