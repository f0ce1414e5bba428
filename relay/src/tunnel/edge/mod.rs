//! The gateway's end of tunnels: which agent has which name, over which carriers.

pub mod handshake;
mod registry;
mod session;

pub use self::{
    registry::{Admission, Membership, OnConflict, Registry},
    session::{Epoch, Session},
};
