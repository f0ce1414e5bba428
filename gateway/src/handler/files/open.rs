//! Opening files below a root without ever leaving it.
//!
//! In: a name from [`super::target`] or from the configuration. Out: an open regular file with
//! its metadata, the news that the name is a directory, or why not.
//!
//! The kernel does the confinement: `openat2` with `RESOLVE_BENEATH` follows symbolic links that
//! stay inside and refuses the rest, with no check that a rename could outrun. An absolute link
//! counts as leaving, wherever it points. Where `openat2` is missing (kernels before 5.6, some
//! seccomp filters) the name is walked one component at a time and no link is followed at all.
//!
//! `RESOLVE_CACHED` makes the first try answer from the kernel's name cache or not at all, so an
//! async thread never waits for a disk; the caller repeats with [`Wait::Allowed`] elsewhere.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, stat},
    io::{Errno, retry_on_intr},
};

/// May the call wait for a disk?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// On async threads: [`OpenError::WouldBlock`] instead of waiting.
    Never,
    /// On threads made for waiting.
    Allowed,
}

/// An open root directory.
#[derive(Debug)]
pub(super) struct Root {
    dir: OwnedFd,
    pub(super) resolution: Resolution,
}

/// How names are resolved; the best the kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// `openat2` that can answer from memory only (Linux 5.12).
    Cached,
    /// `openat2` (Linux 5.6).
    Beneath,
    /// `openat` for each component, links refused.
    Walk,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Entry {
    File(OpenFile),
    Directory,
}

/// A regular file and what `fstat` said when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) fd: OwnedFd,
    /// Bytes.
    pub(super) len: u64,
    /// Seconds since 1970, negative before.
    pub(super) mtime: i64,
    pub(super) mtime_nsec: u32,
    pub(super) inode: u64,
}

/// Why a name did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// The answer is not in memory and the caller may not wait.
    WouldBlock,
    /// No such name.
    Missing,
    /// It exists and must not be served: unreadable, outside the root, not a regular file.
    Refused,
    /// Out of file descriptors or memory; it may work in a moment.
    Busy,
    /// The disk or file system failed.
    Broken,
}

/// A rename beside a `..` in a link makes the kernel give up and ask for another try.
const RACE_RETRIES: usize = 8;

const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK`: opening a FIFO must not wait for a writer.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Root {
    /// Opens the directory (following links on the way to it) and finds out what the kernel can do.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let dir = retry_on_intr(|| openat(CWD, path, HANDLE, Mode::empty()))?;
        let resolution = Resolution::detect(&dir);
        Ok(Self { dir, resolution })
    }

    /// Does `path` still lead to this directory?
    pub(super) fn is_at(&self, path: &Path) -> Result<bool, Errno> {
        let (there, here) = (stat(path)?, fstat(&self.dir)?);
        Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
    }

    /// `name` is relative, without empty or dot segments.
    pub(super) fn entry(&self, name: &[u8], wait: Wait) -> Result<Entry, OpenError> {
        let opened = match (self.resolution, wait) {
            (Resolution::Cached, Wait::Never) => {
                retry_on_intr(|| self.beneath(name, CONFINED | ResolveFlags::CACHED))
            }
            (_, Wait::Never) => return Err(OpenError::WouldBlock),
            (Resolution::Walk, Wait::Allowed) => self.walk(name),
            (_, Wait::Allowed) => self.beneath_patiently(name),
        };
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::AGAIN) if wait == Wait::Never => return Err(OpenError::WouldBlock),
            Err(errno) => return Err(explain(errno, name)),
        };
        let stat = fstat(&fd).map_err(|errno| explain(errno, name))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Entry::File(OpenFile {
                fd,
                len: u64::try_from(stat.st_size).unwrap_or(0),
                mtime: stat.st_mtime,
                mtime_nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
                inode: stat.st_ino,
            })),
            FileType::Directory => Ok(Entry::Directory),
            kind => {
                tracing::debug!(file = %name.escape_ascii(), ?kind, "not a regular file, answered 404");
                Err(OpenError::Refused)
            }
        }
    }

    fn beneath(&self, name: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        openat2(&self.dir, name, READ, Mode::empty(), resolve)
    }

    fn beneath_patiently(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        for _ in 1..RACE_RETRIES {
            match retry_on_intr(|| self.beneath(name, CONFINED)) {
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
        retry_on_intr(|| self.beneath(name, CONFINED))
    }

    fn walk(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let mut parent = None;
        let mut segments = name.split(|byte| *byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            let from = parent.as_ref().map_or(self.dir.as_fd(), OwnedFd::as_fd);
            let flags = if segments.peek().is_some() {
                HANDLE
            } else {
                READ
            };
            let next =
                retry_on_intr(|| openat(from, segment, flags | OFlags::NOFOLLOW, Mode::empty()))?;
            parent = Some(next);
        }
        parent.ok_or(Errno::NOENT)
    }
}

impl Resolution {
    fn detect(dir: &OwnedFd) -> Self {
        let works = |resolve| {
            !matches!(
                retry_on_intr(|| openat2(dir, ".", HANDLE, Mode::empty(), resolve)),
                // A seccomp filter says EPERM; an unknown flag is EINVAL.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL)
            )
        };
        if works(CONFINED | ResolveFlags::CACHED) {
            Self::Cached
        } else if works(CONFINED) {
            Self::Beneath
        } else {
            Self::Walk
        }
    }
}

fn explain(errno: Errno, name: &[u8]) -> OpenError {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => {
            OpenError::Missing
        }
        // XDEV: out of the root. LOOP: a circle, a magic link, or any link where links are
        // refused. NXIO, NODEV: a socket, or a device without a driver.
        Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::LOOP | Errno::NXIO | Errno::NODEV => {
            tracing::debug!(file = %name.escape_ascii(), %errno, "not served, answered 404");
            OpenError::Refused
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
            tracing::warn!(file = %name.escape_ascii(), %errno, "cannot open now, answered 503");
            OpenError::Busy
        }
        _ => {
            tracing::error!(file = %name.escape_ascii(), %errno, "cannot open, answered 500");
            OpenError::Broken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_is_told_from_not_being_there() {
        for (errno, error) in [
            (Errno::NOENT, OpenError::Missing),
            (Errno::NOTDIR, OpenError::Missing),
            (Errno::NAMETOOLONG, OpenError::Missing),
            (Errno::ACCESS, OpenError::Refused),
            (Errno::XDEV, OpenError::Refused),
            (Errno::LOOP, OpenError::Refused),
            (Errno::MFILE, OpenError::Busy),
            (Errno::NFILE, OpenError::Busy),
            (Errno::IO, OpenError::Broken),
        ] {
            assert_eq!(explain(errno, b"name"), error, "{errno}");
        }
    }
}
