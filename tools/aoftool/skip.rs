//! What is left of a file when everything that can't be read is left out: `aoftool check --fix=skip`.
//!
//! Behind a fault the reading goes on at the next place where records can be read again: at a seal, or at a head
//! `*<digits>CRLF$<digits>CRLF` from which whole records follow. A value may hold text that looks like records; those end
//! in front of the line end of the value, where no record begins, and so are told apart.
//!
//! A transaction that is hit goes as a whole. Where only its MULTI or EXEC is hit, which is known by its length and by
//! what is left of it, that record is written anew, and the transaction stays as a whole.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use ironkeep::aof::record::MAX_ANNOTATION;
use ironkeep::aof::seal::{Mark, begins_mark};
use ironkeep::aof::verdict::{MAX_HEAD, is_head};
use ironkeep::aof::{Annotation, Fault, Item, LogFile, Record, Scanner};
use ironkeep::command::execute;
use ironkeep::disk::{Disk, File, Mode};

use crate::remade::Piece;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// So much is read from a place on to see whether records are there, and for text in a value to end.
const TRIAL: u64 = 64 << 10;
const WINDOW: usize = 1 << 20;
/// Names of keys that are told of one span.
const MOST_KEYS: usize = 20;

/// What is kept of a file, and what is not.
pub struct Mended {
    pub pieces: Vec<Piece>,
    pub dropped: Vec<Dropped>,
    /// Records of transactions that were written anew.
    pub frames: Vec<u64>,
    /// Stretches that can be read, but are not what their seals were made for; they are kept.
    pub suspects: Vec<Dropped>,
}

/// A stretch of the file, and what it is about.
pub struct Dropped {
    pub span: Range<u64>,
    pub reason: String,
    /// Keys that the records in it name, as far as can be told; not more than a few.
    pub keys: Vec<Vec<u8>>,
}

/// Reads the file, whose records begin at `start`, to its end.
pub fn mend(disk: &dyn Disk, file: &LogFile, start: u64) -> io::Result<Mended> {
    let mut walk = Walk {
        file: disk.open(&file.path, Mode::Read)?,
        end: file.len,
        kept_from: start,
        transaction: None,
        loose: None,
        last_record: None,
        span_from: Some(start),
        span_keys: Vec::new(),
        mended: Mended { pieces: Vec::new(), dropped: Vec::new(), frames: Vec::new(), suspects: Vec::new() },
    };
    let mut at = start;
    let mut scanned = disk.open(&file.path, Mode::Read)?;
    while at < file.len {
        scanned.seek(SeekFrom::Start(at))?;
        let source = (&mut scanned).take(file.len - at);
        let mut scanner = Scanner::resume(source, Vec::new(), at, Some(file.len));
        let fault = loop {
            match scanner.next() {
                Ok(Some(item)) => walk.take(&item)?,
                Ok(None) => break None,
                Err(Fault::Io { source, .. }) => return Err(source),
                Err(fault) => break Some(fault),
            }
        };
        at = match fault {
            None => file.len,
            Some(fault) => walk.pass_over(&fault)?,
        };
    }
    walk.finish()
}

/// A transaction that waits for its EXEC.
struct Transaction {
    multi: u64,
    /// Where the last damage in it ended, and why it was damage.
    hit: Option<(u64, String)>,
}

struct Walk {
    file: Box<dyn File>,
    end: u64,
    /// What is read since then is kept, unless a transaction that began before the end goes.
    kept_from: u64,
    transaction: Option<Transaction>,
    /// Damage outside of a transaction since the last MULTI or EXEC: an EXEC behind it lost its MULTI there.
    loose: Option<u64>,
    last_record: Option<u64>,
    /// Where the span of the next seal begins; `None` where some of it is gone.
    span_from: Option<u64>,
    span_keys: Vec<Vec<u8>>,
    mended: Mended,
}

impl Walk {
    fn take(&mut self, item: &Item<'_>) -> io::Result<()> {
        match item {
            Item::Annotation(annotation) => {
                self.last_record = None;
                self.take_annotation(annotation);
                Ok(())
            }
            Item::Record(record) => {
                self.last_record = Some(record.offset);
                push_keys(&mut self.span_keys, &record.arguments);
                self.take_record(record)
            }
        }
    }

