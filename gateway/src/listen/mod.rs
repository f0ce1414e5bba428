//! From an address to an accepted connection.
//!
//! [`bind`] opens sockets before anything runs, so that a taken port is an error at start and
//! addresses are known early. [`accept`] is the loop of one listener: it counts connections
//! against the [`caps`], backs off when descriptors run out, and hands every stream to its own
//! task, so that a slow handshake never delays the next accept. [`stream`] is the byte stream
//! with the bookkeeping that [`watchdog`] turns into deadlines.
//!
//! Sockets and shutdown come from the caller; nothing here knows about HTTP.

pub mod accept;
pub mod bind;
pub mod caps;
pub mod stream;
pub mod watchdog;

pub use self::{
    accept::{Accepted, Acceptor, accept_loop},
    bind::{BindError, BoundListener},
    caps::{Caps, Place, Refusal},
    stream::{Io, Socket},
    watchdog::{Activity, Deadlines, Expiry, Watchdog},
};
