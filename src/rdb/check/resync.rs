//! Where reading can go on behind damage.
//!
//! Three ways, the surest first:
//!
//! 1. The value's own lengths: a packed value that is damaged inside ends where its outer length says, a collection
//!    where its count of strings ends. Taken if items follow there.
//! 2. Another type: where the type byte was hit, the key and value behind it are whole as some other type, and items
//!    follow. Taken if the value is valid as that type to the last byte.
//! 3. A scan: byte by byte for one from which whole items follow one another, as [`MOST_ITEMS`] of them or up to the
//!    end. Values that happen to look like items are many (a zero byte is a string type with an empty key), so an item
//!    counts for what it proves: a packed value that is valid much, a string with a readable key some, an empty key
//!    nothing. Between a start and a later one inside its first item, the one that looks more like the keys before the
//!    damage wins, since runs that begin at different bytes soon meet.
//!
//! A key whose length was damaged may take in others, and only what stands behind its false end is no item. So where
//! only a scan would help, the keys before the fault are looked into first, for items that lead over it.
//!
//! The cost is bounded: a start that failed is remembered, so that no run goes through it again; a candidate may look
//! ahead [`FAR`] bytes, and [`NEAR`] once the candidates together have read several times what was scanned.

use std::collections::HashSet;
use std::io::{Read, Seek};
use std::ops::Range;

use super::walk::Resumed;
use crate::rdb::error::{Cause, Error};
use crate::rdb::event::{Discard, Event, KeyHeader};
use crate::rdb::kind::{Header, KINDS, Kind, Lineage, Opcode};
use crate::rdb::reader::Reader;

/// So many items in a row are believed without more.
const MOST_ITEMS: u32 = 24;
/// What this many points prove is believed; see [`Run::points`].
const ENOUGH_POINTS: u32 = 48;
/// A run that ends at a second fault is believed from here on, and from [`FEWEST_ITEMS`] items.
const FEW_POINTS: u32 = 12;
const FEWEST_ITEMS: u32 = 3;
/// How far a candidate may look ahead, in bytes.
const FAR: u64 = 16 << 20;
const NEAR: u64 = 64 << 10;
/// So many times the scanned bytes may be read, beyond [`FREE`].
const READ_FACTOR: u64 = 8;
const FREE: u64 = 128 << 20;
/// So many times the file may be read in vain before the rest is given up.
const GIVE_UP_FACTOR: u64 = 64;
/// Failed starts that are remembered at once.
const MOST_FAILED: usize = 1 << 20;
/// A better start is looked for so far behind one that is not sure.
const SECOND_LOOK: u64 = 64 << 10;

/// The first version with counts behind the choice of a database.
const COUNTS_SINCE: u32 = 7;

/// Fewer keys than this say nothing of those to come.
const FEW_KEYS: u64 = 32;

/// What the keys before the damage looked like.
#[derive(Clone, Debug, Default)]
pub(super) struct Prior {
    kinds: u64,
    keys: u64,
    /// Keys without a control character.
    readable: u64,
}

impl Prior {
    pub(super) fn learn(&mut self, key: &KeyHeader) {
        self.kinds |= 1 << (key.kind as u8);
        self.keys += 1;
        self.readable += u64::from(is_readable(&key.key));
    }

    /// How much a key looks like those before, 0 to 4.
    fn likeness(&self, key: &KeyHeader) -> u32 {
        let kind = if self.keys < FEW_KEYS || self.kinds & (1 << (key.kind as u8)) != 0 { 2 } else { 0 };
        let expects_readable = self.keys < FEW_KEYS || self.readable * 10 >= self.keys * 9;
        kind + if !expects_readable || is_readable(&key.key) { 2 } else { 0 }
    }
}

fn is_readable(key: &[u8]) -> bool {
    !key.is_empty() && std::str::from_utf8(key).is_ok_and(|text| !text.chars().any(char::is_control))
}

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

