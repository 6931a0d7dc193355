//! Reads a whole log without keeping anything of it: what it holds, and how each of its files ends.
//!
//! The server's loader and `aoftool` meet in the same parts: [`pass_rdb`] for the RDB in front of a file, [`Reader`]
//! for its records, [`judge`] for a fault. So what `aoftool check` says is what a start would do.

use std::io::{self, Read};
use std::path::Path;

use super::{Fault, HistoryEnd, Item, Log, LogError, LogFile, Place, Reader, Role, Sealing, Verdict, Verifier, judge};
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

    /// Whether marks that do not fit are passed over, as after a hand has been at the records.
    fn is_lenient(&self) -> bool {
        false
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
    /// What the seals say.
    pub seals: Verifier,
    pub verdict: Verdict,
}

impl FileReport {
    /// Bytes behind the last seal, which nothing proves.
    pub fn unsealed_bytes(&self) -> u64 {
        self.whole_until.saturating_sub(self.seals.sealed_until())
    }
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
    let mut after = None;
    let files = (0..log.files.len()).map(|index| {
        let report = check_file(disk, log, index, (depth, after), observer)?;
        after = history_end(&log.files[index], &report);
        Ok(report)
    });
    Ok(Report { files: files.collect::<Result<_, LogError>>()? })
}

/// Where the history stands that the next file goes on with: a base has a history of its own.
fn history_end(file: &LogFile, report: &FileReport) -> Option<HistoryEnd> {
    (file.role == Role::Increment && report.verdict.is_clean()).then(|| report.seals.end())
}

/// Reads one file, which goes on with the history that ended there.
pub fn check_file(
    disk: &dyn Disk,
    log: &Log,
    index: usize,
    (depth, after): (RdbDepth, Option<HistoryEnd>),
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
        seals: Verifier::default(),
        verdict: Verdict::Clean,
    };
    let source = match rdb::envelope::unwrap(source) {
        Ok(source) => source,
        Err(error) => {
            report.verdict = broken_envelope(index, &file.path, 0, &error)?;
            return Ok(report);
        }
    };
    let mut reader = match open_records(source, file.has_rdb, file.unpacked_len(), depth, &mut |event| {
        observer.rdb_event(event);
    }) {
        Ok((rdb, reader)) => {
            report.rdb = rdb;
            reader.take_seals(Sealing { after, is_lenient: observer.is_lenient() })
        }
        Err(error) => {
            report.verdict = judge_rdb(index, &file.path, &error)?;
            return Ok(report);
        }
    };
    let fault = read_records(&mut reader, &mut report, &mut |item, place| observer.item(index, item, place));
    report.whole_until = reader.whole_until();
    report.seals = reader.reached().seals;
    if let Some(fault) = fault {
        report.verdict = judge(disk, log, index, &fault, &reader.reached())?;
    }
    Ok(report)
}

fn read_records(
    reader: &mut Reader<impl Read>,
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
        Cause::Io(source) => broken_envelope(index, path, offset, source),
        _ if error.is_unsupported() => Ok(Verdict::Unsupported { file: index, offset, reason: error.to_string() }),
        _ => Ok(Verdict::Damaged { file: index, offset, last_good_offset: 0, intact_from: None, reason }),
    }
}

/// What is wrong with an envelope comes as an error of reading, which names the place in the file.
fn broken_envelope(index: usize, path: &Path, offset: u64, error: &io::Error) -> Result<Verdict, LogError> {
    let reason = format!("the RDB in front is broken: {error}");
    match error.kind() {
        io::ErrorKind::InvalidData => {
            Ok(Verdict::Damaged { file: index, offset, last_good_offset: 0, intact_from: None, reason })
        }
        kind => Err(LogError::Io { path: path.to_owned(), source: io::Error::new(kind, error.to_string()) }),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aof::log::DEFAULT_FOLDER_NAME;
    use crate::disk::RealDisk;
    use std::path::PathBuf;

    /// The last file of every log of the corpus: the one in which a tail can be torn.
    fn last_files() -> Vec<(PathBuf, Vec<u8>)> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus");
        let mut found = Vec::new();
        for server in RealDisk.list(&corpus).unwrap() {
            for kind in ["aof", "flushed-aof"] {
                let folder = corpus.join(&server).join(kind);
                if RealDisk.exists(&folder) {
                    let log = Log::in_folder(&RealDisk, &folder).unwrap();
                    assert_eq!(log.manifest.is_some(), RealDisk.exists(&folder.join(DEFAULT_FOLDER_NAME)));
                    let last = log.files.last().unwrap();
                    found.push((last.path.clone(), RealDisk.read_small(&last.path, 64 << 20).unwrap()));
                }
            }
        }
        assert_eq!(found.len(), 30);
        found
    }

    fn check_bytes(path: &Path, bytes: &[u8]) -> FileReport {
        RealDisk.open(path, Mode::Truncate).and_then(|mut file| io::Write::write_all(&mut file, bytes)).unwrap();
        let log = Log::single(&RealDisk, path).unwrap();
        check(&RealDisk, &log, RdbDepth::Values, &mut ()).unwrap().files.remove(0)
    }

    #[test]
    fn real_logs_cut_anywhere_have_a_torn_tail_and_lose_at_most_a_unit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.aof");
        let mut random = fastrand::Rng::with_seed(2);
        for (original, bytes) in last_files() {
            let whole = check_bytes(&path, &bytes);
            assert_eq!((&whole.verdict, whole.whole_until), (&Verdict::Clean, bytes.len() as u64));
            let rdb_len = whole.rdb.map_or(0, |rdb| rdb.len);
            for _ in 0..40 {
                let cut = random.usize(..bytes.len());
                match check_bytes(&path, &bytes[..cut]).verdict {
                    Verdict::Clean => {}
                    Verdict::Torn { last_good_offset, cut_bytes, .. } => {
                        assert_eq!(last_good_offset + cut_bytes, cut as u64);
                        assert!(last_good_offset >= rdb_len);
                    }
                    // An RDB got its name when it was whole, so a short one is no torn tail.
                    other => assert!((cut as u64) < rdb_len, "{} cut at {cut}: {other:?}", original.display()),
                }
            }
        }
    }

    #[test]
    fn real_logs_with_a_flipped_bit_are_read_or_refused_with_an_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flipped.aof");
        let mut random = fastrand::Rng::with_seed(3);
        for (original, mut bytes) in last_files() {
            for _ in 0..40 {
                let at = random.usize(..bytes.len());
                let bit = 1 << random.u32(..8);
                bytes[at] ^= bit;
                let verdict = check_bytes(&path, &bytes).verdict;
                bytes[at] ^= bit;
                match verdict {
                    Verdict::Clean => {}
                    Verdict::Damaged { offset, .. } | Verdict::Unsupported { offset, .. } => {
                        assert!(offset <= bytes.len() as u64, "{}", original.display());
                    }
                    Verdict::Torn { last_good_offset, .. } => {
                        // Only where nothing intact follows: the flip is in one of the last records.
                        assert!(bytes.len() as u64 - last_good_offset < 400, "{} at {at}", original.display());
                    }
                }
            }
        }
    }
}
