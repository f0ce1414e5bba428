//! The `tracing` subscriber of the process, and changing its filter at reload.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// Changes the filter of the running subscriber.
#[derive(Clone, Debug)]
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Sets a filter that the configuration has already checked.
    pub fn set(&self, filter: &str) {
        if let Ok(filter) = EnvFilter::try_new(filter) {
            // Fails only when the subscriber is gone, and then nobody reads the log.
            drop(self.0.reload(filter));
        }
    }
}

/// Installs the process's subscriber on standard error: text for a terminal, JSON lines else.
/// Standard output stays for the access log and for what commands print.
pub fn install(filter: &str) -> LevelHandle {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let done = if std::io::stderr().is_terminal() {
        let text = fmt::layer().with_writer(std::io::stderr).with_target(false);
        registry.with(text).try_init()
    } else {
        let json = fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr);
        registry.with(json).try_init()
    };
    if done.is_err() {
        tracing::debug!("a subscriber was already installed");
    }
    LevelHandle(handle)
}
