//! Follows the files of a log, and puts what has been written into the [archive](super::archive).
//!
//! It reads the files as they lie there, from mark to mark, and so takes only what proves itself; it is told how far they are
//! synced, so that no power cut takes from the log what the archive has. It remembers nothing that the archive does not tell:
//! whoever goes on begins behind the last segment.
//!
//! A timeline has no gaps, and goes on only where the log has the very mark with which it ends. Where it can't go on, it
//! **branches**: what follows has a name of its own, and can be brought back only from a backup that is made then. That is so
//! where the log is an older copy of the one that was archived; and where records are in no file any
//! more (the archive stood still for so long that history was removed, or a failed fsync has left a hole in the log).
//! A log that a tool has changed is another history, and has a timeline of its own from the start.

use std::ffi::OsStr;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::aof::seal::{HistoryId, Identity, Mark};
use crate::aof::{self, Entry, FileType, HistoryEnd, Item, Reader, Sealing};
use crate::disk::{DirectoryLock, Draft, Mode};

use super::BackupError;
use super::archive::{self, Archive, Form, Segment, Step};
use super::catalogue::Catalogue;
use super::cipher::{Encrypting, Keys};

/// Bytes that are read of a log file at once.
const READ: usize = 1 << 18;
/// Longer than any mark.
const LONGEST_MARK: u64 = 1024;

/// Where the log's files lie at a moment, and how far they may be read.
pub struct Source {
    pub folder: PathBuf,
    pub manifest: aof::Manifest,
    /// What is beyond this position is not in the files yet, or might not be there behind a power cut.
    pub limit: u64,
}

/// How segments are made.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Bytes of records at which one ends; a unit is never cut.
    pub segment_size: u64,
    /// A level of zstd.
    pub level: i32,
}

/// What has been done at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    pub segments: u64,
    /// Of their files.
    pub bytes: u64,
    /// It has branched.
    pub branches: u64,
}

/// Goes on with one archive.
pub struct Archiver {
    archive: Archive,
    /// The history that is written now.
    id: HistoryId,
    /// Position up to which everything is archived.
    at: u64,
    /// Where that is in the files.
    reading: Reading,
    /// Unix ms, of the last mark that was passed.
    time_ms: i64,
    /// Position with which the archive begins, or began to be without a gap.
    run_start: u64,
    /// It begins here, beside others that do not end in this log.
    has_branched: bool,
    _hold: Option<DirectoryLock>,
}

/// A place in the files of a log.
#[derive(Clone, Copy)]
struct Reading {
    /// Of the increment.
    seq: i64,
    /// Behind a mark, or 0.
    offset: u64,
}

/// A mark that was looked for.
struct Found {
    at: u64,
    time_ms: i64,
    reading: Reading,
}

/// An increment of the log that says where it begins.
struct Increment<'a> {
    entry: &'a Entry,
    head: HistoryEnd,
}

impl Archiver {
    /// Goes on with the archive of a history, or of the one that this continues; begins it where the oldest backup stands
    /// behind which the log still holds everything, or else at the end of what is in the log, which is the source's limit.
    pub fn open(catalogue: &Catalogue, id: HistoryId, source: &Source) -> Result<Self, BackupError> {
        let increments = increments(catalogue, source)?;
        let ids = lineage(catalogue, id, source, &increments)?;
        let (mut ended, mut empty, mut has_others) = (Vec::new(), Vec::new(), false);
        for archive in archive::timelines(catalogue)? {
            let is_known = ids.iter().any(|id| archive.knows(*id));
            match archive.segments()?.pop() {
                Some(_) if !is_known => has_others = true,
                Some(last) => ended.push((last, archive)),
                None if is_known => empty.push(archive),
                None => {}
            }
        }
        ended.sort_by_key(|(last, _)| std::cmp::Reverse(last.to));
        for (last, archive) in &ended {
            if let Some(found) = end_in_files(source, &increments, (id, archive, last))? {
                let mut archiver = Self::hold(archive.clone(), id, found)?;
                if !archiver.archive.knows(id) {
                    archiver.archive.go_on_as(id)?;
                }
                return Ok(archiver);
            }
        }
        let is_branch = !ended.is_empty();
        let begun = empty.into_iter().find(|archive| archive.is_branch() == is_branch);
        let has_branched = begun.is_none() && (is_branch || has_others);
        let archive = match begun {
            Some(archive) => archive,
            None if is_branch => Archive::branch(catalogue, id),
            // Backups may know it by the first name.
            None => Archive::new(catalogue, ids.get(1).unwrap_or(&id).as_str()),
        };
        let mut starts: Vec<u64> = archive.bases()?.into_iter().filter(|position| *position <= source.limit).collect();
        starts.push(source.limit);
        let found = start_in_files(catalogue, source, &increments, &starts)?;
        let mut archiver = Self::hold(archive, id, found)?;
        archiver.has_branched = has_branched;
        if is_branch {
            archiver.archive.pass(&ids)?
        } else {
            archiver.archive.go_on_as(id)?
        }
        Ok(archiver)
    }

