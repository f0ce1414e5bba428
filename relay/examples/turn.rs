//! The TURN server alone, to try and to measure it.
//!
//! ```text
//! cargo run --release -p relay --example turn -- --listen 127.0.0.1:3478 --relay 127.0.0.1 \
//!     --user alice:secret --ports 49160-59160 --loopback --no-stranger-limit
//! ```
//! Prints `ready`, and its counters when its standard input ends.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use relay::{
    io::{Parts, Relay, ShardSockets, SystemClock},
    turn::{Config, Credentials, PortMode, RelayAddress, Secret},
};
use socket2::{Domain, Protocol, Socket, Type};

/// Receive buffers of listeners: bursts of all clients arrive there.
const LISTENER_BUFFER: usize = 4 * 1024 * 1024;

struct Options {
    listen: Vec<SocketAddr>,
    shards: usize,
    config: Config,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = options()?;
    let shards = (0..options.shards).map(|_| sockets(&options.listen));
    let relay = Relay::start(Parts {
        config: options.config,
        shards: shards.collect::<io::Result<_>>()?,
        bind: Arc::new(|address| Ok(socket(address, Type::DGRAM, false)?.into())),
        clock: Arc::new(SystemClock),
        on_event: Arc::new(|_| ()),
    })?;
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    println!("{:#?}", runtime.block_on(relay.stats()));
    Ok(())
}

fn options() -> Result<Options, Box<dyn std::error::Error>> {
    let credentials = Credentials {
        realm: "example.com".into(),
        ..Credentials::default()
    };
    let mut options = Options {
        listen: Vec::new(),
        shards: 1,
        config: Config::new(credentials, Vec::new()),
    };
    let config = &mut options.config;
    config.limits.allocations_per_user = u32::MAX;
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{flag} needs a value"));
        match &*flag {
            "--listen" => options.listen.push(value()?.parse()?),
            "--relay" => config
                .relays
                .push(RelayAddress::new(value()?.parse::<IpAddr>()?)),
            "--ports" => config.ports = value()?.parse()?,
            "--shared" => config.port_mode = PortMode::Shared,
            "--shards" => options.shards = value()?.parse()?,
            "--secret" => config.credentials.secrets.push(Secret::new(value()?)),
            "--user" => {
                let value = value()?;
                let (user, password) = value.split_once(':').ok_or("--user name:password")?;
                let password = Secret::new(password);
                config.credentials.users.insert(user.to_owned(), password);
            }
            "--loopback" => config.peers = config.peers.clone().allow_loopback_for_tests(),
            "--no-stranger-limit" => config.limits.stranger_rate = None,
            _ => return Err(format!("{flag} is not known").into()),
        }
    }
    Ok(options)
}

fn sockets(listen: &[SocketAddr]) -> io::Result<ShardSockets> {
    let mut sockets = ShardSockets::default();
    for address in listen {
        let udp = socket(*address, Type::DGRAM, true)?;
        udp.set_recv_buffer_size(LISTENER_BUFFER)?;
        sockets.udp.push(udp.into());
        let tcp = socket(*address, Type::STREAM, true)?;
        tcp.listen(1024)?;
        sockets.tcp.push(tcp.into());
    }
    Ok(sockets)
}

/// A bound socket, which several shards may have if they `share` the address.
fn socket(address: SocketAddr, kind: Type, share: bool) -> io::Result<Socket> {
    let protocol = (kind == Type::DGRAM).then_some(Protocol::UDP);
    let socket = Socket::new(Domain::for_address(address), kind, protocol)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if share {
        socket.set_reuse_port(true)?;
        socket.set_reuse_address(kind == Type::STREAM)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
