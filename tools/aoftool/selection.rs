//! Which records of a file are left out, and the bytes of all others as they stand.
//!
//! A record goes when its first word is one of the names, also inside of MULTI..EXEC; a transaction that has nothing
//! left goes as a whole. SELECT is never asked about, so every record that stays keeps its database. Annotations stay.

use std::io::{self, Read, Write};

use ironkeep::aof::check::pass_rdb;
use ironkeep::aof::{Fault, Item, LogFile, Place, RdbDepth, RdbPart, Reader, Record};
use ironkeep::cli::progress::Progress;
use ironkeep::codec::number;
use ironkeep::disk::{Disk, Mode};
use ironkeep::rdb;
use ironkeep::rdb::envelope;

use crate::report;

/// A record that is left out.
pub struct Removed<'a, 'b> {
    pub record: &'a Record<'b>,
    /// The database it worked on.
    pub db: u64,
    /// The last `#TS:` before it, Unix seconds.
    pub after: Option<i64>,
    /// The offset of the MULTI around it.
    pub multi: Option<u64>,
}

/// Takes what a pass over a file gives.
pub trait Sink {
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn removed(&mut self, removed: &Removed<'_, '_>) -> io::Result<()>;
}

/// What a pass over a file found.
pub struct Pass {
    pub records: u64,
    /// Records left out, and transactions that went as a whole because nothing else was in them.
    pub removed: u64,
    pub emptied: u64,
    /// Why it ended early, and the offsets up to which it is whole and up to which it was given to the sink.
    pub fault: Option<Fault>,
    pub whole_until: u64,
    pub read_until: u64,
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
pub fn pass(disk: &dyn Disk, file: &LogFile, start: u64, names: &[Vec<u8>], sink: &mut dyn Sink) -> io::Result<Pass> {
    if file.is_wrapped {
        let (records, removed, emptied, fault) = (0, 0, 0, None);
        return Ok(Pass { records, removed, emptied, fault, whole_until: file.len, read_until: file.len });
    }
    let mut open = disk.open(&file.path, Mode::Read)?;
    open.seek(io::SeekFrom::Start(start))?;
    let source = Progress::new(open, Some(file.len - start.min(file.len)), &report::name(file));
    let mut reader = Reader::resume(source, Vec::new(), start, Some(file.len));
    let mut filter = Filter { names, sink, transaction: None, db: 0, after: None, records: 0, removed: 0, emptied: 0 };
    let fault = loop {
        match reader.next_placed() {
            Ok(Some((item, place))) => filter.take(&item, place)?,
            Ok(None) => break None,
            Err(Fault::Io { source, .. }) => return Err(source),
            Err(fault) => break Some(fault),
        }
    };
    // A transaction that never ends stays torn.
    filter.begin()?;
    let Filter { records, removed, emptied, .. } = filter;
    Ok(Pass { records, removed, emptied, fault, whole_until: reader.whole_until(), read_until: reader.offset() })
}

/// Writes a file without the named records: the RDB in front (up to `start`), the records that stay, and a torn tail,
/// all as they are.
pub fn copy(disk: &dyn Disk, file: &LogFile, start: u64, names: &[Vec<u8>], out: &mut dyn Write) -> io::Result<Pass> {
    copy_range(disk, file, 0, start, out)?;
    let pass = pass(disk, file, start, names, &mut Copy { out })?;
    copy_range(disk, file, pass.read_until, file.len, out)?;
    Ok(pass)
}

/// Writes the bytes of a file from one offset to another.
pub fn copy_range(disk: &dyn Disk, file: &LogFile, from: u64, to: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut source = disk.open(&file.path, Mode::Read)?;
    source.seek(io::SeekFrom::Start(from))?;
    let wanted = to.saturating_sub(from);
    let copied = io::copy(&mut source.take(wanted), out)?;
    if copied == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

struct Copy<'a> {
    out: &'a mut dyn Write,
}

impl Sink for Copy<'_> {
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    fn removed(&mut self, _removed: &Removed<'_, '_>) -> io::Result<()> {
        Ok(())
    }
}

struct Filter<'a> {
    names: &'a [Vec<u8>],
    sink: &'a mut dyn Sink,
    transaction: Option<Transaction>,
    db: u64,
    after: Option<i64>,
    records: u64,
    removed: u64,
    emptied: u64,
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

impl Filter<'_> {
    fn take(&mut self, item: &Item<'_>, place: Place) -> io::Result<()> {
        match item {
            Item::Annotation(annotation) => {
                self.after = annotation.timestamp().or(self.after);
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
                match place {
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
                }
            }
        }
    }

    fn take_command(&mut self, record: &Record<'_>) -> io::Result<()> {
        if record.is(b"SELECT")
            && let Some(db) = record.arguments.get(1).and_then(|db| number::parse_u64(db))
        {
            self.db = db;
        }
        if self.names.iter().any(|name| record.is(name)) {
            self.removed += 1;
            let multi = self.transaction.as_mut().map(|transaction| {
                transaction.has_removed = true;
                transaction.offset
            });
            return self.sink.removed(&Removed { record, db: self.db, after: self.after, multi });
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.aof");
        RealDisk.open(&path, Mode::CreateNew).unwrap().write_all(content).unwrap();
        let log = Log::open(&RealDisk, &path).unwrap();
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut out = Vec::new();
        let pass = copy(&RealDisk, &log.files[0], 0, &names, &mut out).unwrap();
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