    fn hold(archive: Archive, id: HistoryId, found: Found) -> Result<Self, BackupError> {
        archive.create()?;
        let hold = archive.hold()?;
        archive.sweep()?;
        let Found { at, time_ms, reading } = found;
        let mut run_start = at;
        for segment in archive.segments()?.iter().rev() {
            run_start = if segment.to == run_start { segment.from } else { break };
        }
        Ok(Self { archive, id, at, reading, time_ms, run_start, has_branched: false, _hold: hold })
    }

    pub fn id(&self) -> HistoryId {
        self.id
    }

    /// The archive that is added to.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Whether it was begun when it was opened, and beside others: none that there were ends in this log.
    pub fn has_branched(&self) -> bool {
        self.has_branched
    }

    /// Position up to which everything is archived.
    pub fn archived(&self) -> u64 {
        self.at
    }

    /// Position from which on nothing is missing.
    pub fn run_start(&self) -> u64 {
        self.run_start
    }

    /// The first increment that is still needed, by its number.
    pub fn needed_from(&self) -> i64 {
        self.reading.seq
    }

    /// Archives what is in the files up to their last mark within the limit.
    pub fn advance(&mut self, source: &Source, manner: &Manner, advanced: &mut Advanced) -> Result<(), BackupError> {
        if self.at >= source.limit {
            return Ok(());
        }
        let catalogue = self.archive.catalogue().clone();
        let increments = increments(&catalogue, source)?;
        while self.at < source.limit {
            let Some(place) = increments.iter().position(|increment| increment.entry.seq == self.reading.seq) else {
                // It is gone, though it was wanted.
                let first = increments.first().ok_or_else(|| not_begun(source))?;
                self.branch_off(first, advanced)?;
                continue;
            };
            let read = self.read_file(&increments[place].path(source), source.limit, manner, advanced);
            let next = increments.get(place + 1).filter(|_| self.at < source.limit);
            match (read, next) {
                (Ok(()), None) => break,
                // Where the next one begins, nothing more comes into this one.
                (Ok(()), Some(next)) if next.head.at == self.at => {
                    self.reading = Reading { seq: next.entry.seq, offset: 0 };
                }
                (Ok(()) | Err(BackupError::Refused { .. }), Some(next)) => self.branch_off(next, advanced)?,
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    /// Goes on as a branch that begins with this file.
    fn branch_off(&mut self, increment: &Increment<'_>, advanced: &mut Advanced) -> Result<(), BackupError> {
        let reading = Reading { seq: increment.entry.seq, offset: 0 };
        let found = Found { at: increment.head.at, time_ms: self.time_ms, reading };
        let ids: Vec<HistoryId> = increment.head.id.into_iter().chain([self.id]).collect();
        *self = Self::hold(Archive::branch(self.archive.catalogue(), self.id), self.id, found)?;
        self.archive.pass(&ids)?;
        advanced.branches += 1;
        Ok(())
    }

    /// Archives what stands in a file behind the place that was reached.
    fn read_file(
        &mut self,
        path: &Path,
        limit: u64,
        manner: &Manner,
        advanced: &mut Advanced,
    ) -> Result<(), BackupError> {
        let Reading { offset, seq } = self.reading;
        let mut file = self.archive.catalogue().disk().open(path, Mode::Read).map_err(BackupError::io(path))?;
        file.seek(SeekFrom::Start(offset)).map_err(BackupError::io(path))?;
        let after = Some(HistoryEnd { id: Some(self.id), at: self.at });
        let reader = Reader::resume(BufReader::with_capacity(READ, file), Vec::new(), offset, None);
        let mut reader = reader.take_seals(Sealing { after, is_lenient: false });
        let mut span = Vec::new();
        let mut open: Option<Open> = None;
        while let Some(item) = next(&mut reader, path)? {
            let mark = item.mark();
            if mark.as_ref().is_some_and(|mark| mark.at() > limit) {
                break;
            }
            span.extend_from_slice(item.raw());
            let Some(mark) = mark else { continue };
            let (at, time_ms, end) = (mark.at(), mark.time_ms(), item.end());
            let seal = if let Mark::Seal(seal) = &mark { Some(seal.crc) } else { None };
            if at == self.at {
                // Nothing stands between two marks.
                (self.reading, self.time_ms) = (Reading { seq, offset: end }, time_ms);
                span.clear();
                continue;
            }
            let segment = match &mut open {
                Some(segment) => segment,
                None => open.insert(self.begin(manner)?),
            };
            segment.add(&span, (at, time_ms), seal)?;
            span.clear();
            if segment.record_bytes() >= manner.segment_size
                && let Some(full) = open.take()
            {
                self.publish(full, advanced)?;
                self.reading = Reading { seq, offset: end };
            } else if let Some(segment) = &mut open {
                segment.ends = end;
            }
        }
        if let Some(last) = open {
            let offset = last.ends;
            self.publish(last, advanced)?;
            self.reading = Reading { seq, offset };
        }
        Ok(())
    }

    fn begin(&self, manner: &Manner) -> Result<Open, BackupError> {
        let folder = self.archive.folder();
        let draft = Draft::create_unnamed(self.archive.catalogue().disk(), &folder);
        let path = folder.join(format!("{:020}", self.at));
        let draft = draft.map_err(BackupError::io(&path))?;
        let keys = self.archive.catalogue().keys().for_one_file();
        let draft = keys.encrypt(draft).map_err(BackupError::io(&path))?;
        let mut encoder = zstd::stream::write::Encoder::new(draft, manner.level).map_err(BackupError::io(&path))?;
        encoder.include_checksum(true).map_err(BackupError::io(&path))?;
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let (id, at, time_ms) = (self.id, self.at, self.time_ms);
        let mut head = Vec::new();
        Mark::Identity(Identity { id, at, synced: at, version, time_ms }).append_to(&mut head);
        encoder.write_all(&head).map_err(BackupError::io(&path))?;
        Ok(Open { encoder, keys, path, from: self.at, to: self.at, until_ms: time_ms, seal: None, ends: 0 })
    }

    /// Ends a segment, reads it back, and gives it its name.
    fn publish(&mut self, open: Open, advanced: &mut Advanced) -> Result<(), BackupError> {
        let Open { encoder, keys, path, from, to, until_ms, seal, .. } = open;
        let draft = encoder.finish().and_then(Encrypting::finish).map_err(BackupError::io(&path))?;
        let temporary = draft.temporary_path().to_owned();
        let form = if keys.encrypts() { Form::Encrypted { seal } } else { Form::Plain };
        let segment = Segment { from, to, until_ms: until_ms.max(0), form };
        let path = self.archive.path_of(&segment);
        let sealed = draft.seal().map_err(BackupError::io(&path))?;
        let bytes = sealed.len();
        let is_read_back = self.read_back(&segment, &temporary, &keys)?;
        sealed.commit_new_as(OsStr::new(&segment.name())).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let reason = "this name is taken: does another server archive the same history?".to_owned();
                BackupError::Refused { path, reason }
            }
            _ => BackupError::io(&path)(error),
        })?;
        if !is_read_back && let Err(error) = self.read_back(&segment, &self.archive.path_of(&segment), &keys) {
            if matches!(error, BackupError::Damaged { .. }) {
                self.archive.remove(&segment)?;
            }
            return Err(error);
        }
        (self.at, self.time_ms) = (to, until_ms);
        advanced.segments += 1;
        advanced.bytes += bytes;
        Ok(())
    }

