//! The Portunus front door.

pub mod config;
