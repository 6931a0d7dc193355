//! A file of a log, written anew out of pieces of itself.
//!
//! Records and annotations are copied as they stand. Seals and identities can't be, since they tell positions and what
//! stands between them: where the file has any they are made anew, as another history that begins at the head of the file,
//! so that the result proves itself, and none of it can be taken for a part of what was before.

use std::io::{self, Read, Write};
use std::ops::Range;

use ironkeep::aof::seal::{self, HistoryId, Mark, Seal, Sender};
use ironkeep::aof::{Fault, Item, LogFile, OpenSpan, Place, Scanner, Sealer, Units};
use ironkeep::cli::progress::Progress;
use ironkeep::disk::{Disk, Mode};

use crate::report;

/// Bytes that are copied at once.
const PIECE: usize = 1 << 18;

/// What becomes of seals and identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// There are none, or none are wanted.
    Left,
    /// Those that are there are made anew, and the head is given an identity.
    Renewed,
    /// The same, and more stand where a server of ours would have put them, at the end too.
    Added,
}

impl Marks {
    /// As the file has them.
    pub fn of(has_marks: bool) -> Self {
        if has_marks { Self::Renewed } else { Self::Left }
    }
}

/// What stands in the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Whole records and annotations of the old one, by offset.
    Span(Range<u64>),
    /// A record that takes the place of a broken one.
    Record(&'static [u8]),
}

/// Writes the bytes of `file` up to `start`, which is where its records begin, and then the pieces.
pub fn write(
    disk: &dyn Disk,
    file: &LogFile,
    start: u64,
    (pieces, marks): (&[Piece], Marks),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    copy_range(disk, file, 0, start, out)?;
    let mut remade = Remade::new(out, marks);
    for piece in pieces {
        match piece {
            Piece::Record(bytes) => remade.record(bytes)?,
            Piece::Span(span) => write_span(disk, file, span, &mut remade)?,
        }
    }
    Ok(remade.finish()?)
}

fn write_span(disk: &dyn Disk, file: &LogFile, span: &Range<u64>, remade: &mut Remade<'_>) -> anyhow::Result<()> {
    let mut open = disk.open(&file.path, Mode::Read)?;
    open.seek(io::SeekFrom::Start(span.start))?;
    let len = span.end - span.start;
    let source = Progress::new(open.take(len), Some(len), &report::name(file));
    let mut scanner = Scanner::resume(source, Vec::new(), span.start, Some(span.end));
    loop {
        match scanner.next() {
            Ok(Some(item)) => remade.item(&item)?,
            Ok(None) => break,
            Err(Fault::Io { source, .. }) => return Err(source.into()),
            Err(_) => break,
        }
    }
    let is_whole = scanner.offset() == span.end;
    anyhow::ensure!(is_whole, "the file changed meanwhile: stop who writes to it");
    Ok(())
}

/// Writes the bytes of a file from one offset to another.
pub fn copy_range(disk: &dyn Disk, file: &LogFile, from: u64, to: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut left = to.saturating_sub(from);
    if left == 0 {
        return Ok(());
    }
    let mut source = disk.open(&file.path, Mode::Read)?;
    source.seek(io::SeekFrom::Start(from))?;
    let piece = |left: u64| usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
    let mut buffer = vec![0; piece(left)];
    while left > 0 {
        let next = &mut buffer[..piece(left)];
        source.read_exact(next)?;
        out.write_all(next)?;
        left -= next.len() as u64; // no more than there was
    }
    Ok(())
}

/// The new file under way, behind the RDB in front of it.
pub struct Remade<'a> {
    out: &'a mut dyn Write,
    marks: Marks,
    sealer: Option<Sealer>,
    /// Position in the history that is written.
    at: u64,
    /// The last time told, Unix ms; 0 where none was.
    time_ms: i64,
    units: Units,
    line: Vec<u8>,
}

impl<'a> Remade<'a> {
    pub fn new(out: &'a mut dyn Write, marks: Marks) -> Self {
        Self { out, marks, sealer: None, at: 0, time_ms: 0, units: Units::new(0), line: Vec::new() }
    }

