//! Bytes between parties that cannot reach each other.
//!
//! [`tunnel`] gives a service behind NAT a public name: an agent beside the service dials out to
//! the gateway, which then opens virtual connections to the service through that.
//!
//! [`turn`] is a STUN and TURN server (RFC 8489, RFC 8656) that knows no sockets and no clock:
//! datagrams and the time go in, datagrams and commands come out. [`io`] runs it on sockets, one
//! thread for each shard.
//!
//! The crate depends on nothing of the other crates. It binds no socket, reads no environment and
//! listens for no signal; only its binary does.

pub mod io;
pub mod tunnel;
pub mod turn;