    /// Reads a segment back that may have no name yet; false where the catalogue shows it only with one.
    fn read_back(&self, segment: &Segment, path: &Path, keys: &Keys) -> Result<bool, BackupError> {
        let written = match self.archive.catalogue().disk().open(path, Mode::Read) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
            written => written.map_err(BackupError::io(path))?,
        };
        self.archive.read_from(segment, written, keys, &mut |_, _, _| Ok(Step::On))?;
        Ok(true)
    }
}

/// A segment that is being written.
struct Open {
    encoder: zstd::stream::write::Encoder<'static, Encrypting<Draft>>,
    /// With which it can be read back.
    keys: Keys,
    /// For errors.
    path: PathBuf,
    from: u64,
    to: u64,
    until_ms: i64,
    /// The checksum of the first seal at `to`.
    seal: Option<u64>,
    /// Offset in the log's file behind what is in it.
    ends: u64,
}

impl Open {
    fn record_bytes(&self) -> u64 {
        self.to - self.from
    }

    fn add(&mut self, span: &[u8], (to, until_ms): (u64, i64), seal: Option<u64>) -> Result<(), BackupError> {
        self.encoder.write_all(span).map_err(BackupError::io(&self.path))?;
        self.seal = self.seal.filter(|_| to == self.to).or(seal);
        (self.to, self.until_ms) = (to, until_ms);
        Ok(())
    }
}

