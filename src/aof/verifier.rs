//! Seals as a log is read: whether the bytes are those that were written, and up to where they are known to be.

use super::record::Annotation;
use super::seal::{HistoryId, Mark, SPAN_LEN};
use super::sealer::OpenSpan;
use super::{Fault, Item, Place};

/// How far a history goes: what the next file of the log continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryEnd {
    pub id: Option<HistoryId>,
    pub at: u64,
}

/// Follows the items of one file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verifier {
    /// A mark that does not fit is passed over.
    is_lenient: bool,
    id: Option<HistoryId>,
    /// Position of the start of the span, where it is known.
    start: Option<u64>,
    /// Bytes of the records in the span, and of those up to the last whole unit.
    len: u64,
    whole_len: u64,
    /// Offset of the start of the span.
    span_offset: u64,
    synced: u64,
    seals: u64,
    marks: u64,
    /// Offset behind the last seal.
    sealed_until: u64,
    is_foreign: bool,
    has_records: bool,
}

impl Verifier {
    /// For a file whose records begin at `offset`.
    pub fn new(offset: u64) -> Self {
        Self { span_offset: offset, sealed_until: offset, ..Self::default() }
    }

    /// Passes over marks that do not fit.
    pub fn be_lenient(&mut self) {
        self.is_lenient = true;
    }

    /// The file goes on where another has ended.
    pub fn continue_from(&mut self, end: HistoryEnd) {
        (self.id, self.start) = (end.id, Some(end.at));
    }

    /// Whether a mark of ours has been read, which fitted.
    pub fn has_marks(&self) -> bool {
        self.marks > 0
    }

    /// Whether a record has been read.
    pub fn has_records(&self) -> bool {
        self.has_records
    }

    /// Seals that fitted.
    pub fn seals(&self) -> u64 {
        self.seals
    }

    /// Offset behind the last seal that fitted; that of the first record where there is none.
    pub fn sealed_until(&self) -> u64 {
        self.sealed_until
    }

    /// Offset of the start of the span under way: behind the last mark.
    pub fn span_offset(&self) -> u64 {
        self.span_offset
    }

    /// Position of the start of the span under way.
    pub fn span_start(&self) -> Option<u64> {
        self.start
    }

    /// Position of the end of the last whole unit.
    pub fn whole_position(&self) -> Option<u64> {
        self.start.map(|start| start + self.whole_len)
    }

    /// The last position that a mark has told to be on the disk.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    pub fn id(&self) -> Option<HistoryId> {
        self.id
    }

    /// Whether what follows the last mark is longer than we would leave it without a seal.
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Where the history stands behind what was read. What nobody has marked begins at 0.
    pub fn end(&self) -> HistoryEnd {
        HistoryEnd { id: self.id, at: self.start.unwrap_or(0) + self.len }
    }

    /// What the next seal is to cover, from the checksum of the bytes since the last mark.
    pub fn open_span(&self, digest: crc64fast::Digest) -> OpenSpan {
        OpenSpan::found(digest, self.start.unwrap_or(0))
    }

    /// Takes note of a record that stands there in its unit.
    pub(super) fn record(&mut self, len: u64, place: Place) {
        self.is_foreign |= self.len >= SPAN_LEN && matches!(place, Place::Alone | Place::Opens);
        self.len += len;
        self.has_records = true;
        if matches!(place, Place::Alone | Place::Closes) {
            self.whole_len = self.len;
        }
    }

    /// Takes note of an annotation, and checks it if it is a mark.
    pub(super) fn annotation(&mut self, annotation: &Annotation<'_>) -> Result<(), Fault> {
        let Some(mark) = annotation.mark() else { return Ok(()) };
        let checked = match &mark {
            Ok(mark) => self.check(annotation, mark),
            Err(reason) => Err(Fault::BrokenMark { offset: annotation.offset, reason: *reason }),
        };
        let is_good = checked.is_ok();
        if !self.is_lenient {
            checked?;
        }
        let counted = self.start.map(|start| start + self.len);
        self.span_offset = Item::Annotation(*annotation).end();
        (self.len, self.whole_len, self.is_foreign) = (0, 0, false);
        self.start = match &mark {
            Ok(mark) => Some(mark.at()),
            Err(_) => counted,
        };
        if let (Ok(mark), true) = (&mark, is_good) {
            self.believe(mark);
        }
        Ok(())
    }

    fn check(&self, annotation: &Annotation<'_>, mark: &Mark<'_>) -> Result<(), Fault> {
        let (crc, len) = match mark {
            Mark::Seal(seal) => (Some(seal.crc), seal.len),
            Mark::Identity(_) => (None, 0),
        };
        if len != self.len || (crc.is_some() && crc != annotation.crc) {
            let (from, mark, found_len) = (self.span_offset, annotation.offset, self.len);
            return Err(Fault::SpanChanged { from, mark, len, found_len });
        }
        let is_same_history = match mark {
            Mark::Identity(identity) => self.id == Some(identity.id),
            Mark::Seal(_) => true,
        };
        match self.start.map(|start| start + len) {
            Some(reached) if is_same_history && reached != mark.at() => {
                Err(Fault::PositionGap { offset: annotation.offset, says: mark.at(), reached })
            }
            _ => Ok(()),
        }
    }

    fn believe(&mut self, mark: &Mark<'_>) {
        self.marks += 1;
        match mark {
            Mark::Seal(seal) => {
                self.seals += 1;
                self.sealed_until = self.span_offset;
                self.synced = self.synced.max(seal.synced);
            }
            Mark::Identity(identity) => {
                let is_same = self.id.replace(identity.id) == Some(identity.id);
                // Positions of two histories can't be compared.
                self.synced = if is_same { self.synced.max(identity.synced) } else { identity.synced };
            }
        }
    }
}
