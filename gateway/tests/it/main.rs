//! What the gateway does as a whole, in one test binary.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it is"
)]

mod config;
