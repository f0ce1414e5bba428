//! Who is calling and may they, and the state everything rests on.
//!
//! [`store`] keeps ordered keys with versioned values: certificates, accounts, users, keys, tunnels
//! and audit rows live there. [`seal`] encrypts what is secret before it goes in. [`apikey`] is the
//! shape of an API key, and all that is kept of one. [`password`] hashes what people choose.
//!
//! [`oauth`] signs people in with GitHub and GitLab, which [`fetch`] calls and [`redirect`] sends
//! browsers back from. A [`Secret`] is text that nothing prints.
//!
//! The crate depends on nothing of the other crates, binds no socket and starts no server.

pub mod apikey;
pub mod fetch;
pub mod oauth;
pub mod password;
pub mod redirect;
pub mod seal;
mod secret;
pub mod store;

pub use self::secret::Secret;
