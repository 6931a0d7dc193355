//! Reads a whole log without keeping anything of it: what it holds, and how each of its files ends.
//!
//! The server's loader and `aoftool` meet in the same parts: [`pass_rdb`] for the RDB in front of a file, [`Reader`]
//! for its records, [`judge`] for a fault. So what `aoftool check` says is what a start would do.

use std::io::{self, Read};
use std::path::Path;

use super::{Fault, Item, Log, LogError, LogFile, Place, Reader, Verdict, judge};
use crate::disk::{Disk, File, Mode};
use crate::rdb::{self, Cause, Checksum, Event, Header, KeyHeader};
use crate::value::Limits;

/// Sees what passes by, for statistics and progress.
pub trait Observer {
    /// May put something between a file and its reading, a progress bar for one.
    fn wrap(&mut self, file: &LogFile, open: Box<dyn File>) -> Box<dyn Read> {
        let _ = file;
        Box::new(open)
    }
    /// An event of the RDB in front of a file.
    fn rdb_event(&mut self, event: &Event) {
        let _ = event;
    }
    /// A record or annotation of the file at `index`.
    fn item(&mut self, index: usize, item: &Item<'_>, place: Place) {
        let _ = (index, item, place);
    }
}

impl Observer for () {}

/// How closely the RDB in front of a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RdbDepth {
    /// Every value is decoded, and the checksum verified.
    Values,
    /// Values are passed over.
    Skip,
}

/// The RDB in front of a file.
#[derive(Debug, Clone)]
pub struct RdbPart {
    pub header: Header,
    pub checksum: Checksum,
    /// Bytes, the checksum included: the offset of the first record.
    pub len: u64,
    pub keys: u64,
    pub functions: u64,
}

/// What one file holds.
#[derive(Debug, Clone)]
pub struct FileReport {
    pub rdb: Option<RdbPart>,
    pub records: u64,
    pub annotations: u64,
    /// MULTI..EXEC.
    pub transactions: u64,
    /// The first and the last `#TS:`, Unix seconds.
    pub times: Option<(i64, i64)>,
    /// The offset behind the last whole unit.
    pub whole_until: u64,
    pub verdict: Verdict,
}

/// What a log holds, file by file in the order of [`Log::files`].
#[derive(Debug, Clone)]
pub struct Report {
    pub files: Vec<FileReport>,
}

impl Report {
    /// What a server that loads the log would run into first.
    pub fn verdict(&self) -> &Verdict {
        self.files.iter().map(|file| &file.verdict).find(|verdict| !verdict.is_clean()).unwrap_or(&Verdict::Clean)
    }

    /// All that is not clean.
    pub fn findings(&self) -> impl Iterator<Item = &Verdict> {
        self.files.iter().map(|file| &file.verdict).filter(|verdict| !verdict.is_clean())
    }
}

/// Reads every file of the log, also those behind a broken one.
pub fn check(disk: &dyn Disk, log: &Log, depth: RdbDepth, observer: &mut dyn Observer) -> Result<Report, LogError> {
    let files = (0..log.files.len()).map(|index| check_file(disk, log, index, depth, observer));
    Ok(Report { files: files.collect::<Result<_, _>>()? })
}

fn check_file(
    disk: &dyn Disk,
    log: &Log,
    index: usize,
    depth: RdbDepth,
    observer: &mut dyn Observer,
) -> Result<FileReport, LogError> {
    let file = &log.files[index];
    let open = disk.open(&file.path, Mode::Read).map_err(at(&file.path))?;
    let source = observer.wrap(file, open);
    let mut report = FileReport {
        rdb: None,
        records: 0,
        annotations: 0,
        transactions: 0,
        times: None,
        whole_until: 0,
        verdict: Verdict::Clean,
    };
    let mut reader = match open_records(source, file.has_rdb, Some(file.len), depth, &mut |event| {
        observer.rdb_event(event);
    }) {
        Ok((rdb, reader)) => {
            report.rdb = rdb;
            reader
        }
        Err(error) => {
            report.verdict = judge_rdb(index, &file.path, &error)?;
            return Ok(report);
        }
    };
    let fault = read_records(&mut reader, &mut report, &mut |item, place| observer.item(index, item, place));
    report.whole_until = reader.whole_until();
    if let Some(fault) = fault {
        report.verdict = judge(disk, log, index, &fault, reader.whole_until())?;
    }
    Ok(report)
}

fn read_records(
    reader: &mut Reader<Box<dyn Read>>,
    report: &mut FileReport,
    observe: &mut dyn FnMut(&Item<'_>, Place),
) -> Option<Fault> {
    loop {
        match reader.next_placed() {
            Err(fault) => return Some(fault),
            Ok(None) => return None,
            Ok(Some((item, place))) => {
                match &item {
                    Item::Record(_) => report.records += 1,
                    Item::Annotation(annotation) => {
                        report.annotations += 1;
                        if let Some(time) = annotation.timestamp() {
                            report.times = Some((report.times.map_or(time, |times| times.0), time));
                        }
                    }
                }
                report.transactions += u64::from(place == Place::Closes);
                observe(&item, place);
            }
        }
    }
}

/// Reads past the RDB in front of a file, if it has one, up to its records. `len` is the file's, where it is known.
pub fn open_records<R: Read>(
    source: R,
    has_rdb: bool,
    len: Option<u64>,
    depth: RdbDepth,
    observe: &mut dyn FnMut(&Event),
) -> Result<(Option<RdbPart>, Reader<R>), rdb::Error> {
    if !has_rdb {
        return Ok((None, Reader::resume(source, Vec::new(), 0, len)));
    }
    let (part, source, unread) = pass_rdb(source, depth, observe)?;
    let offset = part.len;
    Ok((Some(part), Reader::resume(source, unread, offset, len)))
}

/// Reads an RDB to its end and gives back the source, with what was read of it beyond.
pub fn pass_rdb<R: Read>(
    source: R,
    depth: RdbDepth,
    observe: &mut dyn FnMut(&Event),
) -> Result<(RdbPart, R, Vec<u8>), rdb::Error> {
    let mut reader = rdb::Reader::new(source, rdb::Options { verify: depth == RdbDepth::Values })?;
    let limits = Limits::default();
    let (mut keys, mut functions) = (0, 0);
    let checksum = loop {
        let event = reader.next()?;
        observe(&event);
        match event {
            Event::Key(KeyHeader { .. }) => {
                keys += 1;
                match depth {
                    // As a start does, which notices more than a stream of elements can.
                    RdbDepth::Values => drop(reader.object(&limits)?),
                    RdbDepth::Skip => reader.skip()?,
                }
            }
            Event::Function { .. } => functions += 1,
            Event::End { checksum } => break checksum,
            _ => {}
        }
    };
    let part = RdbPart { header: reader.header(), checksum, len: reader.offset(), keys, functions };
    let (source, unread) = reader.into_inner();
    Ok((part, source, unread))
}

/// An RDB in front of records was written whole before it got its name, so a short one is not a torn tail.
fn judge_rdb(index: usize, path: &Path, error: &rdb::Error) -> Result<Verdict, LogError> {
    let (offset, reason) = (error.offset(), format!("the RDB in front is broken: {error}"));
    match error.cause() {
        Cause::Io(source) => {
            let source = io::Error::new(source.kind(), error.to_string());
            Err(LogError::Io { path: path.to_owned(), source })
        }
        _ if error.is_unsupported() => Ok(Verdict::Unsupported { file: index, offset, reason: error.to_string() }),
        _ => Ok(Verdict::Damaged { file: index, offset, last_good_offset: 0, intact_from: None, reason }),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::Io { path, source }
}