    fn take_annotation(&mut self, annotation: &Annotation<'_>) {
        let Some(mark) = annotation.mark() else { return };
        let is_changed = match (&mark, self.span_from) {
            (Ok(Mark::Seal(seal)), Some(_)) => annotation.crc != Some(seal.crc),
            (Err(_), _) => true,
            _ => false,
        };
        let keys = std::mem::take(&mut self.span_keys);
        let from = self.span_from.unwrap_or(annotation.offset);
        if is_changed {
            let reason = match mark {
                Err(reason) => format!("the seal behind it was changed: {reason}"),
                Ok(_) => "the checksum of its seal does not fit".to_owned(),
            };
            self.mended.suspects.push(Dropped { span: from..annotation.offset, reason, keys });
        }
        self.span_from = Some(Item::Annotation(*annotation).end());
    }

    fn take_record(&mut self, record: &Record<'_>) -> io::Result<()> {
        match frame_of(record) {
            Frame::Multi { is_whole } => match &self.transaction {
                // The damage took the EXEC too.
                Some(Transaction { hit: Some((hit_end, reason)), multi }) => {
                    let (span, reason) = (*multi..*hit_end, reason.clone());
                    self.drop(span, reason)?;
                    self.open(record.offset..record.end(), is_whole);
                }
                // The first one's EXEC closes both, as in a real server, which ignores a MULTI inside of a MULTI.
                Some(Transaction { multi, .. }) => {
                    let reason = format!("MULTI inside the transaction that begins at offset {multi}");
                    self.drop(record.offset..record.end(), reason)?;
                }
                None => self.open(record.offset..record.end(), is_whole),
            },
            Frame::Exec { is_whole } => match (self.transaction.take(), self.loose.take()) {
                (Some(Transaction { multi, hit: Some((_, reason)) }), _) => {
                    let reason = format!("{reason}, in the transaction that begins at offset {multi}");
                    self.drop(multi..record.end(), reason)?;
                }
                (Some(_), _) if is_whole => {}
                (Some(_), _) => self.replace(record.offset..record.end(), EXEC),
                (None, Some(from)) => {
                    let reason = "the MULTI of this transaction is damaged".to_owned();
                    self.drop(from..record.end(), reason)?;
                }
                (None, None) => self.drop(record.offset..record.end(), "EXEC without a MULTI".to_owned())?,
            },
            Frame::None => {}
        }
        Ok(())
    }

    fn open(&mut self, span: Range<u64>, is_whole: bool) {
        self.loose = None;
        self.transaction = Some(Transaction { multi: span.start, hit: None });
        if !is_whole {
            self.replace(span, MULTI);
        }
    }

    /// Drops what can't be read; where to read on.
    fn pass_over(&mut self, fault: &Fault) -> io::Result<u64> {
        let (mut from, mut to) = (fault.record(), None);
        // A length that has become larger may end where a line ends, and then the head of what follows is in the record
        // before. A count that has become smaller ends that too early: the rest of it begins with a length.
        if let (Fault::NoRecord { got, .. }, Some(record)) = (fault, self.last_record) {
            let next = self.resync(record, fault.offset())?;
            if next < fault.offset() || *got == b'$' {
                (from, to) = (record, Some(next));
            }
        }
        let to = to.map_or_else(|| self.resync(from, fault.offset()), Ok)?;
        self.last_record = None;
        self.span_from = None;
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        (&mut self.file).take((to - from).min(TRIAL)).read_to_end(&mut bytes)?;
        let is_in_transaction = self.transaction.is_some();
        if !is_in_transaction && is_nearly(&bytes, MULTI) {
            self.open(from..to, false);
        } else if is_in_transaction && is_nearly(&bytes, EXEC) {
            let hit = self.transaction.take().and_then(|transaction| transaction.hit.map(|_| transaction.multi));
            match hit {
                Some(multi) => self.drop(multi..to, fault.to_string())?,
                None => self.replace(from..to, EXEC),
            }
        } else if let Some(transaction) = &mut self.transaction {
            transaction.hit = Some((to, fault.to_string()));
        } else {
            self.drop(from..to, fault.to_string())?;
            self.loose.get_or_insert(from);
        }
        Ok(to)
    }

