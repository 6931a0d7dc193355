//! A file with all that can be kept of a damaged one, in the same version.
//!
//! What is kept is copied byte for byte; what is written anew is the choice of databases, the counts of keys, the
//! trailer, and with [`Wishes::salvage`] the whole elements of damaged values. The result has no finding but keys in
//! databases beyond those configured, which are data and stay.
//!
//! The file is walked through once to plan, so that the counts are right where they stand in front of the keys, and
//! once to write; where keys come twice, up to two times more.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;

use super::repeats::Repeats;
use super::salvage::Salvage;
use super::walk::{Damage, Item, Resumed, Step, Value, Walk};
use crate::codec::crc64::Crc64;
use crate::rdb::error::{Cause, Error};
use crate::rdb::event::{Checksum, Event, KeyHeader};
use crate::rdb::kind::{Header, Lineage, Opcode};
use crate::rdb::primitive::{put_length, put_plain};
use crate::value::Limits;

/// Memory for the fingerprints of all keys.
const KEY_BYTES: usize = 64 << 20;
/// The first versions with counts of a database, and with a checksum.
const COUNTS_SINCE: u32 = 7;
const CHECKSUM_SINCE: u32 = 5;
/// The first version with counts for a slot.
const SLOT_INFO_SINCE: u32 = 12;

/// Which of several values of a key stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Keep {
    #[default]
    First,
    Last,
}

/// How to repair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    pub duplicates: Keep,
    /// Whether the whole elements of a damaged collection are kept.
    pub salvage: bool,
}

/// Something that the new file lacks.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Its bytes in the old file.
    pub span: Range<u64>,
    pub db: Option<u64>,
    /// Whether the database is only assumed.
    pub db_uncertain: bool,
    pub key: Option<Vec<u8>>,
    /// Why.
    pub what: String,
    pub resumed: Option<Resumed>,
    /// How many elements were kept all the same.
    pub salvaged: Option<u64>,
}

/// What a repair does.
#[derive(Clone, Debug, Default)]
pub struct Mended {
    pub header: Option<Header>,
    /// Keys of the new file.
    pub keys: u64,
    /// Of those, keys whose database is only assumed.
    pub keys_db_uncertain: u64,
    pub lost: Vec<Lost>,
    /// What is made right without loss, a sentence each.
    pub fixed: Vec<String>,
    /// Counts of keys that are others now.
    pub counts_changed: u64,
    /// Bytes of a command log behind the end, which are kept.
    pub log_bytes: u64,
}

impl Mended {
    /// Whether the old file needed nothing. Counts that do not fit hurt nobody.
    pub fn was_healthy(&self) -> bool {
        self.lost.is_empty() && self.fixed.is_empty()
    }
}

