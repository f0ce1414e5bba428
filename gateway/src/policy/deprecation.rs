//! `deprecated = { since = …, sunset = …, link = … }`: a route that will go.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use prometheus::IntCounter;

use crate::{
    config::{self, access::start_of},
    http::Failure,
};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What responses of the route say about its end, and when that is.
#[derive(Clone, Debug)]
pub struct Deprecation {
    notice: Arc<Notice>,
    sunset: Option<SystemTime>,
    requests: IntCounter,
}

/// The headers of every response.
#[derive(Debug)]
pub struct Notice(Vec<(HeaderName, HeaderValue)>);

impl Deprecation {
    /// `requests` counts them.
    pub fn new(config: &config::Deprecated, requests: IntCounter) -> Self {
        let since = start_of(config.since);
        let seconds = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let sunset = config.sunset.map(start_of);
        let mut headers = Vec::new();
        // A structured field of the type Date (RFC 9745 §2).
        let value = HeaderValue::try_from(format!("@{}", seconds.as_secs()));
        headers.extend(value.map(|value| (DEPRECATION, value)));
        if let Some(sunset) = sunset {
            let value = HeaderValue::try_from(httpdate::fmt_http_date(sunset));
            headers.extend(value.map(|value| (SUNSET, value)));
        }
        if let Some(link) = &config.link {
            let link = String::from_utf8_lossy(link.as_bytes());
            let value = HeaderValue::try_from(format!("<{link}>; rel=\"deprecation\""));
            headers.extend(value.map(|value| (header::LINK, value)));
        }
        Self {
            notice: Arc::new(Notice(headers)),
            sunset,
            requests,
        }
    }

    /// Counts a request, and refuses it from the sunset on.
    pub fn admit(&self, now: SystemTime) -> Result<(), Failure> {
        self.requests.inc();
        match self.sunset {
            Some(sunset) if now >= sunset => Err(Failure::Gone {
                notice: Arc::clone(&self.notice),
            }),
            _ => Ok(()),
        }
    }

    /// Puts the notice on a response. It stands beside links that are there.
    pub fn announce(&self, headers: &mut HeaderMap) {
        self.notice.write(headers);
    }
}

impl Notice {
    /// Puts the notice on a response.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            if *name == header::LINK {
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::{Date, Month};

    use super::*;

    #[test]
    fn the_route_is_announced_to_go_and_is_gone_from_its_day_on() {
        let day = |month| Date::from_calendar_date(2026, month, 1).unwrap();
        let config = config::Deprecated {
            since: day(Month::January),
            sunset: Some(day(Month::March)),
            link: Some(HeaderValue::from_static("https://example.com/v2")),
        };
        let requests = IntCounter::new("requests", "in a test").unwrap();
        let deprecation = Deprecation::new(&config, requests.clone());
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, HeaderValue::from_static("</>; rel=\"up\""));
        deprecation.announce(&mut headers);
        assert_eq!(headers[DEPRECATION], "@1767225600");
        assert_eq!(headers[SUNSET], "Sun, 01 Mar 2026 00:00:00 GMT");
        let links: Vec<_> = headers.get_all(header::LINK).iter().collect();
        assert_eq!(links[1], "<https://example.com/v2>; rel=\"deprecation\"");
        let sunset = start_of(day(Month::March));
        assert!(deprecation.admit(sunset - Duration::from_millis(1)).is_ok());
        let gone = deprecation.admit(sunset);
        assert!(matches!(gone, Err(Failure::Gone { .. })));
        assert_eq!(requests.get(), 2);
    }
}
