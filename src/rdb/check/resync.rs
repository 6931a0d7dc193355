//! Where reading can go on behind damage.
//!
//! Three ways, the surest first:
//!
//! 1. The value's own lengths: a packed value that is damaged inside ends where its outer length says, a collection
//!    where its count of strings ends. Taken if items follow there.
//! 2. Another type: where the type byte was hit, the key and value behind it are whole as some other type, and items
//!    follow. Taken if the value is valid as that type to the last byte.
//! 3. A scan: byte by byte for one from which whole items follow one another, as [`MOST_ITEMS`] of them or up to the
//!    end, each counted for what it proves (`evidence`). Between a start and a later one inside its first item, the one that looks more like the keys before the
//!    damage wins, since runs that begin at different bytes soon meet.
//!
//! A key whose length was damaged may take in others, and only what stands behind its false end is no item. So where
//! only a scan would help, the keys before the fault are looked into first, for items that lead over it.
//!
//! The cost is bounded: a start that failed is remembered, so that no run goes through it again; a candidate may look
//! ahead [`FAR`] bytes, and [`NEAR`] once the candidates together have read several times what was scanned. Behind
//! a thousand faults, which no disk makes, types and the keys before are not tried any more.

use std::io::{Read, Seek};
use std::ops::Range;

use super::evidence::{ENOUGH_POINTS, Ended, FEW_POINTS, MOST_ITEMS, Prior, Run, has_counts};
use super::walk::Resumed;
use crate::rdb::error::{Cause, Error};
use crate::rdb::event::{Discard, Event, KeyHeader};
use crate::rdb::kind::{KINDS, Kind, Opcode};
use crate::rdb::reader::Reader;

/// How far a candidate may look ahead, in bytes.
const FAR: u64 = 16 << 20;
const NEAR: u64 = 64 << 10;
/// So many times the scanned bytes may be read, beyond what is free for the first faults.
const READ_FACTOR: u64 = 8;
const FREE: u64 = 128 << 20;
/// More faults than a disk makes: behind so many nothing is free any more.
const MANY_FAULTS: u64 = 1000;
/// What an item or a type that is tried costs beyond the bytes it takes, told in bytes.
const EACH: u64 = 64;
/// So many times the file may be read in vain before the rest is given up.
const GIVE_UP_FACTOR: u64 = 64;
/// Failed starts that are remembered at once, a power of two.
const MOST_FAILED: usize = 1 << 16;
/// A better start is looked for so far behind one that is not sure.
const SECOND_LOOK: u64 = 64 << 10;

/// What is known of the damage.
#[derive(Clone, Copy)]
pub(super) struct Resynced<'a> {
    /// Where the damaged item begins.
    pub(super) start: u64,
    /// Bytes of the file.
    pub(super) len: u64,
    pub(super) key: Option<&'a KeyHeader>,
    pub(super) value_offset: Option<u64>,
    pub(super) error: &'a Error,
}

/// What else is known of the file where the keys before a fault are looked into.
#[derive(Clone, Copy)]
pub(super) struct Elsewhere {
    /// Where a scan would go on.
    pub(super) resume: u64,
    /// Bytes of the file.
    pub(super) len: u64,
}

/// The search, with what it remembers.
#[derive(Default)]
pub(super) struct Resync {
    failed: Failed,
    starts: Option<Starts>,
    /// Bytes that candidates have read, in all searches so far.
    spent: u64,
    /// Searches so far.
    faults: u64,
    /// Bytes that were scanned, in all searches so far.
    scanned: u64,
    /// Bytes of the file.
    len: u64,
}

