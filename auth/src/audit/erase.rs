//! Removing personal columns, so that their rows stay and the chain stays whole.
//!
//! First a row says whose columns are erased and up to which row, then the records go. Verification
//! takes a missing record for erased only if such a row covers it, so nobody removes one unseen. A
//! record of its own points to each such row, for these have to be known before the rows they cover.

use serde_json::{Value, json};

use super::error::AuditError;
use super::event::{Actor, Draft, Event};
use super::place::number;
use super::reader::Reader;
use super::row::{Id, Row};
use super::{Chain, verify::Reason};
use crate::store::{Batch, Range};

/// The name of the row that says so.
pub(super) const ERASE: &str = "audit.erase";
/// Records that are removed with one commit.
const GROUP: usize = 500;

/// Whose personal columns, and up to which row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Erasure {
    actor: Option<Actor>,
    through: Option<Id>,
}

impl Erasure {
    /// Those of all rows that `actor` caused, as when a user is deleted.
    pub fn of(actor: Actor) -> Self {
        Self {
            actor: Some(actor),
            through: None,
        }
    }

    /// Everybody's up to the row `through`, as when they were kept long enough.
    pub fn through(through: Id) -> Self {
        Self {
            actor: None,
            through: Some(through),
        }
    }

    pub(super) fn covers(&self, row: &Row) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == row.actor)
            && self.through.is_some_and(|through| row.id <= through)
    }

    fn event(&self, by: Actor) -> Event {
        let actor = self.actor.as_ref();
        let actor = actor.map(|actor| json!({"id": actor.id, "kind": actor.kind}));
        Event::new(ERASE, by)
            .with("actor", actor.unwrap_or(Value::Null))
            .with("through", self.through.map(|id| id.0))
    }

    /// What the row says, if it is such a row.
    fn read(row: &Row) -> Option<Self> {
        if row.event != ERASE {
            return None;
        }
        let through = row.payload.get("through")?.as_u64()?;
        let actor = row.payload.get("actor")?;
        Some(Self {
            actor: serde_json::from_value(actor.clone()).ok()?,
            through: (through < row.id.0).then_some(Id(through)),
        })
    }
}

impl Chain {
    /// Removes the name, address and user agent from the rows that `erasure` covers, in the name of
    /// `by`, and returns how many rows had some. Their other columns stay.
    ///
    /// After an error part may be removed; asking again removes the rest. What a backup or an export
    /// holds is not touched.
    pub async fn erase(&self, erasure: Erasure, by: Actor) -> Result<u64, AuditError> {
        let count = self.checkpoint().await?.count();
        let through = erasure
            .through
            .map_or(count, |through| through.0.min(count));
        let erasure = Erasure {
            through: Some(Id(through)),
            ..erasure
        };
        self.write(Draft::own(erasure.event(by))?).await?;
        remove(self.reader(), &erasure, Id(through)).await
    }
}

async fn remove(reader: &Reader, erasure: &Erasure, through: Id) -> Result<u64, AuditError> {
    let mut from = Id(1);
    let mut removed = 0;
    while from <= through {
        let page = reader.rows(from).await?;
        let Some(last) = page
            .entries
            .last()
            .and_then(|last| reader.number(&last.key))
        else {
            break;
        };
        let records = reader.personals(from, last).await?;
        let rows = page.entries.iter().filter_map(|entry| {
            let (row, _) = Row::decode(&entry.value).ok()?;
            (erasure.covers(&row) && records.contains_key(&row.id)).then_some(row.id)
        });
        let rows: Vec<_> = rows.collect();
        for group in rows.chunks(GROUP) {
            let batch = group.iter().fold(Batch::new(), |batch, id| {
                batch.delete(reader.place.personal(*id))
            });
            reader.store.commit(batch).await?;
        }
        removed += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        from = Id(last.0.saturating_add(1));
    }
    Ok(removed)
}

/// What the rows of the chain say was erased. Rows that are not whole say nothing; the walk will
/// come to them.
pub(super) async fn erasures(reader: &Reader) -> Result<Vec<Erasure>, AuditError> {
    let prefix = reader.place.erasures();
    let mut range = Range::prefix(prefix.clone());
    let mut erasures = Vec::new();
    loop {
        let page = reader.store.range(range.clone()).await?;
        for id in page
            .entries
            .iter()
            .filter_map(|entry| number(&prefix, &entry.key))
        {
            let Some(found) = reader.store.get(&reader.place.row(id)).await? else {
                continue;
            };
            let decoded: Result<_, Reason> = Row::decode(&found.value);
            if let Ok((row, _)) = decoded
                && row.id == id
            {
                erasures.extend(Erasure::read(&row));
            }
        }
        let Some(next) = page.next else {
            return Ok(erasures);
        };
        range = range.after(next);
    }
}
