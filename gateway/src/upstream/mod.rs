//! Connections to the services behind the gateway.
//!
//! A [`Pool`] belongs to one upstream address and outlives reloads that keep it. [`Pool::send`]
//! takes a request that is ready for the wire and returns the response head with an
//! [`UpstreamBody`], which gives the connection back when its last byte was read. [`connect`]
//! opens sockets, [`request_body`] is what travels the other way, with its limits.

pub mod body;
pub mod connect;
pub mod pool;
mod progress;
pub mod request_body;

pub use self::{
    body::UpstreamBody,
    pool::{Pool, Pools, SendError},
    request_body::RequestBody,
};
