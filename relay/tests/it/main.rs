//! Both ends of a tunnel in one process, over real sockets.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "what cannot go on fails its test, in fixtures as well; bodies here are our own"
)]

mod agents;
mod carriers;
mod names;
mod support;
