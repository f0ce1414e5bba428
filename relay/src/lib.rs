//! Bytes between parties that cannot reach each other.
//!
//! [`tunnel`] gives a service behind NAT a public name: an agent beside the service dials out to
//! the gateway, which then opens virtual connections to the service through that.
//!
//! The crate depends on nothing of the other crates, binds no socket and listens for no signal.

pub mod tunnel;
