//! Through a file from front to back, over damage and on behind it.
//!
//! Where a server would stop, the walk says what is broken and goes on at the next item that can be made out; how that
//! is found is in [`resync`](super::resync). Every value is read in full, one element at a time.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use super::elements::{Elements, Finder, Judgement};
use super::evidence::Prior;
use super::resync::{Elsewhere, Resync, Resynced};
use crate::codec::fingerprint::Fingerprints;
use crate::rdb::error::{Cause, Error};
use crate::rdb::event::{Checksum, Event, KeyHeader, Visitor};
use crate::rdb::kind::{Header, Kind};
use crate::rdb::reader::{Options, Reader};

/// Something that stands in the file.
#[derive(Debug)]
pub struct Item {
    /// Its bytes, what is said of a key before its type included.
    pub span: Range<u64>,
    /// Whether the database of the key is only assumed: a change of it may have been in what was damaged before.
    pub db_uncertain: bool,
    /// Of a key that could be read: where its type byte and where its value stand.
    pub place: Option<Place>,
    /// What it is.
    pub step: Step,
}

/// Where the parts of a key stand.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Offset of the type byte; the key follows it.
    pub type_offset: u64,
    /// Offset of the value.
    pub value_offset: u64,
}

/// What an [`Item`] is.
#[derive(Debug)]
pub enum Step {
    /// Anything but a key or the end.
    Event(Event),
    /// A key whose value is whole as far as its bytes go.
    Key(KeyHeader, Value),
    /// Bytes that cannot be read. Boxed, since steps are moved about and this is the largest and rarest.
    Damage(Box<Damage>),
    /// The end marker and the checksum.
    End(Checksum),
}

/// A value whose bytes are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Servers load it.
    Fine,
    /// A collection without elements, which servers skip.
    Empty,
    /// Servers refuse the file for it. Offset and reason as their load says them.
    Refused { offset: u64, what: String },
}

/// A span that cannot be read.
#[derive(Debug)]
pub struct Damage {
    /// What a server says who stops here.
    pub error: Error,
    /// The key whose value is broken, if that much could be read.
    pub key: Option<KeyHeader>,
    /// How the place was found where reading goes on.
    pub resumed: Resumed,
}

/// How the walk came behind damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The lengths of the damaged value tell where it ends.
    ByLength,
    /// As a value of another type than its byte says, it ends where the next item begins.
    ByType,
    /// The next bytes from which items follow one another.
    ByScan,
    /// As by a scan, inside what was read as a key before the fault: its length was damaged so that it took in others.
    Inside,
    /// No further item was found.
    Nowhere,
}

impl Resumed {
    /// One word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Resumed::ByLength => "length",
            Resumed::ByType => "type",
            Resumed::ByScan => "scan",
            Resumed::Inside => "inside",
            Resumed::Nowhere => "nowhere",
        }
    }
}

/// The walk.
pub struct Walk<R> {
    reader: Reader<R>,
    /// Bytes of the file.
    len: u64,
    elements: Elements,
    prior: Prior,
    resync: Resync,
    /// Behind damage: whether the database of the next keys is only the last one known.
    db_uncertain: bool,
    is_damaged: bool,
    is_over: bool,
    /// Items that were read and not given out, since a fault behind them may show that they were none.
    held: VecDeque<Item>,
}

/// How many items are held back.
const HELD: usize = 4;
/// A key of more bytes than this is not looked into for others.
const MOST_LOOKED_INTO: u64 = 4 << 20;

/// What damage comes to.
struct Broken {
    span: Range<u64>,
    key: Option<KeyHeader>,
    place: Option<Place>,
    resumed: Resumed,
}

/// Whether nothing in a value says that its length is right; packed values do.
fn is_loose(kind: Kind) -> bool {
    matches!(kind.encoding(), "string" | "linkedlist" | "hashtable" | "skiplist" | "module")
}

impl Damage {
    /// Whether what is damaged, with this span and key, is only that the file ends between two items.
    pub(super) fn is_missing_end(span: &Range<u64>, key: Option<&KeyHeader>) -> bool {
        span.is_empty() && key.is_none()
    }

    /// One sentence.
    pub fn what(&self) -> String {
        match self.resumed {
            Resumed::Inside => format!("its length takes in keys that follow it, so that {}", self.error),
            _ => self.error.to_string(),
        }
    }
}

impl<R: Read + Seek> Walk<R> {
    /// Reads the header; without one that is known there is nothing to walk through.
    pub fn new(mut inner: R) -> Result<Self, Error> {
        let failed = |error| Error::new(0, "the header", Cause::Io(error));
        let len = inner.seek(SeekFrom::End(0)).map_err(failed)?;
        inner.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(Walk {
            reader: Reader::new(inner, Options { verify: false })?,
            len,
            elements: Elements::new(),
            prior: Prior::default(),
            resync: Resync::default(),
            db_uncertain: false,
            is_damaged: false,
            is_over: false,
            held: VecDeque::with_capacity(HELD + 1),
        })
    }