    fn finish(mut self) -> io::Result<Mended> {
        match self.transaction.take() {
            Some(Transaction { multi, hit: Some((hit_end, reason)) }) => self.drop(multi..hit_end, reason)?,
            Some(Transaction { multi, hit: None }) => {
                let reason = format!("the file ends before the EXEC of the MULTI at offset {multi}");
                self.drop(multi..self.end, reason)?;
            }
            None => {}
        }
        self.keep_until(self.end);
        Ok(self.mended)
    }

    fn keep_until(&mut self, until: u64) {
        if until > self.kept_from {
            self.mended.pieces.push(Piece::Span(self.kept_from..until));
        }
    }

    /// Leaves a span out, and what stands behind its start in the pieces.
    fn drop(&mut self, span: Range<u64>, reason: String) -> io::Result<()> {
        while self.kept_from > span.start {
            match self.mended.pieces.pop() {
                Some(Piece::Span(last)) => self.kept_from = last.start,
                Some(Piece::Record(_)) => {
                    self.kept_from = self.mended.frames.pop().unwrap_or(span.start);
                }
                None => break,
            }
        }
        self.mended.dropped.retain(|other| other.span.start < span.start);
        self.keep_until(span.start);
        self.kept_from = span.end;
        let keys = self.keys_in(&span)?;
        self.mended.dropped.push(Dropped { span, reason, keys });
        Ok(())
    }

    /// Puts a record in the place of a span.
    fn replace(&mut self, span: Range<u64>, record: &'static [u8]) {
        self.keep_until(span.start);
        self.kept_from = span.end;
        self.mended.pieces.push(Piece::Record(record));
        self.mended.frames.push(span.start);
    }

    /// What is named behind the names of commands: in whole records by their rule, in others the first argument.
    fn keys_in(&mut self, span: &Range<u64>) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(span.start))?;
        (&mut self.file).take((span.end - span.start).min(WINDOW as u64)).read_to_end(&mut bytes)?;
        let mut keys = Vec::new();
        let mut at = 0;
        while at < bytes.len() && keys.len() < MOST_KEYS {
            let mut scanner = Scanner::resume(&bytes[at..], Vec::new(), 0, None);
            let len = match scanner.next() {
                Ok(Some(Item::Record(record))) => {
                    push_keys(&mut keys, &record.arguments);
                    record.raw.len()
                }
                Ok(Some(item)) => item.raw().len(),
                _ => {
                    let next =
                        memchr::memchr_iter(b'*', &bytes[at + 1..]).find(|star| is_head(&bytes[at + 1 + star..]));
                    let end = next.map_or(bytes.len(), |star| at + 1 + star);
                    let words = words(&bytes[at..end]);
                    if let Some(key) = words.get(1).filter(|key| !keys.contains(&key.to_vec())) {
                        keys.push(key.to_vec());
                    }
                    end - at
                }
            };
            at += len;
        }
        Ok(keys)
    }

    /// The next place behind `from` at which records or a seal can be read. In front of `fault` they must lead beyond it:
    /// either a length has become larger, and swallows what follows, or it is right, and what is there is a value.
    fn resync(&mut self, from: u64, fault: u64) -> io::Result<u64> {
        let mut offset = from + 1;
        let mut window = Vec::new();
        // Trials of nested matches could make a hostile file cost its square.
        let mut budget = (self.end - from).saturating_mul(16) + (64 << 20);
        let mut passed = 0;
        while offset < self.end {
            self.file.seek(SeekFrom::Start(offset - 1))?;
            window.clear();
            (&mut self.file).take(WINDOW as u64).read_to_end(&mut window)?;
            for index in memchr::memchr2_iter(b'*', b'#', &window[1..]).map(|index| index + 1) {
                let (candidate, rest) = (offset - 1 + index as u64, &window[index..]);
                // The line feed may be what was changed.
                let is_behind_line = window[index - 1] == b'\n' || candidate == fault + 1;
                let is_head = rest[0] == b'*' && is_head(&rest[..rest.len().min(MAX_HEAD)]);
                if rest[0] == b'#' && is_behind_line && is_whole_mark(rest) {
                    return Ok(candidate);
                }
                if !is_head || candidate < passed || budget == 0 {
                    continue;
                }
                let trial = self.try_at(candidate, fault)?;
                budget = budget.saturating_sub(trial.reached - candidate);
                let enough = if is_behind_line { 1 } else { 3 };
                if trial.is_text {
                    passed = trial.reached;
                } else if trial.records >= enough && (candidate >= fault || trial.reached > fault) {
                    return Ok(candidate);
                }
            }
            if window.len() < WINDOW {
                break;
            }
            // The next window takes in what this one has cut.
            offset += (WINDOW - MAX_ANNOTATION) as u64;
        }
        Ok(self.end)
    }

    /// What can be read from a place on, until that is enough.
    fn try_at(&mut self, offset: u64, fault: u64) -> io::Result<Trial> {
        self.file.seek(SeekFrom::Start(offset))?;
        let source = (&mut self.file).take(self.end - offset);
        let mut scanner = Scanner::resume(source, Vec::new(), offset, Some(self.end));
        let mut trial = Trial { records: 0, reached: offset, is_text: false };
        loop {
            match scanner.next() {
                Ok(Some(item)) => {
                    trial.records += 1;
                    trial.reached = item.end();
                    if trial.reached > fault && trial.reached - offset > TRIAL {
                        return Ok(trial);
                    }
                }
                Ok(None) => return Ok(trial),
                Err(Fault::Io { source, .. }) => return Err(source),
                Err(fault) => {
                    trial.is_text = matches!(fault, Fault::NoRecord { got: b'\r', .. });
                    return Ok(trial);
                }
            }
        }
    }
}

