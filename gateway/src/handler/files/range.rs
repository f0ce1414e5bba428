//! Byte ranges (RFC 9110 §14).
//!
//! In: the `Range` field and the length of the file. Out: which part to send. One range is
//! honoured. Several at once are answered with the whole file, as §14.2 allows: few clients ask
//! for them, and many small ranges of one file are a known way to make a server work for nothing.

use http::{HeaderMap, header::RANGE};

/// What a `Range` field comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// No field, or one that is to be ignored.
    Whole,
    /// `length` bytes from `offset`, inside the file, never empty.
    Part { offset: u64, length: u64 },
    /// Nothing of it lies inside the file: 416.
    Unsatisfiable,
}

/// Applies the field to a file of `len` bytes. What does not parse is ignored (§14.2).
pub(super) fn select(headers: &HeaderMap, len: u64) -> Selection {
    let mut fields = headers.get_all(RANGE).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => parse(field.as_bytes(), len).unwrap_or(Selection::Whole),
        _ => Selection::Whole,
    }
}

fn parse(field: &[u8], len: u64) -> Option<Selection> {
    let equals = field.iter().position(|byte| *byte == b'=')?;
    let (unit, set) = (&field[..equals], &field[equals + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut ranges = set
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|range| !range.is_empty());
    let range = ranges.next()?;
    if ranges.next().is_some() {
        return None;
    }
    let dash = range.iter().position(|byte| *byte == b'-')?;
    match (&range[..dash], &range[dash + 1..]) {
        (b"", suffix) => Some(last(number(suffix)?, len)),
        (first, b"") => Some(between(number(first)?, u64::MAX, len)),
        (first, end) => {
            let (first, end) = (number(first)?, number(end)?);
            (first <= end).then(|| between(first, end, len))
        }
    }
}

fn between(first: u64, end: u64, len: u64) -> Selection {
    if first >= len {
        return Selection::Unsatisfiable;
    }
    Selection::Part {
        offset: first,
        length: end.min(len - 1) - first + 1,
    }
}

fn last(suffix: u64, len: u64) -> Selection {
    match (suffix, len) {
        (0, _) => Selection::Unsatisfiable,
        // Satisfiable, but there is no way to write the Content-Range of nothing.
        (_, 0) => Selection::Whole,
        _ => {
            let length = suffix.min(len);
            Selection::Part {
                offset: len - length,
                length,
            }
        }
    }
}

/// Digits only. A number past 64 bits is as good as the largest: no file is that long.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        digit.is_ascii_digit().then(|| {
            value
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{Selection::*, *};

    fn selected(field: &str, len: u64) -> Selection {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        select(&headers, len)
    }

    fn part(offset: u64, length: u64) -> Selection {
        Part { offset, length }
    }

    #[test]
    fn one_range_is_honoured() {
        assert_eq!(selected("bytes=0-0", 10), part(0, 1));
        assert_eq!(selected("bytes=2-5", 10), part(2, 4));
        assert_eq!(selected("bytes=2-", 10), part(2, 8));
        assert_eq!(selected("bytes=2-99", 10), part(2, 8));
        assert_eq!(selected("BYTES= 9-9 ,", 10), part(9, 1));
        assert_eq!(
            selected("bytes=1-99999999999999999999999999", 10),
            part(1, 9)
        );
    }

    #[test]
    fn a_suffix_counts_from_the_end() {
        assert_eq!(selected("bytes=-3", 10), part(7, 3));
        assert_eq!(selected("bytes=-10", 10), part(0, 10));
        assert_eq!(selected("bytes=-99999999999999999999999", 10), part(0, 10));
        assert_eq!(selected("bytes=-3", 0), Whole);
    }

    #[test]
    fn nothing_inside_is_unsatisfiable() {
        for (field, len) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=99999999999999999999999-", u64::MAX),
        ] {
            assert_eq!(selected(field, len), Unsatisfiable, "{field} of {len}");
        }
    }

    #[test]
    fn what_is_malformed_or_several_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=5-2",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=0x1-2",
            "items=0-1",
            "bytes =0-1",
            "bytes=0-1,3-4",
            "bytes=0-1, 99-",
            "0-1",
        ] {
            assert_eq!(selected(field, 10), Whole, "{field:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(select(&headers, 10), Whole);
    }

    #[test]
    fn a_part_always_lies_inside_the_file() {
        let pieces: [&[u8]; 12] = [
            b"-",
            b"-",
            b"-",
            b"0",
            b"1",
            b"9",
            b"18446744073709551615",
            b",",
            b" ",
            b"=",
            b"x",
            b"\xff",
        ];
        let lengths = [0, 1, 2, 10, 1 << 40, u64::MAX];
        let mut random = fastrand::Rng::with_seed(5);
        let mut parts = 0;
        for _ in 0..50_000 {
            let mut field = b"bytes=".to_vec();
            for _ in 0..random.usize(0..5) {
                field.extend_from_slice(pieces[random.usize(0..pieces.len())]);
            }
            let len = lengths[random.usize(0..lengths.len())];
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_bytes(&field).unwrap());
            if let Part { offset, length } = select(&headers, len) {
                parts += 1;
                assert!(
                    length > 0 && offset < len && length <= len - offset,
                    "{}",
                    field.escape_ascii()
                );
            }
        }
        assert!(parts > 1000);
    }
}
