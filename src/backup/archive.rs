//! The continuous archive: the log in pieces, beside the backups, so that what was between two of them can be brought back.
//!
//! ```text
//! REPO/log/<timeline>/<from>-<to>-<until>.aof.zst
//! REPO/log/<timeline>/<from>-<to>-<until>-<seal>.aof.zst.age    the same, encrypted
//! REPO/log/<timeline>/<history>.history                 empty: the timeline goes on under this name too
//! REPO/log/<timeline>/<history>.passed                  empty: it stood in the log's files when this branch began
//!
//! timeline = history [ "-" 6 hexadecimal digits ]   the log's identity; a branch of it where two logs share one
//! history  = 40 hexadecimal digits                  a log whose torn tail was cut goes on as another history
//! from, to = 20 digits                              positions in the history (aof::seal): all records between them
//! until    = 13 digits                              Unix ms of the mark at the end: nothing in it was written later
//! seal     = 16 hexadecimal digits, of the first seal at the end, or `none`: whoever goes on may have no key
//! content  = identity, and what stands in the log behind the mark at `from`, up to and with the mark at `to`
//! ```
//!
//! A segment is a log that proves itself: it begins with an identity at `from`, and its last byte is that of a mark. It
//! appears whole, and no name is given twice. Segments of a timeline stand behind each other; where one is lost there is a
//! gap, over which nothing can be brought back. What a torn tail was cut from was
//! synced up to the end of the archive, and so positions stay those of one line also where the history gets another name.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::aof::seal::{HistoryId, Identity, Mark};
use crate::aof::{self, Item, Reader};
use crate::disk::{DirectoryLock, Mode, is_temporary, publish_bytes};

use super::BackupError;
use super::catalogue::Catalogue;
use super::cipher::Keys;
use super::manifest::Manifest;

const SUFFIX: &str = ".aof.zst";
const ENCRYPTED: &str = ".age";
const HISTORY: &str = ".history";
const PASSED: &str = ".passed";

/// The segments of one history.
#[derive(Clone)]
pub struct Archive {
    catalogue: Catalogue,
    timeline: String,
    /// The histories under whose names it goes on.
    others: Vec<String>,
    /// Those that the log's files had when a branch began.
    passed: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    pub from: u64,
    pub to: u64,
    /// Unix ms.
    pub until_ms: i64,
    pub form: Form,
}

/// How a segment is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Plain,
    Encrypted {
        /// The checksum of the first seal at its end; none where another mark stands there alone.
        seal: Option<u64>,
    },
}

impl Segment {
    pub fn name(&self) -> String {
        let head = format!("{:020}-{:020}-{:013}", self.from, self.to, self.until_ms);
        match self.form {
            Form::Plain => format!("{head}{SUFFIX}"),
            Form::Encrypted { seal: Some(crc) } => format!("{head}-{crc:016x}{SUFFIX}{ENCRYPTED}"),
            Form::Encrypted { seal: None } => format!("{head}-none{SUFFIX}{ENCRYPTED}"),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(ENCRYPTED).unwrap_or(name).strip_suffix(SUFFIX)?;
        let words: Vec<&str> = stem.split('-').collect();
        let (&[from, to, until_ms], rest) = words.split_first_chunk()?;
        let form = match rest {
            [] => Form::Plain,
            ["none"] => Form::Encrypted { seal: None },
            [crc] => Form::Encrypted { seal: Some(u64::from_str_radix(crc, 16).ok()?) },
            _ => return None,
        };
        let (from, to, until_ms) = (from.parse().ok()?, to.parse().ok()?, until_ms.parse().ok()?);
        let segment = Self { from, to, until_ms, form };
        (segment.name() == name && from < to).then_some(segment)
    }
}

impl Archive {
    pub fn new(catalogue: &Catalogue, timeline: &str) -> Self {
        Self { catalogue: catalogue.clone(), timeline: timeline.to_owned(), others: Vec::new(), passed: Vec::new() }
    }

