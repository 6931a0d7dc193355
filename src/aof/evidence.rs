//! What the marks of a file say about a fault: whether what is broken was on the disk once, and where to cut if not.

use std::io::{self, Read, SeekFrom};
use std::path::Path;

use crc64fast::Digest;

use super::record::MAX_ANNOTATION;
use super::seal::{HistoryId, Mark, Middle};
use super::{Fault, LogFile, Reached, Scanner};
use crate::disk::{Disk, File, Mode};

/// What to do about a fault in a file that has marks of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing that was known to be on the disk is lost by cutting here.
    Torn { cut: u64 },
    /// Something that was on the disk once has changed. Marks that fit the history go on at `intact`.
    Damaged { intact: Option<u64> },
}

/// A place in a file and in its history.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    position: Option<u64>,
}

/// Judges by the marks in front of the fault and behind it; `None` where none of ours speaks about the place.
/// `synced` is what is known from elsewhere to have been on the disk.
pub(super) fn find(
    disk: &dyn Disk,
    path: &Path,
    fault: &Fault,
    reached: &Reached,
    synced: u64,
) -> io::Result<Option<Finding>> {
    let seals = &reached.seals;
    let span = Place { offset: seals.span_offset(), position: seals.span_start() };
    let whole = Place { offset: reached.whole_until, position: seals.whole_position() };
    let (place, search_from) = match *fault {
        Fault::SpanChanged { mark, .. } => (span, mark + 1),
        Fault::PositionGap { offset, says, reached } => {
            // No crash takes out whole records. But a file may have got its head in vain: the one before went on.
            let is_vain = says < reached && is_lone_mark(&mut *disk.open(path, Mode::Read)?, offset)?;
            let damaged = Finding::Damaged { intact: Some(offset) };
            return Ok(Some(if is_vain { Finding::Torn { cut: offset } } else { damaged }));
        }
        Fault::BrokenMark { offset, .. } => (whole, offset + 1),
        _ => (whole, fault.record()),
    };
    let mut file = disk.open(path, Mode::Read)?;
    let mut behind = Behind::look(&mut *file, search_from, place, seals.id())?;
    let mut middle = None;
    if let Fault::SpanChanged { mark: at, .. } = *fault {
        read_mark(&mut *file, at, |mark| {
            behind.first = Some(at);
            behind.synced = behind.synced.max(mark.synced());
            middle = if let Mark::Seal(seal) = mark { seal.middle } else { None };
        })?;
    }
    if behind.first.is_none() && (!seals.has_marks() || seals.is_foreign()) {
        return Ok(None);
    }
    let damaged = Finding::Damaged { intact: behind.first };
    // Before a start of ours goes on with a file it syncs it.
    let (Some(position), false) = (place.position, behind.has_other_history) else { return Ok(Some(damaged)) };
    let synced = seals.synced().max(behind.synced).max(synced);
    let mut cut = (place.offset, position);
    if let (Fault::SpanChanged { mark, .. }, Some(middle)) = (fault, middle) {
        cut = good_part(&mut *file, cut, *mark, middle)?.unwrap_or(cut);
    }
    Ok(Some(if synced <= cut.1 { Finding::Torn { cut: cut.0 } } else { damaged }))
}

/// Whether a mark stands there, and nothing behind it.
fn is_lone_mark(file: &mut dyn File, offset: u64) -> io::Result<bool> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(MAX_ANNOTATION as u64 + 1).read_to_end(&mut rest)?;
    Ok(is_one_line(&rest) && matches!(Mark::parse(&rest), Some(Ok(_))))
}

fn is_one_line(bytes: &[u8]) -> bool {
    !bytes.is_empty() && memchr::memchr(b'\n', bytes) == bytes.len().checked_sub(1)
}

