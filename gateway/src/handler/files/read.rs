//! Reading without making an async thread wait.
//!
//! In: an open file, an offset, a buffer. Out: bytes that are in memory now, or
//! [`Errno::AGAIN`], after which the caller repeats with [`read_waiting`] on a thread made for
//! waiting. `RWF_NOWAIT` gives that answer on ext4, XFS and btrfs. Overlay and network file
//! systems do not know the flag and always take the detour; tmpfs does not know it either, but
//! has nothing to wait for and is read at once.

use std::{io::IoSliceMut, os::fd::OwnedFd};

use rustix::{
    fs::fstatfs,
    io::{Errno, ReadWriteFlags, pread, preadv2, retry_on_intr},
};

/// `f_type` of tmpfs and ramfs, statfs(2).
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Which call answers at once; found out on the first read of each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Ask with `RWF_NOWAIT`.
    Try,
    /// The file lives in memory: a plain read does not wait.
    Direct,
    /// Nothing can promise not to wait.
    Detour,
}

impl Strategy {
    /// Reads what is there without waiting; 0 is the end of the file.
    pub(super) fn read_ready(
        &mut self,
        fd: &OwnedFd,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<usize, Errno> {
        if *self == Self::Try {
            let nowait = ReadWriteFlags::NOWAIT;
            match retry_on_intr(|| preadv2(fd, &mut [IoSliceMut::new(buffer)], offset, nowait)) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                    *self = if in_memory(fd) {
                        Self::Direct
                    } else {
                        Self::Detour
                    };
                }
                done => return done,
            }
        }
        match self {
            Self::Direct => read_waiting(fd, buffer, offset),
            _ => Err(Errno::AGAIN),
        }
    }
}

/// Reads at least one byte unless the file ends at `offset`. May wait for the disk.
pub(super) fn read_waiting(fd: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    retry_on_intr(|| pread(fd, &mut *buffer, offset))
}

// The type of `f_type` differs between architectures; widening keeps the magic numbers intact.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
fn in_memory(fd: &OwnedFd) -> bool {
    fstatfs(fd).is_ok_and(|info| MEMORY_FILE_SYSTEMS.contains(&(info.f_type as u32 as u64)))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use rustix::fs::{Advice, fadvise};

    use super::*;
    use crate::handler::files::fixture::Directory;

    #[test]
    fn warm_bytes_are_read_at_once() {
        let directory = Directory::new();
        directory.write("a", b"hello");
        let fd = OwnedFd::from(File::open(directory.path("a")).unwrap());
        let mut buffer = [0; 16];
        let mut strategy = Strategy::Try;
        match strategy.read_ready(&fd, &mut buffer, 1) {
            Ok(read) => assert_eq!(&buffer[..read], b"ello"),
            Err(errno) => assert_eq!((errno, strategy), (Errno::AGAIN, Strategy::Detour)),
        }
    }

    #[test]
    fn cold_bytes_are_never_waited_for() {
        let directory = Directory::new();
        let mut file = File::create(directory.path("cold")).unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let fd = OwnedFd::from(File::open(directory.path("cold")).unwrap());
        let mut buffer = vec![0; 4096];
        match Strategy::Try.read_ready(&fd, &mut buffer, 512 << 10) {
            // Some file systems keep the pages; then the bytes must be right.
            Ok(read) => assert!(read > 0 && buffer[..read].iter().all(|byte| *byte == 7)),
            Err(errno) => assert_eq!(errno, Errno::AGAIN),
        }
        assert_eq!(read_waiting(&fd, &mut buffer, 512 << 10), Ok(4096));
        assert!(buffer.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn files_in_memory_are_read_directly() {
        let Ok(file) = rustix::fs::memfd_create("files", rustix::fs::MemfdFlags::CLOEXEC) else {
            return;
        };
        File::from(file.try_clone().unwrap())
            .write_all(b"abc")
            .unwrap();
        let mut buffer = [0; 8];
        assert_eq!(Strategy::Try.read_ready(&file, &mut buffer, 0), Ok(3));
        assert_eq!(&buffer[..3], b"abc");
    }
}
