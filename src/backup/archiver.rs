//! Follows the files of a log, and puts what has been written into the [archive](super::archive).
//!
//! It reads the files as they lie there, from mark to mark, and so takes only what proves itself; it is told how far they are
//! synced, so that no power cut takes from the log what the archive has. It remembers nothing that the archive does not tell:
//! whoever goes on begins behind the last segment.
//!
//! Two things can keep it from going on there. Records that are in no file any more leave a **gap** (the archive stood still
//! for so long that history was removed, or a failed fsync has left a hole in the log): it goes on behind it. And where the
//! archive holds something else at its end than the log has there, or more than the log, then the log is an older copy of the
//! one that was archived: it goes on as a **branch** with a name of its own. What is behind either can be brought back only
//! from a backup that is made then.

use std::ffi::OsStr;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::aof::seal::{HistoryId, Identity, Mark};
use crate::aof::{self, Entry, FileType, HistoryEnd, Item, Reader, Sealing};
use crate::disk::{DirectoryLock, Draft, Mode};

use super::BackupError;
use super::archive::{self, Archive, Segment, Step};
use super::catalogue::Catalogue;
use super::manifest::Manifest;

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
    /// Of records, and of the files that they are in now.
    pub record_bytes: u64,
    pub bytes: u64,
    /// Positions were left out: nothing before this one can be joined to what follows.
    pub gap: Option<u64>,
}

/// Goes on with one archive.
pub struct Archiver {
    archive: Archive,
    /// The history that is written now.
    id: HistoryId,
    /// Position up to which everything is archived.
    at: u64,
    /// What a seal there must say, where the archive ends with one.
    expected: Option<u64>,
    /// Of an archive that begins: positions, one of which is to be in it, the better ones first.
    starts: Vec<u64>,
    /// Where it is in the files.
    reading: Option<Reading>,
    /// Unix ms, of the last mark that was passed.
    time_ms: i64,
    /// Where the archive's last run without a gap began when it was opened, and whether a good backup stood in that.
    run_start: u64,
    has_base: bool,
    _hold: Option<DirectoryLock>,
}

#[derive(Clone, Copy)]
struct Reading {
    /// Of the increment.
    seq: i64,
    /// Behind a mark, or 0.
    offset: u64,
}

/// An increment of the log that begins in our history.
struct Increment<'a> {
    entry: &'a Entry,
    /// Position at which it begins.
    at: u64,
}

impl Archiver {
    /// Goes on with the archive of a history, or of the one that this continues, or begins it: where the oldest backup stands
    /// behind which the log still holds everything, or else at the end of what is in the log, which is the source's limit.
    pub fn open(catalogue: &Catalogue, id: HistoryId, source: &Source) -> Result<Self, BackupError> {
        let here = source.limit;
        let ids = lineage(catalogue, id, source)?;
        let mut newest: Option<(Archive, Segment)> = None;
        let (mut is_taken, mut begun) = (false, None);
        for archive in archive::timelines(catalogue)? {
            let history = archive.timeline().split('-').next().unwrap_or_default();
            if !ids.iter().any(|id| archive.is_of(id.as_str()) || history == id.as_str()) {
                continue;
            }
            let Some(last) = archive.segments()?.pop() else {
                begun = Some(archive);
                continue;
            };
            is_taken = true;
            if last.to <= here && newest.as_ref().is_none_or(|(_, known)| known.to < last.to) {
                newest = Some((archive, last));
            }
        }
        match newest {
            Some((mut archive, last)) => {
                archive.go_on_as(id)?;
                let (end, crc) = archive.end_of(&last)?;
                Self::hold(archive, id, (end.at, crc))
            }
            None if is_taken => Self::begin_branch(catalogue, id, here),
            None => {
                // Backups may know it by the first name.
                let first = ids.get(1).unwrap_or(&id);
                let mut archive = begun.unwrap_or_else(|| Archive::new(catalogue, first.as_str()));
                archive.create()?;
                archive.go_on_as(id)?;
                let positions = bases(&archive)?.into_iter().filter(|position| *position <= here);
                let starts: Vec<u64> = positions.chain([here]).collect();
                let has_base = starts.len() > 1;
                Ok(Self { starts, has_base, ..Self::hold(archive, id, (here, None))? })
            }
        }
    }

    /// As a branch that begins at this position.
    fn begin_branch(catalogue: &Catalogue, id: HistoryId, here: u64) -> Result<Self, BackupError> {
        let archive = Archive::new(catalogue, &format!("{id}-{:06x}", fastrand::u32(..1 << 24)));
        Ok(Self { starts: vec![here], ..Self::hold(archive, id, (here, None))? })
    }

