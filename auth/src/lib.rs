//! Who is calling and may they, and the state everything rests on.
//!
//! [`store`] keeps ordered keys with versioned values: certificates, accounts, users, keys, tunnels
//! and audit rows live there.
//!
//! The crate depends on nothing of the other crates, binds no socket and starts no server.

pub mod store;
