//! Lists, page by page.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Identity, IdentityError};
use crate::record::{self, Record, Stored, layout};
use crate::store::{self, Range};

/// The most entries of a page.
pub const MAX_PAGE: usize = 500;
/// Entries of the store that are looked through for one page, at most, when a filter takes few.
const MAX_LOOKED_AT: usize = 20_000;
/// Records read at the same time.
const READS: usize = 16;

/// Which part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// What [`Listing::next`] of the page before was.
    pub cursor: Option<String>,
    /// From 1 to 500 entries.
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            cursor: None,
            limit: 50,
        }
    }
}

/// A part of a list, oldest first.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    pub items: Vec<Stored<T>>,
    /// Where the next page begins; `None` says that this is the last. With a filter a page may have
    /// fewer entries than asked for, or none, and not be the last.
    pub next: Option<String>,
}

impl Identity {
    /// A page of the records below `prefix` that `wanted` takes.
    pub(super) async fn list<T: Record>(
        &self,
        prefix: &'static str,
        page: &Page,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Listing<T>, IdentityError> {
        let limit = page.limit.clamp(1, MAX_PAGE);
        let mut last = page.after()?;
        let mut items = Vec::new();
        let mut looked_at = 0;
        loop {
            let found = self.numbered_page(prefix, last, limit + 1).await?;
            let count = found.entries.len();
            for (place, entry) in found.entries.into_iter().enumerate() {
                last = layout::number(prefix, &entry.key);
                let record: T = record::decode(&entry.key, &entry.value)?;
                let revision = entry.revision;
                if wanted(&record) {
                    items.push(Stored { record, revision });
                }
                if items.len() == limit {
                    let more = place + 1 < count || found.next.is_some();
                    return Ok(Listing::new(items, last.filter(|_| more)));
                }
            }
            looked_at += count;
            if found.next.is_none() {
                return Ok(Listing::new(items, None));
            }
            if looked_at >= MAX_LOOKED_AT {
                return Ok(Listing::new(items, last));
            }
        }
    }

    /// A page of the records that an index below `index` names, each at the key `at` says.
    pub(super) async fn list_indexed<T: Record>(
        &self,
        index: &str,
        page: &Page,
        at: fn(u64) -> Bytes,
    ) -> Result<Listing<T>, IdentityError> {
        let limit = page.limit.clamp(1, MAX_PAGE);
        let found = self.numbered_page(index, page.after()?, limit).await?;
        let ids: Vec<_> = found
            .entries
            .iter()
            .filter_map(|entry| layout::number(index, &entry.key))
            .collect();
        let last = ids.last().copied().filter(|_| found.next.is_some());
        let reads = ids
            .into_iter()
            .map(|id| async move { self.read::<T>(&at(id)).await });
        let items: Vec<Option<Stored<T>>> =
            stream::iter(reads).buffered(READS).try_collect().await?;
        Ok(Listing::new(items.into_iter().flatten().collect(), last))
    }

    /// The record under `key`.
    pub(super) async fn read<T: Record>(
        &self,
        key: &Bytes,
    ) -> Result<Option<Stored<T>>, IdentityError> {
        let Some(found) = self.store().get(key).await? else {
            return Ok(None);
        };
        Ok(Some(Stored {
            record: record::decode(key, &found.value)?,
            revision: found.revision,
        }))
    }

    async fn numbered_page(
        &self,
        prefix: &str,
        after: Option<u64>,
        limit: usize,
    ) -> Result<store::Page, IdentityError> {
        let mut range = Range::prefix(Bytes::copy_from_slice(prefix.as_bytes())).limit(limit);
        if let Some(after) = after {
            range = range.after(layout::numbered(prefix, after));
        }
        Ok(self.store().range(range).await?)
    }
}

impl Page {
    fn after(&self) -> Result<Option<u64>, IdentityError> {
        let invalid = |_| IdentityError::invalid("cursor", "it is not one this gateway gave out");
        self.cursor
            .as_ref()
            .map(|cursor| cursor.parse().map_err(invalid))
            .transpose()
    }
}

impl<T> Listing<T> {
    fn new(items: Vec<Stored<T>>, next: Option<u64>) -> Self {
        let next = next.map(|id| id.to_string());
        Self { items, next }
    }
}
