//! The journal: effects of commands as bytes of the log, in the order of execution, each with a position.
//!
//! A *unit* is what must be replayed whole: the effects of one command, or of one MULTI..EXEC. A unit of several
//! operations is wrapped in MULTI and EXEC; one alone stands plain. SELECT is written where the database changes,
//! inside the transaction.
//!
//! A position counts record bytes, so it grows with the log and never goes back; where a log is continued, so are its
//! positions. In front of the first operation of a unit stand the annotations that are due: [seals](crate::aof::seal),
//! where the journal has been told whose history it writes, and times.

use crate::aof::seal::{HistoryId, Sender};
use crate::aof::{OpenSpan, Sealer, writer};
use crate::resp::encode_request;

/// Records that wait to be written, with annotations between them.
#[derive(Debug, Default)]
pub struct Journal {
    is_on: bool,
    pending: Vec<u8>,
    /// Position of the first byte of `pending`.
    pending_start: u64,
    /// Bytes of annotations in `pending`.
    annotations_len: usize,
    /// The sealer knows `pending` up to here.
    absorbed: usize,
    sealer: Option<Box<Sealer>>,
    now_ms: i64,
    /// The second of the last `#TS:`, while such are wanted; the next record wants one of its own second.
    timestamp: Option<i64>,
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
    /// Who sent something that is to be known by name.
    sender: Option<Box<NamedSender>>,
}

#[derive(Debug)]
struct NamedSender {
    command: &'static str,
    address: String,
    user: String,
}

impl Journal {
    /// From here on what is written is sealed, as the history `id` behind `span`, which ends at position `end`. The
    /// first record has the seals and the identity in front of it.
    pub fn seal_as(&mut self, id: HistoryId, span: OpenSpan, end: u64) {
        assert!(self.is_between_operations() && self.pending.is_empty(), "a log is opened between units");
        self.pending_start = end;
        let mut sealer = Sealer::new(id, span);
        sealer.note_synced(end);
        self.sealer = Some(Box::new(sealer));
    }

    /// The history that is written, where that is sealed.
    pub fn history(&self) -> Option<HistoryId> {
        self.sealer.as_ref().map(|sealer| sealer.id())
    }

    /// Position up to which everything is sealed, be the seal written yet or not.
    pub fn sealed(&self) -> Option<u64> {
        self.sealer.as_ref().map(|sealer| sealer.sealed())
    }

    /// The time, for what is appended from here on, and whether records are to tell it.
    pub fn set_time(&mut self, now_ms: i64, has_timestamps: bool) {
        self.now_ms = now_ms;
        if has_timestamps != self.timestamp.is_some() {
            self.timestamp = has_timestamps.then_some(i64::MIN);
        }
    }

    /// Everything up to this position is on the disk.
    pub fn note_synced(&mut self, position: u64) {
        if let Some(sealer) = &mut self.sealer {
            sealer.note_synced(position);
        }
    }

    /// What was taken up to `position` is about to be synced.
    pub fn note_sync_point(&mut self, position: u64) {
        // What came since is known to the sealer only where it holds a seal.
        if let (Some(sealer), 0, true) = (&mut self.sealer, self.absorbed, position == self.pending_start) {
            sealer.note_sync_point(position);
        }
    }

    /// Seals what is not sealed yet: at the end of a file, which is synced then.
    pub fn seal_end(&mut self) {
        assert!(self.is_between_operations(), "a seal stands between units");
        let at = self.end();
        if self.is_on {
            self.annotate(|sealer, now_ms, log| sealer.seal(at, now_ms, None, log));
        }
    }

    /// The head of a new file that is to be written from here on. What was before is sealed.
    pub fn begin_file(&mut self) -> Vec<u8> {
        self.forget_selected_db();
        let (at, mut head) = (self.end(), Vec::new());
        self.absorb();
        if let Some(sealer) = &mut self.sealer {
            sealer.identify(at, self.now_ms, &mut head);
        }
        head
    }

    /// As [`Journal::begin_file`], where all that happened so far is in a snapshot, and goes to no file any more.
    pub fn begin_file_anew(&mut self) -> Vec<u8> {
        assert!(self.is_between_operations(), "files change between units");
        self.pending_start = self.end();
        self.pending.clear();
        (self.annotations_len, self.absorbed, self.unit.start) = (0, 0, 0);
        self.begin_file()
    }

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

    /// Records nothing from here on, inside of a unit: what a script is told to keep out of the log. Gives what
    /// [`Journal::listen`] takes.
    pub fn look_away(&mut self) -> bool {
        std::mem::replace(&mut self.is_on, false)
    }

    /// Records again, if it did before.
    pub fn listen(&mut self, was_on: bool) {
        self.is_on = was_on;
    }