    /// A record, an annotation or a mark of the old file. A mark that is broken is left out.
    fn item(&mut self, item: &Item<'_>) -> io::Result<()> {
        match item {
            Item::Annotation(annotation) => match annotation.mark() {
                Some(Ok(mark)) => self.mark(&mark, true),
                Some(Err(_)) => Ok(()),
                None => {
                    self.time_ms = annotation.timestamp().map_or(self.time_ms, |second| second.saturating_mul(1000));
                    self.bytes(annotation.raw)
                }
            },
            Item::Record(record) => {
                let place = self.units.place(item);
                if matches!(place, Ok(Place::Alone | Place::Opens)) {
                    self.seal_if_due()?;
                }
                self.record(record.raw)
            }
        }
    }

    /// A record, as it stands.
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64; // usize has at most 64 bits
        self.bytes(bytes)
    }

    /// Records or annotations that are no marks, one or several of a kind.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The position was moved already; a history begins in front of what is kept first.
        let begun = if bytes.starts_with(b"#") { self.at } else { self.at - bytes.len() as u64 };
        if let Some(sealer) = self.sealer(begun)? {
            sealer.absorb(bytes);
        }
        self.out.write_all(bytes)
    }

    /// A mark of the old file; who sent what follows is told again where `tells_sender`.
    pub fn mark(&mut self, mark: &Mark<'_>, tells_sender: bool) -> io::Result<()> {
        self.time_ms = mark.time_ms();
        if self.marks == Marks::Left {
            return Ok(());
        }
        if let (None, Mark::Identity(identity)) = (&self.sealer, mark) {
            self.at = identity.at;
        }
        let (at, time_ms) = (self.at, self.time_ms);
        let is_first = self.sealer.is_none();
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        if let Some(sealer) = self.sealer(at)? {
            // The file that is written gets its name when it is on the disk.
            sealer.note_synced(at);
            match mark {
                Mark::Identity(_) if is_first => {}
                Mark::Identity(_) => {
                    sealer.seal(at, time_ms, None, &mut line);
                    sealer.identify(at, time_ms, &mut line);
                }
                Mark::Seal(Seal { sender, .. }) => {
                    let sender = sender.filter(|_| tells_sender);
                    let plain = sender.map(|sender| [sender.command, sender.address, sender.user].map(seal::unescape));
                    let sender = plain.as_ref().map(|[command, address, user]| Sender { command, address, user });
                    sealer.seal(at, time_ms, sender, &mut line);
                }
            }
        }
        self.line = line;
        self.out.write_all(&self.line)
    }

    fn seal_if_due(&mut self) -> io::Result<()> {
        if self.marks == Marks::Added
            && self.sealer.as_ref().is_some_and(|sealer| self.at - sealer.sealed() >= seal::SPAN_LEN)
        {
            return self.seal();
        }
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        let (at, time_ms) = (self.at, self.time_ms);
        let mut line = Vec::new();
        if let Some(sealer) = &mut self.sealer {
            sealer.note_synced(at);
            sealer.seal(at, time_ms, None, &mut line);
        }
        self.out.write_all(&line)
    }

    /// Ends the file; with a seal where they are added.
    fn finish(mut self) -> io::Result<()> {
        if self.marks == Marks::Added { self.seal() } else { Ok(()) }
    }

    /// The history that is written, which begins with an identity at position `at`; `None` where there are no marks.
    fn sealer(&mut self, at: u64) -> io::Result<Option<&mut Sealer>> {
        if self.marks != Marks::Left && self.sealer.is_none() {
            let mut sealer = Sealer::new(HistoryId::random(&mut fastrand::Rng::new()), OpenSpan::at(at));
            let mut line = Vec::new();
            sealer.identify(at, self.time_ms, &mut line);
            self.out.write_all(&line)?;
            self.sealer = Some(sealer);
        }
        Ok(self.sealer.as_mut())
    }
}
