//! Reading a chain: what verification, search and export have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::error::AuditError;
use super::keeper::open_key;
use super::personal::Personal;
use super::place::{Place, number};
use super::row::{Id, Row};
use crate::seal::MasterKey;
use crate::signing::PublicKey;
use crate::store::{Page, Range, Store};

/// Reads a chain, also one that is broken. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) store: Arc<dyn Store>,
    pub(super) place: Place,
    pub(super) key: PublicKey,
}

impl Reader {
    /// Opens the chain `name` for reading; nothing is written.
    ///
    /// [`AuditError::Absent`] if nothing is there of it.
    pub async fn open(
        store: Arc<dyn Store>,
        master: &MasterKey,
        name: &str,
    ) -> Result<Self, AuditError> {
        let place = Place::of(name)?;
        let key = open_key(&*store, master, &place).await?;
        Ok(Self::of(store, place, key.public().clone()))
    }

    pub(super) fn of(store: Arc<dyn Store>, place: Place, key: PublicKey) -> Self {
        Self { store, place, key }
    }

    /// A page of rows, from the one numbered `from` on. With the first row also comes what stands
    /// before it and should not.
    pub(super) async fn rows(&self, from: Id) -> Result<Page, AuditError> {
        let mut rows = Range::prefix(self.place.rows());
        if from > Id(1) {
            rows = rows.after(self.place.row(Id(from.0 - 1)));
        }
        Ok(self.store.range(rows).await?)
    }

    /// The records of personal columns of the rows from `first` to `last`.
    pub(super) async fn personals(
        &self,
        first: Id,
        last: Id,
    ) -> Result<BTreeMap<Id, Bytes>, AuditError> {
        let end = self.place.personal(Id(last.0.saturating_add(1)));
        let mut range = Range::between(self.place.personal(first), end);
        let mut records = BTreeMap::new();
        let prefix = self.place.personals();
        loop {
            let page = self.store.range(range.clone()).await?;
            for entry in page.entries {
                if let Some(id) = number(&prefix, &entry.key) {
                    records.insert(id, entry.value);
                }
            }
            let Some(next) = page.next else {
                return Ok(records);
            };
            range = range.after(next);
        }
    }

    /// The number of the row under `key`.
    pub(super) fn number(&self, key: &[u8]) -> Option<Id> {
        number(&self.place.rows(), key)
    }
}

/// A row with its hash and with what was not erased.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Entry {
    pub hash: String,
    /// `None` if the row never had any, or they were erased; [`Row::personal`] tells which.
    pub personal: Option<Personal>,
    pub row: Row,
}
