//! Handshakes over in-memory pipes against real files in a fresh directory.

mod certificates;
mod files;
mod fixture;
mod handshake;
mod internal_ca;
mod refusal;
mod reload;
mod watch;