/// Writes what can be kept of `input` to `output`; without one, tells what would be lost. `function` is as for
/// [`judge`](super::judge).
///
/// ```
/// use ironkeep::rdb::check::{Wishes, repair};
/// let twice = b"REDIS0003\xfe\x00\x00\x01k\x01a\x00\x01k\x01b";
/// let mut whole = Vec::new();
/// let mended = repair(&mut std::io::Cursor::new(twice), Wishes::default(), &mut |_| Ok(()), Some(&mut whole))?;
/// assert_eq!((mended.keys, mended.lost.len()), (1, 1));
/// assert_eq!(whole, b"REDIS0003\xfe\x00\x00\x01k\x01a\xff");
/// # Ok::<(), ironkeep::rdb::Error>(())
/// ```
pub fn repair<R: Read + Seek>(
    input: &mut R,
    wishes: Wishes,
    function: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    output: Option<&mut dyn Write>,
) -> Result<Mended, Error> {
    let walk = Walk::new(input)?;
    let mut refused = HashSet::new();
    let mut plan = Plan::new(wishes, walk.header());
    let mut keys = Repeats::new(KEY_BYTES);
    let mut walk = plan.survey(walk, &mut |walk, item| {
        match &item.step {
            Step::Event(Event::Function { code }) if function(code).is_err() => _ = refused.insert(item.span.start),
            Step::Key(key, _) => keys.push(walk.fingerprint(key)).map_err(failed)?,
            Step::Damage(damage) if wishes.salvage => {
                if let Some(key) = &damage.key {
                    keys.push(walk.fingerprint(key)).map_err(failed)?;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    let repeated = keys.finish().map_err(failed)?;
    if !(repeated.is_empty() && refused.is_empty()) {
        plan.repeated = repeated;
        plan.refused = refused;
        if wishes.duplicates == Keep::Last && !plan.repeated.is_empty() {
            plan.counting = true;
            walk = plan.survey(walk.again()?, &mut |_, _| Ok(()))?;
            plan.counting = false;
        }
        walk = plan.survey(walk.again()?, &mut |_, _| Ok(()))?;
    }
    if let Some(output) = output {
        plan.write(walk.again()?, output)?;
    }
    Ok(plan.mended)
}

/// What looks at every item before it is decided upon.
type See<'a, R> = &'a mut dyn FnMut(&Walk<R>, &Item) -> Result<(), Error>;

fn failed(error: io::Error) -> Error {
    Error::new(0, "the list of keys", Cause::Io(error))
}

fn unwritten(error: io::Error) -> Error {
    Error::new(0, "the new file", Cause::Io(error))
}

/// Keys between two choices of a database, or behind one hint for a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    keys: u64,
    expires: u64,
}

impl Counts {
    fn add(&mut self, key: &KeyHeader) {
        self.keys += 1;
        self.expires += u64::from(key.expire_at_ms.is_some());
    }
}

/// What is decided, and where in the file the pass is that follows it.
struct Plan {
    wishes: Wishes,
    header: Header,
    /// Fingerprints of the keys that come more than once, sorted.
    repeated: Vec<u128>,
    /// Where function libraries stand that do not load.
    refused: HashSet<u64>,
    /// Whether this pass only counts how often a key comes.
    counting: bool,
    occurrences: HashMap<u128, u64>,
    sections: Vec<Counts>,
    slots: Vec<Counts>,
    mended: Mended,
    met: HashMap<u128, u64>,
}

/// What becomes of an item.
enum Fate {
    Copy,
    /// As a value of its whole elements.
    Salvage(u8, Vec<u8>),
    /// Written anew where it is needed, or not at all.
    Leave,
}

impl Plan {
    fn new(wishes: Wishes, header: Header) -> Self {
        Plan {
            wishes,
            header,
            repeated: Vec::new(),
            refused: HashSet::new(),
            counting: false,
            occurrences: HashMap::new(),
            sections: Vec::new(),
            slots: Vec::new(),
            mended: Mended::default(),
            met: HashMap::new(),
        }
    }

    /// Walks through the file and decides.
    fn survey<R: Read + Seek>(&mut self, mut walk: Walk<R>, see: See<'_, R>) -> Result<Walk<R>, Error> {
        self.mended = Mended { header: Some(self.header), ..Mended::default() };
        self.met.clear();
        (self.sections, self.slots) = (vec![Counts::default()], Vec::new());
        let mut announced = Announced::default();
        // A hint for a slot is about the keys up to the next one, or to the next database.
        let mut is_slot_open = false;
        let mut end = None;
        let mut at = 0;
        while let Some(item) = walk.next()? {
            see(&walk, &item)?;
            at = item.span.end;
            announced.see(&item, &self.sections, &self.slots);
            match &item.step {
                Step::Event(Event::SelectDb(_)) => {
                    self.sections.push(Counts::default());
                    is_slot_open = false;
                }
                Step::Event(event) if is_slot_hint(event) => {
                    self.slots.push(Counts::default());
                    is_slot_open = true;
                }
                Step::End(checksum) => end = Some(*checksum),
                _ => {}
            }
            let db_uncertain = item.db_uncertain;
            let (fate, key) = self.decide(&mut walk, item)?;
            if let (Fate::Copy | Fate::Salvage(..), Some(key)) = (fate, key) {
                self.mended.keys += 1;
                self.mended.keys_db_uncertain += u64::from(db_uncertain);
                let slot = self.slots.last_mut().filter(|_| is_slot_open);
                self.sections.last_mut().into_iter().chain(slot).for_each(|counts| counts.add(&key));
            }
        }
        let wrong = announced.wrong(&self.sections, &self.slots);
        self.note_end(&mut walk, end, at, wrong)?;
        Ok(walk)
    }

    /// What becomes of an item, and the key that it is.
    fn decide<R: Read + Seek>(&mut self, walk: &mut Walk<R>, item: Item) -> Result<(Fate, Option<KeyHeader>), Error> {
        let Item { span, step, place, db_uncertain } = item;
        let mut lost = Lost {
            span: span.clone(),
            db: None,
            db_uncertain,
            key: None,
            what: String::new(),
            resumed: None,
            salvaged: None,
        };
        // What is dropped for another value of the key is not salvaged.
        let mut is_broken = true;
        let (key, what) = match step {
            Step::Event(Event::SelectDb(_) | Event::ResizeDb { .. }) | Step::End(_) => return Ok((Fate::Leave, None)),
            Step::Event(event) if is_slot_hint(&event) => return Ok((Fate::Leave, None)),
            Step::Event(_) if self.refused.contains(&span.start) => {
                (None, "a function library that does not load".to_owned())
            }
            Step::Event(_) => return Ok((Fate::Copy, None)),
            Step::Key(key, Value::Fine) => match self.is_surplus(walk.fingerprint(&key)) {
                false => return Ok((Fate::Copy, Some(key))),
                true => {
                    is_broken = false;
                    (Some(key), "another value of this key is kept".to_owned())
                }
            },
            Step::Key(key, Value::Empty) => (Some(key), "has no elements".to_owned()),
            Step::Key(key, Value::Refused { what, .. }) => (Some(key), what),
            Step::Damage(damage) if Damage::is_missing_end(&span, damage.key.as_ref()) => {
                return Ok((Fate::Leave, None));
            }
            Step::Damage(damage) => {
                lost.resumed = Some(damage.resumed);
                let what = damage.what();
                (damage.key, what)
            }
        };
        lost.what = what;
        let mut fate = Fate::Leave;
        if let Some(key) = &key {
            (lost.db, lost.key) = (Some(key.db), Some(key.key.clone()));
            if let (true, true, Some(place)) = (self.wishes.salvage, is_broken, place) {
                let fingerprint = walk.fingerprint(key);
                let fingerprints = walk.fingerprints().clone();
                let limits = Limits::default();
                let mut salvage = Salvage::new(&fingerprints, self.header, &limits);
                walk.visit_again(key.kind, place.value_offset, &mut salvage)?;
                let count = salvage.count();
                if let Some((kind, value)) = salvage.finish()
                    && !self.is_surplus(fingerprint)
                {
                    lost.salvaged = Some(count);
                    fate = Fate::Salvage(kind.number(), value);
                }
            }
        }
        self.mended.lost.push(lost);
        Ok((fate, key))
    }

    /// Whether another value of this key is kept.
    fn is_surplus(&mut self, fingerprint: u128) -> bool {
        if self.repeated.binary_search(&fingerprint).is_err() {
            return false;
        }
        if self.counting {
            *self.occurrences.entry(fingerprint).or_default() += 1;
            return false;
        }
        let met = self.met.entry(fingerprint).or_default();
        *met += 1;
        match self.wishes.duplicates {
            Keep::First => *met > 1,
            Keep::Last => self.occurrences.get(&fingerprint) != Some(met),
        }
    }

    fn note_end<R: Read + Seek>(
        &mut self,
        walk: &mut Walk<R>,
        end: Option<Checksum>,
        at: u64,
        wrong_hints: u64,
    ) -> Result<(), Error> {
        let mended = &mut self.mended;
        match end {
            None => mended.fixed.push("the end marker was missing".to_owned()),
            Some(Checksum::Mismatch { .. }) => mended.fixed.push("the checksum did not fit".to_owned()),
            Some(Checksum::Ok | Checksum::Absent | Checksum::Disabled) => {}
        }
        mended.counts_changed = wrong_hints;
        let behind = walk.len().saturating_sub(at);
        if end.is_some() && behind > 0 {
            let mut first = None;
            walk.for_each_piece(at..at + 1, |piece| {
                first = piece.first().copied();
                Ok(())
            })?;
            match first {
                Some(b'*' | b'#') => mended.log_bytes = behind,
                _ => mended.fixed.push(format!("{behind} bytes that mean nothing stood behind the end")),
            }
        }
        Ok(())
    }

    fn write<R: Read + Seek>(&mut self, mut walk: Walk<R>, output: &mut dyn Write) -> Result<(), Error> {
        let told = std::mem::take(&mut self.mended);
        self.met.clear();
        let mut out = Out { inner: output, crc: Crc64::new(), block: Vec::new() };
        let (mut section, mut slot) = (0, 0);
        // What goes before the next key that is kept.
        let (mut select, mut hint) = (None, None);
        let mut at = 0;
        walk.copy(0..9, &mut out)?;
        while let Some(item) = walk.next()? {
            at = item.span.end;
            let (span, place) = (item.span.clone(), item.place);
            match &item.step {
                Step::Event(Event::SelectDb(db)) => {
                    section += 1;
                    (select, hint) = (Some(*db), None);
                }
                // In a file that is older than the hint it is damage that looks like one, and servers may mind.
                Step::Event(Event::SlotInfo { .. }) if self.header.version < SLOT_INFO_SINCE => slot += 1,
                Step::Event(event) if is_slot_hint(event) => {
                    hint = Some((event.clone(), self.slots[slot]));
                    slot += 1;
                }
                _ => {}
            }
            let (fate, key) = self.decide(&mut walk, item)?;
            if key.is_some() && !matches!(fate, Fate::Leave) {
                let mut head = Vec::new();
                if let Some(db) = select.take() {
                    self.put_select(&mut head, db, self.sections[section]);
                }
                if let Some((event, counts)) = hint.take() {
                    put_slot_hint(&mut head, &event, counts);
                }
                out.write_all(&head).map_err(unwritten)?;
            }
            match (fate, place) {
                (Fate::Copy, _) => walk.copy(span, &mut out)?,
                (Fate::Salvage(kind, value), Some(place)) => {
                    walk.copy(span.start..place.type_offset, &mut out)?;
                    out.write_all(&[kind]).map_err(unwritten)?;
                    walk.copy(place.type_offset + 1..place.value_offset, &mut out)?;
                    out.write_all(&value).map_err(unwritten)?;
                }
                _ => {}
            }
        }
        out.end(self.header).map_err(unwritten)?;
        if told.log_bytes > 0 {
            walk.copy(at..at + told.log_bytes, &mut out)?;
            out.spill().map_err(unwritten)?;
        }
        self.mended = told;
        Ok(())
    }

    fn put_select(&self, out: &mut Vec<u8>, db: u64, counts: Counts) {
        out.push(Opcode::SelectDb.number());
        put_length(out, db);
        if self.header.lineage == Lineage::Valkey || self.header.version >= COUNTS_SINCE {
            out.push(Opcode::ResizeDb.number());
            put_length(out, counts.keys);
            put_length(out, counts.expires);
        }
    }
}

/// Whether an event announces the keys of a slot, as Redis or as Valkey does.
fn is_slot_hint(event: &Event) -> bool {
    match event {
        Event::SlotInfo { .. } => true,
        Event::Aux { name, .. } => name == b"slot-info",
        _ => false,
    }
}

fn put_slot_hint(out: &mut Vec<u8>, event: &Event, counts: Counts) {
    match event {
        Event::SlotInfo { slot, .. } => {
            out.push(Opcode::SlotInfo.number());
            for number in [*slot, counts.keys, counts.expires] {
                put_length(out, number);
            }
        }
        Event::Aux { name, value } => {
            let text = String::from_utf8_lossy(value);
            let numbers: Vec<&str> = text.split(',').collect();
            let slot = numbers.first().copied().unwrap_or_default();
            let rest = numbers.get(3..).unwrap_or_default().iter().map(|number| format!(",{number}"));
            let value = format!("{slot},{},{}{}", counts.keys, counts.expires, rest.collect::<String>());
            out.push(Opcode::Aux.number());
            put_plain(out, name, None);
            put_plain(out, value.as_bytes(), None);
        }
        _ => {}
    }
}

/// The counts that the old file announced, each with the section or hint of the new one that they are about.
#[derive(Default)]
struct Announced {
    sections: Vec<(usize, u64, u64)>,
    slots: Vec<(usize, u64, u64)>,
}

impl Announced {
    fn see(&mut self, item: &Item, sections: &[Counts], slots: &[Counts]) {
        match &item.step {
            Step::Event(Event::ResizeDb { keys, expires }) => {
                self.sections.push((sections.len() - 1, *keys, *expires));
            }
            Step::Event(Event::SlotInfo { keys, expires, .. }) => self.slots.push((slots.len(), *keys, *expires)),
            _ => {}
        }
    }

    /// How many do not fit what is written.
    fn wrong(&self, sections: &[Counts], slots: &[Counts]) -> u64 {
        let count = |announced: &[(usize, u64, u64)], counts: &[Counts]| {
            let differs = |(index, keys, expires): &&(usize, u64, u64)| {
                counts.get(*index).is_some_and(|counts| (counts.keys, counts.expires) != (*keys, *expires))
            };
            announced.iter().filter(differs).count() as u64 // widening
        };
        count(&self.sections, sections) + count(&self.slots, slots)
    }
}

/// The new file: blocks for the checksum and for the disk.
struct Out<'a> {
    inner: &'a mut dyn Write,
    crc: Crc64,
    block: Vec<u8>,
}

/// Bytes that are written at once.
const BLOCK: usize = 1 << 17;

impl Out<'_> {
    fn spill(&mut self) -> io::Result<()> {
        self.crc.update(&self.block);
        self.inner.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    fn end(&mut self, header: Header) -> io::Result<()> {
        self.block.push(Opcode::Eof.number());
        self.spill()?;
        if header.version >= CHECKSUM_SINCE {
            self.block.extend_from_slice(&self.crc.value().to_le_bytes());
        }
        self.spill()
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK {
            self.spill()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spill()
    }
}
