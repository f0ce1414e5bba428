//! Opening sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::ListenAddress;

/// Pending connections the kernel keeps for us; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that listens but is not served yet.
#[derive(Debug)]
pub struct BoundListener {
    /// The address as configured, the identity of the listener over reloads.
    pub configured: ListenAddress,
    /// Where it really listens; differs from `configured` for port 0.
    pub local: ListenAddress,
    pub(super) socket: BoundSocket,
}

#[derive(Debug)]
pub(super) enum BoundSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl BoundListener {
    /// Opens a listening socket, non-blocking. IPv6 sockets take IPv6 only, so that
    /// `0.0.0.0:443` and `[::]:443` can stand side by side.
    pub fn bind(address: &ListenAddress) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(address) => bind_tcp(*address).and_then(|listener| {
                let local = listener.local_addr()?;
                Ok((BoundSocket::Tcp(listener), ListenAddress::Tcp(local)))
            }),
            ListenAddress::Unix(path) => bind_unix(path).map(|listener| {
                (
                    BoundSocket::Unix(listener),
                    ListenAddress::Unix(path.clone()),
                )
            }),
        };
        match bound {
            Ok((socket, local)) => Ok(Self {
                configured: address.clone(),
                local,
                socket,
            }),
            Err(source) => Err(BindError {
                address: address.clone(),
                source,
            }),
        }
    }

    /// The TCP port, if there is one.
    pub fn port(&self) -> Option<u16> {
        match &self.local {
            ListenAddress::Tcp(address) => Some(address.port()),
            ListenAddress::Unix(_) => None,
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the last run in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    remove_stale_socket(path)?;
    let listener = StdUnixListener::bind(path)?;
    // Whoever may connect is decided by the directory and the group, never by everyone.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes a socket file that a killed process left; one that answers is in use.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is not a socket is in the way",
        ));
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Removes the socket file of a Unix listener that was closed.
pub(super) fn unlink(path: &PathBuf) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "socket file not removed");
    }
}

/// A listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(source))]
pub struct BindError {
    pub address: ListenAddress,
    pub source: io::Error,
}

impl BindError {
    /// What the operator can do about it.
    pub fn hint(&self) -> String {
        match (self.source.kind(), &self.address) {
            (io::ErrorKind::AddrInUse, ListenAddress::Tcp(address)) => format!(
                "see what holds it with `ss -ltnp 'sport = :{}'`, stop that, or change the address under [listen]",
                address.port()
            ),
            (io::ErrorKind::AddrInUse, ListenAddress::Unix(_)) => {
                "another process listens there; stop it or change the path under [listen]".into()
            }
            (io::ErrorKind::PermissionDenied, ListenAddress::Tcp(address))
                if address.port() < 1024 =>
            {
                "ports below 1024 need a privilege: `setcap cap_net_bind_service=+ep portunus`, \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or a higher port"
                    .into()
            }
            (io::ErrorKind::AddrNotAvailable, _) => {
                "no interface of this machine has that address; see `ip addr`".into()
            }
            (_, ListenAddress::Unix(path)) => format!(
                "check that the directory of {} exists and can be written",
                path.display()
            ),
            _ => "check the address under [listen]".into(),
        }
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is already in use".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::AddrNotAvailable => "the address is not on this machine".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_reports_the_port_taken() {
        let any = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = BoundListener::bind(&any).unwrap();
        assert_ne!(listener.port(), Some(0));
        assert_eq!(listener.configured, any);
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let first =
            BoundListener::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let error = BoundListener::bind(&first.local).unwrap_err();
        assert!(error.to_string().contains(&first.local.to_string()));
        assert!(error.to_string().contains("already in use"));
        assert!(error.hint().contains("ss -ltnp"));
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let directory = std::env::temp_dir().join(format!("portunus-bind-{}", fastrand::u64(..)));
        std::fs::create_dir(&directory).unwrap();
        let address = ListenAddress::Unix(directory.join("a.sock"));
        let first = BoundListener::bind(&address).unwrap();
        assert!(BoundListener::bind(&address).is_err());
        drop(first);
        assert!(BoundListener::bind(&address).is_ok());
        std::fs::write(directory.join("b"), "data").unwrap();
        assert!(BoundListener::bind(&ListenAddress::Unix(directory.join("b"))).is_err());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