impl Resync {
    /// The offset to go on at, how it was found, and the key of the damaged item where that came out on the way.
    pub(super) fn find<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        place: Resynced<'_>,
    ) -> Result<(u64, Resumed, Option<KeyHeader>), Error> {
        self.failed.clear();
        self.len = place.len;
        self.faults += 1;
        self.spent += place.error.offset().saturating_sub(place.start);
        if self.spent > GIVE_UP_FACTOR * place.len + FREE {
            return Ok((place.len, Resumed::Nowhere, None));
        }
        let noted = reader.note();
        let found = self.find_any(reader, prior, place);
        reader.restore(noted); // what was tried may have changed it
        found
    }

    fn find_any<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        place: Resynced<'_>,
    ) -> Result<(u64, Resumed, Option<KeyHeader>), Error> {
        if let (Some(key), Some(value_offset)) = (place.key, place.value_offset)
            && let Some(end) = self.by_length(reader, prior, place, key.kind, value_offset)?
        {
            return Ok((end, Resumed::ByLength, None));
        }
        if !self.is_overspent()
            && let Some(type_offset) = type_offset(reader, place)
            && let Some((end, key)) = self.by_type(reader, prior, place, type_offset)?
        {
            return Ok((end, Resumed::ByType, Some(key)));
        }
        match self.by_scan(reader, prior, place.start + 1, place.len)? {
            Some(found) => Ok((found, Resumed::ByScan, None)),
            None => Ok((place.len, Resumed::Nowhere, None)),
        }
    }

    /// Where inside a span, whose end is a fault, items begin that lead over the fault.
    pub(super) fn inside<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        span: Range<u64>,
        place: Elsewhere,
    ) -> Result<Option<u64>, Error> {
        let Elsewhere { resume, len } = place;
        let (noted, starts) = (reader.note(), *self.starts.get_or_insert_with(|| Starts::of(reader)));
        // What items in the span said of the file belongs to it only if they are items.
        let forgotten = reader.forget_from(span.start);
        let mut at = span.start + 1;
        let mut result = None;
        while !self.is_overspent()
            && let Some(found) = starts.next_in(reader, at, span.end)?
        {
            at = found + 1;
            let run = self.run(reader, prior, found, (found + FAR).min(len))?;
            if !(run.is_believed() && run.first_likeness >= 4) {
                continue;
            }
            // One item that jumps over the fault and over keys behind it is none.
            if let Some((items, end)) = leads_over(reader, found, span.end, len)?
                && items >= items_between(reader, resume..end, len)?
            {
                result = Some(found);
                break;
            }
        }
        reader.restore(noted); // what was tried may have changed it
        if result.is_none() {
            reader.remember(forgotten);
        }
        Ok(result)
    }

    /// Whether a change of the database may have been in a span.
    pub(super) fn may_hold_select<R: Read + Seek>(
        &self,
        reader: &mut Reader<R>,
        span: Range<u64>,
    ) -> Result<bool, Error> {
        let mut at = span.start;
        while at < span.end {
            reader.reposition(at, span.end, None)?;
            let ahead = reader.ahead()?;
            let wanted = usize::try_from(span.end - at).unwrap_or(usize::MAX).min(ahead.len());
            if wanted == 0 || memchr::memchr(Opcode::SelectDb.number(), &ahead[..wanted]).is_some() {
                return Ok(wanted > 0);
            }
            at += wanted as u64; // a buffer's length fits
        }
        Ok(false)
    }

    /// Whether more was read than the file is worth: then only what costs little is tried.
    fn is_overspent(&self) -> bool {
        self.spent > READ_FACTOR * self.scanned.max(self.len) + self.free()
    }

    fn free(&self) -> u64 {
        if self.faults < MANY_FAULTS { FREE } else { 0 }
    }

    fn by_length<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        place: Resynced<'_>,
        kind: Kind,
        value_offset: u64,
    ) -> Result<Option<u64>, Error> {
        let reach = if self.is_overspent() { FAR } else { place.len };
        reader.reposition(value_offset, (value_offset + reach).min(place.len), Some(kind))?;
        self.spent += place.error.offset().saturating_sub(value_offset);
        if !whole(reader.skip())? {
            return Ok(None);
        }
        let end = reader.offset();
        let run = self.run(reader, prior, end, place.len)?;
        // The length is a witness of its own: one item that is worth something, or the end, confirms it.
        let is_confirmed = run.is_believed() || run.points >= 2;
        Ok(is_confirmed.then_some(end))
    }

    fn by_type<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        place: Resynced<'_>,
        type_offset: u64,
    ) -> Result<Option<(u64, KeyHeader)>, Error> {
        let lineage = reader.header().lineage;
        for row in KINDS.iter().filter(|row| row.supported && row.lineage.is_none_or(|of| of == lineage)) {
            reader.reposition(type_offset + 1, (type_offset + FAR).min(place.len), None)?;
            self.spent += EACH;
            let key = match reader.key_as(row.kind) {
                Ok(Event::Key(key)) if prior.likeness(&key) == 4 => key,
                _ => continue,
            };
            let is_whole = whole(reader.value(&mut Discard))?;
            self.spent += reader.offset().saturating_sub(type_offset);
            if !is_whole {
                continue;
            }
            let end = reader.offset();
            let run = self.run(reader, prior, end, place.len)?;
            if run.is_believed() && run.items.max(u32::from(run.ended == Ended::AtEnd)) > 0 {
                return Ok(Some((end, KeyHeader { kind: place.key.map_or(key.kind, |key| key.kind), ..key })));
            }
        }
        Ok(None)
    }

    fn by_scan<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        from: u64,
        len: u64,
    ) -> Result<Option<u64>, Error> {
        let starts = *self.starts.get_or_insert_with(|| Starts::of(reader));
        let has_counts = has_counts(reader.header());
        let (mut at, mut until) = (from, len);
        // The best so far, where none was sure: its offset and likeness.
        let mut best: Option<(u64, u32)> = None;
        while let Some(found) = starts.next_in(reader, at, until)? {
            self.scanned += found + 1 - at;
            at = found + 1;
            let reach = if self.spent > READ_FACTOR * self.scanned + self.free() { NEAR } else { FAR };
            let run = self.run(reader, prior, found, (found + reach).min(len))?;
            if !run.is_believed() || (run.is_bare_select && has_counts) {
                continue;
            }
            if run.first_likeness >= 4 {
                return Ok(Some(found));
            }
            if best.is_none_or(|(_, likeness)| run.first_likeness > likeness) {
                if best.is_none() {
                    until = run.first_end.min(found + SECOND_LOOK).max(at);
                }
                best = Some((found, run.first_likeness));
            }
        }
        self.scanned += until.saturating_sub(at);
        Ok(best.map(|(found, _)| found))
    }

    /// Reads items from `at` until enough is known.
    fn run<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        at: u64,
        ceiling: u64,
    ) -> Result<Run, Error> {
        let mut run = Run { first_likeness: 4, first_end: at, ..Run::default() };
        let mut passed = Vec::new();
        let noted = reader.note();
        reader.reposition(at, ceiling, None)?;
        loop {
            let offset = reader.offset();
            if self.failed.contains(offset) {
                break;
            }
            passed.push(offset);
            let Some(points) = self.item(reader, prior, &mut run)? else { break };
            run.items += 1;
            run.points += points;
            if run.items == 1 {
                run.first_end = reader.offset();
            }
            if run.ended == Ended::AtEnd {
                break;
            }
            if run.points >= ENOUGH_POINTS || (run.items >= MOST_ITEMS && run.points >= FEW_POINTS) {
                run.ended = Ended::Enough;
                break;
            }
            if run.items >= 4 * MOST_ITEMS {
                break;
            }
        }
        self.spent += reader.offset().saturating_sub(at) + EACH * passed.len() as u64; // a few items
        // Whoever goes on there reads it again.
        reader.forget_from(at);
        reader.restore(noted);
        if !run.is_believed() {
            passed.into_iter().for_each(|offset| self.failed.insert(offset));
        }
        Ok(run)
    }

    /// Reads one item; what it proves, or `None` where there is none.
    fn item<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        run: &mut Run,
    ) -> Result<Option<u32>, Error> {
        let (start, db) = (reader.offset(), reader.db());
        let event = match reader.next() {
            Ok(event) => event,
            Err(error) => return disk(error).map(|()| None),
        };
        Ok(match event {
            Event::Key(key) => {
                let is_expiry_odd = key.expire_at_ms.is_some_and(|ms| !(0..1 << 46).contains(&ms));
                let value_offset = reader.offset();
                if !whole(reader.value(&mut Discard))? || is_expiry_odd {
                    return Ok(None);
                }
                Some(run.key(&key, reader.offset() - value_offset, prior, reader.header()))
            }
            Event::End { .. } => {
                if !self.is_end(reader)? {
                    return Ok(None);
                }
                run.ended = Ended::AtEnd;
                Some(0)
            }
            event => run.event(&event, reader.offset() - start, db),
        })
    }

    /// Whether nothing stands behind the reader, in a file of `len` bytes, but what may stand behind an end marker.
    pub(super) fn is_end_of<R: Read + Seek>(&mut self, reader: &mut Reader<R>, len: u64) -> Result<bool, Error> {
        self.len = len;
        self.is_end(reader)
    }

    /// Whether nothing stands behind an end marker, or what may stand there: a log, or padding with NULs.
    fn is_end<R: Read + Seek>(&self, reader: &mut Reader<R>) -> Result<bool, Error> {
        let offset = reader.offset();
        reader.reposition(offset, self.len, None)?;
        let rest = reader.ahead()?;
        let is_all = offset + rest.len() as u64 == self.len; // a buffer's length fits
        let is_log = match rest {
            [b'*', digit, rest @ ..] => {
                digit.is_ascii_digit() && rest.iter().take(8).find(|byte| !byte.is_ascii_digit()) == Some(&b'\r')
            }
            [b'#', ..] => rest.starts_with(b"#TS:") || rest.starts_with(b"# "),
            _ => false,
        };
        Ok(is_log || (rest.iter().all(|byte| *byte == 0) && (is_all || rest.len() >= 16)))
    }
}