    /// What the first nine bytes say.
    pub fn header(&self) -> Header {
        self.reader.header()
    }

    /// Bytes of the whole input.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the input has no byte; it never has, since there is a header.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The fingerprint of a key in its database.
    pub(super) fn fingerprint(&self, key: &KeyHeader) -> u128 {
        self.elements.fingerprints().of(key.db, &key.key)
    }

    /// The input, wherever it stands.
    pub fn into_inner(self) -> R {
        self.reader.into_inner().0
    }

    pub(super) fn fingerprints(&self) -> &Fingerprints {
        self.elements.fingerprints()
    }

    /// The same walk from the start, with the same fingerprints.
    pub(super) fn again(self) -> Result<Self, Error> {
        let elements = self.elements;
        Ok(Walk { elements, ..Walk::new(self.reader.into_inner().0)? })
    }

    /// The next item; `None` behind the last. An error is one of the disk.
    #[allow(clippy::should_implement_trait)] // next to `Reader::next`, which it stands for
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        while !self.is_over && self.held.len() <= HELD {
            let mut item = self.read()?;
            item.db_uncertain = self.db_uncertain;
            self.held.push_back(item);
        }
        Ok(self.held.pop_front())
    }

    fn read(&mut self) -> Result<Item, Error> {
        let start = self.reader.offset();
        let step = match self.reader.next() {
            Ok(Event::Key(header)) => return self.key(start, header),
            Ok(Event::End { checksum }) => {
                let checksum = self.checksum(checksum)?;
                if let Some(item) = self.false_end(start, checksum)? {
                    return Ok(item);
                }
                self.is_over = true;
                Step::End(checksum)
            }
            Ok(event) => {
                self.db_uncertain &= !matches!(event, Event::SelectDb(_));
                Step::Event(event)
            }
            Err(error) => return self.damage(start, None, None, error),
        };
        Ok(Item { span: start..self.reader.offset(), db_uncertain: false, place: None, step })
    }

    fn key(&mut self, start: u64, header: KeyHeader) -> Result<Item, Error> {
        let value_offset = self.reader.offset();
        let place = Place { type_offset: self.reader.type_offset(), value_offset };
        self.elements.reset();
        if let Err(error) = self.reader.value(&mut self.elements) {
            return self.damage(start, Some(header), Some(place), error);
        }
        let end = self.reader.offset();
        let judgement = self.elements.finish().map_err(|error| Error::new(start, "the value", Cause::Io(error)))?;
        let value = match judgement {
            Judgement::Fine => Value::Fine,
            Judgement::Empty => Value::Empty,
            Judgement::Wrong(what) => self.refused(&header, value_offset, what.to_owned()),
            Judgement::Repeated(what, wanted) => {
                let mut finder = Finder { fingerprints: self.elements.fingerprints(), wanted: &wanted, found: None };
                let noted = self.reader.note();
                self.reader.reposition(value_offset, self.len, Some(header.kind))?;
                self.reader.value(&mut finder)?;
                self.reader.restore(noted);
                let name = finder.found.unwrap_or_default();
                self.is_damaged = true; // the checksum was lost by going back
                let what = match wanted.len() {
                    1 => format!("the {what} \"{}\" stands there twice", name.escape_ascii()),
                    more => format!("the {what} \"{}\" and {} more stand there twice", name.escape_ascii(), more - 1),
                };
                self.refused(&header, value_offset, what)
            }
        };
        self.prior.learn(&header);
        Ok(Item { span: start..end, db_uncertain: false, place: Some(place), step: Step::Key(header, value) })
    }

    /// The value that a server refuses, at the offset that it names.
    fn refused(&self, header: &KeyHeader, value_offset: u64, what: String) -> Value {
        let behind_smallest = if header.kind == Kind::HashListpackEx { 8 } else { 0 };
        Value::Refused { offset: value_offset + behind_smallest, what }
    }

    /// Comes behind damage that begins with the item at `start`.
    fn damage(
        &mut self,
        start: u64,
        key: Option<KeyHeader>,
        place: Option<Place>,
        error: Error,
    ) -> Result<Item, Error> {
        if matches!(error.cause(), Cause::Io(_)) {
            return Err(error);
        }
        let broken = self.find_end(start, key, place, &error)?;
        self.resume(broken, error)
    }

    /// An end marker whose checksum does not fit and behind which keys follow: a byte that was damaged into one.
    fn false_end(&mut self, start: u64, checksum: Checksum) -> Result<Option<Item>, Error> {
        let Checksum::Mismatch { expected, found } = checksum else { return Ok(None) };
        let end = self.reader.offset();
        if self.resync.is_end_of(&mut self.reader, self.len)? {
            return Ok(None);
        }
        let error = Error::new(end - 8, "the checksum", Cause::Checksum { expected, found });
        let broken = self.find_end(start, None, None, &error)?;
        if broken.resumed == Resumed::Nowhere {
            self.reader.reposition(end, self.len, None)?;
            return Ok(None);
        }
        self.resume(broken, error).map(Some)
    }

    /// Where the damage ends that begins with the item at `start`.
    fn find_end(
        &mut self,
        start: u64,
        key: Option<KeyHeader>,
        place: Option<Place>,
        error: &Error,
    ) -> Result<Broken, Error> {
        self.is_damaged = true;
        let value_offset = place.map(|place| place.value_offset);
        let known = Resynced { start, len: self.len, key: key.as_ref(), value_offset, error };
        let (end, resumed, key_found) = self.resync.find(&mut self.reader, &self.prior, known)?;
        if matches!(resumed, Resumed::ByScan | Resumed::Nowhere)
            && let Some(inside) = self.look_inside(start, end)?
        {
            return Ok(inside);
        }
        Ok(Broken { span: start..end, key: key.or(key_found), place, resumed })
    }

    /// Goes on behind damage.
    fn resume(&mut self, broken: Broken, error: Error) -> Result<Item, Error> {
        let Broken { span, key, place, resumed } = broken;
        if resumed == Resumed::Nowhere {
            self.is_over = true;
        } else {
            if matches!(resumed, Resumed::ByScan | Resumed::Inside)
                && self.resync.may_hold_select(&mut self.reader, span.clone())?
            {
                self.db_uncertain = true;
            }
            self.reader.reposition(span.end, self.len, None)?;
        }
        Ok(Item { span, db_uncertain: false, place, step: Step::Damage(Box::new(Damage { error, key, resumed })) })
    }

    /// Looks into the last keys for items that lead over the fault: a key whose length was damaged takes in those
    /// behind it, and the fault shows only where it ends.
    /// A scan would go on at `resume`.
    fn look_inside(&mut self, fault: u64, resume: u64) -> Result<Option<Broken>, Error> {
        let elsewhere = Elsewhere { resume, len: self.len };
        for index in (0..self.held.len()).rev() {
            let item = &self.held[index];
            let Step::Key(key, _) = &item.step else { continue };
            let (key, span) = (key.clone(), item.span.start..fault);
            if !is_loose(key.kind) || span.end - span.start > MOST_LOOKED_INTO {
                continue;
            }
            if let Some(end) = self.resync.inside(&mut self.reader, &self.prior, span.clone(), elsewhere)? {
                self.held.truncate(index);
                self.reader.assume_db(key.db);
                let span = span.start..end;
                return Ok(Some(Broken { span, key: Some(key), place: None, resumed: Resumed::Inside }));
            }
        }
        Ok(None)
    }

    /// The checksum as the reader has it, or, where the reader went back and forth, of all bytes anew.
    fn checksum(&mut self, told: Checksum) -> Result<Checksum, Error> {
        let expected = match told {
            Checksum::Mismatch { expected, .. } if self.is_damaged => expected,
            // Zero or none, or right by a chance of one in 2^64.
            _ => return Ok(told),
        };
        let end = self.reader.offset();
        let found = self.checksum_until(end - 8)?;
        self.reader.reposition(end, self.len, None)?;
        Ok(if expected == found { Checksum::Ok } else { Checksum::Mismatch { expected, found } })
    }

    fn checksum_until(&mut self, end: u64) -> Result<u64, Error> {
        let mut crc = crate::codec::crc64::Crc64::new();
        self.for_each_piece(0..end, |piece| {
            crc.update(piece);
            Ok(())
        })?;
        Ok(crc.value())
    }

    /// Hands on the bytes of a span, and goes on where it was.
    pub(super) fn copy(&mut self, span: Range<u64>, sink: &mut dyn Write) -> Result<(), Error> {
        let back = self.reader.offset();
        self.is_damaged = true; // the checksum is lost by going back
        self.for_each_piece(span, |piece| sink.write_all(piece))?;
        self.reader.reposition(back, self.len, None)
    }

    /// Tells a visitor the elements of a value that can be read around its damage, and goes on where the walk was.
    pub(super) fn visit_again(&mut self, kind: Kind, offset: u64, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let (back, noted) = (self.reader.offset(), self.reader.note());
        self.is_damaged = true; // the checksum is lost by going back
        self.reader.reposition(offset, self.len, Some(kind))?;
        match self.reader.value_leniently(visitor) {
            Err(error) if matches!(error.cause(), Cause::Io(_)) => Err(error),
            _ => {
                self.reader.restore(noted);
                self.reader.reposition(back, self.len, None)
            }
        }
    }

    /// Gives the bytes of a span in pieces. The reader stands anywhere afterwards.
    pub(super) fn for_each_piece(
        &mut self,
        span: Range<u64>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut at = span.start;
        while at < span.end {
            self.reader.reposition(at, self.len, None)?;
            let ahead = self.reader.ahead()?;
            let wanted = usize::try_from(span.end - at).unwrap_or(usize::MAX).min(ahead.len());
            if wanted == 0 {
                return Err(Error::new(at, "the file", Cause::CutShort));
            }
            take(&ahead[..wanted]).map_err(|error| Error::new(at, "the copy", Cause::Io(error)))?;
            at += wanted as u64; // a buffer's length fits
        }
        Ok(())
    }
}
