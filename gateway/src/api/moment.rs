//! Points in time as they are sent.

use std::{fmt, time::SystemTime};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A point in time in UTC, to the millisecond (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, examples("2026-04-15T12:00:00.000Z"))]
pub(super) struct Moment(pub(super) SystemTime);

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from(self.0);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond(),
        )
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_moment_reads_as_rfc_3339_says() {
        let text = |millis| Moment(UNIX_EPOCH + Duration::from_millis(millis)).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_776_254_401_500), "2026-04-15T12:00:01.500Z");
        assert_eq!(text(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    }
}
