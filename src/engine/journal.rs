//! The journal: effects of commands as bytes of the log, in the order of execution, each with a position.
//!
//! A *unit* is what must be replayed whole: the effects of one command, or of one MULTI..EXEC. A unit of several
//! operations is wrapped in MULTI and EXEC; one alone stands plain. SELECT is written where the database changes,
//! inside the transaction.
//!
//! A position counts record bytes since the journal began, so it grows with the log and never goes back.

use crate::resp::encode_request;

/// Records that wait to be written.
#[derive(Debug, Default)]
pub struct Journal {
    is_on: bool,
    pending: Vec<u8>,
    /// Position of the first byte of `pending`.
    pending_start: u64,
    selected_db: Option<usize>,
    unit: Unit,
    /// Changes since the server began, logged or not.
    changes: u64,
}

#[derive(Debug, Default)]
struct Unit {
    depth: u32,
    start: usize,
    operations: u32,
}

impl Journal {
    /// Whether records are kept; while off, only changes are counted.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Turns the journal on or off. The next record selects its database anew.
    pub fn set_on(&mut self, is_on: bool) {
        assert!(self.is_between_operations(), "the journal is switched between units");
        self.is_on = is_on;
        self.selected_db = None;
    }

    /// Makes the next record select its database: at the beginning of every file of the log.
    pub fn forget_selected_db(&mut self) {
        assert!(self.is_between_operations(), "files change between units");
        self.selected_db = None;
    }

    /// Whether no unit is open that has changed anything.
    pub fn is_between_operations(&self) -> bool {
        self.unit.depth == 0 || self.unit.operations == 0
    }

    /// Begins a unit, or goes a level deeper in one.
    pub fn begin_unit(&mut self) {
        if self.unit.depth == 0 {
            self.unit = Unit { depth: 0, start: self.pending.len(), operations: 0 };
        }
        self.unit.depth += 1;
    }

    /// Ends a level; with the outermost, the unit.
    pub fn end_unit(&mut self) {
        assert!(self.unit.depth > 0, "a unit was begun");
        self.unit.depth -= 1;
        if self.unit.depth > 0 || self.unit.operations < 2 {
            return;
        }
        let operations = self.pending.split_off(self.unit.start);
        encode_request(&mut self.pending, &[b"MULTI"]);
        self.pending.extend_from_slice(&operations);
        encode_request(&mut self.pending, &[b"EXEC"]);
    }

    /// Adds an operation to the unit.
    pub fn append(&mut self, db: usize, arguments: &[&[u8]]) {
        if !self.is_on {
            return;
        }
        debug_assert!(self.unit.depth > 0, "effects belong to a unit");
        if self.selected_db != Some(db) {
            self.selected_db = Some(db);
            let mut number = itoa::Buffer::new();
            encode_request(&mut self.pending, &[b"SELECT", number.format(db).as_bytes()]);
        }
        encode_request(&mut self.pending, arguments);
        self.unit.operations += 1;
    }

    /// Counts changes to the data, for the save points.
    pub fn count_changes(&mut self, changes: u64) {
        self.changes += changes;
    }

    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Position behind the last record.
    pub fn end(&self) -> u64 {
        self.pending_start + self.pending.len() as u64 // usize has at most 64 bits
    }

    /// Bytes that wait to be written.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Takes what waits; the journal goes on behind it. `spare` becomes its new buffer.
    pub fn take_pending(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        assert!(self.is_between_operations(), "only whole units are written");
        spare.clear();
        self.unit.start = 0;
        self.pending_start = self.end();
        std::mem::replace(&mut self.pending, spare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(journal: &Journal) -> String {
        let text = String::from_utf8(journal.pending().to_vec()).unwrap();
        text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    #[test]
    fn one_operation_stands_plain_and_several_are_a_transaction() {
        let mut journal = Journal::default();
        journal.set_on(true);
        journal.begin_unit();
        journal.append(0, &[b"SET", b"a", b"1"]);
        journal.end_unit();
        journal.begin_unit();
        journal.append(0, &[b"DEL", b"a"]);
        journal.begin_unit();
        journal.append(3, &[b"DEL", b"b"]);
        journal.end_unit();
        journal.end_unit();
        journal.begin_unit();
        journal.end_unit();
        assert_eq!(text(&journal), "SELECT 0 SET a 1 MULTI DEL a SELECT 3 DEL b EXEC");
        assert_eq!(journal.end(), journal.pending().len() as u64);
    }

    #[test]
    fn positions_go_on_over_writes_and_files() {
        let mut journal = Journal::default();
        journal.set_on(true);
        journal.begin_unit();
        journal.append(0, &[b"DEL", b"a"]);
        journal.end_unit();
        let end = journal.end();
        assert_eq!(journal.take_pending(Vec::new()).len() as u64, end);
        assert_eq!((journal.end(), journal.pending().len()), (end, 0));
        journal.forget_selected_db();
        journal.begin_unit();
        journal.append(0, &[b"DEL", b"b"]);
        journal.end_unit();
        assert_eq!(text(&journal), "SELECT 0 DEL b");
        assert!(journal.end() > end);
    }
}
