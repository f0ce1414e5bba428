//! The access log: one line per request, written by a thread of its own.
//!
//! Requests hand over a record and go on; when the reader of standard output is too slow, lines
//! are dropped and counted instead of slowing the gateway down. No header but `User-Agent` and
//! `Referer` is ever written, and values of query parameters that carry secrets are masked.

use std::{
    borrow::Cow,
    io::{self, Write},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode, Version};
use prometheus::IntCounter;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{config, http::exchange::RequestId, router::Route};

/// Records that may wait for the writer: some 10 MiB of common ones, 70 MiB of the longest.
const QUEUE: usize = 16 * 1024;
/// How long the writer collects lines before it writes them: waking a thread and writing for each
/// request would cost more than the rest of the log together.
const COLLECT: Duration = Duration::from_millis(5);
/// How long shutdown waits for a reader of standard output.
const FLUSH: Duration = Duration::from_secs(2);
/// Query parameters whose values are secrets in common protocols.
const SECRET_PARAMETERS: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "client_secret",
    "code",
    "credential",
    "id_token",
    "jwt",
    "key",
    "pass",
    "password",
    "refresh_token",
    "secret",
    "session",
    "sig",
    "signature",
    "state",
    "ticket",
    "token",
];

/// One request that has ended.
#[derive(Debug)]
pub struct AccessRecord {
    pub method: Method,
    pub version: Version,
    pub https: bool,
    pub host: String,
    /// Path and query as sent.
    pub target: String,
    pub client: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub referer: Option<String>,
    pub route: Option<Arc<Route>>,
    pub request_id: RequestId,
    pub status: StatusCode,
    pub sent: u64,
    pub took: Duration,
    /// `complete`, `aborted` by the client, or `cut` by a failure.
    pub outcome: &'static str,
}

