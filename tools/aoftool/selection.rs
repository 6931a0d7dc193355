//! Which records of a file are left out, and the bytes of all others as they stand.
//!
//! A record goes when its first word is one of the names, also inside of MULTI..EXEC; a transaction that has nothing
//! left goes as a whole. SELECT is never asked about, so every record that stays keeps its database. Annotations stay;
//! seals and identities of a file that changes are made anew, as another history, so that the result proves itself.

use std::io::{self, Read, Write};

use ironkeep::aof::check::pass_rdb;
use ironkeep::aof::seal::{self, Mark, Seal};
use ironkeep::aof::{Fault, Item, LogFile, Place, RdbDepth, RdbPart, Reached, Reader, Record, Verifier};
use ironkeep::cli::progress::Progress;
use ironkeep::codec::number;
use ironkeep::disk::{Disk, Mode};
use ironkeep::rdb;
use ironkeep::rdb::envelope;

use crate::remade::{Marks, Remade, copy_range};
use crate::report;

/// Which records are to be left out.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// Names of commands in capitals.
    pub names: &'a [Vec<u8>],
    /// So many of them stay, from the first on.
    pub spared: u64,
}

impl Choice<'_> {
    fn has(&self, name: &[u8]) -> bool {
        self.names.iter().any(|wanted| wanted == name)
    }
}

/// A record that is left out.
pub struct Removed<'a, 'b> {
    pub record: &'a Record<'b>,
    /// The database it worked on.
    pub db: u64,
    /// The last time told before it, Unix ms.
    pub after_ms: Option<i64>,
    /// Address and user of who sent it, where the log tells that.
    pub sender: Option<(&'a [u8], &'a [u8])>,
    /// The offset of the MULTI around it.
    pub multi: Option<u64>,
}

/// Takes what a pass over a file gives.
pub trait Sink {
    /// Records or annotations.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// A seal or an identity; `is_spared`: a record of the chosen names would stay if it came next.
    fn mark(&mut self, mark: &Mark<'_>, is_spared: bool) -> io::Result<()>;
    fn removed(&mut self, removed: &Removed<'_, '_>) -> io::Result<()>;
}

/// What a pass over a file found.
pub struct Pass {
    pub records: u64,
    /// Records left out, and transactions that went as a whole because nothing else was in them.
    pub removed: u64,
    pub emptied: u64,
    /// Why it ended early, how far it came, and the offset up to which it was given to the sink.
    pub fault: Option<Fault>,
    pub reached: Reached,
    pub read_until: u64,
}

impl Pass {
    /// Over a file that is left as it is.
    pub fn none(file: &LogFile) -> Self {
        let reached = Reached { whole_until: file.len, seals: Verifier::default() };
        Self { records: 0, removed: 0, emptied: 0, fault: None, reached, read_until: file.len }
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
    let mut filter = Filter::new(choice, sink);
    let mut read_until = start;
    let fault = loop {
        match reader.next_placed() {
            Ok(Some((item, place))) => {
                filter.take(&item, place)?;
                read_until = item.end();
            }
            Ok(None) => break None,
            Err(Fault::Io { source, .. }) => return Err(source),
            Err(fault) => break Some(fault),
        }
    };
    // A transaction that never ends stays torn.
    filter.begin()?;
    let Filter { records, removed, emptied, .. } = filter;
    Ok(Pass { records, removed, emptied, fault, reached: reader.reached(), read_until })
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
    let pass = pass(disk, file, start, choice, &mut Copy::new((choice, marks), out))?;
    copy_range(disk, file, pass.read_until, file.len, out)?;
    Ok(pass)
}

/// Writes what is kept, with the marks written anew.
pub struct Copy<'a> {
    choice: Choice<'a>,
    remade: Remade<'a>,
}

impl<'a> Copy<'a> {
    pub fn new((choice, marks): (Choice<'a>, Marks), out: &'a mut dyn Write) -> Self {
        Self { choice, remade: Remade::new(out, marks) }
    }
}

impl Sink for Copy<'_> {
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.starts_with(b"*") { self.remade.record(bytes) } else { self.remade.bytes(bytes) }
    }

    fn mark(&mut self, mark: &Mark<'_>, is_spared: bool) -> io::Result<()> {
        let goes = match mark {
            // `FUNCTION-FLUSH` goes with the records of FUNCTION.
            Mark::Seal(Seal { sender: Some(sender), .. }) => {
                let name = sender.command.split(|byte| *byte == b'-').next().unwrap_or_default();
                !is_spared && self.choice.has(name)
            }
            _ => false,
        };
        self.remade.mark(mark, !goes)
    }

    fn removed(&mut self, _removed: &Removed<'_, '_>) -> io::Result<()> {
        Ok(())
    }
}

