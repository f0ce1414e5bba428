//! Bytes between parties that cannot reach each other.
//!
//! [`turn`] is a STUN and TURN server (RFC 8489, RFC 8656) that knows no sockets and no clock:
//! datagrams and the time go in, datagrams and commands come out.
//!
//! [`io`] runs it on sockets, one thread for each shard.
//!
//! Nothing here binds a socket, reads the environment or installs a signal handler. Callers do,
//! and pass in what they made.

pub mod io;
pub mod turn;
