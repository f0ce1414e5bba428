//! Which sockets have something to read.
//!
//! An epoll of our own inside of tokio's: it is level-triggered, so a socket that has been read
//! until there was less than fits needs no second read to learn that there is nothing more. At the
//! rates of audio, one datagram per socket and wake-up, that is one system call of four.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::turn::RelayId;

/// Sockets looked at in one round.
const ROUND: usize = 256;

/// The descriptor of the epoll.
#[derive(Debug)]
pub(super) struct Handle(OwnedFd);

/// A socket of a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    Listener(usize),
    Relay(RelayId),
}

impl Source {
    const RELAY: u64 = 1 << 32;

    fn to_token(self) -> u64 {
        match self {
            Self::Listener(index) => index as u64,
            Self::Relay(RelayId(id)) => Self::RELAY | u64::from(id),
        }
    }

    fn from_token(token: u64) -> Self {
        let low = u32::try_from(token & u64::from(u32::MAX)).unwrap_or(0);
        if token & Self::RELAY == 0 {
            Self::Listener(low as usize)
        } else {
            Self::Relay(RelayId(low))
        }
    }
}

pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(ROUND),
        })
    }

    /// Something that becomes readable when a socket does, for tokio.
    #[expect(unsafe_code, reason = "tokio cannot see who owns a descriptor")]
    pub(super) fn readable(&self) -> io::Result<AsyncFd<Handle>> {
        let handle = Handle(self.epoll.try_clone()?);
        // SAFETY: a `Handle` owns its descriptor, always names the same one, and closes it only when
        // it is dropped, which `AsyncFd` does after deregistering it.
        let registered = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) };
        registered.map_err(|error| error.into_parts().1)
    }

    pub(super) fn add(&self, socket: impl AsFd, source: Source) -> io::Result<()> {
        let data = epoll::EventData::new_u64(source.to_token());
        Ok(epoll::add(
            &self.epoll,
            socket,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// Fills `ready`. Does not wait.
    pub(super) fn poll(&mut self, ready: &mut Vec<Source>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&now))?;
        ready.extend(
            self.events
                .iter()
                .map(|event| Source::from_token(event.data.u64())),
        );
        Ok(())
    }

    /// Whether there may be more ready sockets than one round has shown.
    pub(super) fn was_full(&self) -> bool {
        self.events.len() == ROUND
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_is_ready_until_it_has_been_read() {
        let mut poller = Poller::new().unwrap();
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let sources = [Source::Listener(7), Source::Relay(RelayId(u32::MAX))];
        for (socket, source) in sockets.iter().zip(sources) {
            poller.add(socket, source).unwrap();
        }
        let mut ready = Vec::new();
        poller.poll(&mut ready).unwrap();
        assert_eq!(ready, []);
        for (socket, source) in sockets.iter().zip(sources) {
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
            for _ in 0..2 {
                poller.poll(&mut ready).unwrap();
                assert_eq!(ready, [source]);
            }
            socket.recv_from(&mut [0; 8]).unwrap();
        }
        assert!(!poller.was_full());
    }
}
