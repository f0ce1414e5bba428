//! What the gateway does as a whole, in one test binary.

mod config;
