//! Validators and the conditions clients put on them (RFC 9110 §8.8, §13).
//!
//! In: a file's metadata and the request's `If-*` fields. Out: the `ETag` and `Last-Modified` of
//! the answer, and whether to send it, to say 304 or to say 412.
//!
//! The tag is strong: modification time in nanoseconds, size and inode. A file replaced by rename
//! always gets a new one. Two writes into the same file that keep its size, within one tick of the
//! kernel's clock (1 to 10 ms), would not; deployments rename. Copies of
//! a file on several machines have different tags, and the same `Last-Modified` if it was copied.

use http::{
    HeaderMap, HeaderValue,
    header::{
        AsHeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    },
};
use httpdate::{HttpDate, parse_http_date};

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::open::OpenFile;

/// The last second `HttpDate` can write: 9999-12-31T23:59:59Z.
const LAST_DATE: u64 = 253_402_300_799;

/// `"`, three 64-bit numbers in hex, two dashes, `"`.
const TAG_LEN: usize = 2 + 3 * 16 + 2;

/// What identifies one state of one file.
#[derive(Clone, Debug)]
pub(super) struct Validators {
    tag: [u8; TAG_LEN],
    tag_len: usize,
    /// Seconds since 1970, not in the future.
    modified: u64,
    /// Seconds since 1970, when the request was answered.
    now: u64,
}

/// What the conditions of a request ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    /// 304
    NotModified,
    /// 412
    Failed,
}

impl Validators {
    pub(super) fn new(file: &OpenFile, now: SystemTime) -> Self {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            .min(LAST_DATE);
        let mut tag = [0; TAG_LEN];
        let nanoseconds = file
            .mtime
            .wrapping_mul(1_000_000_000)
            .wrapping_add(file.mtime_nsec.into());
        let mut tag_len = 0;
        let parts = [nanoseconds.cast_unsigned(), file.len, file.inode];
        for (mark, number) in [b'"', b'-', b'-'].into_iter().zip(parts) {
            tag[tag_len] = mark;
            tag_len = write_hex(&mut tag, tag_len + 1, number);
        }
        tag[tag_len] = b'"';
        tag_len += 1;
        // §8.8.2.1: a date in the future is replaced by the current one.
        let modified = u64::try_from(file.mtime).unwrap_or(0).min(now);
        Self {
            tag,
            tag_len,
            modified,
            now,
        }
    }

    pub(super) fn etag(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.tag())
            .expect("hex digits, dashes and quotes are visible ASCII")
    }

    pub(super) fn last_modified(&self) -> HeaderValue {
        let mut text = [0; 29];
        let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(self.modified));
        write!(&mut text[..], "{date}").expect("an IMF-fixdate is 29 bytes");
        HeaderValue::from_bytes(&text).expect("an IMF-fixdate is visible ASCII")
    }

    /// The conditions of a GET or HEAD request, in the order of §13.2.2.
    pub(super) fn evaluate(&self, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(IF_MATCH) {
            if !self.listed(headers, IF_MATCH, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if date(headers, IF_UNMODIFIED_SINCE).is_some_and(|limit| self.modified > limit) {
            return Verdict::Failed;
        }
        if headers.contains_key(IF_NONE_MATCH) {
            if self.listed(headers, IF_NONE_MATCH, Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if date(headers, IF_MODIFIED_SINCE).is_some_and(|known| self.modified <= known) {
            return Verdict::NotModified;
        }
        Verdict::Send
    }

    /// `If-Range` (§13.1.5): does the client's part belong to this state of the file?
    pub(super) fn range_applies(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(IF_RANGE) else {
            return true;
        };
        if condition.as_bytes() == self.tag() {
            return true;
        }
        // §8.8.2.2: a date is strong only once its second has passed.
        date(headers, IF_RANGE).is_some_and(|known| known == self.modified && known < self.now)
    }

    fn tag(&self) -> &[u8] {
        &self.tag[..self.tag_len]
    }

    fn listed(&self, headers: &HeaderMap, name: impl AsHeaderName, how: Comparison) -> bool {
        headers.get_all(name).iter().any(|field| {
            let mut list = Tags(field.as_bytes());
            field.as_bytes().trim_ascii() == b"*" || list.any(|tag| how.equal(tag, self.tag()))
        })
    }
}

/// §8.8.3.2
#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

impl Comparison {
    /// `ours` is strong.
    fn equal(self, theirs: Tag<'_>, ours: &[u8]) -> bool {
        theirs.quoted == ours && (!theirs.weak || matches!(self, Self::Weak))
    }
}

#[derive(Clone, Copy)]
struct Tag<'a> {
    weak: bool,
    /// With its quotes.
    quoted: &'a [u8],
}

/// The tags of a field, up to the first thing that is none. Commas may stand inside the quotes.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let text = self.0;
        let start = text
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let (weak, text) = match &text[start..] {
            [b'W', b'/', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let inner = text.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')? + 2;
        self.0 = &text[end..];
        Some(Tag {
            weak,
            quoted: &text[..end],
        })
    }
}

/// Writes `number` at `at` and returns where it ends.
fn write_hex(text: &mut [u8], at: usize, number: u64) -> usize {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1) as usize;
    for (place, byte) in text[at..at + digits].iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[(number >> (4 * place)) as usize & 0xf];
    }
    at + digits
}

