//! The real gateway in this process, services behind it that a test scripts, and clients in
//! front of it.
//!
//! [`Gateway`] starts from TOML text in a fresh directory, on port 0. An [`Origin`] is a service:
//! [`Origin::echo`] answers by itself, [`Origin::bind`] leaves every byte to the test. [`Wire`] is
//! one HTTP/1.1 connection seen from either side, [`Http2`] a client with its hands on frames,
//! [`check`] believes tokens by what is published, [`program`] runs `curl` and its like, and
//! [`Cluster`] is a PostgreSQL server. Tests wait for events with [`within`] and [`eventually`].

#[allow(
    dead_code,
    reason = "it is the fixture of the store's own tests, which use all of it"
)]
#[path = "../../../../auth/src/store/postgres/tests/cluster.rs"]
mod cluster;
mod dir;
mod gateway;
mod http2;
mod jwks;
mod origin;
mod pki;
pub(crate) mod program;
mod wait;
mod websocket;
mod wire;

pub(crate) use self::{
    cluster::Cluster,
    dir::Dir,
    gateway::{Gateway, PLAIN, PLAIN_AND_TLS, TLS, proxy},
    http2::{Http2, whole},
    jwks::check,
    origin::Origin,
    pki::{Authority, client_config},
    wait::{eventually, within},
    websocket::WebSocket,
    wire::{Head, Response, Wire},
};
