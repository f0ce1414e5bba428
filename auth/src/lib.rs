//! Who is calling and may they, and the state everything rests on.
//!
//! [`store`] keeps ordered keys with versioned values: certificates, accounts, users, keys, tunnels
//! and audit rows live there. [`seal`] encrypts what is secret before it goes in. [`apikey`] is the
//! shape of an API key, and all that is kept of one; [`password`] hashes what people choose.
//! [`audit`] records who did what, in a chain of rows that shows when it was changed.
//!
//! [`identity`] is every write to users, sessions, keys and tunnels; [`directory`] is what a request
//! needs of them, in memory. [`handover`] takes a session to the host of a site. [`permit`] is the
//! one table of who may do what, [`scope`] what a key may be used for.
//!
//! [`oauth`] signs people in with GitHub and GitLab, which [`fetch`] calls and [`redirect`] sends
//! browsers back from. [`token`] issues and checks JSON Web Tokens. A [`Secret`] is text that nothing
//! prints.
//!
//! The crate depends on nothing of the other crates, binds no socket and starts no server.

pub mod apikey;
pub mod attempts;
pub mod audit;
pub mod directory;
pub mod fetch;
pub mod handover;
pub mod identity;
pub mod key;
pub mod oauth;
pub mod password;
pub mod permit;
mod record;
pub mod redirect;
pub mod scope;
pub mod seal;
mod secret;
pub mod session;
mod signing;
pub mod store;
pub mod token;
pub mod tunnel;
pub mod user;

pub use self::record::{RecordError, Stored};
pub use self::secret::Secret;
