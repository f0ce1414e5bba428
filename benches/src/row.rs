//! What is measured, one row of the report each.

use crate::workspace::{LARGE, SMALL};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// For `--only`.
    pub name: &'static str,
    pub title: &'static str,
    pub path: &'static str,
    /// Bytes of the body at `path`.
    pub body: u64,
    pub tls: bool,
    pub load: Load,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// HTTP/1.1 over so many kept connections.
    Wrk { connections: usize },
    /// HTTP/2 over so many connections with so many requests at a time on each.
    H2load { connections: usize, streams: usize },
    /// A new connection per request, so many at a time.
    Connect { workers: usize },
    /// Memory instead of CPU time: connections that wait.
    Idle,
}

/// 32 requests at a time wherever answers are small: within every server's pool of origin
/// connections, and enough that it never waits for work.
pub const ROWS: [Row; 9] = [
    proxied("h1", "1 KiB proxied, HTTP/1.1", SMALL, false, H1),
    proxied(
        "h1-tls",
        "1 KiB proxied, HTTP/1.1 over TLS",
        SMALL,
        true,
        H1,
    ),
    proxied(
        "h2-tls",
        "1 KiB proxied, HTTP/2 over TLS",
        SMALL,
        true,
        Load::H2load {
            connections: 4,
            streams: 8,
        },
    ),
    proxied(
        "1m-tls",
        "1 MiB proxied, HTTP/1.1 over TLS",
        LARGE,
        true,
        H1_LARGE,
    ),
    proxied(
        "connect",
        "1 KiB proxied, a new TLS connection each",
        SMALL,
        true,
        Load::Connect { workers: 16 },
    ),
    file("static", "1 KiB file, HTTP/1.1", SMALL, false, H1),
    file(
        "static-tls",
        "1 KiB file, HTTP/1.1 over TLS",
        SMALL,
        true,
        H1,
    ),
    file(
        "static-1m-tls",
        "1 MiB file, HTTP/1.1 over TLS",
        LARGE,
        true,
        H1_LARGE,
    ),
    proxied(
        "idle",
        "memory of an idle TLS connection",
        SMALL,
        true,
        Load::Idle,
    ),
];

const H1: Load = Load::Wrk { connections: 32 };
const H1_LARGE: Load = Load::Wrk { connections: 8 };

impl Row {
    pub fn named(name: &str) -> Option<Self> {
        ROWS.into_iter().find(|row| row.name == name)
    }

    pub fn is_file(&self) -> bool {
        self.path.starts_with("/static/")
    }
}

const fn proxied(name: &'static str, title: &'static str, body: u64, tls: bool, load: Load) -> Row {
    let path = if body == SMALL { "/1k" } else { "/1m" };
    Row {
        name,
        title,
        path,
        body,
        tls,
        load,
    }
}

const fn file(name: &'static str, title: &'static str, body: u64, tls: bool, load: Load) -> Row {
    let path = if body == SMALL {
        "/static/1k"
    } else {
        "/static/1m"
    };
    Row {
        name,
        title,
        path,
        body,
        tls,
        load,
    }
}