struct Filter<'a> {
    choice: Choice<'a>,
    /// Records that stay though their names are chosen.
    spared: u64,
    sink: &'a mut dyn Sink,
    transaction: Option<Transaction>,
    db: u64,
    after_ms: Option<i64>,
    sender: Option<Sender>,
    records: u64,
    removed: u64,
    emptied: u64,
}

/// Who sent what follows.
struct Sender {
    address: Vec<u8>,
    user: Vec<u8>,
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

impl<'a> Filter<'a> {
    fn new(choice: Choice<'a>, sink: &'a mut dyn Sink) -> Self {
        let (transaction, after_ms, sender) = (None, None, None);
        Self { choice, spared: 0, sink, transaction, db: 0, after_ms, sender, records: 0, removed: 0, emptied: 0 }
    }

    fn take(&mut self, item: &Item<'_>, place: Place) -> io::Result<()> {
        match item {
            Item::Annotation(annotation) => {
                if let (None, Some(Ok(mark))) = (&self.transaction, annotation.mark()) {
                    return self.take_mark(&mark);
                }
                self.after_ms = annotation.timestamp().map(|second| second.saturating_mul(1000)).or(self.after_ms);
                match &mut self.transaction {
                    Some(transaction) if !transaction.has_begun => {
                        transaction.annotations.extend_from_slice(annotation.raw);
                        Ok(())
                    }
                    _ => self.sink.keep(annotation.raw),
                }
            }
            Item::Record(record) => {
                self.records += 1;
                let taken = match place {
                    Place::Opens => {
                        self.transaction = Some(Transaction {
                            offset: record.offset,
                            multi: record.raw.to_vec(),
                            annotations: Vec::new(),
                            has_removed: false,
                            has_begun: false,
                        });
                        Ok(())
                    }
                    Place::Closes => self.close(record),
                    Place::Alone | Place::Inside => self.take_command(record),
                };
                if matches!(place, Place::Alone | Place::Closes) {
                    self.sender = None;
                }
                taken
            }
        }
    }

    fn take_mark(&mut self, mark: &Mark<'_>) -> io::Result<()> {
        // A mark that was made later, for a log that told no times, tells none.
        self.after_ms = Some(mark.time_ms()).filter(|ms| *ms > 0).or(self.after_ms);
        if let Mark::Seal(Seal { sender: Some(sender), .. }) = mark {
            let [address, user] = [sender.address, sender.user].map(seal::unescape);
            self.sender = Some(Sender { address, user });
        }
        self.sink.mark(mark, self.spared < self.choice.spared)
    }

    fn take_command(&mut self, record: &Record<'_>) -> io::Result<()> {
        if record.is(b"SELECT")
            && let Some(db) = record.arguments.get(1).and_then(|db| number::parse_u64(db))
        {
            self.db = db;
        }
        let is_chosen = self.choice.names.iter().any(|name| record.is(name));
        if is_chosen && self.spared < self.choice.spared {
            self.spared += 1;
        } else if is_chosen {
            self.removed += 1;
            let multi = self.transaction.as_mut().map(|transaction| {
                transaction.has_removed = true;
                transaction.offset
            });
            let sender = self.sender.as_ref().map(|sender| (&sender.address[..], &sender.user[..]));
            return self.sink.removed(&Removed { record, db: self.db, after_ms: self.after_ms, sender, multi });
        }
        self.begin()?;
        self.sink.keep(record.raw)
    }

    fn close(&mut self, exec: &Record<'_>) -> io::Result<()> {
        match self.transaction.take() {
            Some(transaction) if !transaction.has_begun && transaction.has_removed => {
                self.emptied += 1;
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

    /// Lets go of a MULTI that was held back.
    fn begin(&mut self) -> io::Result<()> {
        if let Some(transaction) = &mut self.transaction
            && !transaction.has_begun
        {
            transaction.has_begun = true;
            self.sink.keep(&transaction.multi)?;
            self.sink.keep(&transaction.annotations)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironkeep::aof::Log;
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.aof");
        RealDisk.open(&path, Mode::CreateNew).unwrap().write_all(content).unwrap();
        let log = Log::open(&RealDisk, &path).unwrap();
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let choice = Choice { names: &names, spared };
        let mut out = Vec::new();
        let pass = copy(&RealDisk, &log.files[0], 0, (choice, Marks::Left), &mut out).unwrap();
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
    fn a_torn_tail_stays_as_it_is() {
        let mut log = bytes(&["SET a 1", "FLUSHALL", "MULTI", "SET b 2"]);
        let mut expected = bytes(&["SET a 1", "MULTI", "SET b 2"]);
        for bytes in [&mut log, &mut expected] {
            bytes.extend_from_slice(b"*2\r\n$3\r\nDE");
        }
        assert_eq!(strip(&log, &["FLUSHALL"]), (expected, 1));
    }
}
