//! Durations and sizes: numbers with their unit.

use std::time::Duration;

use time::{Date, Month};

use super::{super::Rate, context::Fault, text::Text};

/// Milliseconds in each unit of time, largest first.
pub(in super::super) const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Bytes in each unit of size, in the order a size is printed.
pub(in super::super) const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

/// Timers count from "now"; a year on top of any clock never overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// `"250ms"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`
pub(super) fn duration(text: &Text<'_>) -> Result<Duration, Fault> {
    let Some(millis) = with_unit(&text.value, &TIMES) else {
        return Err(Fault::hint(
            format!("`{text}` is not a duration"),
            "a whole number and `ms`, `s`, `m`, `h` or `d`: `250ms`, `30s`, `5m`, `1h`, `7d`",
        ));
    };
    Some(Duration::from_millis(millis))
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| Fault::hint(format!("`{text}` is too long"), "at most a year, `365d`"))
}

/// `"512B"`, `"64KB"` (64 000), `"1MiB"` (1 048 576)
pub(super) fn size(text: &Text<'_>) -> Result<u64, Fault> {
    with_unit(&text.value, &SIZES).ok_or_else(|| {
        Fault::hint(
            format!("`{text}` is not a size"),
            "a whole number and `B`, `KB`, `MB`, `GB` (thousands) or `KiB`, `MiB`, `GiB` (1024s): `50MB`, `1MiB`",
        )
    })
}

/// `"10/1m"`: requests, a slash, and a duration above zero; `"10/m"` is ten in one minute.
pub(super) fn rate(text: &Text<'_>) -> Result<Rate, Fault> {
    let parsed = text.value.split_once('/').and_then(|(requests, window)| {
        let digits = requests.bytes().all(|digit| digit.is_ascii_digit());
        let requests = requests.parse::<u64>().ok().filter(|_| digits)?;
        let one = || with_unit(&format!("1{window}"), &TIMES);
        let window = match window.starts_with(|digit: char| digit.is_ascii_digit()) {
            true => with_unit(window, &TIMES)?,
            false => one()?,
        };
        let window = Duration::from_millis(window);
        let sound = requests > 0 && !window.is_zero() && window <= LONGEST;
        sound.then_some(Rate { requests, window })
    });
    parsed.ok_or_else(|| {
        Fault::hint(
            format!("`{text}` is not a rate"),
            "requests, a slash and a window of time: `10/1m`, `100/1s`",
        )
    })
}

/// `"2026-01-31"`: a day of the calendar, as in RFC 3339.
pub(super) fn date(text: &Text<'_>) -> Result<Date, Fault> {
    let fault = || {
        Fault::hint(
            format!("`{text}` is not a date"),
            "year, month and day: `2026-01-31`",
        )
    };
    let digits = |part: &str, length| {
        let sound = part.len() == length && part.bytes().all(|digit| digit.is_ascii_digit());
        sound.then(|| part.parse::<u16>().ok()).flatten()
    };
    let parsed = || {
        let (year, rest) = text.value.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let month = u8::try_from(digits(month, 2)?).ok()?;
        let day = u8::try_from(digits(day, 2)?).ok()?;
        let month = Month::try_from(month).ok()?;
        // `SystemTime` and `Deprecation` count from 1970.
        let year = digits(year, 4).filter(|year| *year >= 1970)?;
        Date::from_calendar_date(year.into(), month, day).ok()
    };
    parsed().ok_or_else(fault)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (_, factor) = units.iter().find(|(unit, _)| *unit == &text[digits..])?;
    text[..digits].parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_with_units() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("30", None),
            ("s", None),
            ("", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("1S", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(with_unit(text, &TIMES), expected, "{text}");
        }
        for (text, expected) in [
            ("1B", Some(1)),
            ("64KB", Some(64_000)),
            ("64KiB", Some(65_536)),
            ("1GiB", Some(1 << 30)),
            ("1kb", None),
        ] {
            assert_eq!(with_unit(text, &SIZES), expected, "{text}");
        }
    }
}
