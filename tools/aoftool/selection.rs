//! Which records of a file are left out, and the bytes of all others as they stand.
//!
//! A record goes when its first word is one of the names and the other conditions hold, also inside of MULTI..EXEC; a
//! transaction that has nothing left goes as a whole. SELECT is never asked about, so every record that stays keeps its database. Annotations stay;
//! seals and identities of a file that changes are made anew, as another history, so that the result proves itself.

use std::io::{self, Read, Write};
use std::num::ParseIntError;
use std::ops::Range;
use std::str::FromStr;

use ironkeep::aof::check::pass_rdb;
use ironkeep::aof::seal::{Mark, Seal};
use ironkeep::aof::{Annotation, Fault, Item, LogFile, Place, RdbDepth, RdbPart, Reached, Reader, Record, Verifier};
use ironkeep::cli::progress::Progress;
use ironkeep::disk::{Disk, Mode};
use ironkeep::rdb;
use ironkeep::rdb::envelope;

use crate::filter::Filter;
use crate::remade::{Marks, Remade, copy_range};
use crate::report;
use crate::timeline::{Sender, Timeline};

/// Which records are to be left out.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// Names of commands in capitals.
    pub names: &'a [Vec<u8>],
    /// What else must hold.
    pub only: &'a Only,
    /// So many of them stay, from the first on.
    pub spared: u64,
}

/// Conditions of a choice beside the names.
#[derive(Default)]
pub struct Only {
    pub filter: Filter,
    /// The record begins at one of these; anywhere where there are none.
    pub at: Vec<At>,
}

impl Only {
    /// Whether nothing else must hold.
    pub fn is_open(&self) -> bool {
        self.at.is_empty() && self.filter.is_open()
    }

    fn takes(&self, file: &str, record: &Record<'_>, timeline: &Timeline) -> bool {
        let is_there = |at: &At| at.offset == record.offset && at.file.as_deref().is_none_or(|name| name == file);
        (self.at.is_empty() || self.at.iter().any(is_there)) && self.filter.takes(file, record, timeline)
    }
}

/// Where a record begins: `OFFSET`, in any file, or `FILE:OFFSET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    file: Option<String>,
    offset: u64,
}

impl FromStr for At {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (file, offset) = text.rsplit_once(':').map_or((None, text), |(file, offset)| (Some(file), offset));
        Ok(Self { file: file.map(str::to_owned), offset: offset.parse()? })
    }
}

/// A record that is left out.
pub struct Removed<'a, 'b> {
    pub record: &'a Record<'b>,
    /// The database it worked on.
    pub db: u64,
    /// The last time told before it, Unix ms.
    pub after_ms: Option<i64>,
    /// Who sent it, where the log tells that.
    pub sender: Option<&'a Sender>,
    /// The offset of the MULTI around it.
    pub multi: Option<u64>,
}