/// Takes records. The form of the lines can change at reload.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    form: AtomicU8,
    dropped: IntCounter,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are records, and a box each would be an allocation each"
)]
#[derive(Debug)]
enum Message {
    Record(config::AccessLog, SystemTime, AccessRecord),
    /// Answered when everything before it was written.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Starts the writer. `out` is standard output in the product.
    pub fn start(
        form: config::AccessLog,
        out: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&records, io::BufWriter::new(out)))?;
        let log = Self {
            queue,
            form: AtomicU8::new(0),
            dropped,
        };
        log.set_form(form);
        Ok(log)
    }

    pub fn set_form(&self, form: config::AccessLog) {
        let code = match form {
            config::AccessLog::Off => 0,
            config::AccessLog::Json => 1,
            config::AccessLog::Combined => 2,
        };
        self.form.store(code, Ordering::Relaxed);
    }

    pub fn is_on(&self) -> bool {
        self.form.load(Ordering::Relaxed) != 0
    }

    /// Queues a record; drops it when the queue is full.
    pub fn write(&self, record: AccessRecord) {
        let form = match self.form.load(Ordering::Relaxed) {
            0 => return,
            1 => config::AccessLog::Json,
            _ => config::AccessLog::Combined,
        };
        let message = Message::Record(form, SystemTime::now(), record);
        if self.queue.try_send(message).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until what was queued is written, for a short while at most. Blocks.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // Not written in time means that nobody reads; there is nothing left to do then.
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

fn write_all(messages: &Receiver<Message>, mut out: impl Write) {
    while let Ok(first) = messages.recv() {
        // Not woken by senders, so that a batch costs one wake-up.
        std::thread::park_timeout(COLLECT);
        let mut flushed = Vec::new();
        for message in std::iter::once(first).chain(messages.try_iter()) {
            let line = match message {
                Message::Record(config::AccessLog::Combined, at, record) => combined(&record, at),
                Message::Record(_, at, record) => json(&record, at),
                Message::Flush(done) => {
                    flushed.push(done);
                    continue;
                }
            };
            if out.write_all(line.as_bytes()).is_err() {
                // Standard output is gone; there is no other place to say so.
                return;
            }
        }
        if out.flush().is_err() {
            return;
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    ts: String,
    level: &'static str,
    component: &'static str,
    msg: &'static str,
    request_id: String,
    client: Option<IpAddr>,
    scheme: &'static str,
    protocol: &'static str,
    method: &'a str,
    host: &'a str,
    target: Cow<'a, str>,
    route: Option<&'a str>,
    status: u16,
    bytes: u64,
    ms: f64,
    outcome: &'static str,
    user_agent: Option<&'a str>,
    referer: Option<Cow<'a, str>>,
}

fn json(record: &AccessRecord, at: SystemTime) -> String {
    let line = JsonLine {
        ts: timestamp(at),
        level: "info",
        component: "access",
        msg: "request",
        request_id: record.request_id.to_string(),
        client: record.client,
        scheme: if record.https { "https" } else { "http" },
        protocol: protocol(record.version),
        method: record.method.as_str(),
        host: &record.host,
        target: redact(&record.target),
        route: record.route.as_deref().map(Route::label),
        status: record.status.as_u16(),
        bytes: record.sent,
        ms: record.took.as_micros() as f64 / 1000.0,
        outcome: record.outcome,
        user_agent: record.user_agent.as_deref(),
        referer: record.referer.as_deref().map(redact),
    };
    // Strings and numbers only: serialising cannot fail.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

fn combined(record: &AccessRecord, at: SystemTime) -> String {
    let client = match record.client {
        Some(client) => client.to_string(),
        None => "-".into(),
    };
    format!(
        "{client} - - [{}] \"{} {} {}\" {} {} \"{}\" \"{}\"\n",
        ncsa_timestamp(at),
        record.method,
        quoted(&redact(&record.target)),
        protocol(record.version),
        record.status.as_u16(),
        record.sent,
        quoted(&record.referer.as_deref().map_or(Cow::Borrowed("-"), redact)),
        quoted(record.user_agent.as_deref().unwrap_or("-")),
    )
}

fn timestamp(at: SystemTime) -> String {
    OffsetDateTime::from(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// `10/Oct/2000:13:55:36 +0000`
fn ncsa_timestamp(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let at = OffsetDateTime::from(at);
    let month = MONTHS[usize::from(u8::from(at.month())) - 1];
    format!(
        "{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000",
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Text that cannot end a quoted field or a line.
fn quoted(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c == '"' || c == '\\' || c.is_control();
            escape
                .then(|| c.escape_default())
                .into_iter()
                .flatten()
                .chain((!escape).then_some(c))
        })
        .collect()
}

/// Masks the values of query parameters that carry secrets.
fn redact(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?') else {
        return Cow::Borrowed(target);
    };
    let is_secret = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // A key or session of the gateway's own, under whatever name.
        value.starts_with("ptn_") || value.starts_with("ptns_") || SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
            // An encoded name could be one of them; do not decode, do not show.
            || name.contains('%')
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(target);
    }
    let pairs: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(pair) => Cow::Owned(format!("{name}=***")),
            _ => Cow::Borrowed(pair),
        })
        .collect();
    Cow::Owned(format!("{path}?{}", pairs.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: &str) -> AccessRecord {
        AccessRecord {
            method: Method::GET,
            version: Version::HTTP_2,
            https: true,
            host: "a.example".into(),
            target: target.into(),
            client: "192.0.2.1".parse().ok(),
            user_agent: Some("x\"y\n".into()),
            referer: None,
            route: None,
            request_id: RequestId::new(),
            status: StatusCode::OK,
            sent: 5,
            took: Duration::from_micros(1500),
            outcome: "complete",
        }
    }

    #[test]
    fn secrets_in_queries_are_masked() {
        for (target, shown) in [
            ("/a?x=1", "/a?x=1"),
            ("/a?x=1&token=abc&y=2", "/a?x=1&token=***&y=2"),
            ("/a?mine=ptn_abc&x=1", "/a?mine=***&x=1"),
            ("/cb?CODE=abc&state=z", "/cb?CODE=***&state=***"),
            ("/a?tok%65n=abc", "/a?tok%65n=***"),
            ("/a?token", "/a?token"),
        ] {
            assert_eq!(redact(target), shown);
        }
    }

    #[test]
    fn lines_are_one_line_and_json_is_json() {
        let record = record("/p?password=hunter2");
        let line = json(&record, SystemTime::UNIX_EPOCH);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["status"], 200);
        assert_eq!(value["ms"], 1.5);
        assert_eq!(value["protocol"], "HTTP/2.0");
        let text = combined(&record, SystemTime::UNIX_EPOCH);
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\"x\\\"y\\n\""), "{text}");
        assert!(!line.contains("hunter2") && !text.contains("hunter2"));
    }

    #[test]
    fn a_writer_that_is_stuck_costs_lines_not_time() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let dropped = IntCounter::new("d", "d").unwrap();
        let log = AccessLog::start(config::AccessLog::Json, Stuck(stuck), dropped.clone()).unwrap();
        for _ in 0..QUEUE * 2 {
            log.write(record("/"));
        }
        assert!(dropped.get() > 0);
        drop(release);
    }
}