/// Whether a read went well; an error of the disk is one here too.
fn whole(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) => disk(error).map(|()| false),
    }
}

/// Only what the disk says is an error.
fn disk(error: Error) -> Result<(), Error> {
    if matches!(error.cause(), Cause::Io(_)) { Err(error) } else { Ok(()) }
}

/// How many items from `at` on come to the other side of `fault` without one that ends there, and where the last ends.
fn leads_over<R: Read + Seek>(
    reader: &mut Reader<R>,
    at: u64,
    fault: u64,
    len: u64,
) -> Result<Option<(u32, u64)>, Error> {
    let mut items = 0;
    reader.reposition(at, len, None)?;
    let mut leads = true;
    while leads && reader.offset() < fault {
        items += 1;
        leads = match reader.next() {
            Ok(Event::End { .. }) => break,
            Ok(Event::Key(_)) => whole(reader.skip())?,
            Ok(_) => true,
            Err(error) => disk(error).map(|()| false)?,
        };
    }
    reader.forget_from(at);
    Ok((leads && reader.offset() > fault).then_some((items, reader.offset())))
}

/// How many items begin in a span, counted from its start on as far as they can be read.
fn items_between<R: Read + Seek>(reader: &mut Reader<R>, span: Range<u64>, len: u64) -> Result<u32, Error> {
    let mut items = 0;
    reader.reposition(span.start, len, None)?;
    while reader.offset() < span.end {
        match reader.next() {
            Ok(Event::End { .. }) => break,
            Ok(Event::Key(_)) if !whole(reader.skip())? => break,
            Ok(_) => items += 1,
            Err(error) => {
                disk(error)?;
                break;
            }
        }
    }
    reader.forget_from(span.start);
    Ok(items)
}