/// Takes what a pass over a file gives.
pub trait Sink {
    /// Records or annotations.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// A seal or an identity; who sent what follows is told again where `tells_sender`.
    fn mark(&mut self, mark: &Mark<'_>, tells_sender: bool) -> io::Result<()>;
    fn removed(&mut self, removed: &Removed<'_, '_>) -> io::Result<()>;
}

/// What a pass over a file found.
pub struct Pass {
    pub records: u64,
    /// Records left out, and transactions that went as a whole because nothing else was in them.
    pub removed: u64,
    pub emptied: u64,
    /// Whether the file tells any time.
    pub has_times: bool,
    /// Why it ended early, how far it came, and the offset up to which it was given to the sink.
    pub fault: Option<Fault>,
    pub reached: Reached,
    pub read_until: u64,
    /// What is left out, in order, where that is not too much to remember. A file without marks stays as it is between these.
    pub gaps: Option<Vec<Range<u64>>>,
}

impl Pass {
    /// Over a file that is left as it is.
    pub fn none(file: &LogFile) -> Self {
        let reached = Reached { whole_until: file.len, seals: Verifier::default() };
        let (fault, gaps) = (None, Some(Vec::new()));
        Self { records: 0, removed: 0, emptied: 0, has_times: false, fault, reached, read_until: file.len, gaps }
    }
}

/// The RDB in front of a file; its records begin behind it.
pub fn rdb_part(disk: &dyn Disk, file: &LogFile) -> Result<Option<RdbPart>, rdb::Error> {
    if !file.has_rdb {
        return Ok(None);
    }
    let open = match disk.open(&file.path, Mode::Read) {
        Ok(open) => open,
        // The records are read next, and then this is said in full.
        Err(_) => return Ok(None),
    };
    let source = Progress::new(open, Some(file.len), &report::name(file));
    let Ok(source) = envelope::unwrap(source) else { return Ok(None) };
    pass_rdb(source, RdbDepth::Skip, &mut |_| {}).map(|(part, ..)| Some(part))
}

/// Passes over the records of a file, which begin at the offset `start`. Behind an envelope there are none.
pub fn pass(disk: &dyn Disk, file: &LogFile, start: u64, choice: Choice<'_>, sink: &mut dyn Sink) -> io::Result<Pass> {
    if file.is_wrapped {
        return Ok(Pass::none(file));
    }
    let mut open = disk.open(&file.path, Mode::Read)?;
    open.seek(io::SeekFrom::Start(start))?;
    let len = file.len - start.min(file.len);
    let source = Progress::new(open.take(len), Some(len), &report::name(file));
    let mut reader = Reader::resume(source, Vec::new(), start, Some(file.len));
    let name = file.name();
    let mut sieve = Sieve::new(choice, &name, sink);
    let mut read_until = start;
    let fault = loop {
        match reader.next_placed() {
            Ok(Some((item, place))) => {
                sieve.take(&item, place)?;
                read_until = item.end();
            }
            Ok(None) => break None,
            Err(Fault::Io { source, .. }) => return Err(source),
            Err(fault) => break Some(fault),
        }
    };
    // A transaction that never ends stays torn.
    sieve.begin()?;
    let Sieve { records, removed, emptied, timeline, mut gaps, .. } = sieve;
    if let Some(gaps) = &mut gaps {
        // A transaction that goes as a whole does so behind what was in it.
        gaps.sort_unstable_by_key(|gap| gap.start);
    }
    let has_times = timeline.time_ms.is_some();
    Ok(Pass { records, removed, emptied, has_times, fault, reached: reader.reached(), read_until, gaps })
}

/// Writes a file without marks of ours as it is between the gaps of a pass over it.
pub fn copy_between(disk: &dyn Disk, file: &LogFile, gaps: &[Range<u64>], out: &mut dyn Write) -> io::Result<()> {
    let mut from = 0;
    for gap in gaps {
        copy_range(disk, file, from, gap.start, out)?;
        from = gap.end;
    }
    copy_range(disk, file, from, file.len, out)
}

/// Writes a file without the named records: the RDB in front (up to `start`), the records that stay, and a torn tail,
/// all as they are.
pub fn copy(
    disk: &dyn Disk,
    file: &LogFile,
    start: u64,
    (choice, marks): (Choice<'_>, Marks),
    out: &mut dyn Write,
) -> io::Result<Pass> {
    copy_range(disk, file, 0, start, out)?;
    let pass = pass(disk, file, start, choice, &mut Copy::new(marks, out))?;
    copy_range(disk, file, pass.read_until, file.len, out)?;
    Ok(pass)
}

/// Writes what is kept, with the marks written anew.
pub struct Copy<'a> {
    remade: Remade<'a>,
}

impl<'a> Copy<'a> {
    pub fn new(marks: Marks, out: &'a mut dyn Write) -> Self {
        Self { remade: Remade::new(out, marks) }
    }
}

impl Sink for Copy<'_> {
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.starts_with(b"*") { self.remade.record(bytes) } else { self.remade.bytes(bytes) }
    }

    fn mark(&mut self, mark: &Mark<'_>, tells_sender: bool) -> io::Result<()> {
        self.remade.mark(mark, tells_sender)
    }

    fn removed(&mut self, _removed: &Removed<'_, '_>) -> io::Result<()> {
        Ok(())
    }
}

/// How many gaps are remembered: 16 MiB of them.
const MOST_GAPS: usize = 1 << 20;

