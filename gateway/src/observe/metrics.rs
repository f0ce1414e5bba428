//! Every metric of the front door, in one registry per gateway.

use std::time::Duration;

use http::StatusCode;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

/// From a cached file to a slow report.
const DURATION_BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counters and gauges. Label values come from the configuration and from fixed lists, never from
/// requests, so that their number is known.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    bytes: IntCounterVec,
    /// Requests that no route took.
    pub unrouted: RouteMetrics,
    /// Requests for the gateway's own domain.
    pub own: RouteMetrics,
    pub in_flight: IntGauge,
    pub connections: IntGauge,
    pub websockets: IntGauge,
    /// 1 while the store answers.
    pub store_up: IntGauge,
    pub refused: IntCounterVec,
    pub expired: IntCounterVec,
    pub handshake_failures: IntCounterVec,
    pub failures: IntCounterVec,
    pub reloads: IntCounterVec,
    deprecated: IntCounterVec,
    pub panics: IntCounter,
    pub log_lines_dropped: IntCounter,
    /// Callers let in for the `user_id` of their body.
    pub legacy_auth_hits: IntCounter,
}

/// The counters of one route, looked up once when the route is built.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    by_class: [IntCounter; 5],
    duration: Histogram,
    bytes: IntCounter,
}

impl RouteMetrics {
    /// Counts a request that has ended.
    pub fn observe(&self, status: StatusCode, took: Duration, sent: u64) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.by_class[class].inc();
        self.duration.observe(took.as_secs_f64());
        self.bytes.inc_by(sent);
    }
}

impl Metrics {
    /// Makes and registers everything. Fails only if two metrics share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let requests = counters(
            "portunus_requests_total",
            "Requests answered, by route and class of status.",
            &["site", "route", "class"],
        )?;
        let bytes = counters(
            "portunus_response_bytes_total",
            "Bytes of response bodies handed to clients.",
            &["site", "route"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "portunus_request_duration_seconds",
                "From the request head to the last byte of the response.",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
            &["site", "route"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        let version = gauge("portunus_info", "Always 1; the process is up.")?;
        version.set(1);
        let metrics = Self {
            unrouted: route_metrics(&requests, &durations, &bytes, "", ""),
            own: route_metrics(&requests, &durations, &bytes, "portunus", "api"),
            in_flight: gauge(
                "portunus_requests_in_flight",
                "Requests being answered now.",
            )?,
            connections: gauge("portunus_connections", "Client connections open now.")?,
            websockets: gauge("portunus_websockets", "WebSockets open now.")?,
            store_up: gauge("portunus_store_up", "1 while the store answers.")?,
            refused: counters(
                "portunus_connections_refused_total",
                "Connections closed at once because a cap was reached.",
                &["reason"],
            )?,
            expired: counters(
                "portunus_connections_expired_total",
                "Connections ended by a deadline.",
                &["deadline"],
            )?,
            handshake_failures: counters(
                "portunus_tls_handshake_failures_total",
                "TLS handshakes that did not complete.",
                &["reason"],
            )?,
            failures: counters(
                "portunus_request_failures_total",
                "Requests the gateway answered itself because they failed.",
                &["reason"],
            )?,
            reloads: counters(
                "portunus_reloads_total",
                "Configuration reloads.",
                &["result"],
            )?,
            deprecated: counters(
                "portunus_deprecated_requests_total",
                "Requests for routes that are deprecated.",
                &["site", "route"],
            )?,
            panics: counter(
                "portunus_panics_total",
                "Connections ended by a bug in the gateway.",
            )?,
            log_lines_dropped: counter(
                "portunus_access_log_dropped_total",
                "Access log lines dropped because the reader of standard output is too slow.",
            )?,
            legacy_auth_hits: counter(
                "portunus_legacy_auth_hits_total",
                "Callers without a key that were let in for the user_id of their body.",
            )?,
            requests,
            durations,
            bytes,
            registry,
        };
        metrics.show_zeros();
        Ok(metrics)
    }

    /// The counters of a route.
    pub fn route(&self, site: &str, route: &str) -> RouteMetrics {
        route_metrics(&self.requests, &self.durations, &self.bytes, site, route)
    }

    /// The requests for a route that is deprecated.
    pub fn deprecated(&self, site: &str, route: &str) -> IntCounter {
        self.deprecated.with_label_values(&[site, route])
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Alerts on a rate need the series to exist before the first event.
    fn show_zeros(&self) {
        for (counters, values) in [
            (&self.refused, &["total", "per_ip"][..]),
            (&self.expired, &["head", "idle", "write"]),
            (
                &self.handshake_failures,
                &["unknown_name", "failed", "timeout"],
            ),
            (&self.reloads, &["ok", "failed"]),
        ] {
            for value in values {
                counters.with_label_values(&[value]);
            }
        }
    }
}

fn route_metrics(
    requests: &IntCounterVec,
    durations: &HistogramVec,
    bytes: &IntCounterVec,
    site: &str,
    route: &str,
) -> RouteMetrics {
    RouteMetrics {
        by_class: CLASSES.map(|class| requests.with_label_values(&[site, route, class])),
        duration: durations.with_label_values(&[site, route]),
        bytes: bytes.with_label_values(&[site, route]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_class_and_shows_zeros() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("a.example", "/api/*");
        route.observe(StatusCode::NOT_FOUND, Duration::from_millis(3), 12);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "portunus_requests_total{class=\"4xx\",route=\"/api/*\",site=\"a.example\"} 1",
            "portunus_requests_total{class=\"5xx\",route=\"/api/*\",site=\"a.example\"} 0",
            "portunus_response_bytes_total{route=\"/api/*\",site=\"a.example\"} 12",
            "portunus_reloads_total{result=\"failed\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
