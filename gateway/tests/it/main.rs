//! The gateway from end to end: its real parts in this process or its binary, real sockets, real
//! files. One file per theme; what they share is in [`support`].

#![allow(
    clippy::unwrap_used,
    reason = "what cannot go on fails its test, in fixtures as well"
)]

mod access;
mod access_log;
mod admin;
mod api;
mod binary;
mod certificates;
mod cluster;
mod config;
mod deadlines;
mod drain;
mod failures;
mod forwarding;
mod limits;
mod own_domain;
mod reload;
mod routing;
mod scale;
mod sign_in;
mod streaming;
mod support;
mod tunnels;
mod upstreams;
mod websocket;
