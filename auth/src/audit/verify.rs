//! Walks a chain from its first row to its signed end and says where it stops being whole.
//!
//! Rows are read in pages, so memory does not grow with the chain. Rows that are appended meanwhile
//! are not looked at, and do no harm.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::checkpoint::{Checkpoint, Purpose};
use super::erase::{Erasure, erasures};
use super::error::AuditError;
use super::keeper::{Tail, read_tail};
use super::personal::Personal;
use super::place::number;
use super::reader::Reader;
use super::row::{GENESIS, Id, Row};
use crate::store::{Entry, Range};

/// What verification found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    pub valid: bool,
    /// How many rows are whole, up to the end or to where the chain is broken.
    pub entries: u64,
    /// The first row that is not as it was written or not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Of the whole rows, how many had personal columns that were erased, as a later row says.
    pub erased: u64,
    /// How many checkpoints agree.
    pub checkpoints: u64,
}

/// Why a chain is not whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    RowMissing,
    RowUnreadable,
    RowEdited,
    RowMisplaced,
    PrevDiffers,
    PersonalEdited,
    PersonalMissing,
    RowExtra,
    HeadDiffers,
    TailMissing,
    TailForged,
    PutBack,
    CheckpointForged,
    CheckpointDiffers,
    OtherKey,
    KeyMissing,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RowMissing => "the row is missing",
            Self::RowUnreadable => "what stands there is no row",
            Self::RowEdited => "the row's hash is not that of its columns",
            Self::RowMisplaced => "the row was written for another chain or place",
            Self::PrevDiffers => "the row does not follow the one before: one of both was changed",
            Self::PersonalEdited => "the row's personal columns are not those it vouches for",
            Self::PersonalMissing => {
                "the row's personal columns are missing and no row says they were erased"
            }
            Self::RowExtra => "there are more rows than were signed",
            Self::HeadDiffers => "the last row is not the one that was signed: rows were changed",
            Self::TailMissing => "the signed end of the chain is missing",
            Self::TailForged => "the end of the chain is not signed by its key",
            Self::PutBack => "the chain ends before a row that was there: rows were removed",
            Self::CheckpointForged => "a checkpoint is not signed by the chain's key",
            Self::CheckpointDiffers => {
                "the row is not the one a checkpoint has signed: it or rows before it were changed"
            }
            Self::OtherKey => {
                "the given checkpoint is of another chain or key: the chain was begun anew"
            }
            Self::KeyMissing => "the chain's key is missing",
        })
    }
}

impl Reader {
    /// Verifies the whole chain: each row, its place, the personal columns, the signed end and all
    /// checkpoints, also `witnesses`, which were kept elsewhere, as in a log. Without a witness a
    /// store that was put back as a whole to an older state is found valid.
    pub async fn verify(&self, witnesses: &[Checkpoint]) -> Result<Report, AuditError> {
        let mut walk = Walk::begin(self, witnesses).await?;
        let broken = walk.run().await?;
        Ok(Report {
            valid: broken.is_none(),
            entries: walk.count,
            broken_at: broken.map(|(id, _)| id),
            reason: broken.map(|(_, reason)| reason),
            erased: walk.erased,
            checkpoints: walk.checkpoints.agreed,
        })
    }
}

type Broken = Option<(Id, Reason)>;

struct Walk<'a> {
    reader: &'a Reader,
    tail: Result<Tail, Reason>,
    erasures: Vec<Erasure>,
    checkpoints: Checkpoints<'a>,
    count: u64,
    head: String,
    erased: u64,
}

impl<'a> Walk<'a> {
    async fn begin(reader: &'a Reader, witnesses: &[Checkpoint]) -> Result<Self, AuditError> {
        Ok(Self {
            reader,
            tail: read_tail(&*reader.store, &reader.place, &reader.key).await?,
            erasures: erasures(reader).await?,
            checkpoints: Checkpoints::of(reader, witnesses),
            count: 0,
            head: GENESIS.to_owned(),
            erased: 0,
        })
    }

    async fn run(&mut self) -> Result<Broken, AuditError> {
        if let Some(broken) = self.checkpoints.foreign() {
            return Ok(Some(broken));
        }
        if let Some(broken) = self.rows().await? {
            return Ok(Some(broken));
        }
        self.end().await
    }

