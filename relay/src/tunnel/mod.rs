//! A public name for a service behind NAT, both ends.
//!
//! The agent dials the gateway and sends one HTTP/1.1 request that asks to switch protocols
//! ([`protocol`]). What it gets is a *carrier*: a connection on which the gateway is the HTTP/2
//! client and the agent the server ([`carrier`]). Each CONNECT on it is a [`Stream`], a virtual
//! connection to the service, which the gateway owns, keeps alive and reuses like any other
//! connection to an upstream. Flow control, cancellation, ping and drain are HTTP/2's own
//! (RFC 9113).
//!
//! [`edge`] is the gateway's end: which agent has which name, over which carriers. [`agent`] is
//! the other one. Neither binds a socket; both take any `AsyncRead + AsyncWrite`.

pub mod agent;
pub mod carrier;
pub mod edge;
pub mod protocol;
mod stream;
pub mod websocket;
mod window;

pub use self::stream::{OpenError, Stream};
