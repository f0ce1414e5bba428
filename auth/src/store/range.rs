//! What a range asks for, and the page that answers it.

use bytes::Bytes;

use super::{Revision, StoreError, batch};

/// The most entries of a page; a greater limit is cut to it.
pub const MAX_PAGE_ENTRIES: usize = 1000;
/// A page ends early once its keys and values together reach this, in bytes, so that a thousand
/// large values are never in memory at once.
pub const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Which keys, and how many of them.
#[derive(Clone, Debug)]
pub struct Range {
    start: Bytes,
    /// The first key that is not in the range; `None` is open.
    end: Option<Bytes>,
    /// Only keys greater than this one.
    after: Option<Bytes>,
    limit: usize,
}

impl Range {
    /// Every key.
    pub fn all() -> Self {
        Self::prefix(Bytes::new())
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        Self {
            end: after_prefix(&start),
            start,
            after: None,
            limit: MAX_PAGE_ENTRIES,
        }
    }

    /// The keys from `start` to before `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self {
            start: start.into(),
            end: Some(end.into()),
            after: None,
            limit: MAX_PAGE_ENTRIES,
        }
    }

    /// At most so many entries, from 1 to [`MAX_PAGE_ENTRIES`] (the default).
    #[must_use]
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = entries.clamp(1, MAX_PAGE_ENTRIES);
        self
    }

    /// Goes on after `key`: [`Page::next`] of the page before.
    #[must_use]
    pub fn after(mut self, key: impl Into<Bytes>) -> Self {
        self.after = Some(key.into());
        self
    }

    pub(super) fn check_limits(&self) -> Result<(), StoreError> {
        [Some(&self.start), self.end.as_ref(), self.after.as_ref()]
            .into_iter()
            .flatten()
            .try_for_each(|key| batch::check_key(key))
    }

    /// The smallest key that can be on the page.
    pub(super) fn first(&self) -> &[u8] {
        match &self.after {
            Some(after) if *after > self.start => after,
            _ => &self.start,
        }
    }

    /// The same, but a key that is on the page if it exists, so that none has to be skipped.
    pub(super) fn lower(&self) -> Vec<u8> {
        match &self.after {
            // No key lies between one and the same with a zero byte behind it.
            Some(after) if *after >= self.start => [&**after, &[0]].concat(),
            _ => self.start.to_vec(),
        }
    }

    /// The first key that cannot be on the page.
    pub(super) fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    /// The most entries of the page.
    pub(super) fn most(&self) -> usize {
        self.limit
    }

    /// Whether a page may begin with [`first`](Self::first) itself.
    fn skips(&self, key: &[u8]) -> bool {
        self.after.as_deref().is_some_and(|after| key <= after)
    }

    fn ends_before(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_some_and(|end| key >= end)
    }
}

/// The first key after all that begin with `prefix`, or `None` if there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// A key with its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    pub key: Bytes,
    pub value: Bytes,
    /// The commit that wrote the value.
    pub revision: Revision,
}

/// Entries in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Give it to [`Range::after`] for the next page; `None` says that this is the last.
    pub next: Option<Bytes>,
}

/// Fills a [`Page`] from entries that come in order, beginning with [`Range::first`].
pub(super) struct PageBuilder<'a> {
    range: &'a Range,
    page: Page,
    bytes: usize,
}

impl<'a> PageBuilder<'a> {
    pub(super) fn new(range: &'a Range) -> Self {
        Self {
            range,
            page: Page::default(),
            bytes: 0,
        }
    }

    /// Takes an entry; `false` says that the page wants no more.
    pub(super) fn push(&mut self, key: &[u8], entry: impl FnOnce() -> Entry) -> bool {
        if self.range.skips(key) {
            return true;
        }
        if self.range.ends_before(key) {
            return false;
        }
        if self.page.entries.len() == self.range.limit || self.bytes >= MAX_PAGE_BYTES {
            self.page.next = self.page.entries.last().map(|last| last.key.clone());
            return false;
        }
        let entry = entry();
        self.bytes += entry.key.len() + entry.value.len();
        self.page.entries.push(entry);
        true
    }

    pub(super) fn finish(self) -> Page {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_lacks_it() {
        assert_eq!(after_prefix(b"a/").as_deref(), Some(&b"a0"[..]));
        assert_eq!(after_prefix(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(after_prefix(b"\xff\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
