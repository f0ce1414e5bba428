//! What is checked between routing and the handler.
//!
//! A route's checks go in with its configuration; a request and its client come through, and
//! either pass or fail with a [`Failure`](crate::http::Failure).

pub mod rate;

pub use self::rate::RateLimit;
