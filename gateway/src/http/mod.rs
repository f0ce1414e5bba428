//! HTTP from the accepted stream to the answer.
//!
//! [`connection`] finishes the handshake and runs hyper over the stream; [`service`] is the life
//! of one request as a table of contents. Around them: [`normalize`] gives every request one
//! host and one path, [`forwarded`] says who the client is, [`hop`] removes what belongs to one
//! connection only, [`websocket`] carries upgraded connections, [`body`] is what responses are
//! made of, [`allowed`] ends one whose asker may no longer have it, [`exchange`] counts and logs a request when its last byte is gone, and [`error`] is
//! the one table from failures to status codes.

pub mod allowed;
pub mod body;
pub mod connection;
pub mod error;
pub mod exchange;
pub mod forwarded;
pub mod hop;
pub mod normalize;
pub mod service;
pub mod websocket;

pub use self::{body::Body, error::Failure, exchange::Exchange};