    fn hold(archive: Archive, id: HistoryId, (at, expected): (u64, Option<u64>)) -> Result<Self, BackupError> {
        archive.create()?;
        let hold = archive.hold()?;
        archive.sweep()?;
        // A name that is there may not be durable, if its maker was told of an error.
        let folder = archive.folder();
        archive.catalogue().disk().sync_dir(&folder).map_err(BackupError::io(&folder))?;
        let mut run_start = at;
        for segment in archive.segments()?.iter().rev().take_while(|segment| segment.to <= at) {
            run_start = if segment.to == run_start { segment.from } else { break };
        }
        let has_base = bases(&archive)?.iter().any(|position| *position >= run_start);
        let (starts, reading, time_ms) = (Vec::new(), None, 0);
        Ok(Self { archive, id, at, expected, starts, reading, time_ms, run_start, has_base, _hold: hold })
    }

    pub fn id(&self) -> HistoryId {
        self.id
    }

    /// The archive that is added to.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Position up to which everything is archived.
    pub fn archived(&self) -> u64 {
        self.at
    }

    /// Position from which on nothing is missing, as of the opening.
    pub fn run_start(&self) -> u64 {
        self.run_start
    }

    /// Whether a restore can begin somewhere behind that, as of the opening.
    pub fn has_base(&self) -> bool {
        self.has_base
    }

    /// The first increment that is still needed, by its number; none where that is not known yet.
    pub fn needed_from(&self) -> Option<i64> {
        self.reading.map(|reading| reading.seq)
    }

    /// Archives what is in the files up to their last mark within the limit.
    pub fn advance(&mut self, source: &Source, manner: &Manner) -> Result<Advanced, BackupError> {
        let mut advanced = Advanced::default();
        let increments = self.increments(source)?;
        if self.reading.is_none() && !self.find(source, &increments, &mut advanced)? {
            return Ok(advanced);
        }
        while let Some(reading) = self.reading.filter(|_| self.at < source.limit) {
            let Some(place) = increments.iter().position(|increment| increment.entry.seq == reading.seq) else {
                // It is gone, though it was wanted.
                self.reading = None;
                return if self.find(source, &increments, &mut advanced)? {
                    Ok(advanced)
                } else {
                    Err(self.lost(source))
                };
            };
            let path = source.folder.join(&increments[place].entry.name);
            self.read_file(&path, source.limit, manner, &mut advanced)?;
            // Where the next one begins, nothing more comes into this one.
            let Some(next) = increments.get(place + 1).filter(|_| self.at < source.limit) else { break };
            if next.at != self.at {
                self.skip_to(next.at, &mut advanced);
            }
            self.reading = Some(Reading { seq: next.entry.seq, offset: 0 });
        }
        Ok(advanced)
    }

    fn lost(&self, source: &Source) -> BackupError {
        let reason = format!("no file of the log holds position {} of the history {} any more", self.at, self.id);
        BackupError::Refused { path: source.folder.clone(), reason }
    }

    fn skip_to(&mut self, at: u64, advanced: &mut Advanced) {
        (self.at, self.expected) = (at, None);
        advanced.gap = Some(at);
    }