/// Items that follow one another.
#[derive(Clone, Copy, Default)]
struct Run {
    items: u32,
    /// What they prove.
    points: u32,
    ended: Ended,
    /// Where the first item ends, and how much its key looks like those before.
    first_end: u64,
    first_likeness: u32,
    /// Whether the first item chooses a database and no counts of its keys follow, as they do from version 7 on.
    is_bare_select: bool,
    /// Whether it chooses one behind that of the keys before, as servers have it.
    is_select_ahead: bool,
    /// How far was read.
    read_to: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Ended {
    /// At the end marker, and nothing but a log or padding behind it.
    AtEnd,
    /// Enough was seen.
    Enough,
    /// At bytes that are no item.
    #[default]
    AtFault,
}

impl Run {
    fn is_believed(&self) -> bool {
        match self.ended {
            Ended::AtEnd | Ended::Enough => true,
            Ended::AtFault => self.items >= FEWEST_ITEMS && self.points >= FEW_POINTS,
        }
    }
}

/// The search, with what it remembers.
#[derive(Default)]
pub(super) struct Resync {
    failed: HashSet<u64>,
    /// Bytes that candidates have read, in all searches so far.
    spent: u64,
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
        self.spent += place.error.offset().saturating_sub(place.start);
        if self.spent > GIVE_UP_FACTOR * place.len + FREE {
            return Ok((place.len, Resumed::Nowhere, None));
        }
        let db = reader.db();
        let found = self.find_any(reader, prior, place);
        reader.assume_db(db); // what was tried may have changed it
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
        if let Some(type_offset) = type_offset(reader, place)
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
        let (db, starts) = (reader.db(), Starts::of(reader));
        // What items in the span said of the file belongs to it only if they are items.
        let forgotten = reader.forget_from(span.start);
        let mut at = span.start + 1;
        let mut result = None;
        while self.spent <= READ_FACTOR * self.scanned.max(len) + FREE
            && let Some(found) = starts.next_in(reader, at, span.end)?
        {
            at = found + 1;
            let run = self.run(reader, prior, found, (found + FAR).min(len))?;
            self.spent += run.read_to.saturating_sub(found);
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
        reader.assume_db(db); // what was tried may have changed it
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

    fn by_length<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        prior: &Prior,
        place: Resynced<'_>,
        kind: Kind,
        value_offset: u64,
    ) -> Result<Option<u64>, Error> {
        let reach = if self.spent > READ_FACTOR * place.len + FREE { FAR } else { place.len };
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
            let key = match reader.key_as(row.kind) {
                Ok(Event::Key(key)) if prior.likeness(&key) == 4 => key,
                _ => continue,
            };
            if !whole(reader.value(&mut Discard))? {
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
        let starts = Starts::of(reader);
        let has_counts = has_counts(reader.header());
        let (mut at, mut until) = (from, len);
        // The best so far, where none was sure: its offset and likeness.
        let mut best: Option<(u64, u32)> = None;
        while let Some(found) = starts.next_in(reader, at, until)? {
            self.scanned += found + 1 - at;
            at = found + 1;
            let reach = if self.spent > READ_FACTOR * self.scanned + FREE { NEAR } else { FAR };
            let run = self.run(reader, prior, found, (found + reach).min(len))?;
            self.spent += run.read_to.saturating_sub(found);
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
        let db = reader.db();
        reader.reposition(at, ceiling, None)?;
        loop {
            let offset = reader.offset();
            if self.failed.contains(&offset) {
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
        run.read_to = reader.offset();
        // Whoever goes on there reads it again.
        reader.forget_from(at);
        reader.assume_db(db);
        if !run.is_believed() {
            if self.failed.len() > MOST_FAILED {
                self.failed.clear();
            }
            self.failed.extend(passed);
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
        let (start, db_before) = (reader.offset(), reader.db());
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
                // A choice of a database is worth what the key behind it is, where no counts can stand between.
                let is_behind_select = run.items == 1 && run.is_select_ahead && !has_counts(reader.header());
                if run.items == 0 || is_behind_select {
                    run.first_likeness = prior.likeness(&key);
                }
                Some(points_of(&key, reader.offset() - value_offset))
            }
            Event::End { .. } => {
                if !self.is_end(reader)? {
                    return Ok(None);
                }
                run.ended = Ended::AtEnd;
                Some(0)
            }
            Event::SelectDb(db) if db < 1 << 24 => {
                if run.items == 0 {
                    (run.first_likeness, run.is_bare_select, run.is_select_ahead) = (3, true, db > db_before);
                }
                Some(1)
            }
            Event::ResizeDb { keys, expires } if expires <= keys && keys < 1 << 48 => {
                run.is_bare_select &= run.items != 1;
                // Alone it may be any byte; behind the choice of a database it is what servers write.
                run.first_likeness =
                    if run.items == 1 && run.first_likeness == 3 { 4 } else { run.first_likeness.min(3) };
                Some(2)
            }
            Event::SlotInfo { slot, .. } if slot < 16384 => {
                run.first_likeness = if run.items == 0 { 3 } else { run.first_likeness };
                Some(2)
            }
            Event::Aux { name, .. } if is_readable(&name) => Some(2),
            // Servers sort the fields, which chance hardly does.
            Event::HashTemplate { fields, .. }
                if fields.windows(2).all(|pair| (pair[0].len(), &pair[0]) < (pair[1].len(), &pair[1])) =>
            {
                Some(if fields.len() > 1 { 8 } else { 1 })
            }
            // Stands before any key of Redis Enterprise, and proves nothing.
            Event::Foreign { .. } => Some(0),
            Event::Function { code } if code.starts_with(b"#!") => Some(ENOUGH_POINTS),
            Event::ModuleAux { .. } | Event::SlotImport { .. } if reader.offset() - start > 20 => Some(2),
            _ => None,
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

/// What a whole key proves: packed values check themselves, strings hardly.
fn points_of(key: &KeyHeader, value_len: u64) -> u32 {
    if key.key.is_empty() {
        return 0;
    }
    let key_points = match (is_readable(&key.key), key.key.len()) {
        (true, 3..) => 3,
        (true, _) => 1,
        (false, _) => 0,
    };
    let value_points = match key.kind.encoding() {
        "listpack" | "listpackex" | "ziplist" | "intset" | "zipmap" | "quicklist" if value_len > 8 => 8,
        "stream" if value_len > 16 => 8,
        _ if key.expire_at_ms.is_some() => 2,
        _ => u32::from(value_len > 2),
    };
    key_points + value_points
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

/// Whether a file has counts behind each choice of a database.
fn has_counts(header: Header) -> bool {
    header.lineage == Lineage::Valkey || header.version >= COUNTS_SINCE
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

/// Which bytes may begin an item.
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
