//! A STUN and TURN server without sockets and without a clock.
//!
//! In go what a client sent ([`Server::handle_client`]), what a peer sent to a relay socket
//! ([`Server::handle_peer`]), and the time ([`Now`]). Out come what is to be sent at once
//! ([`Output`], borrowed from the datagram that went in, so that nothing is copied) and
//! [`Command`]s: sockets to open and close, answers that had to wait for one.
//!
//! RFC 8489 (STUN), RFC 8656 (TURN), with clients of RFC 5389 and RFC 5766. Nothing is kept for a
//! client that has not proven who it is: nonces carry their own proof ([`nonce`]).
//!
//! A server is one shard: it is used by one thread and has its clients for itself. What several
//! shards have in common (ports, quotas, the nonces' key) is in [`Shared`] and is touched only when
//! an allocation comes or goes, never for a relayed packet.

mod allocation;
mod channel_data;
mod codec;
mod command;
mod config;
mod credential;
mod entropy;
mod integrity;
mod limits;
mod nonce;
mod policy;
mod ports;
mod server;
mod stream;

pub use self::{
    command::{Command, EndReason, Event, FiveTuple, Head, Now, Output, RelayId, Transport},
    config::{Config, RelayAddress},
    credential::{Credentials, Minted, Secret},
    entropy::{Entropy, SystemEntropy},
    limits::Limits,
    policy::PeerPolicy,
    ports::{PortMode, PortRange, PortRangeError},
    server::{AllocationView, Server, Shared, Stats},
    stream::{StreamError, frame_len},
};
