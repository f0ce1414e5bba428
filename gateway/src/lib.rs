//! The Portunus front door.

pub mod config;
pub mod tls;
