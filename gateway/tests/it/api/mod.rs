//! The gateway's API over real sockets: who may do what, lists, conditions, failures, the original's
//! routes, the command line.

mod audit;
mod authorisation;
mod callers;
mod command_line;
mod conditions;
mod failures;
mod keys;
mod lists;
mod original;
mod scene;
mod tokens;
mod verify;

use self::scene::{Answer, Scene, Who};
