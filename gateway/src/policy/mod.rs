//! What is checked between routing and the handler.
//!
//! A route's checks go in with its configuration; a request and its client come through, and
//! either pass or fail with a [`Failure`](crate::http::Failure). [`access`] asks who it is,
//! [`rate`] how often, and [`deprecation`] until when.

pub mod access;
pub mod deprecation;
pub mod rate;

pub use self::{access::Gate, deprecation::Deprecation, rate::RateLimit};