/// Lets through what stays.
struct Sieve<'a> {
    choice: Choice<'a>,
    file: &'a str,
    /// Records that stay though they are chosen.
    spared: u64,
    sink: &'a mut dyn Sink,
    held: Option<Held>,
    transaction: Option<Transaction>,
    timeline: Timeline,
    records: u64,
    removed: u64,
    emptied: u64,
    gaps: Option<Vec<Range<u64>>>,
}

/// A seal that says who sent the next unit: held back until it is known whether that stays.
struct Held {
    line: Vec<u8>,
    /// Annotations and SELECTs between the two.
    behind: Vec<Vec<u8>>,
}

/// A transaction whose MULTI is held back until a record of it stays.
struct Transaction {
    offset: u64,
    multi: Vec<u8>,
    /// Annotations behind the MULTI, which stay in any case.
    annotations: Vec<u8>,
    has_removed: bool,
    has_begun: bool,
}

impl<'a> Sieve<'a> {
    fn new(choice: Choice<'a>, file: &'a str, sink: &'a mut dyn Sink) -> Self {
        let (held, transaction, timeline) = (None, None, Timeline::default());
        let gaps = Some(Vec::new());
        Self { choice, file, spared: 0, sink, held, transaction, timeline, records: 0, removed: 0, emptied: 0, gaps }
    }

    fn take(&mut self, item: &Item<'_>, place: Place) -> io::Result<()> {
        self.timeline.take(item);
        let record = match item {
            Item::Annotation(annotation) => return self.take_annotation(annotation),
            Item::Record(record) => record,
        };
        self.records += 1;
        match place {
            Place::Opens => {
                let (offset, multi) = (record.offset, record.raw.to_vec());
                self.transaction =
                    Some(Transaction { offset, multi, annotations: Vec::new(), has_removed: false, has_begun: false });
                Ok(())
            }
            Place::Closes => self.close(record),
            Place::Alone | Place::Inside => self.take_command(record),
        }
    }

    fn take_annotation(&mut self, annotation: &Annotation<'_>) -> io::Result<()> {
        if let Some(transaction) = &mut self.transaction {
            if !transaction.has_begun {
                transaction.annotations.extend_from_slice(annotation.raw);
                return Ok(());
            }
            return self.sink.keep(annotation.raw);
        }
        match (annotation.mark(), &mut self.held) {
            (Some(Ok(mark)), _) => {
                self.release(true)?;
                if matches!(mark, Mark::Seal(Seal { sender: Some(_), .. })) {
                    self.held = Some(Held { line: annotation.raw.to_vec(), behind: Vec::new() });
                    return Ok(());
                }
                self.sink.mark(&mark, true)
            }
            (_, Some(held)) => {
                held.behind.push(annotation.raw.to_vec());
                Ok(())
            }
            (_, None) => self.sink.keep(annotation.raw),
        }
    }

    fn take_command(&mut self, record: &Record<'_>) -> io::Result<()> {
        let is_chosen = self.choice.names.iter().any(|name| record.is(name))
            && self.choice.only.takes(self.file, record, &self.timeline);
        if is_chosen && self.spared < self.choice.spared {
            self.spared += 1;
        } else if is_chosen {
            return self.remove(record);
        } else if let (None, Some(held)) = (&self.transaction, &mut self.held)
            && record.is(b"SELECT")
        {
            held.behind.push(record.raw.to_vec());
            return Ok(());
        }
        self.begin()?;
        self.sink.keep(record.raw)
    }

    /// Remembers that something is left out.
    fn leave_out(&mut self, from: u64, to: u64) {
        let Some(gaps) = &mut self.gaps else { return };
        if let Some(last) = gaps.last_mut().filter(|last| last.end == from) {
            last.end = to;
        } else if gaps.len() < MOST_GAPS {
            gaps.push(from..to);
        } else {
            self.gaps = None;
        }
    }

    fn remove(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.removed += 1;
        self.leave_out(record.offset, record.end());
        let multi = self.transaction.as_mut().map(|transaction| {
            transaction.has_removed = true;
            transaction.offset
        });
        if multi.is_none() {
            self.release(false)?;
        }
        let Timeline { db, time_ms: after_ms, sender, .. } = &self.timeline;
        let (db, after_ms, sender) = (*db, *after_ms, sender.as_ref());
        self.sink.removed(&Removed { record, db, after_ms, sender, multi })
    }

