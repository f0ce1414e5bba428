//! `portunus reload`: one request to the admin listener.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use super::{EXIT_CONFIG, EXIT_FAILURE};
use crate::config::{self, ListenAddress};

/// Proving a configuration takes as long as reading its files.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Where the admin listener is when the configuration does not say.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
/// More problems than this nobody reads at once.
const MAX_ANSWER: u64 = 1024 * 1024;

pub(super) fn reload(config: &Path, admin: Option<&str>) -> ExitCode {
    let address = match find_admin(config, admin) {
        Ok(address) => address,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    match ask(&address) {
        Ok((200, body)) => {
            print!("{body}");
            ExitCode::SUCCESS
        }
        Ok((422, body)) => {
            eprint!("{body}");
            eprintln!("the gateway goes on with its running configuration");
            ExitCode::from(EXIT_CONFIG)
        }
        Ok((status, body)) => {
            eprint!("error: {address} answered {status}: {body}");
            ExitCode::from(EXIT_FAILURE)
        }
        Err(error) => {
            eprintln!("error: cannot ask the gateway at {address} to reload: {error}");
            eprintln!("hint: is it running, and is this its admin listener? (`--admin ADDRESS`)");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// The admin listener: the one given, else the one in the file. A file with problems cannot say,
/// and then the default is asked, because the gateway's own check prints the problems.
fn find_admin(config: &Path, admin: Option<&str>) -> Result<ListenAddress, String> {
    if let Some(text) = admin {
        return match text.strip_prefix("unix:") {
            Some(path) => Ok(ListenAddress::Unix(PathBuf::from(path))),
            None => text.parse().map(ListenAddress::Tcp).map_err(|_| {
                format!("error: `{text}` is not an address\nhint: 127.0.0.1:9180 or unix:/run/portunus/admin.sock")
            }),
        };
    }
    match config::load(config, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded.config.listen.admin.ok_or_else(|| {
            "error: the admin listener is off\nhint: send SIGHUP to the gateway instead".into()
        }),
        Err(_) => Ok(ListenAddress::Tcp(DEFAULT_ADMIN)),
    }
}

fn ask(address: &ListenAddress) -> io::Result<(u16, String)> {
    let request = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    match address {
        ListenAddress::Tcp(address) => {
            let mut address = *address;
            // A listener on every address is reached on loopback.
            if address.ip().is_unspecified() {
                address.set_ip(match address.is_ipv4() {
                    true => std::net::Ipv4Addr::LOCALHOST.into(),
                    false => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            exchange(stream, request)
        }
        ListenAddress::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            exchange(stream, request)
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> io::Result<(u16, String)> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(not_http)?;
    Ok((status, body.to_owned()))
}