    /// The increments that are ours, also those that a rewrite has replaced, from the oldest to the newest.
    fn increments<'a>(&self, source: &'a Source) -> Result<Vec<Increment<'a>>, BackupError> {
        let was_increment = |entry: &&Entry| entry.past.is_some_and(|past| past.was == FileType::Increment);
        let replaced = source.manifest.history.iter().rev().filter(was_increment);
        let mut found = Vec::new();
        for entry in replaced.chain(&source.manifest.increments) {
            let Some(head) = self.head_of(&source.folder.join(&entry.name))? else { continue };
            let history = self.archive.timeline().split('-').next();
            if head.id.is_some_and(|id| self.archive.is_of(id.as_str()) || history == Some(id.as_str())) {
                found.push(Increment { entry, at: head.at });
            }
        }
        Ok(found)
    }

    /// How a file begins, if it begins as ours do; none too where history has just been removed.
    fn head_of(&self, path: &Path) -> Result<Option<HistoryEnd>, BackupError> {
        let disk = self.archive.catalogue().disk();
        let file = match disk.open(path, Mode::Read) {
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

    /// Looks for the place in the files at which the archive goes on, or begins; false where it is not there yet.
    fn find(
        &mut self,
        source: &Source,
        increments: &[Increment<'_>],
        advanced: &mut Advanced,
    ) -> Result<bool, BackupError> {
        let Some(first) = increments.first() else { return Ok(false) };
        if !self.starts.is_empty() {
            return self.find_start(source, increments, advanced).map(|()| true);
        }
        let Some(place) = increments.iter().rposition(|increment| increment.at <= self.at) else {
            self.skip_to(first.at, advanced);
            self.reading = Some(Reading { seq: first.entry.seq, offset: 0 });
            return Ok(true);
        };
        let increment = &increments[place];
        let (expected, limit) = (self.expected, self.at);
        let (mut found, mut is_other) = (None, false);
        read_marks(self.archive.catalogue(), &source.folder.join(&increment.entry.name), &mut |mark, offset| {
            if mark.at() < limit {
                return Step::On;
            }
            let is_seal_of = |crc: u64| matches!(mark, Mark::Seal(seal) if mark.at() == limit && seal.crc != crc);
            (found, is_other) = (Some((mark.at(), offset, mark.time_ms())), expected.is_some_and(is_seal_of));
            Step::Stop
        })?;
        if is_other {
            return self.branch_off(source).map(|()| false);
        }
        let (seq, (at, offset, time_ms)) = match (found, increments.get(place + 1)) {
            (Some(found), _) => (increment.entry.seq, found),
            (None, Some(next)) => (next.entry.seq, (next.at, 0, self.time_ms)),
            (None, None) => return Ok(false),
        };
        if at > self.at {
            self.skip_to(at, advanced);
        }
        (self.reading, self.time_ms) = (Some(Reading { seq, offset }), time_ms);
        Ok(true)
    }

    /// Has the archive begin with the last mark in front of the best place that the files still hold.
    fn find_start(
        &mut self,
        source: &Source,
        increments: &[Increment<'_>],
        advanced: &mut Advanced,
    ) -> Result<(), BackupError> {
        let starts = std::mem::take(&mut self.starts);
        let first = increments.first().map_or(0, |first| first.at);
        let start = starts.iter().position(|start| *start >= first);
        let wanted = start.map_or(first, |start| starts[start]);
        if start.is_none_or(|start| start > 0 && start == starts.len() - 1) {
            // The backups are of what the files hold no more.
            self.skip_to(wanted, advanced);
        }
        let Some(increment) = increments.iter().rfind(|increment| increment.at <= wanted) else { return Ok(()) };
        let mut found = (increment.at, 0, self.time_ms);
        read_marks(self.archive.catalogue(), &source.folder.join(&increment.entry.name), &mut |mark, offset| {
            if mark.at() > wanted {
                return Step::Stop;
            }
            found = (mark.at(), offset, mark.time_ms());
            Step::On
        })?;
        let (at, offset, time_ms) = found;
        self.reading = Some(Reading { seq: increment.entry.seq, offset });
        (self.at, self.time_ms, self.run_start) = (at, time_ms, at);
        Ok(())
    }

    /// Goes on as a branch, behind all that the log holds now.
    fn branch_off(&mut self, source: &Source) -> Result<(), BackupError> {
        *self = Self::begin_branch(self.archive.catalogue(), self.id, source.limit)?;
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
        let Some(Reading { offset, seq }) = self.reading else { return Ok(()) };
        let mut file = self.archive.catalogue().disk().open(path, Mode::Read).map_err(BackupError::io(path))?;
        file.seek(SeekFrom::Start(offset)).map_err(BackupError::io(path))?;
        let after = Some(HistoryEnd { id: Some(self.id), at: self.at });
        let reader = Reader::resume(BufReader::with_capacity(READ, file), Vec::new(), offset, None);
        let mut reader = reader.take_seals(Sealing { after, is_lenient: false });
        let mut span = Vec::new();
        let mut open: Option<Open> = None;
        while let Some(item) = next(&mut reader, path)? {
            let mark = match &item {
                Item::Annotation(annotation) => annotation.mark().and_then(Result::ok),
                Item::Record(_) => None,
            };
            if mark.as_ref().is_some_and(|mark| mark.at() > limit) {
                break;
            }
            span.extend_from_slice(item.raw());
            let Some(mark) = mark else { continue };
            let (at, time_ms, end) = (mark.at(), mark.time_ms(), item.end());
            if at == self.at {
                // Nothing stands between two marks.
                (self.reading, self.time_ms) = (Some(Reading { seq, offset: end }), time_ms);
                span.clear();
                continue;
            }
            let segment = match &mut open {
                Some(segment) => segment,
                None => open.insert(self.begin(manner)?),
            };
            segment.add(&span, at, time_ms)?;
            span.clear();
            if segment.record_bytes() >= manner.segment_size
                && let Some(full) = open.take()
            {
                self.publish(full, advanced)?;
                self.reading = Some(Reading { seq, offset: end });
            } else if let Some(segment) = &mut open {
                segment.ends = end;
            }
        }
        if let Some(last) = open {
            let offset = last.ends;
            self.publish(last, advanced)?;
            self.reading = Some(Reading { seq, offset });
        }
        Ok(())
    }

    fn begin(&self, manner: &Manner) -> Result<Open, BackupError> {
        let folder = self.archive.folder();
        let name = format!("{:020}", self.at);
        let draft = Draft::create(self.archive.catalogue().disk(), &folder, OsStr::new(&name));
        let path = folder.join(name);
        let draft = draft.map_err(BackupError::io(&path))?;
        let mut encoder = zstd::stream::write::Encoder::new(draft, manner.level).map_err(BackupError::io(&path))?;
        encoder.include_checksum(true).map_err(BackupError::io(&path))?;
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let (id, at, time_ms) = (self.id, self.at, self.time_ms);
        let mut head = Vec::new();
        Mark::Identity(Identity { id, at, synced: at, version, time_ms }).append_to(&mut head);
        encoder.write_all(&head).map_err(BackupError::io(&path))?;
        Ok(Open { encoder, path, from: self.at, to: self.at, until_ms: time_ms, ends: 0 })
    }

    /// Ends a segment, reads it back, and gives it its name.
    fn publish(&mut self, open: Open, advanced: &mut Advanced) -> Result<(), BackupError> {
        let Open { encoder, path, from, to, until_ms, .. } = open;
        let draft = encoder.finish().map_err(BackupError::io(&path))?;
        let temporary = draft.temporary_path().to_owned();
        let mut segment = Segment { from, to, until_ms: until_ms.max(0), bytes: 0 };
        let path = self.archive.path_of(&segment);
        let disk = self.archive.catalogue().disk();
        if disk.exists(&path) {
            let reason = "this name is taken: does another server archive the same history?".to_owned();
            return Err(BackupError::Refused { path, reason });
        }
        let sealed = draft.seal().map_err(BackupError::io(&path))?;
        segment.bytes = sealed.len();
        let written = disk.open(&temporary, Mode::Read).map_err(BackupError::io(&temporary))?;
        let source = zstd::stream::read::Decoder::new(written).map_err(BackupError::io(&temporary))?;
        self.archive.read_from(&segment, source, &mut |_, _, _| Ok(Step::On))?;
        sealed.commit_as(OsStr::new(&segment.name())).map_err(BackupError::io(&path))?;
        (self.at, self.expected, self.time_ms) = (to, None, until_ms);
        advanced.segments += 1;
        advanced.record_bytes += to - from;
        advanced.bytes += segment.bytes;
        Ok(())
    }
}

/// A segment that is being written.
struct Open {
    encoder: zstd::stream::write::Encoder<'static, Draft>,
    /// For errors.
    path: PathBuf,
    from: u64,
    to: u64,
    until_ms: i64,
    /// Offset in the log's file behind what is in it.
    ends: u64,
}

impl Open {
    fn record_bytes(&self) -> u64 {
        self.to - self.from
    }

    fn add(&mut self, span: &[u8], to: u64, until_ms: i64) -> Result<(), BackupError> {
        self.encoder.write_all(span).map_err(BackupError::io(&self.path))?;
        (self.to, self.until_ms) = (to, until_ms);
        Ok(())
    }
}

/// The next item; none too where the file goes no further yet.
fn next<'a, R: io::Read>(reader: &'a mut Reader<R>, path: &Path) -> Result<Option<Item<'a>>, BackupError> {
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

/// This history, and those that it continues: the increment that it is written to holds them too.
fn lineage(catalogue: &Catalogue, id: HistoryId, source: &Source) -> Result<Vec<HistoryId>, BackupError> {
    let mut ids = vec![id];
    let Some(last) = source.manifest.last_increment() else { return Ok(ids) };
    read_marks(catalogue, &source.folder.join(&last.name), &mut |mark, _| {
        if let Mark::Identity(identity) = mark {
            ids.push(identity.id);
        }
        Step::On
    })?;
    Ok(ids)
}

/// Where good backups of this timeline stand, the oldest first.
fn bases(archive: &Archive) -> Result<Vec<u64>, BackupError> {
    let listed = archive.catalogue().list()?;
    let manifests = listed.iter().filter_map(|listed| listed.manifest.as_ref().ok());
    let is_ours =
        |manifest: &&Manifest| manifest.timeline.as_deref() == Some(archive.timeline()) && manifest.fault().is_none();
    Ok(manifests.filter(is_ours).filter_map(|manifest| manifest.position).collect())
}