    fn close(&mut self, exec: &Record<'_>) -> io::Result<()> {
        match self.transaction.take() {
            Some(transaction) if !transaction.has_begun && transaction.has_removed => {
                self.emptied += 1;
                let end = transaction.offset + transaction.multi.len() as u64; // usize has at most 64 bits
                self.leave_out(transaction.offset, end);
                self.leave_out(exec.offset, exec.end());
                self.release(false)?;
                self.sink.keep(&transaction.annotations)
            }
            transaction => {
                self.transaction = transaction;
                self.begin()?;
                self.transaction = None;
                self.sink.keep(exec.raw)
            }
        }
    }

    /// Lets go of what was held back in front of something that stays.
    fn begin(&mut self) -> io::Result<()> {
        let Some(transaction) = &self.transaction else { return self.release(true) };
        if transaction.has_begun {
            return Ok(());
        }
        // What the sender is known for may still go; then it isn't told of the rest.
        let is_known_for_chosen = self.held.as_ref().is_some_and(|held| self.is_known_for_chosen(&held.line));
        self.release(!is_known_for_chosen)?;
        if let Some(transaction) = &mut self.transaction {
            transaction.has_begun = true;
            self.sink.keep(&transaction.multi)?;
            self.sink.keep(&transaction.annotations)?;
        }
        Ok(())
    }

    fn is_known_for_chosen(&self, line: &[u8]) -> bool {
        let Some(Ok(Mark::Seal(Seal { sender: Some(sender), .. }))) = Mark::parse(line) else { return false };
        // `FUNCTION-FLUSH` goes with the records of FUNCTION.
        let name = sender.command.split(|byte| *byte == b'-').next().unwrap_or_default();
        self.spared >= self.choice.spared && self.choice.names.iter().any(|wanted| wanted == name)
    }

