//! Portunus side by side with nginx, HAProxy and Caddy.
//!
//! Each server under test runs with one thread on one core; the load and the origin share
//! another. What is compared first is the CPU time a server spends on one request, because that
//! does not depend on how fast the generator is. docs/performance.md tells the method in full.
//!
//! [`run`] goes through the [`row`]s and is the place to start reading. [`servers`] knows how each
//! server is configured, [`load`] how each kind of load is made, [`usage`] what it cost, and
//! [`report`] writes the tables. Everything that runs lives in one temporary directory
//! ([`workspace`]) and ends with the value that owns it ([`process`]).

pub mod error;
pub mod load;
pub mod machine;
pub mod origin;
pub mod process;
pub mod report;
pub mod row;
pub mod run;
pub mod servers;
pub mod usage;
pub mod workspace;

pub use error::{Error, Result};