/// The next item; none too where the file goes no further yet.
pub(super) fn next<'a, R: io::Read>(reader: &'a mut Reader<R>, path: &Path) -> Result<Option<Item<'a>>, BackupError> {
    match reader.next() {
        Ok(item) => Ok(item),
        Err(aof::Fault::Cut { .. } | aof::Fault::OpenMulti { .. }) => Ok(None),
        Err(aof::Fault::Io { source, .. }) => Err(BackupError::io(path)(source)),
        Err(fault) => {
            let reason = format!("{fault}. BGREWRITEAOF makes the log anew from memory; `aoftool check` tells more");
            Err(BackupError::Refused { path: path.to_owned(), reason })
        }
    }
}

/// Has `take` see the marks of a file, with the offsets behind them.
fn read_marks(
    catalogue: &Catalogue,
    path: &Path,
    take: &mut dyn FnMut(&Mark<'_>, u64) -> Step,
) -> Result<(), BackupError> {
    let file = catalogue.disk().open(path, Mode::Read).map_err(BackupError::io(path))?;
    let mut reader = Reader::new(BufReader::with_capacity(READ, file));
    while let Some(item) = next(&mut reader, path)? {
        let Item::Annotation(annotation) = &item else { continue };
        if let Some(Ok(mark)) = annotation.mark()
            && take(&mark, item.end()) == Step::Stop
        {
            break;
        }
    }
    Ok(())
}

impl Increment<'_> {
    fn path(&self, source: &Source) -> PathBuf {
        source.folder.join(&self.entry.name)
    }
}

fn not_begun(source: &Source) -> BackupError {
    let reason = "no file of the log says where it begins in our history: BGREWRITEAOF begins one that does";
    BackupError::Refused { path: source.folder.clone(), reason: reason.to_owned() }
}

/// The increments of the log, from the oldest to the newest, also those that a rewrite has replaced, as far as what follows
/// goes on behind them.
fn increments<'a>(catalogue: &Catalogue, source: &'a Source) -> Result<Vec<Increment<'a>>, BackupError> {
    let goes_on = |entry: &&Entry| entry.past.is_some_and(|past| !past.replaced.is_end);
    let was_increment = |entry: &&Entry| entry.past.is_some_and(|past| past.was == FileType::Increment);
    let history = source.manifest.history.iter().take_while(goes_on).filter(was_increment);
    let mut found = Vec::new();
    for entry in history.collect::<Vec<_>>().into_iter().rev().chain(&source.manifest.increments) {
        match head_of(catalogue, &source.folder.join(&entry.name))? {
            Some(head) => found.push(Increment { entry, head }),
            // What is older is not joined to what follows.
            None => found.clear(),
        }
    }
    Ok(found)
}