    /// Up to the signed end; without one, up to the last row there is.
    async fn rows(&mut self) -> Result<Broken, AuditError> {
        let end = self.tail.as_ref().map_or(u64::MAX, |tail| tail.count);
        if let Some(broken) = self.agree().await? {
            return Ok(Some(broken));
        }
        while self.count < end {
            let page = self.reader.rows(self.next()).await?;
            let Some(last) = page.entries.last() else {
                break;
            };
            let last = self.reader.number(&last.key).unwrap_or(Id(u64::MAX));
            let personals = self.reader.personals(self.next(), last).await?;
            for entry in &page.entries {
                if self.count == end {
                    break;
                }
                if let Some(reason) = self.row(entry, &personals).await? {
                    return Ok(Some((self.next(), reason)));
                }
                if let Some(broken) = self.agree().await? {
                    return Ok(Some(broken));
                }
            }
        }
        Ok(None)
    }

    /// Takes one row, or says why it is not whole.
    async fn row(
        &mut self,
        entry: &Entry,
        personals: &BTreeMap<Id, Bytes>,
    ) -> Result<Option<Reason>, AuditError> {
        let id = self.next();
        match self.reader.number(&entry.key) {
            Some(found) if found == id => {}
            Some(found) if found > id => return Ok(Some(Reason::RowMissing)),
            Some(_) => return Ok(Some(Reason::RowExtra)),
            None => return Ok(Some(Reason::RowUnreadable)),
        }
        let (row, hash) = match Row::decode(&entry.value) {
            Ok(decoded) => decoded,
            Err(reason) => return Ok(Some(reason)),
        };
        if row.id != id || row.chain != self.reader.place.chain() {
            return Ok(Some(Reason::RowMisplaced));
        }
        if row.prev != self.head {
            return Ok(Some(Reason::PrevDiffers));
        }
        if let Some(commitment) = &row.personal {
            match personals.get(&id) {
                Some(record) if Personal::reveal(record, commitment).is_some() => {}
                Some(_) => return Ok(Some(Reason::PersonalEdited)),
                None if self.was_erased(&row).await? => self.erased += 1,
                None => return Ok(Some(Reason::PersonalMissing)),
            }
        }
        self.count = id.0;
        self.head = hash;
        Ok(None)
    }

    async fn was_erased(&mut self, row: &Row) -> Result<bool, AuditError> {
        let covered = |erasures: &[Erasure]| erasures.iter().any(|erasure| erasure.covers(row));
        if !covered(&self.erasures) {
            // It may have been erased since this began.
            self.erasures = erasures(self.reader).await?;
        }
        Ok(covered(&self.erasures))
    }

    /// Compares the checkpoints that speak of the row that was taken last.
    async fn agree(&mut self) -> Result<Broken, AuditError> {
        while let Some(checkpoint) = self.checkpoints.due(self.count).await? {
            let reason = match checkpoint {
                Err(()) => Reason::CheckpointForged,
                Ok(checkpoint) if checkpoint.head() == self.head => {
                    self.checkpoints.agreed += 1;
                    continue;
                }
                Ok(_) => Reason::CheckpointDiffers,
            };
            let broken = Id(self.count);
            self.count = self.count.saturating_sub(1);
            return Ok(Some((broken, reason)));
        }
        Ok(None)
    }

    /// All rows that there are were whole: are they all that there were?
    async fn end(&mut self) -> Result<Broken, AuditError> {
        let next = self.next();
        let tail = match &self.tail {
            Ok(tail) => tail,
            Err(reason) => return Ok(Some((next, *reason))),
        };
        if self.count < tail.count {
            return Ok(Some((next, Reason::RowMissing)));
        }
        if self.head != tail.head {
            let last = Id(self.count);
            self.count = self.count.saturating_sub(1);
            return Ok(Some((last, Reason::HeadDiffers)));
        }
        let extra = self.reader.rows(next).await?.entries.last().cloned();
        let extra = extra.map(|entry| self.reader.number(&entry.key).unwrap_or(Id(u64::MAX)));
        let signed = self.checkpoints.last().await?;
        // Rows and checkpoints from after this began are in order if the end has moved as well.
        let moved = read_tail(&*self.reader.store, &self.reader.place, &self.reader.key).await?;
        let count = match moved {
            Ok(tail) => tail.count,
            Err(reason) => return Ok(Some((next, reason))),
        };
        if count < self.count || signed.is_some_and(|signed| signed > count) {
            return Ok(Some((next, Reason::PutBack)));
        }
        if extra.is_some_and(|extra| extra.0 > count) {
            return Ok(Some((Id(count + 1), Reason::RowExtra)));
        }
        Ok(None)
    }