/// The last position that these files tell to have been on the disk, where none holds more than a head of this history.
pub(super) fn heads(disk: &dyn Disk, files: &[LogFile], id: Option<HistoryId>) -> io::Result<Option<u64>> {
    let mut synced = 0;
    for file in files.iter().filter(|file| file.len > 0) {
        if file.len > MAX_ANNOTATION as u64 {
            return Ok(None);
        }
        let content = disk.read_small(&file.path, MAX_ANNOTATION as u64)?;
        match Mark::parse(&content) {
            Some(Ok(Mark::Identity(head))) if is_one_line(&content) && Some(head.id) == id => {
                synced = synced.max(head.synced);
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(synced))
}

/// Marks behind a place.
#[derive(Default)]
struct Behind {
    /// Offset of the first one.
    first: Option<u64>,
    /// The last position that they tell to be on the disk.
    synced: u64,
    has_other_history: bool,
}

const WINDOW: usize = 1 << 20;

impl Behind {
    /// Looks for marks of this history, from an offset on; the line feed in front of one may be what has changed. A value
    /// may hold the like, so it has to fit in: from `place`, which is not behind `from`, positions grow no faster than
    /// offsets.
    fn look(file: &mut dyn File, from: u64, place: Place, id: Option<HistoryId>) -> io::Result<Self> {
        let end = file.len()?;
        let mut found = Self::default();
        let mut offset = from;
        let mut window = Vec::new();
        while offset < end {
            file.seek(SeekFrom::Start(offset))?;
            window.clear();
            (&mut *file).take(WINDOW as u64).read_to_end(&mut window)?;
            for hash in memchr::memchr_iter(b'#', &window) {
                let at = offset + hash as u64;
                let line = &window[hash..window.len().min(hash + MAX_ANNOTATION)];
                let len = memchr::memchr(b'\n', line).map_or(line.len(), |feed| feed + 1);
                let mark = Mark::parse(&line[..len]).and_then(Result::ok);
                if let Some(mark) = mark {
                    found.note(at, &mark, at - place.offset, place.position, id);
                }
            }
            if window.len() < WINDOW {
                break;
            }
            offset += (WINDOW - MAX_ANNOTATION) as u64;
        }
        Ok(found)
    }

    fn note(&mut self, at: u64, mark: &Mark<'_>, distance: u64, position: Option<u64>, id: Option<HistoryId>) {
        if let (Mark::Identity(identity), Some(id)) = (mark, id)
            && identity.id != id
        {
            self.has_other_history = true;
        } else if position.is_some_and(|position| !(position..=position + distance).contains(&mark.at())) {
            return;
        }
        self.first.get_or_insert(at);
        self.synced = self.synced.max(mark.synced());
    }
}

/// The part of a changed span that fits: up to the sync that had begun in it. Offset and position.
fn good_part(
    file: &mut dyn File,
    (offset, position): (u64, u64),
    mark: u64,
    middle: Middle,
) -> io::Result<Option<(u64, u64)>> {
    file.seek(SeekFrom::Start(offset))?;
    let source = (&mut *file).take(mark.saturating_sub(offset));
    let mut scanner = Scanner::resume(source, Vec::new(), offset, Some(mark));
    let (mut at, mut digest) = (position, Digest::new());
    while let Ok(Some(item)) = scanner.next() {
        digest.write(item.raw());
        at += item.record().map_or(0, |record| record.len());
        if at >= middle.at {
            let fits = at == middle.at && digest.sum64() == middle.crc;
            return Ok(fits.then(|| (item.end(), at)));
        }
    }
    Ok(None)
}

fn read_mark(file: &mut dyn File, offset: u64, look: impl FnOnce(&Mark<'_>)) -> io::Result<()> {
    let mut line = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(MAX_ANNOTATION as u64).read_to_end(&mut line)?;
    let len = memchr::memchr(b'\n', &line).map_or(line.len(), |feed| feed + 1);
    if let Some(Ok(mark)) = Mark::parse(&line[..len]) {
        look(&mark);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