/// What was read from a place on.
struct Trial {
    /// And annotations.
    records: usize,
    reached: u64,
    /// Records as a value holds them: up to the line end of the value.
    is_text: bool,
}

enum Frame {
    Multi { is_whole: bool },
    Exec { is_whole: bool },
    None,
}

/// Whether a record is MULTI or EXEC, be it with one byte of its name changed into that of no command.
fn frame_of(record: &Record<'_>) -> Frame {
    let is_whole = execute::find(&record.arguments).is_ok();
    match record.arguments.len() == 1 {
        _ if record.is(b"MULTI") => Frame::Multi { is_whole: true },
        _ if record.is(b"EXEC") || record.is(b"DISCARD") => Frame::Exec { is_whole: true },
        true if !is_whole && is_nearly(record.raw, MULTI) => Frame::Multi { is_whole },
        true if !is_whole && is_nearly(record.raw, EXEC) => Frame::Exec { is_whole },
        _ => Frame::None,
    }
}

/// Whether no more than one byte differs, apart from upper and lower case.
fn is_nearly(bytes: &[u8], record: &[u8]) -> bool {
    let differs = |(byte, wanted): &(&u8, &u8)| !byte.eq_ignore_ascii_case(wanted);
    bytes.len() == record.len() && bytes.iter().zip(record).filter(differs).count() <= 1
}

fn is_whole_mark(bytes: &[u8]) -> bool {
    let line = &bytes[..bytes.len().min(MAX_ANNOTATION)];
    let len = memchr::memchr(b'\n', line).map_or(line.len(), |feed| feed + 1);
    begins_mark(line) && matches!(Mark::parse(&line[..len]), Some(Ok(_)))
}

fn push_keys(keys: &mut Vec<Vec<u8>>, arguments: &[&[u8]]) {
    let Ok(command) = execute::find(arguments) else { return };
    for position in command.key_positions(arguments) {
        let key = arguments[position].to_vec();
        if keys.len() < MOST_KEYS && !keys.contains(&key) {
            keys.push(key);
        }
    }
}

/// The arguments of a broken record that can still be read: what stands behind a length, and is as long.
fn words(bytes: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut rest = bytes;
    while let Some(dollar) = memchr::memchr(b'$', rest) {
        rest = &rest[dollar + 1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let len = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let word = len.and_then(|len| rest.get(digits + 2..)?.get(..len));
        if let Some(word) = word.filter(|_| rest[digits..].starts_with(b"\r\n")) {
            words.push(word);
            rest = &rest[digits + 2 + word.len()..];
        }
    }
    words
}
