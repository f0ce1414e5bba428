//! Validators and the conditions clients put on them (RFC 9110 §8.8, §13).
//!
//! In: a file's metadata and the request's `If-*` fields. Out: the `ETag` and `Last-Modified` of
//! the answer, and whether to send it, to say 304 or to say 412.
//!
//! The tag is strong: modification time in nanoseconds, size and inode. A file replaced by rename
//! always gets a new one. Two writes into the same file that keep its size, within one tick of the
//! kernel's clock (1 to 10 ms), would not; deployments rename.

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
        let mut rest = &mut tag[..];
        write!(rest, "\"{nanoseconds:x}-{:x}-{:x}\"", file.len, file.inode)
            .expect("TAG_LEN has room for the largest numbers");
        let tag_len = TAG_LEN - rest.len();
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

/// Seconds since 1970. A date that does not parse is as good as absent (§13.1.3, §13.1.4).
fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<u64> {
    let date = parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    date.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}
