//! A configuration as text: every effective value, in a fixed order.
//!
//! The text is TOML that loads to the same configuration, except for header values marked
//! sensitive, which are printed as `***`.

mod access;
mod auth;

use std::{fmt::Display, fmt::Write, path::Path, time::Duration};

use http::{HeaderName, HeaderValue};
use relay::tunnel::edge::OnConflict;

use super::{
    AccessLog, Certificates, Config, Files, Handler, HeaderOps, HostHeader, Limits, Listen,
    Matcher, Proxy, Rewrite, Route, Site, Tls, Tunnels,
    read::units::{SIZES, TIMES},
};

impl Config {
    /// Deterministic, readable, with secrets masked; for people and for tests.
    pub fn normal_form(&self) -> String {
        let mut out = Out(String::new());
        if let Some(domain) = &self.domain {
            out.text("domain", domain);
        }
        out.line("dev", self.dev);
        out.text("data_dir", path(&self.data_dir));
        out.state(&self.auth);
        out.listen(&self.listen);
        out.tls(&self.tls);
        if self.auth.used {
            out.auth(&self.auth);
        }
        if let Some(tunnels) = &self.tunnels {
            out.tunnels(tunnels);
        }
        out.section("log");
        out.text("level", &self.log.level);
        out.text(
            "access",
            match self.log.access {
                AccessLog::Json => "json",
                AccessLog::Combined => "combined",
                AccessLog::Off => "off",
            },
        );
        for site in &self.sites {
            out.site(site);
        }
        out.0
    }
}

struct Out(String);

impl Out {
    fn section(&mut self, name: &str) {
        let _ = write!(self.0, "\n[{name}]\n");
    }

    fn line(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: impl AsRef<str>) {
        self.line(key, quoted(value.as_ref()));
    }

    fn texts<T: Display>(&mut self, key: &str, values: &[T]) {
        self.line(key, list(values));
    }

    fn tunnels(&mut self, tunnels: &Tunnels) {
        self.section("tunnels");
        self.text("domain", &tunnels.domain);
        match tunnels.max_request {
            Some(bytes) => self.size("max_request", bytes),
            None => self.text("max_request", "unlimited"),
        }
        self.duration("wait", tunnels.wait);
        self.text(
            "on_conflict",
            match tunnels.on_conflict {
                OnConflict::Replace => "replace",
                OnConflict::Pool => "pool",
                OnConflict::Refuse => "refuse",
            },
        );
        self.line("carriers", tunnels.carriers);
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.text(key, duration(value));
    }

    fn size(&mut self, key: &str, bytes: u64) {
        let unit = SIZES.iter().find(|(_, size)| bytes.is_multiple_of(*size));
        let (unit, size) = if bytes == 0 {
            ("B", 1)
        } else {
            *unit.unwrap_or(&("B", 1))
        };
        self.text(key, format!("{}{unit}", bytes / size));
    }

    fn listen(&mut self, listen: &Listen) {
        self.section("listen");
        self.texts("http", &listen.http);
        self.texts("https", &listen.https);
        match &listen.admin {
            Some(address) => self.text("admin", address.to_string()),
            None => self.text("admin", "off"),
        }
        self.texts("trusted_proxies", &listen.trusted_proxies);
        if let Some(port) = listen.redirect_port {
            self.line("redirect_port", port);
        }
        // Every field by name, so that a new one cannot be forgotten here.
        let Limits {
            connections,
            connections_per_ip,
            head_timeout,
            idle_timeout,
            write_timeout,
            body_timeout,
            head_size,
            streams,
            drain_timeout,
        } = &listen.limits;
        self.section("listen.limits");
        self.line("connections", connections);
        self.line("connections_per_ip", connections_per_ip);
        self.duration("head_timeout", *head_timeout);
        self.duration("idle_timeout", *idle_timeout);
        self.duration("write_timeout", *write_timeout);
        self.duration("body_timeout", *body_timeout);
        self.size("head_size", *head_size as u64);
        self.line("streams", streams);
        self.duration("drain_timeout", *drain_timeout);
    }

    fn tls(&mut self, tls: &Tls) {
        self.section("tls");
        self.text(
            "certificates",
            match tls.certificates {
                Certificates::Internal => "internal",
                Certificates::Files => "files",
            },
        );
        for pair in &tls.files {
            self.0.push_str("\n[[tls.files]]\n");
            self.text("cert", path(&pair.cert));
            self.text("key", path(&pair.key));
        }
    }

    fn site(&mut self, site: &Site) {
        self.0.push_str("\n[[site]]\n");
        self.texts("hosts", &site.hosts);
        self.text("name", &site.name);
        self.text(
            "http",
            if site.serve_plain {
                "serve"
            } else {
                "redirect"
            },
        );
        for route in &site.routes {
            self.route(route);
        }
    }