    fn release(&mut self, tells_sender: bool) -> io::Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        if let Some(Ok(mark)) = Mark::parse(&held.line) {
            self.sink.mark(&mark, tells_sender)?;
        }
        held.behind.iter().try_for_each(|bytes| self.sink.keep(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironkeep::aof::seal::{self, HistoryId};
    use ironkeep::aof::{Log, OpenSpan, Sealer};
    use ironkeep::disk::RealDisk;
    use ironkeep::resp::encode_request;

    fn bytes(commands: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            match command.strip_prefix('#') {
                Some(_) => bytes.extend_from_slice(format!("{command}\r\n").as_bytes()),
                None => encode_request(&mut bytes, &command.split(' ').collect::<Vec<_>>()),
            }
        }
        bytes
    }

    fn strip(content: &[u8], names: &[&str]) -> (Vec<u8>, u64) {
        strip_behind(0, content, names)
    }

    fn strip_behind(spared: u64, content: &[u8], names: &[&str]) -> (Vec<u8>, u64) {
        strip_only(&Only::default(), spared, content, names)
    }

    fn strip_only(only: &Only, spared: u64, content: &[u8], names: &[&str]) -> (Vec<u8>, u64) {
        strip_as(Marks::Left, only, spared, content, names)
    }

    fn strip_as(marks: Marks, only: &Only, spared: u64, content: &[u8], names: &[&str]) -> (Vec<u8>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.aof");
        RealDisk.open(&path, Mode::CreateNew).unwrap().write_all(content).unwrap();
        let log = Log::open(&RealDisk, &path).unwrap();
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let choice = Choice { names: &names, only, spared };
        let mut out = Vec::new();
        let pass = copy(&RealDisk, &log.files[0], 0, (choice, marks), &mut out).unwrap();
        (out, pass.removed)
    }

    #[test]
    fn what_stays_is_copied_byte_for_byte() {
        let log = bytes(&["SELECT 0", "SET a 1", "#TS:5", "flushall", "SET b 2", "FlushDB async", "#note"]);
        let expected = bytes(&["SELECT 0", "SET a 1", "#TS:5", "SET b 2", "#note"]);
        assert_eq!(strip(&log, &["FLUSHALL", "flushdb"]), (expected, 2));
        assert_eq!(strip(&log, &["GET"]), (log, 0));
    }

    #[test]
    fn the_first_may_be_spared() {
        let log = bytes(&["SET a 1", "FLUSHALL", "MULTI", "FLUSHALL", "EXEC", "SET b 2", "FLUSHALL"]);
        let expected = bytes(&["SET a 1", "FLUSHALL", "MULTI", "FLUSHALL", "EXEC", "SET b 2"]);
        assert_eq!(strip_behind(2, &log, &["FLUSHALL"]), (expected, 1));
        assert_eq!(strip_behind(3, &log, &["FLUSHALL"]), (log, 0));
    }

    #[test]
    fn a_transaction_keeps_its_frame_while_something_is_in_it() {
        let log = bytes(&["MULTI", "SET a 1", "FLUSHALL", "EXEC", "MULTI", "FLUSHALL", "SELECT 3", "EXEC", "SET b 1"]);
        let expected = bytes(&["MULTI", "SET a 1", "EXEC", "MULTI", "SELECT 3", "EXEC", "SET b 1"]);
        assert_eq!(strip(&log, &["FLUSHALL"]), (expected, 2));
    }

    #[test]
    fn an_emptied_transaction_goes_but_its_annotations_and_empty_ones_of_others_stay() {
        let log = bytes(&["MULTI", "#TS:1", "FLUSHALL", "EXEC", "MULTI", "EXEC", "SET a 1"]);
        let expected = bytes(&["#TS:1", "MULTI", "EXEC", "SET a 1"]);
        assert_eq!(strip(&log, &["FLUSHALL"]), (expected, 1));
    }

    #[test]
    fn one_place_may_be_meant() {
        let log = bytes(&["SET a 1", "FLUSHALL", "SET b 2", "FLUSHALL"]);
        let expected = bytes(&["SET a 1", "FLUSHALL", "SET b 2"]);
        let last = log.len() - bytes(&["FLUSHALL"]).len();
        for at in [format!("{last}"), format!("a.aof:{last}")] {
            let only = Only { at: vec![at.parse().unwrap()], ..Only::default() };
            assert_eq!(strip_only(&only, 0, &log, &["FLUSHALL"]), (expected.clone(), 1));
        }
        for at in [format!("b.aof:{last}"), format!("{}", last + 1)] {
            let only = Only { at: vec![at.parse().unwrap()], ..Only::default() };
            assert_eq!(strip_only(&only, 0, &log, &["FLUSHALL"]), (log.clone(), 0));
        }
    }

    #[test]
    fn who_sent_what_goes_is_not_told_of_what_comes_next() {
        let sender = |command| Some(seal::Sender { command, address: b"127.0.0.1:1", user: b"default" });
        let mut sealer = Sealer::new(HistoryId::random(&mut fastrand::Rng::with_seed(1)), OpenSpan::at(0));
        let mut log = Vec::new();
        sealer.identify(0, 1_000, &mut log);
        let mut at = 0;
        for (command, units) in [("FLUSHDB", &["SELECT 1", "FLUSHDB"]), ("FLUSHALL", &["FLUSHALL", "SET a 1"])] {
            sealer.seal(at, 2_000, sender(command.as_bytes()), &mut log);
            let records = bytes(units);
            sealer.absorb(&records);
            at += records.len() as u64;
            log.extend(records);
        }
        let senders = |names: &[&str]| {
            let stripped = strip_as(Marks::Renewed, &Only::default(), 0, &log, names).0;
            let text = String::from_utf8(stripped).unwrap();
            ["FLUSHDB", "FLUSHALL"]
                .map(|name| text.lines().filter(|line| line.contains(&format!(" for={name} "))).count())
        };
        assert_eq!(senders(&["GET"]), [1, 1]);
        assert_eq!(senders(&["FLUSHDB"]), [0, 1]);
        assert_eq!(senders(&["FLUSHALL"]), [1, 0]);
    }

    #[test]
    fn a_torn_tail_stays_as_it_is() {
        let mut log = bytes(&["SET a 1", "FLUSHALL", "MULTI", "SET b 2"]);
        let mut expected = bytes(&["SET a 1", "MULTI", "SET b 2"]);
        for bytes in [&mut log, &mut expected] {
            bytes.extend_from_slice(b"*2\r\n$3\r\nDE");
        }
        assert_eq!(strip(&log, &["FLUSHALL"]), (expected, 1));
    }
}