/// Where the type byte of the damaged item stands, if its key may follow it.
fn type_offset<R: Read + Seek>(reader: &Reader<R>, place: Resynced<'_>) -> Option<u64> {
    match place.error.cause() {
        _ if place.key.is_some() => Some(reader.type_offset()),
        Cause::UnknownNumber(_) | Cause::Unsupported { .. } => Some(place.error.offset()),
        // What was taken for the end marker stands in front of what was taken for the checksum.
        Cause::Checksum { .. } => Some(place.error.offset() - 1),
        _ => Some(place.start),
    }
}

/// Offsets from which no items follow one another. Of two that are a multiple of [`MOST_FAILED`] apart the later is
/// remembered; what is forgotten costs time and nothing else.
#[derive(Default)]
struct Failed {
    /// Each offset with the search that it is about.
    slots: Vec<(u64, u64)>,
    search: u64,
}

impl Failed {
    /// Begins another search.
    fn clear(&mut self) {
        self.search += 1;
    }

    fn insert(&mut self, offset: u64) {
        if self.slots.is_empty() {
            self.slots = vec![(0, 0); MOST_FAILED];
        }
        self.slots[Self::slot(offset)] = (offset, self.search);
    }

    fn contains(&self, offset: u64) -> bool {
        self.search > 0 && self.slots.get(Self::slot(offset)) == Some(&(offset, self.search))
    }

    fn slot(offset: u64) -> usize {
        offset as usize % MOST_FAILED // the low bits
    }
}

/// Which bytes may begin an item.
#[derive(Clone, Copy)]
struct Starts([bool; 256]);

impl Starts {
    fn of<R: Read + Seek>(reader: &Reader<R>) -> Starts {
        let lineage = reader.header().lineage;
        let mut table = [false; 256];
        for (number, slot) in (0..=u8::MAX).zip(&mut table) {
            *slot = Kind::of(number, lineage).is_some_and(|kind| kind.row().supported)
                || Opcode::of(number, lineage).is_some_and(|row| row.supported);
        }
        Starts(table)
    }

    /// The offset of the next such byte from `at` on and before `until`. Long runs of zeros, which look like empty
    /// strings without end, are passed over.
    fn next_in<R: Read + Seek>(&self, reader: &mut Reader<R>, mut at: u64, until: u64) -> Result<Option<u64>, Error> {
        while at < until {
            reader.reposition(at, until, None)?;
            let ahead = reader.ahead()?;
            let wanted = usize::try_from(until - at).unwrap_or(usize::MAX).min(ahead.len());
            if wanted == 0 {
                return Ok(None);
            }
            let is_start = |index: &usize| {
                let rest = &ahead[*index..];
                self.0[usize::from(rest[0])] && !rest.starts_with(&[0; 8])
            };
            if let Some(index) = (0..wanted).find(is_start) {
                return Ok(Some(at + index as u64)); // a buffer's length fits
            }
            at += wanted as u64; // a buffer's length fits
        }
        Ok(None)
    }
}