    /// Of a history that has an archive already, which this one does not continue.
    pub(super) fn branch(catalogue: &Catalogue, id: HistoryId) -> Self {
        Self::new(catalogue, &format!("{id}-{:06x}", fastrand::u32(..1 << 24)))
    }

    pub(super) fn is_branch(&self) -> bool {
        self.timeline.contains('-')
    }

    /// With the names that it has been given.
    fn find(catalogue: &Catalogue, timeline: &str) -> Result<Self, BackupError> {
        let mut archive = Self::new(catalogue, timeline);
        for name in names(catalogue, &archive.folder())? {
            let Some(name) = name.to_str() else { continue };
            archive.others.extend(name.strip_suffix(HISTORY).map(str::to_owned));
            archive.passed.extend(name.strip_suffix(PASSED).map(str::to_owned));
        }
        Ok(archive)
    }

    /// Whether what belongs to this history, or this branch of one, belongs here.
    pub fn is_of(&self, name: &str) -> bool {
        self.timeline == name || self.others.iter().any(|other| other == name)
    }

    /// The names of what belongs here.
    pub fn names(&self) -> Vec<String> {
        [&self.timeline].into_iter().chain(&self.others).cloned().collect()
    }

    /// Goes on under the name of another history.
    pub fn go_on_as(&mut self, id: HistoryId) -> Result<(), BackupError> {
        if !self.is_of(id.as_str()) {
            self.note(id, HISTORY)?;
            self.others.push(id.to_string());
        }
        Ok(())
    }

    /// Remembers the histories in whose files a branch begins.
    pub(super) fn pass(&mut self, ids: &[HistoryId]) -> Result<(), BackupError> {
        for id in ids {
            if !self.knows(*id) {
                self.note(*id, PASSED)?;
                self.passed.push(id.to_string());
            }
        }
        Ok(())
    }

    /// Whether files of this history may stand in its log.
    pub(super) fn knows(&self, id: HistoryId) -> bool {
        let is_it = |name: &String| history_of(name) == id.as_str();
        is_it(&self.timeline) || self.others.iter().chain(&self.passed).any(is_it)
    }

    fn note(&self, id: HistoryId, suffix: &str) -> Result<(), BackupError> {
        let (folder, name) = (self.folder(), OsString::from(format!("{id}{suffix}")));
        publish_bytes(self.catalogue.disk(), &folder, &name, b"").map_err(BackupError::io(&folder.join(&name)))
    }

    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub fn timeline(&self) -> &str {
        &self.timeline
    }

    /// The folder of the segments.
    pub fn folder(&self) -> PathBuf {
        logs(&self.catalogue).join(&self.timeline)
    }

    pub fn path_of(&self, segment: &Segment) -> PathBuf {
        self.folder().join(segment.name())
    }

