//! What operators see: the log, the access log, the metrics.
//!
//! [`access_log`] takes records from requests without making them wait. [`metrics`] holds every
//! counter, made once with labels from configured names. [`log`] sets up `tracing`.

pub mod access_log;
pub mod log;
pub mod metrics;

pub use self::{
    access_log::{AccessLog, AccessRecord},
    metrics::{Metrics, RouteMetrics},
};