    /// Turns the journal off, and forgets what waits: it goes to no file. A log that is begun later is another history.
    pub fn close(&mut self) {
        self.set_on(false);
        self.pending_start = self.end();
        self.pending.clear();
        (self.annotations_len, self.absorbed, self.unit.start, self.sealer) = (0, 0, 0, None);
    }

    /// Makes the next record select its database and tell its time: at the beginning of every file of the log.
    pub fn forget_selected_db(&mut self) {
        assert!(self.is_between_operations(), "files change between units");
        self.selected_db = None;
        self.timestamp = self.timestamp.and(Some(i64::MIN));
    }

    /// Whether no unit is open that has changed anything.
    pub fn is_between_operations(&self) -> bool {
        self.unit.depth == 0 || self.unit.operations == 0
    }

    /// Begins a unit, or goes a level deeper in one.
    pub fn begin_unit(&mut self) {
        if self.unit.depth == 0 {
            self.unit = Unit { depth: 0, start: self.pending.len(), operations: 0, sender: None };
        }
        self.unit.depth += 1;
    }

    /// Ends a level; with the outermost, the unit.
    pub fn end_unit(&mut self) {
        assert!(self.unit.depth > 0, "a unit was begun");
        self.unit.depth -= 1;
        let has_sender = self.unit.sender.is_some() && self.sealer.is_some() && self.unit.operations > 0;
        if self.unit.depth > 0 || (self.unit.operations < 2 && !has_sender) {
            return;
        }
        let operations = self.pending.split_off(self.unit.start);
        if has_sender {
            self.name_sender();
        }
        if self.unit.operations < 2 {
            self.pending.extend_from_slice(&operations);
            return;
        }
        encode_request(&mut self.pending, &[b"MULTI"]);
        self.pending.extend_from_slice(&operations);
        encode_request(&mut self.pending, &[b"EXEC"]);
    }

    /// The unit under way holds a command whose sender is to be known later.
    pub fn note_sender(&mut self, command: &'static str, address: &str, user: &str) {
        if self.is_on && self.sealer.is_some() && self.unit.sender.is_none() {
            let (address, user) = (address.to_owned(), user.to_owned());
            self.unit.sender = Some(Box::new(NamedSender { command, address, user }));
        }
    }

    /// Seals what is in front of the unit, with the name of who sent it.
    fn name_sender(&mut self) {
        let Some(sender) = self.unit.sender.take() else { return };
        let NamedSender { command, address, user } = &*sender;
        let (command, address, user) = (command.as_bytes(), address.as_bytes(), user.as_bytes());
        let at = self.end();
        self.annotate(|sealer, now_ms, log| {
            sealer.seal(at, now_ms, Some(Sender { command, address, user }), log);
        });
    }

    /// Adds to the log what the sealer says, behind everything that it has been told of.
    fn annotate(&mut self, say: impl FnOnce(&mut Sealer, i64, &mut Vec<u8>)) {
        self.absorb();
        let before = self.pending.len();
        if let Some(sealer) = &mut self.sealer {
            say(sealer, self.now_ms, &mut self.pending);
        }
        self.annotations_len += self.pending.len() - before;
        self.absorbed = self.pending.len();
    }

    /// Tells the sealer of what is pending.
    fn absorb(&mut self) {
        if let Some(sealer) = &mut self.sealer {
            sealer.absorb(&self.pending[self.absorbed..]);
        }
        self.absorbed = self.pending.len();
    }

    /// Whether annotations are due in front of a unit.
    #[inline]
    fn wants_annotations(&self) -> bool {
        self.sealer.as_ref().is_some_and(|sealer| sealer.is_due(self.end(), self.now_ms))
            || self.timestamp.is_some_and(|second| second != self.now_ms / 1000)
    }

    /// Adds the annotations that are due. The unit begins behind them.
    #[cold]
    fn add_annotations(&mut self) {
        let at = self.end();
        if self.sealer.as_ref().is_some_and(|sealer| sealer.is_due(at, self.now_ms)) {
            self.annotate(|sealer, now_ms, log| sealer.mark(at, now_ms, log));
        }
        let second = self.now_ms / 1000;
        if self.timestamp.is_some_and(|last| last != second) {
            let before = self.pending.len();
            writer::append_timestamp(&mut self.pending, second);
            self.annotations_len += self.pending.len() - before;
            self.timestamp = Some(second);
        }
        self.unit.start = self.pending.len();
    }

    /// Adds an operation to the unit.
    pub fn append(&mut self, db: usize, arguments: &[&[u8]]) {
        if !self.is_on {
            return;
        }
        debug_assert!(self.unit.depth > 0, "effects belong to a unit");
        if self.unit.operations == 0 && self.wants_annotations() {
            self.add_annotations();
        }
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
        self.pending_start + (self.pending.len() - self.annotations_len) as u64 // usize has at most 64 bits
    }