    fn next(&self) -> Id {
        Id(self.count + 1)
    }
}

/// The checkpoints of the store, page by page, and the witnesses, in the order of their counts.
struct Checkpoints<'a> {
    reader: &'a Reader,
    witnesses: Vec<Checkpoint>,
    /// `None` before the first page.
    page: Option<std::vec::IntoIter<Entry>>,
    next: Option<Bytes>,
    /// The next of the store, if it was looked at: its count, and itself if it can be read.
    ahead: Option<(u64, Result<Checkpoint, ()>)>,
    agreed: u64,
}

impl<'a> Checkpoints<'a> {
    fn of(reader: &'a Reader, witnesses: &[Checkpoint]) -> Self {
        let mut witnesses = witnesses.to_vec();
        witnesses.sort_by_key(|witness| std::cmp::Reverse(witness.count()));
        Self {
            reader,
            witnesses,
            page: None,
            next: None,
            ahead: None,
            agreed: 0,
        }
    }

    /// Whether a witness is not of this chain and key, or was never signed at all.
    fn foreign(&self) -> Broken {
        let chain = self.reader.place.chain();
        let ours =
            |witness: &Checkpoint| witness.chain() == chain && witness.is_by(&self.reader.key);
        if !self.witnesses.iter().all(ours) {
            return Some((Id(1), Reason::OtherKey));
        }
        let key = &self.reader.key;
        let forged = |witness: &&Checkpoint| !witness.is_signed(key, Purpose::Checkpoint);
        let forged = self.witnesses.iter().find(forged);
        forged.map(|witness| (Id(witness.count()), Reason::CheckpointForged))
    }

    /// The next checkpoint of `count` rows or fewer.
    async fn due(&mut self, count: u64) -> Result<Option<Result<Checkpoint, ()>>, AuditError> {
        if self
            .witnesses
            .last()
            .is_some_and(|next| next.count() <= count)
        {
            return Ok(self.witnesses.pop().map(Ok));
        }
        self.look_ahead().await?;
        if self.ahead.as_ref().is_some_and(|(next, _)| *next <= count) {
            return Ok(self.ahead.take().map(|(_, checkpoint)| checkpoint));
        }
        Ok(None)
    }

    /// The greatest count of those that are left.
    async fn last(&mut self) -> Result<Option<u64>, AuditError> {
        let mut last = self.witnesses.first().map(Checkpoint::count);
        self.look_ahead().await?;
        while let Some((count, _)) = self.ahead.take() {
            last = last.max(Some(count));
            self.look_ahead().await?;
        }
        Ok(last)
    }

    async fn look_ahead(&mut self) -> Result<(), AuditError> {
        if self.ahead.is_some() {
            return Ok(());
        }
        let prefix = self.reader.place.checkpoints();
        loop {
            if let Some(entry) = self.page.as_mut().and_then(Iterator::next) {
                let count = number(&prefix, &entry.key).map_or(0, |id| id.0);
                self.ahead = Some((count, self.read(count, &entry)));
                return Ok(());
            }
            let mut range = Range::prefix(prefix.clone());
            match (&self.page, self.next.take()) {
                (None, _) => {}
                (Some(_), Some(next)) => range = range.after(next),
                (Some(_), None) => return Ok(()),
            }
            let page = self.reader.store.range(range).await?;
            self.page = Some(page.entries.into_iter());
            self.next = page.next;
        }
    }

    fn read(&self, count: u64, entry: &Entry) -> Result<Checkpoint, ()> {
        let text = std::str::from_utf8(&entry.value).map_err(|_| ())?;
        let checkpoint: Checkpoint = text.parse().map_err(|_| ())?;
        let good = checkpoint.chain() == self.reader.place.chain()
            && checkpoint.count() == count
            && checkpoint.is_signed(&self.reader.key, Purpose::Checkpoint);
        good.then_some(checkpoint).ok_or(())
    }
}