    fn route(&mut self, route: &Route) {
        self.0.push_str("\n[[site.route]]\n");
        self.text("name", &route.name);
        self.matcher(&route.matcher);
        match &route.rewrite {
            Some(Rewrite::StripPrefix(prefix)) => self.text("strip_prefix", prefix),
            Some(Rewrite::Replace(path)) => self.text("rewrite", path),
            None => {}
        }
        self.operations("request_headers", &route.request_headers);
        self.operations("response_headers", &route.response_headers);
        if let Some(rate) = route.limits.rate {
            let window = rate.window.as_millis();
            self.line(
                "limits",
                format_args!("{{ rate = \"{}/{window}ms\" }}", rate.requests),
            );
        }
        if let Some(access) = &route.access {
            self.line("access", access::table(access));
        }
        if let Some(deprecated) = &route.deprecated {
            self.line("deprecated", access::deprecated(deprecated));
        }
        match &route.handler {
            Handler::Proxy(proxy) => self.proxy(proxy),
            Handler::Files(files) => self.files(files),
            Handler::Redirect(redirect) => {
                let (to, status) = (quoted(&redirect.to), redirect.status.as_u16());
                self.line(
                    "redirect",
                    format_args!("{{ to = {to}, status = {status} }}"),
                );
            }
            // The site of `[tunnels]`, which is printed as that.
            Handler::Tunnels(_) => {}
            Handler::Respond(respond) => {
                let (status, body) = (respond.status.as_u16(), quoted(&respond.body));
                let content_type = header(&respond.content_type);
                self.line(
                    "respond",
                    format_args!(
                        "{{ status = {status}, body = {body}, content_type = {content_type} }}"
                    ),
                );
            }
        }
    }

    fn matcher(&mut self, matcher: &Matcher) {
        if !matcher.paths.is_empty() {
            self.texts("path", &matcher.paths);
        }
        if !matcher.methods.is_empty() {
            self.texts("methods", &matcher.methods);
        }
        let headers = matcher.headers.iter().map(|condition| {
            (
                condition.name.as_str(),
                condition.value.as_ref().map_or("true".into(), header),
            )
        });
        self.inline("headers", &headers.collect::<Vec<_>>());
        let query = matcher.query.iter().map(|condition| {
            (
                condition.name.as_str(),
                condition
                    .value
                    .as_ref()
                    .map_or("true".into(), |value| quoted(value)),
            )
        });
        self.inline("query", &query.collect::<Vec<_>>());
        if !matcher.client_ip.is_empty() {
            self.texts("client_ip", &matcher.client_ip);
        }
    }

    fn inline(&mut self, key: &str, pairs: &[(&str, String)]) {
        if !pairs.is_empty() {
            self.line(key, inline(pairs));
        }
    }

    fn operations(&mut self, key: &str, operations: &HeaderOps) {
        let mut parts = Vec::new();
        if !operations.remove.is_empty() {
            let names: Vec<_> = operations
                .remove
                .iter()
                .map(|name| quoted(name.as_str()))
                .collect();
            parts.push(("remove", format!("[{}]", names.join(", "))));
        }
        for (name, pairs) in [("set", &operations.set), ("add", &operations.add)] {
            if !pairs.is_empty() {
                let pair =
                    |(name, value): &(HeaderName, HeaderValue)| (name.to_string(), header(value));
                let pairs: Vec<_> = pairs.iter().map(pair).collect();
                parts.push((name, inline(&pairs)));
            }
        }
        self.inline(key, &parts);
    }

    fn proxy(&mut self, proxy: &Proxy) {
        self.texts("proxy", &proxy.upstreams);
        match &proxy.host {
            HostHeader::Keep => self.0.push_str("# host is the client's\n"),
            HostHeader::Upstream => self.text("host", "upstream"),
            HostHeader::Set(value) => self.line("host", header(value)),
        }
        self.duration("connect_timeout", proxy.connect_timeout);
        self.duration("response_timeout", proxy.response_timeout);
        self.duration("idle_timeout", proxy.idle_timeout);
        self.duration("websocket_idle_timeout", proxy.websocket_idle_timeout);
        match proxy.max_body {
            Some(bytes) => self.size("max_body", bytes),
            None => self.text("max_body", "unlimited"),
        }
    }

    fn files(&mut self, files: &Files) {
        self.text("files", path(&files.root));
        self.texts("index", &files.index);
        if let Some(fallback) = &files.fallback {
            self.text("fallback", fallback);
        }
        self.line("precompressed", files.precompressed);
        self.line("dotfiles", files.dotfiles);
    }
}

/// In the largest unit that leaves no fraction.
fn duration(value: Duration) -> String {
    let millis = value.as_millis();
    if millis == 0 {
        return "0s".into();
    }
    let unit = TIMES
        .iter()
        .find(|(_, size)| millis.is_multiple_of(u128::from(*size)));
    let (unit, size) = unit.unwrap_or(&("ms", 1));
    format!("{}{unit}", millis / u128::from(*size))
}

fn list<T: Display>(values: &[T]) -> String {
    let quoted: Vec<_> = values
        .iter()
        .map(|value| quoted(&value.to_string()))
        .collect();
    format!("[{}]", quoted.join(", "))
}

fn inline<K: AsRef<str>>(pairs: &[(K, String)]) -> String {
    if pairs.is_empty() {
        return "{}".into();
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{} = {value}", name(key.as_ref())))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A key, in quotes where TOML needs them.
fn name(key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare {
        key.to_owned()
    } else {
        basic_string(key)
    }
}

fn header(value: &HeaderValue) -> String {
    if value.is_sensitive() {
        return quoted("***");
    }
    quoted(&String::from_utf8_lossy(value.as_bytes()))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A value that the loader reads back as `text`.
fn quoted(text: &str) -> String {
    basic_string(&text.replace("${", "$${"))
}

fn basic_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
