//! Whole sign-ins against the stand-in of GitHub and GitLab, which runs as a process of its own.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot go on fails its test, in fixtures as well"
)]

mod exchange;
mod faults;
mod flow;
mod secrecy;
mod stand_in;
