//! Who is calling and may they, and the state everything rests on.
//!
//! [`store`] keeps ordered keys with versioned values: certificates, accounts, users, keys, tunnels
//! and audit rows live there. [`seal`] encrypts what is secret before it goes in. [`apikey`] is the
//! shape of an API key, and all that is kept of one.
//!
//! The crate depends on nothing of the other crates, binds no socket and starts no server.

pub mod apikey;
pub mod handover;
pub mod seal;
pub mod store;