/// How a file begins, if it begins as ours do; none too where history has just been removed.
fn head_of(catalogue: &Catalogue, path: &Path) -> Result<Option<HistoryEnd>, BackupError> {
    let file = match catalogue.disk().open(path, Mode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(BackupError::io(path))?,
    };
    let mut reader = Reader::new(io::Read::take(file, LONGEST_MARK));
    Ok(match reader.next() {
        Ok(Some(Item::Annotation(annotation))) => match annotation.mark() {
            Some(Ok(Mark::Identity(identity))) => Some(HistoryEnd { id: Some(identity.id), at: identity.at }),
            _ => None,
        },
        Err(aof::Fault::Io { source, .. }) => return Err(BackupError::io(path)(source)),
        _ => None,
    })
}

/// This history, and those that it continues: those with which files begin, and those that the last one holds, which is
/// written to.
fn lineage(
    catalogue: &Catalogue,
    id: HistoryId,
    source: &Source,
    increments: &[Increment<'_>],
) -> Result<Vec<HistoryId>, BackupError> {
    let mut ids = vec![id];
    ids.extend(increments.iter().filter_map(|increment| increment.head.id));
    if let Some(last) = increments.last() {
        read_marks(catalogue, &last.path(source), &mut |mark, _| {
            if let Mark::Identity(identity) = mark {
                ids.push(identity.id);
            }
            Step::On
        })?;
    }
    Ok(ids)
}

/// Where the last segment of an archive ends in the files; none where that is not what they hold there, or where a file
/// is of a history that the archive knows nothing of, as tools leave it that change one.
fn end_in_files(
    source: &Source,
    increments: &[Increment<'_>],
    (id, archive, last): (HistoryId, &Archive, &Segment),
) -> Result<Option<Found>, BackupError> {
    let are_known =
        increments.iter().filter_map(|increment| increment.head.id).all(|head| head == id || archive.knows(head));
    let place = increments.iter().rposition(|increment| increment.head.at <= last.to);
    let (Some(place), true, true) = (place, are_known, last.to <= source.limit) else { return Ok(None) };
    let (seq, expected) = (increments[place].entry.seq, archive.seal_at_end(last)?);
    let (mut found, mut is_other) = (None, false);
    read_marks(archive.catalogue(), &increments[place].path(source), &mut |mark, offset| {
        if mark.at() < last.to {
            return Step::On;
        }
        if let (Mark::Seal(seal), Some(crc)) = (mark, expected) {
            is_other = seal.crc != crc;
        }
        let reading = Reading { seq, offset };
        found = (mark.at() == last.to).then(|| Found { at: mark.at(), time_ms: mark.time_ms(), reading });
        Step::Stop
    })?;
    Ok(found.filter(|_| !is_other))
}

/// The last mark in front of the first of these positions that the files still hold.
fn start_in_files(
    catalogue: &Catalogue,
    source: &Source,
    increments: &[Increment<'_>],
    starts: &[u64],
) -> Result<Found, BackupError> {
    let first = increments.first().ok_or_else(|| not_begun(source))?;
    let wanted = starts.iter().copied().find(|start| *start >= first.head.at).unwrap_or(first.head.at);
    let increment = increments.iter().rfind(|increment| increment.head.at <= wanted).unwrap_or(first);
    let seq = increment.entry.seq;
    let mut found = Found { at: increment.head.at, time_ms: 0, reading: Reading { seq, offset: 0 } };
    read_marks(catalogue, &increment.path(source), &mut |mark, offset| {
        if mark.at() > wanted {
            return Step::Stop;
        }
        found = Found { at: mark.at(), time_ms: mark.time_ms(), reading: Reading { seq, offset } };
        Step::On
    })?;
    Ok(found)
}
