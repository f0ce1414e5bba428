//! Time as rows have it.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

const LAST: &str = "9999-12-31T23:59:59.999Z";

/// `time` in UTC, to the millisecond, as in `2026-04-15T12:00:01.500Z`. Such texts order as the
/// moments do. Before 1970 is 1970, after 9999 is the last moment of it.
pub(super) fn text(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = i128::try_from(since.as_nanos())
        .ok()
        .and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok());
    let Some(moment) = moment else {
        return LAST.to_owned();
    };
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second, milli) = moment.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_written_to_the_millisecond() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_776_254_401_500, "2026-04-15T12:00:01.500Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (253_402_300_799_999, LAST),
            (253_402_300_800_000, LAST),
            (u64::MAX / 2, LAST),
        ];
        for (millis, expected) in cases {
            assert_eq!(text(UNIX_EPOCH + Duration::from_millis(millis)), expected);
        }
        assert_eq!(
            text(UNIX_EPOCH - Duration::from_secs(5)),
            "1970-01-01T00:00:00.000Z"
        );
    }
}
