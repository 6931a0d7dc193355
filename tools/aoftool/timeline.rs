//! What a log has told up to a record, without which the record says half of what it did: database, time, sender.

use ironkeep::aof::seal::{self, Mark, Seal};
use ironkeep::aof::{Annotation, Item, Record};
use ironkeep::codec::number;
use ironkeep::command::execute;

/// Follows the items of a log's files, one after the other.
#[derive(Default)]
pub struct Timeline {
    /// The database that the next record works on.
    pub db: u64,
    /// Unix ms: what comes next happened then or later. `None` where nothing has told a time yet.
    pub time_ms: Option<i64>,
    /// Who sent the unit that comes next, where a seal tells it.
    pub sender: Option<Sender>,
    in_multi: bool,
    ends_unit: bool,
}

/// Address and user of a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Sender {
    pub address: Vec<u8>,
    pub user: Vec<u8>,
}

impl Timeline {
    /// In the middle of a log.
    pub fn at(db: u64, time_ms: Option<i64>) -> Self {
        Self { db, time_ms, ..Self::default() }
    }

    /// Each file begins in database 0.
    pub fn begin_file(&mut self) {
        *self = Self { time_ms: self.time_ms, ..Self::default() };
    }

    /// Takes the next item: what is told afterwards is told of it.
    pub fn take(&mut self, item: &Item<'_>) {
        match item {
            Item::Annotation(annotation) => self.annotation(annotation),
            Item::Record(record) => self.record(record),
        }
    }

    fn annotation(&mut self, annotation: &Annotation<'_>) {
        if let Some(second) = annotation.timestamp() {
            self.time_ms = Some(second.saturating_mul(1000));
        }
        let Some(Ok(mark)) = annotation.mark() else { return };
        // A server that has just begun may not know the time yet.
        self.time_ms = Some(mark.time_ms()).filter(|time_ms| *time_ms > 0).or(self.time_ms);
        if let Mark::Seal(Seal { sender: Some(sender), .. }) = mark {
            let [address, user] = [sender.address, sender.user].map(seal::unescape);
            self.sender = Some(Sender { address, user });
            self.ends_unit = false;
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        if self.ends_unit {
            self.sender = None;
        }
        if record.is(b"MULTI") {
            self.in_multi = true;
        } else if record.is(b"EXEC") || record.is(b"DISCARD") {
            self.in_multi = false;
        } else if let Some(db) = selected(record) {
            self.db = db;
        }
        // The SELECT in front of a command is not what its sender sent.
        self.ends_unit = !self.in_multi && !record.is(b"SELECT");
    }
}

/// The database that a SELECT selects.
pub fn selected(record: &Record<'_>) -> Option<u64> {
    if !record.is(b"SELECT") {
        return None;
    }
    record.arguments.get(1).and_then(|db| number::parse_u64(db))
}

/// The keys that a record names, in its order; none where the command is not known.
pub fn keys<'a>(record: &Record<'a>) -> Vec<&'a [u8]> {
    let Ok(command) = execute::find(&record.arguments) else { return Vec::new() };
    let positions = command.key_positions(&record.arguments);
    positions.into_iter().filter_map(|position| record.arguments.get(position).copied()).collect()
}
