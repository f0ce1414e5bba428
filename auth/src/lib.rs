//! Who is calling and may they, and the state everything rests on.
//!
//! [`store`] keeps ordered keys with versioned values: certificates, accounts, users, keys, tunnels
//! and audit rows live there. [`seal`] encrypts what is secret before it goes in. [`apikey`] is the
//! shape of an API key, and all that is kept of one. [`audit`] records who did what, in a chain of
//! rows that shows when it was changed. [`token`] issues and checks JSON Web Tokens.
//!
//! The crate depends on nothing of the other crates, binds no socket and starts no server.

pub mod apikey;
pub mod audit;
pub mod seal;
mod signing;
pub mod store;
pub mod token;