/// Seconds since 1970. A date that does not parse is as good as absent (§13.1.3, §13.1.4).
fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<u64> {
    let date = parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    date.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn validators(mtime: i64, mtime_nsec: u32, len: u64, inode: u64) -> Validators {
        let fd = File::open("/").unwrap().into();
        let file = OpenFile {
            fd,
            len,
            mtime,
            mtime_nsec,
            inode,
        };
        Validators::new(&file, UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn at(seconds: u64) -> String {
        HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    #[test]
    fn the_tag_holds_every_part_in_hex() {
        assert_eq!(validators(1, 2, 0, 0xabc).etag(), "\"3b9aca02-0-abc\"");
        let longest = validators(-1, 0, u64::MAX, u64::MAX).etag();
        let nanoseconds = -1_000_000_000_i64;
        assert_eq!(
            longest,
            format!("\"{nanoseconds:x}-{f}-{f}\"", f = "f".repeat(16))
        );
    }

    #[test]
    fn the_tag_changes_with_any_part() {
        let base = validators(10, 20, 30, 40).etag();
        assert_ne!(validators(11, 20, 30, 40).etag(), base);
        assert_ne!(validators(10, 21, 30, 40).etag(), base);
        assert_ne!(validators(10, 20, 31, 40).etag(), base);
        assert_ne!(validators(10, 20, 30, 41).etag(), base);
    }

    #[test]
    fn dates_outside_the_calendar_are_bounded() {
        let date = |mtime| validators(mtime, 9, 1, 1).last_modified();
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(-5), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(i64::MIN), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(i64::MAX), at(NOW).as_str());
    }

    #[test]
    fn conditions_follow_the_order_of_the_rfc() {
        use Verdict::{Failed, NotModified, Send};
        let modified = NOW - 100;
        let validators = validators(1_700_000_000 - 100, 0, 1, 1);
        let tag = validators.etag().to_str().unwrap().to_owned();
        let weak = format!("W/{tag}");
        let several = format!("\"a,b\", W/\"c\" ,, {tag}, \"d\"");
        let (before, same, after) = (at(modified - 1), at(modified), at(modified + 1));
        for (fields, expected) in [
            (vec![], Send),
            (vec![("if-match", "*")], Send),
            (vec![("if-match", &*tag)], Send),
            (vec![("if-match", &*several)], Send),
            (vec![("if-match", "\"x\""), ("if-match", &*tag)], Send),
            (vec![("if-match", &*weak)], Failed),
            (vec![("if-match", "\"x\"")], Failed),
            (vec![("if-match", "")], Failed),
            (
                vec![("if-match", &*tag), ("if-unmodified-since", &*before)],
                Send,
            ),
            (vec![("if-unmodified-since", &*before)], Failed),
            (vec![("if-unmodified-since", &*same)], Send),
            (vec![("if-unmodified-since", "yesterday")], Send),
            (vec![("if-none-match", "*")], NotModified),
            (vec![("if-none-match", &*tag)], NotModified),
            (vec![("if-none-match", &*weak)], NotModified),
            (vec![("if-none-match", &*several)], NotModified),
            (vec![("if-none-match", "\"x\"")], Send),
            (
                vec![("if-none-match", "\"x\""), ("if-modified-since", &*same)],
                Send,
            ),
            (
                vec![("if-none-match", &*tag), ("if-modified-since", &*before)],
                NotModified,
            ),
            (vec![("if-modified-since", &*before)], Send),
            (vec![("if-modified-since", &*same)], NotModified),
            (vec![("if-modified-since", &*after)], NotModified),
            (vec![("if-modified-since", "yesterday")], Send),
            (
                vec![("if-match", "\"x\""), ("if-none-match", &*tag)],
                Failed,
            ),
            (
                vec![("if-match", &*tag), ("if-none-match", &*tag)],
                NotModified,
            ),
        ] {
            assert_eq!(
                validators.evaluate(&headers(&fields)),
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_range_applies_only_to_the_same_state() {
        let modified = NOW - 100;
        let old = validators(1_700_000_000 - 100, 0, 1, 1);
        let tag = old.etag().to_str().unwrap().to_owned();
        for (value, expected) in [
            (tag.clone(), true),
            (format!("W/{tag}"), false),
            (format!("{tag}, {tag}"), false),
            ("*".to_owned(), false),
            ("\"x\"".to_owned(), false),
            (at(modified), true),
            (at(modified + 1), false),
            (at(modified - 1), false),
            ("yesterday".to_owned(), false),
        ] {
            assert_eq!(
                old.range_applies(&headers(&[("if-range", &value)])),
                expected,
                "{value}"
            );
        }
        assert!(old.range_applies(&headers(&[])));
        let fresh = validators(1_700_000_000, 0, 1, 1);
        assert!(!fresh.range_applies(&headers(&[("if-range", &at(NOW))])));
    }

    #[test]
    fn garbage_never_matches_by_accident() {
        let validators = validators(1, 2, 3, 4);
        let tag = validators.etag();
        let pieces: [&[u8]; 11] = [
            b"\"",
            b"W/",
            b",",
            b" ",
            b"*",
            b"x",
            b"3b9aca02-3-",
            b"4",
            b"\xff",
            b"w/",
            b"\t",
        ];
        let mut random = fastrand::Rng::with_seed(13);
        for _ in 0..20_000 {
            let mut field = Vec::new();
            for _ in 0..random.usize(0..9) {
                field.extend_from_slice(pieces[random.usize(0..pieces.len())]);
            }
            let text = field.escape_ascii().to_string();
            let possible = field.trim_ascii() == b"*"
                || field.windows(tag.len()).any(|part| part == tag.as_bytes());
            let with = |name: http::HeaderName| {
                let mut headers = HeaderMap::new();
                headers.insert(name, HeaderValue::from_bytes(&field).unwrap());
                headers
            };
            if !possible {
                assert_eq!(
                    validators.evaluate(&with(IF_NONE_MATCH)),
                    Verdict::Send,
                    "{text}"
                );
                assert_eq!(
                    validators.evaluate(&with(IF_MATCH)),
                    Verdict::Failed,
                    "{text}"
                );
            }
            assert_eq!(
                validators.range_applies(&with(IF_RANGE)),
                field == tag.as_bytes(),
                "{text}"
            );
            assert_eq!(
                validators.evaluate(&with(IF_MODIFIED_SINCE)),
                Verdict::Send,
                "{text}"
            );
            assert_eq!(
                validators.evaluate(&with(IF_UNMODIFIED_SINCE)),
                Verdict::Send,
                "{text}"
            );
        }
    }
}
