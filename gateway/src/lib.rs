//! The Portunus front door.
//!
//! The life of a request, module by module: [`listen`] accepts a connection, [`tls`] finishes the
//! handshake, [`http`] gives the request one host, one path and one client, [`router`] finds its
//! route, [`policy`] checks it, [`handler`] answers it ([`upstream`] holds the connections to services), and
//! [`observe`] counts and logs it.
//!
//! Around them: [`config`] turns a file into checked values, [`app`] is the composition root,
//! [`reload`] swaps configurations, [`identity`] opens the store with its users and keys, [`api`]
//! is what the gateway answers on its own domain, [`admin`] serves health, metrics and reload on a
//! listener of its own, [`lifecycle`] runs everything as a service of pingora's `Server`, and [`cli`] is the
//! command line.

pub mod admin;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod handler;
pub mod http;
pub mod identity;
pub mod lifecycle;
pub mod listen;
pub mod observe;
pub mod policy;
pub mod reload;
pub mod router;
pub mod tls;
pub mod tunnel;
pub mod upstream;
