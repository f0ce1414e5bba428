//! A chain as lines of JSON, for keeping elsewhere.
//!
//! A line has the row exactly as it was hashed, so `row` can be checked with any SHA-256; the last
//! line is not the chain's end but whatever was there when the export came to it. What stands at a
//! row's place and is none comes out as text under `damaged`.

use bytes::Bytes;
use serde_json::json;

use super::error::AuditError;
use super::personal::Personal;
use super::reader::Reader;
use super::row::{Id, Row, split};

/// Gives the lines of a chain, a page at a time.
#[derive(Debug)]
pub struct Export {
    reader: Reader,
    from: Id,
    done: bool,
}

impl Reader {
    /// The rows from `from` on, as lines of `{"hash":"…","personal":{…},"row":{…}}`.
    pub fn export(&self, from: Id) -> Export {
        Export {
            reader: self.clone(),
            from,
            done: false,
        }
    }
}

impl Export {
    /// Some megabytes of whole lines at most, or `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, AuditError> {
        if self.done {
            return Ok(None);
        }
        let page = self.reader.rows(self.from).await?;
        let last = page.entries.last();
        let last = last.and_then(|entry| self.reader.number(&entry.key));
        self.done = page.next.is_none();
        if page.entries.is_empty() {
            return Ok(None);
        }
        let last = last.unwrap_or(Id(u64::MAX));
        let personals = self.reader.personals(self.from, last).await?;
        let mut lines = String::new();
        for entry in &page.entries {
            let id = self.reader.number(&entry.key).unwrap_or_default();
            let personal = personals.get(&id).map(|record| &**record);
            lines.push_str(&line(&entry.value, personal));
            lines.push('\n');
        }
        self.done |= last.0 == u64::MAX;
        self.from = Id(last.0.saturating_add(1));
        Ok(Some(lines.into()))
    }
}

fn line(value: &[u8], personal: Option<&[u8]>) -> String {
    let (Some((hash, text)), Ok((row, _))) = (split(value), Row::decode(value)) else {
        return json!({"damaged": String::from_utf8_lossy(value)}).to_string();
    };
    let commitment = row.personal.as_deref().unwrap_or_default();
    let personal = personal.and_then(|record| Personal::reveal(record, commitment));
    let personal = json!(personal);
    format!(r#"{{"hash":"{hash}","personal":{personal},"row":{text}}}"#)
}
