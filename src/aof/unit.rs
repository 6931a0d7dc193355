//! Records to units: what takes effect as a whole or not at all is a record of its own, or all from MULTI to EXEC.

use super::{Fault, Item};

/// Where a record stands in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A unit of its own (or an annotation outside of a transaction).
    Alone,
    /// MULTI.
    Opens,
    /// Between MULTI and EXEC.
    Inside,
    /// EXEC (or DISCARD, which no server writes).
    Closes,
}

/// Follows the items of a file and knows where the last whole unit ends.
#[derive(Debug, Clone)]
pub struct Units {
    multi: Option<u64>,
    whole_until: u64,
    count: u64,
}

impl Units {
    /// Begins at the file offset `offset`, which is the end of an RDB in front, or 0.
    pub fn new(offset: u64) -> Self {
        Self { multi: None, whole_until: offset, count: 0 }
    }

    /// The place of the next item.
    pub fn place(&mut self, item: &Item<'_>) -> Result<Place, Fault> {
        let place = match (item, self.multi) {
            (Item::Record(record), None) if record.is(b"MULTI") => Place::Opens,
            (Item::Record(record), Some(multi)) if record.is(b"MULTI") => {
                return Err(Fault::NestedMulti { offset: record.offset, multi });
            }
            (Item::Record(record), None) if record.is(b"EXEC") => {
                return Err(Fault::LooseExec { offset: record.offset });
            }
            (Item::Record(record), Some(_)) if record.is(b"EXEC") || record.is(b"DISCARD") => Place::Closes,
            (_, None) => Place::Alone,
            (_, Some(_)) => Place::Inside,
        };
        match place {
            Place::Opens => self.multi = Some(item.offset()),
            Place::Inside => {}
            Place::Alone | Place::Closes => {
                self.multi = None;
                self.whole_until = item.end();
                self.count += u64::from(item.record().is_some());
            }
        }
        Ok(place)
    }

    /// The offset of the MULTI that waits for its EXEC.
    pub fn open_multi(&self) -> Option<u64> {
        self.multi
    }

    /// The offset behind the last whole unit (and the annotations that follow it).
    pub fn whole_until(&self) -> u64 {
        self.whole_until
    }

    /// Whole units so far.
    pub fn count(&self) -> u64 {
        self.count
    }
}