    /// Makes the folders that are missing.
    pub fn create(&self) -> Result<(), BackupError> {
        self.catalogue.create()?;
        let (logs, folder) = (logs(&self.catalogue), self.folder());
        for (folder, parent) in [(&logs, self.catalogue.repo()), (&folder, &logs)] {
            let disk = self.catalogue.disk();
            match disk.create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(BackupError::io(folder)(error));
                }
                // Also of one that is there: who made it may not have come to this.
                _ => disk.sync_dir(parent).map_err(BackupError::io(parent))?,
            }
        }
        Ok(())
    }

    /// Takes the timeline for adding to it; none on a file system that has no locks.
    pub fn hold(&self) -> Result<Option<DirectoryLock>, BackupError> {
        let folder = self.folder();
        match self.catalogue.disk().lock_dir(&folder) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let reason = "another server archives this history: is its data folder a copy of ours?".to_owned();
                Err(BackupError::Refused { path: folder, reason })
            }
            Err(error) => Err(BackupError::io(&folder)(error)),
        }
    }

    /// All segments, in the order of their positions.
    pub fn segments(&self) -> Result<Vec<Segment>, BackupError> {
        let names = names(&self.catalogue, &self.folder())?;
        let mut segments: Vec<Segment> = names.iter().filter_map(|name| Segment::parse(name.to_str()?)).collect();
        segments.sort();
        Ok(segments)
    }

    /// Has `take` see all that a segment holds, with the position at which it stands. It stops where that says so; else the
    /// segment is read to its end, and an error where it is not what its name says.
    pub fn read(
        &self,
        segment: &Segment,
        take: &mut dyn FnMut(&Item<'_>, aof::Place, u64) -> Result<Step, BackupError>,
    ) -> Result<Step, BackupError> {
        let path = self.path_of(segment);
        let file = self.catalogue.disk().open(&path, Mode::Read).map_err(BackupError::io(&path))?;
        self.read_from(segment, file, self.catalogue.keys(), take)
    }

    /// As [`Archive::read`], of a file that need not have its name yet, and with these keys.
    pub(super) fn read_from(
        &self,
        segment: &Segment,
        file: impl Read,
        keys: &Keys,
        take: &mut dyn FnMut(&Item<'_>, aof::Place, u64) -> Result<Step, BackupError>,
    ) -> Result<Step, BackupError> {
        let path = self.path_of(segment);
        let source: Box<dyn Read + '_> = match segment.form {
            Form::Plain => Box::new(file),
            Form::Encrypted { .. } => Box::new(keys.decrypt(file).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    BackupError::Refused { path: path.clone(), reason: error.to_string() }
                }
                _ => BackupError::io(&path)(error),
            })?),
        };
        let source = zstd::stream::read::Decoder::new(source).map_err(BackupError::io(&path))?;
        let damaged = |fault: String| BackupError::Damaged { id: path.display().to_string(), fault };
        let mut reader = Reader::new(source);
        let (mut at, mut is_sealed, mut has_identity) = (segment.from, false, false);
        while let Some((item, place)) = reader.next_placed().map_err(|fault| damaged(fault.to_string()))? {
            let mark = item.mark();
            if !has_identity {
                let is_ours = |identity: &Identity<'_>| identity.at == segment.from;
                if !matches!(&mark, Some(Mark::Identity(identity)) if is_ours(identity)) {
                    return Err(damaged("it does not begin with the identity that its name tells".to_owned()));
                }
                has_identity = true;
            }
            is_sealed = mark.is_some();
            if take(&item, place, at)? == Step::Stop {
                return Ok(Step::Stop);
            }
            at += item.record().map_or(0, aof::Record::len);
        }
        match at == segment.to && is_sealed {
            true => Ok(Step::On),
            false => Err(damaged(format!("it ends at position {at}, and not with a seal at {}", segment.to))),
        }
    }

    /// The checksum of the first seal at the end of a segment; none where another mark stands there alone.
    pub(super) fn seal_at_end(&self, segment: &Segment) -> Result<Option<u64>, BackupError> {
        if let Form::Encrypted { seal } = segment.form {
            return Ok(seal);
        }
        let mut first = None;
        self.read(segment, &mut |item, _, at| {
            if let Item::Annotation(annotation) = item
                && at == segment.to
                && let Some(Ok(Mark::Seal(seal))) = annotation.mark()
            {
                first.get_or_insert(seal.crc);
            }
            Ok(Step::On)
        })?;
        Ok(first)
    }

    /// Where good backups stand that belong here, the oldest first.
    pub(super) fn bases(&self) -> Result<Vec<u64>, BackupError> {
        let listed = self.catalogue.list()?;
        let manifests = listed.iter().filter_map(|listed| listed.manifest.as_ref().ok());
        let ours = manifests.filter(|manifest| self.has(manifest) && manifest.fault().is_none());
        Ok(ours.filter_map(|manifest| manifest.position).collect())
    }

    /// Whether the records behind a backup are here.
    pub fn has(&self, manifest: &Manifest) -> bool {
        manifest.position.is_some() && manifest.timeline.as_deref().is_some_and(|timeline| self.is_of(timeline))
    }

    /// Removes a segment.
    pub fn remove(&self, segment: &Segment) -> Result<(), BackupError> {
        let path = self.path_of(segment);
        self.catalogue.disk().remove(&path).map_err(BackupError::io(&path))
    }

    /// Removes what a crash has left of a segment. For who holds the timeline.
    pub(super) fn sweep(&self) -> Result<(), BackupError> {
        let folder = self.folder();
        for name in names(&self.catalogue, &folder)?.iter().filter(|name| is_temporary(name)) {
            let path = folder.join(name);
            self.catalogue.disk().remove(&path).map_err(BackupError::io(&path))?;
        }
        Ok(())
    }
}

