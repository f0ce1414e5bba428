//! The response body: nothing, bytes in memory, or a stretch of a file.
//!
//! In: an open file and the range to send. Out: frames of at most [`CHUNK`] bytes, one per
//! `poll_frame`, so a slow client slows the reading. The number of bytes is promised up front by
//! an exact `size_hint`; a file that shrinks on the way ends the body with an error, which the
//! client sees as a truncated answer. Nothing is ever padded.
//!
//! Buffers return to the [`Pool`] of their server when the last `Bytes` made from them is dropped,
//! so a busy server neither allocates nor clears memory per chunk.

use std::{
    fmt, io, mem,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use http_body::{Body, Frame, SizeHint};
use rustix::io::Errno;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    open::OpenFile,
    read::{Strategy, read_waiting},
};

/// Bytes per read. From 96 KiB up the CPU time per byte is flat (measured on ext4 to a TCP
/// socket: 32 KiB +75 %, 64 KiB +15 %); more would only push other data out of the L2 cache.
const CHUNK: usize = 128 << 10;

/// Up to here a file is read in one go before the response head is sent, in bytes.
const SMALL: u64 = 64 << 10;

/// Buffers a server keeps for reuse: 2 MiB at most.
const POOLED: usize = 16;

/// The body of every answer of a [`super::FileServer`]. Large files need a tokio runtime.
#[derive(Debug)]
pub struct FileBody(Kind);

#[derive(Debug)]
enum Kind {
    /// Empty once it has been sent.
    Memory(Bytes),
    File(FileStream),
}

impl FileBody {
    pub(super) fn empty() -> Self {
        Self::memory(Bytes::new())
    }

    pub(super) fn memory(bytes: Bytes) -> Self {
        Self(Kind::Memory(bytes))
    }

    /// `length` bytes of the file from `offset` on, which lie inside it. Small stretches are read
    /// before this returns.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file has shrunk since it was opened; else what the disk said.
    pub(super) async fn file(
        file: OpenFile,
        offset: u64,
        length: u64,
        pool: &Arc<Pool>,
    ) -> io::Result<Self> {
        if length > SMALL {
            return Ok(Self(Kind::File(FileStream {
                fd: Arc::new(file.fd),
                strategy: Strategy::Try,
                offset,
                left: length,
                waiting: None,
                pool: Arc::clone(pool),
            })));
        }
        let length = usize::try_from(length).unwrap_or_default();
        Ok(Self::memory(read_small(file.fd, offset, length).await?))
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Memory(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Memory(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Kind::File(stream) => stream
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Memory(bytes) => bytes.is_empty(),
            Kind::File(stream) => stream.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Kind::Memory(bytes) => bytes.len() as u64,
            Kind::File(stream) => stream.left,
        })
    }
}

/// A file being sent.
#[derive(Debug)]
struct FileStream {
    fd: Arc<OwnedFd>,
    strategy: Strategy,
    offset: u64,
    /// Bytes still promised.
    left: u64,
    /// Reading on a thread that may wait.
    waiting: Option<JoinHandle<ChunkRead>>,
    pool: Arc<Pool>,
}

type ChunkRead = (Buffer, Result<usize, Errno>);

impl FileStream {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut task = match self.waiting.take() {
            Some(task) => task,
            None => match self.start() {
                Ok(chunk) => return Poll::Ready(Some(self.finish(chunk))),
                Err(task) => task,
            },
        };
        match Pin::new(&mut task).poll(cx) {
            Poll::Pending => {
                self.waiting = Some(task);
                Poll::Pending
            }
            Poll::Ready(Ok(chunk)) => Poll::Ready(Some(self.finish(chunk))),
            Poll::Ready(Err(gone)) => {
                self.left = 0;
                Poll::Ready(Some(Err(io::Error::other(gone))))
            }
        }
    }

    /// Reads what is in memory, or starts a read that may wait.
    fn start(&mut self) -> Result<ChunkRead, JoinHandle<ChunkRead>> {
        let mut buffer = Pool::take(&self.pool);
        let wanted = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let offset = self.offset;
        match self
            .strategy
            .read_ready(&self.fd, &mut buffer.memory[..wanted], offset)
        {
            Err(Errno::AGAIN) => {
                let fd = Arc::clone(&self.fd);
                Err(spawn_blocking(move || {
                    let read = read_waiting(&fd, &mut buffer.memory[..wanted], offset);
                    (buffer, read)
                }))
            }
            read => Ok((buffer, read)),
        }
    }

    fn finish(&mut self, (mut buffer, read): ChunkRead) -> io::Result<Bytes> {
        match read {
            Ok(read) if read > 0 => {
                self.offset += read as u64;
                self.left -= read as u64;
                buffer.filled = read;
                Ok(Bytes::from_owner(buffer))
            }
            Ok(_) => {
                self.left = 0;
                Err(shrunk())
            }
            Err(errno) => {
                self.left = 0;
                Err(errno.into())
            }
        }
    }
}

/// Buffers between uses. Taking and returning never waits.
pub(super) struct Pool(ArrayQueue<Box<[u8]>>);

impl Pool {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(ArrayQueue::new(POOLED)))
    }

    fn take(pool: &Arc<Self>) -> Buffer {
        let memory = pool
            .0
            .pop()
            .unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
        Buffer {
            memory,
            filled: 0,
            pool: Arc::clone(pool),
        }
    }
}

#[cfg(test)]
impl Pool {
    pub(super) fn free(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} free)", self.0.len())
    }
}

/// [`CHUNK`] bytes of memory, the first `filled` of them content.
#[derive(Debug)]
struct Buffer {
    memory: Box<[u8]>,
    filled: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A full pool hands the memory back, and it is freed here.
        drop(self.pool.0.push(mem::take(&mut self.memory)));
    }
}

async fn read_small(fd: OwnedFd, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; length];
    let mut strategy = Strategy::Try;
    let mut filled = 0;
    while filled < length {
        match strategy.read_ready(&fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(shrunk()),
            Ok(read) => filled += read,
            Err(Errno::AGAIN) => {
                let rest = spawn_blocking(move || read_rest(&fd, offset, buffer, filled));
                return rest.await.map_err(io::Error::other)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(buffer.into())
}

fn read_rest(
    fd: &OwnedFd,
    offset: u64,
    mut buffer: Vec<u8>,
    mut filled: usize,
) -> io::Result<Bytes> {
    while filled < buffer.len() {
        match read_waiting(fd, &mut buffer[filled..], offset + filled as u64)? {
            0 => return Err(shrunk()),
            read => filled += read,
        }
    }
    Ok(buffer.into())
}

fn shrunk() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the file shrank while it was being sent",
    )
}
