//! `[log]`: what is written to standard output.

/// Log settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter: a level (`error` … `trace`) or `target=level,…`.
    pub level: String,
    pub access: AccessLog,
}

/// The form of access log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Json,
    /// The NCSA combined format.
    Combined,
    Off,
}