/// Whether whoever reads wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    On,
    Stop,
}

/// The longest run of segments behind position `from` without a gap; the first of them may begin before it. What is there twice
/// is in it once.
pub fn run_behind(segments: &[Segment], from: u64) -> Vec<Segment> {
    let Some(first) = segments.iter().rposition(|segment| segment.from <= from && from < segment.to) else {
        // Nothing was written since.
        return Vec::new();
    };
    let mut run = vec![segments[first].clone()];
    for segment in &segments[first + 1..] {
        let reached = run[run.len() - 1].to;
        if segment.to <= reached {
            continue;
        }
        if segment.from != reached {
            break;
        }
        run.push(segment.clone());
    }
    run
}

/// The history of which a timeline is, or a branch.
pub(super) fn history_of(timeline: &str) -> &str {
    timeline.split('-').next().unwrap_or_default()
}

/// The folder of all timelines.
fn logs(catalogue: &Catalogue) -> PathBuf {
    catalogue.repo().join("log")
}

/// The timelines that are archived.
pub fn timelines(catalogue: &Catalogue) -> Result<Vec<Archive>, BackupError> {
    let is_timeline = |name: &str| {
        let (history, branch) = name.split_once('-').unwrap_or((name, ""));
        let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        history.len() == 40 && is_hexadecimal(history) && is_hexadecimal(branch)
    };
    let names = names(catalogue, &logs(catalogue))?.into_iter().filter_map(|name| name.into_string().ok());
    names.filter(|name| is_timeline(name)).map(|name| Archive::find(catalogue, &name)).collect()
}

fn names(catalogue: &Catalogue, folder: &Path) -> Result<Vec<OsString>, BackupError> {
    match catalogue.disk().list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(BackupError::io(folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: u64, to: u64) -> Segment {
        Segment { from, to, until_ms: 1_795_316_400_000, form: Form::Plain }
    }

    #[test]
    fn names_tell_what_is_in_them() {
        let name = "00000000000000008192-00000000000000016384-1795316400000.aof.zst";
        assert_eq!(segment(8192, 16384).name(), name);
        assert_eq!(Segment::parse(name), Some(segment(8192, 16384)));
        for seal in [None, Some(0xfe)] {
            let encrypted = Segment { form: Form::Encrypted { seal }, ..segment(8192, 16384) };
            assert_eq!(Segment::parse(&encrypted.name()), Some(encrypted.clone()));
            assert!(encrypted.name().ends_with(if seal.is_some() {
                "-00000000000000fe.aof.zst.age"
            } else {
                "-none.aof.zst.age"
            }));
        }
        for name in
            ["", "a.aof.zst", "1-2-3.aof.zst", &name[1..], &name.replace("16384", "00384"), "temp-1-2-x.aof.zst"]
        {
            assert_eq!(Segment::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_run_ends_at_a_gap() {
        let segments = [segment(0, 10), segment(10, 20), segment(25, 30), segment(30, 40)];
        let run = |from| run_behind(&segments, from).iter().map(|segment| segment.from).collect::<Vec<_>>();
        assert_eq!((run(0), run(15), run(25), run(39)), (vec![0, 10], vec![10], vec![25, 30], vec![30]));
        assert_eq!((run(22), run(40)), (vec![], vec![]));
        let twice = Segment { form: Form::Encrypted { seal: None }, ..segment(10, 20) };
        let segments = [segment(0, 10), segment(10, 20), twice, segment(20, 30)];
        assert_eq!(run_behind(&segments, 5).iter().map(|segment| segment.to).collect::<Vec<_>>(), [10, 20, 30]);
    }
}
