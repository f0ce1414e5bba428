//! Searching a chain, the newest rows first.

use std::time::SystemTime;

use serde::Serialize;

use super::error::AuditError;
use super::event::Actor;
use super::moment;
use super::personal::Personal;
use super::reader::{Entry, Reader};
use super::row::{Id, Row};
use crate::store::Range;

/// The most rows of one answer.
const MAX_LIMIT: usize = 200;
/// The most rows that one question looks at, so that a rare actor in a long chain costs many
/// questions rather than one that never ends.
const MAX_LOOKED_AT: u64 = 10_000;
/// Rows read at once.
const STEP: u64 = 500;

/// Which rows. Conditions that are not given hold for all.
#[derive(Clone, Debug)]
pub struct Query {
    actor: Option<Actor>,
    event: Option<String>,
    resource: Option<String>,
    from: Option<String>,
    until: Option<String>,
    before: Option<Id>,
    limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            actor: None,
            event: None,
            resource: None,
            from: None,
            until: None,
            before: None,
            limit: MAX_LIMIT,
        }
    }
}

impl Query {
    /// Every row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only what `actor` did.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Only the event `name`; one that ends with a dot stands for all that begin with it.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// Only what was done to the resource with this id.
    #[must_use]
    pub fn on(mut self, id: impl Into<String>) -> Self {
        self.resource = Some(id.into());
        self
    }

    /// Only what was recorded at `time` or later.
    #[must_use]
    pub fn from(mut self, time: SystemTime) -> Self {
        self.from = Some(moment::text(time));
        self
    }

    /// Only what was recorded before `time`.
    #[must_use]
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(moment::text(time));
        self
    }

    /// Only rows with smaller numbers: [`Found::next`] of the answer before.
    #[must_use]
    pub fn before(mut self, id: Id) -> Self {
        self.before = Some(id);
        self
    }

    /// At most so many rows, from 1 to 200 (the default).
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows.clamp(1, MAX_LIMIT);
        self
    }

    fn takes(&self, row: &Row) -> bool {
        let named = |name: &String| {
            row.event == *name || name.ends_with('.') && row.event.starts_with(name.as_str())
        };
        let concerned = |id: &String| {
            row.resource
                .as_ref()
                .is_some_and(|resource| resource.id == *id)
        };
        self.actor.as_ref().is_none_or(|actor| *actor == row.actor)
            && self.event.as_ref().is_none_or(named)
            && self.resource.as_ref().is_none_or(concerned)
            && self.from.as_ref().is_none_or(|from| row.time >= *from)
            && self.until.as_ref().is_none_or(|until| row.time < *until)
    }
}

/// Rows, the newest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    pub entries: Vec<Entry>,
    /// Give it to [`Query::before`] to go on; there may be more even if `entries` is empty.
    pub next: Option<Id>,
}

impl Reader {
    /// The rows that `query` asks for. A row that was damaged is left out; [`verify`](Self::verify)
    /// finds it.
    pub async fn query(&self, query: &Query) -> Result<Found, AuditError> {
        let mut found = Found::default();
        let mut before = match query.before {
            Some(id) => id.0,
            None => self.end().await?.0.saturating_add(1),
        };
        let lowest = before.saturating_sub(MAX_LOOKED_AT).max(1);
        while before > lowest {
            let first = before.saturating_sub(STEP).max(lowest);
            let rows = self.between(first, before).await?;
            for (row, hash) in rows.into_iter().rev() {
                if !query.takes(&row) {
                    continue;
                }
                if found.entries.len() == query.limit {
                    found.next = found.entries.last().map(|last| last.row.id);
                    return Ok(found);
                }
                let personal = self.personal(&row).await?;
                found.entries.push(Entry {
                    hash,
                    personal,
                    row,
                });
            }
            before = first;
        }
        found.next = (before > 1).then_some(Id(before));
        Ok(found)
    }

    /// The last row there is, as the tail says, whether or not it is signed.
    async fn end(&self) -> Result<Id, AuditError> {
        let tail = self.store.get(&self.place.tail()).await?;
        let tail = tail.and_then(|tail| {
            let text = std::str::from_utf8(&tail.value).ok()?;
            text.parse::<super::Checkpoint>().ok()
        });
        Ok(Id(tail.map_or(0, |tail| tail.count())))
    }

    async fn between(&self, first: u64, end: u64) -> Result<Vec<(Row, String)>, AuditError> {
        let (first, end) = (self.place.row(Id(first)), self.place.row(Id(end)));
        let mut range = Range::between(first, end);
        let mut rows = Vec::new();
        loop {
            let page = self.store.range(range.clone()).await?;
            let whole = page.entries.iter().map(|entry| Row::decode(&entry.value));
            rows.extend(whole.flatten());
            let Some(next) = page.next else {
                return Ok(rows);
            };
            range = range.after(next);
        }
    }

    async fn personal(&self, row: &Row) -> Result<Option<Personal>, AuditError> {
        let Some(commitment) = &row.personal else {
            return Ok(None);
        };
        let record = self.store.get(&self.place.personal(row.id)).await?;
        Ok(record.and_then(|record| Personal::reveal(&record.value, commitment)))
    }
}