    /// Bytes that wait to be written.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Takes what waits; the journal goes on behind it. `spare` becomes its new buffer.
    pub fn take_pending(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        assert!(self.is_between_operations(), "only whole units are written");
        spare.clear();
        self.absorb();
        self.unit.start = 0;
        self.pending_start = self.end();
        (self.annotations_len, self.absorbed) = (0, 0);
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

    fn sealed() -> Journal {
        let mut journal = Journal::default();
        journal.set_on(true);
        journal.seal_as(HistoryId::random(&mut fastrand::Rng::with_seed(1)), OpenSpan::at(0), 0);
        journal.set_time(1_000, false);
        journal
    }

    fn set(journal: &mut Journal, keys: &[&str]) {
        journal.begin_unit();
        keys.iter().for_each(|key| journal.append(0, &[b"SET", key.as_bytes(), &[b'v'; 100]]));
        journal.end_unit();
    }

    /// What stands in a log: S for a seal, I for an identity, T for a time, M for MULTI..EXEC, a dot for a command.
    fn shape(log: &[u8]) -> String {
        let mut reader = crate::aof::Reader::new(log);
        let mut shape = String::new();
        while let Some((item, place)) = reader.next_placed().expect("everything fits") {
            match (item, place) {
                (crate::aof::Item::Annotation(line), _) => {
                    shape.push(match line.text() {
                        text if text.starts_with(b"SEAL") => 'S',
                        text if text.starts_with(b"TS") => 'T',
                        _ => 'I',
                    });
                }
                (_, crate::aof::Place::Closes) => shape.push('M'),
                (_, crate::aof::Place::Alone) => shape.push('.'),
                _ => {}
            }
        }
        shape
    }

    #[test]
    fn seals_stand_in_front_of_units_and_never_last() {
        let mut journal = sealed();
        let mut log = journal.begin_file();
        for index in 0..400 {
            set(&mut journal, if index % 3 == 0 { &["a", "b"] } else { &["c"] });
            if index % 7 == 0 {
                log.extend_from_slice(&journal.take_pending(Vec::new()));
            }
        }
        log.extend_from_slice(&journal.take_pending(Vec::new()));
        let shape = shape(&log);
        assert!(shape.starts_with("IM..M") && !shape.ends_with('S'), "{shape}");
        let seals = shape.matches('S').count();
        assert_eq!(
            seals,
            usize::try_from(journal.end()).unwrap() / (16 << 10),
            "one in 16 KiB, or a little more: {shape}"
        );
        journal.seal_end();
        assert_eq!(shape.len() + 1, self::shape(&[log, journal.take_pending(Vec::new())].concat()).len());
    }

    #[test]
    fn a_second_is_enough_for_a_seal_and_an_idle_log_gets_none() {
        let mut journal = sealed();
        let mut log = journal.begin_file();
        for now_ms in [1_000, 1_500, 2_100, 2_200, 9_000, 9_001] {
            journal.set_time(now_ms, false);
            set(&mut journal, &["a"]);
        }
        log.extend_from_slice(&journal.take_pending(Vec::new()));
        assert_eq!(shape(&log), "I...S..S..");
    }

    #[test]
    fn times_stand_in_front_of_the_first_record_of_each_second_if_wanted() {
        let mut journal = sealed();
        let mut log = journal.begin_file();
        for (now_ms, is_wanted) in [(1_000, true), (1_900, true), (2_000, true), (2_001, false), (2_002, true)] {
            journal.set_time(now_ms, is_wanted);
            set(&mut journal, &["a", "b"]);
        }
        log.extend_from_slice(&journal.take_pending(Vec::new()));
        assert_eq!(shape(&log), "ITMMSTMMTM");
    }

    #[test]
    fn a_flush_says_who_sent_it_also_from_inside_of_a_transaction() {
        for others in [&[][..], &["a"]] {
            let mut journal = sealed();
            let mut log = journal.begin_file();
            set(&mut journal, &["a"]);
            journal.begin_unit();
            others.iter().for_each(|key| journal.append(0, &[b"SET", key.as_bytes(), b"1"]));
            journal.note_sender("FLUSHALL", "127.0.0.1:5", "default");
            journal.append(0, &[b"FLUSHALL"]);
            journal.end_unit();
            set(&mut journal, &["b"]);
            let end = journal.end();
            log.extend_from_slice(&journal.take_pending(Vec::new()));
            assert_eq!(shape(&log), if others.is_empty() { "I..S.." } else { "I..SM." });
            let seal = memchr::memmem::find(&log, b" for=FLUSHALL from=127.0.0.1:5 user=default ").unwrap();
            let flush = memchr::memmem::find(&log, b"$8\r\nFLUSHALL").unwrap();
            assert!(seal < flush);
            let annotations: usize =
                log.split_inclusive(|&byte| byte == b'\n').filter(|line| line.starts_with(b"#")).map(<[u8]>::len).sum();
            assert_eq!(end, (log.len() - annotations) as u64, "positions count records only");
        }
    }
}
