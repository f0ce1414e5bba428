//! Handshakes over in-memory pipes against real files in a fresh directory.

mod fixture;
mod handshake;
