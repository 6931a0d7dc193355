//! Packed values: entry by entry.

use std::io::Read;
use std::ops::Range;

use super::trace::{Content, Trace, shown};
use super::{HEAD, Piece};
use crate::rdb::error::Error;
use crate::rdb::packed::{Ziplist, Zipmap};
use crate::value::{Element, Intset, Listpack, PackedError};

/// How a packed value lies in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Listpack,
    Ziplist,
    Zipmap,
    Intset,
}

impl Layout {
    pub(super) fn name(self) -> &'static str {
        match self {
            Layout::Listpack => "listpack",
            Layout::Ziplist => "ziplist",
            Layout::Zipmap => "zipmap",
            Layout::Intset => "intset",
        }
    }
}

/// Names the entry with this index.
pub(super) type NameOf<'a> = dyn FnMut(usize, Element<'_>) -> String + 'a;

/// One stretch of a packed value.
struct Part {
    range: Range<usize>,
    what: String,
    meaning: String,
}

fn part(range: Range<usize>, what: impl Into<String>, meaning: impl Into<String>) -> Part {
    Part { range, what: what.into(), meaning: meaning.into() }
}

/// Gives out the pieces of a packed value.
pub(super) fn walk<R: Read>(
    trace: &mut Trace<'_, R>,
    content: Content,
    layout: Layout,
    name: &mut NameOf<'_>,
) -> Result<(), Error> {
    let offset = trace.input.offset();
    if let Content::Int = content {
        return Err(trace.input.damaged_at(offset, "an integer stands where a packed value belongs"));
    }
    let (bytes, place) = content.bytes();
    trace.depth += 1;
    let parts = match layout {
        Layout::Listpack => listpack(bytes, name),
        Layout::Ziplist => ziplist(bytes, name),
        Layout::Zipmap => zipmap(bytes),
        Layout::Intset => intset(bytes),
    };
    let (parts, broken) = match parts {
        Ok(parts) => (parts, None),
        Err(PackedError { offset, what }) => {
            let sound = part(0..offset.min(bytes.len()), layout.name(), "up to where it is broken");
            let rest = part(offset.min(bytes.len())..bytes.len(), layout.name(), format!("BROKEN: {what}"));
            (vec![sound, rest], Some((offset, what)))
        }
    };
    for Part { range, what, meaning } in parts.into_iter().filter(|part| !part.range.is_empty()) {
        let head = bytes[range.start..range.end.min(range.start + HEAD)].to_vec();
        let (start, len) = (range.start as u64, range.len() as u64); // usize fits
        let offset = place.unwrap_or(0) + start;
        trace.emit(Piece { offset, len, head, depth: trace.depth, what, meaning, unpacked: place.is_none() });
    }
    trace.depth -= 1;
    match broken {
        None => Ok(()),
        // Inside of a compressed value no byte of the file can be blamed but its end.
        Some((at, what)) => Err(trace.input.damaged_at(place.map_or(offset, |place| place + at as u64), what)),
    }
}

fn listpack(bytes: &[u8], name: &mut NameOf<'_>) -> Result<Vec<Part>, PackedError> {
    let pack = Listpack::from_bytes(bytes)?;
    let mut parts = vec![
        part(0..4, "bytes", format!("{} (u32 LE)", bytes.len())),
        part(4..6, "number of entries", count_of(bytes[4], bytes[5])),
    ];
    let (mut at, mut index) = (pack.first(), 0);
    while let Some(start) = at {
        at = pack.next(start);
        let element = pack.get(start);
        let form = listpack_form(bytes[start]);
        let what = name(index, element);
        parts.push(part(
            start..at.unwrap_or(pack.end()),
            what,
            format!("{} ({form}, then its length)", value(element)),
        ));
        index += 1;
    }
    parts.push(part(pack.end()..bytes.len(), "end", "ff"));
    Ok(parts)
}

fn count_of(low: u8, high: u8) -> String {
    match u16::from_le_bytes([low, high]) {
        u16::MAX => "65535: too many to say".to_owned(),
        count => format!("{count} (u16 LE)"),
    }
}

fn value(element: Element<'_>) -> String {
    match element {
        Element::Int(value) => value.to_string(),
        Element::Bytes(bytes) => shown(bytes),
    }
}

fn listpack_form(first: u8) -> &'static str {
    match first {
        0x00..=0x7f => "7-bit integer",
        0x80..=0xbf => "string, 6-bit length",
        0xc0..=0xdf => "13-bit integer",
        0xe0..=0xef => "string, 12-bit length",
        0xf0 => "string, 32-bit length",
        0xf1 => "16-bit integer",
        0xf2 => "24-bit integer",
        0xf3 => "32-bit integer",
        _ => "64-bit integer",
    }
}

fn ziplist(bytes: &[u8], name: &mut NameOf<'_>) -> Result<Vec<Part>, PackedError> {
    let list = Ziplist::parse(bytes)?;
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut parts = vec![
        part(0..4, "bytes", format!("{} (u32 LE)", word(0))),
        part(4..8, "last entry at", format!("{} (u32 LE)", word(4))),
        part(8..10, "number of entries", count_of(bytes[8], bytes[9])),
    ];
    for (index, (range, element)) in list.entries().enumerate() {
        let form = ziplist_form(&bytes[range.clone()]);
        let what = name(index, element);
        parts.push(part(range, what, format!("{} (length of the entry before, then {form})", value(element))));
    }
    parts.push(part(bytes.len() - 1..bytes.len(), "end", "ff"));
    Ok(parts)
}

fn ziplist_form(entry: &[u8]) -> &'static str {
    let at = if entry.first() == Some(&0xfe) { 5 } else { 1 };
    match entry.get(at) {
        Some(0x00..0x40) => "string, 6-bit length",
        Some(0x40..0x80) => "string, 14-bit length",
        Some(0x80..0xc0) => "string, 32-bit length",
        Some(0xc0) => "16-bit integer",
        Some(0xd0) => "32-bit integer",
        Some(0xe0) => "64-bit integer",
        Some(0xf0) => "24-bit integer",
        Some(0xfe) => "8-bit integer",
        _ => "4-bit integer",
    }
}

fn zipmap(bytes: &[u8]) -> Result<Vec<Part>, PackedError> {
    let map = Zipmap::parse(bytes)?;
    let count = match bytes[0] {
        254.. => "254: too many to say".to_owned(),
        count => count.to_string(),
    };
    let mut parts = vec![part(0..1, "number of fields", count)];
    let mut at = 1;
    for (field, value) in map.iter() {
        // Each length takes a byte, or five; one more byte says how many unused ones follow the value.
        let length = |text: &[u8]| if text.len() < 254 { 1 } else { 5 };
        let behind_field = at + written_len(bytes, at) + field.len();
        debug_assert!(written_len(bytes, at) >= length(field));
        parts.push(part(at..behind_field, "field", format!("{} (its length in front)", shown(field))));
        let header = written_len(bytes, behind_field);
        let free = usize::from(bytes[behind_field + header]);
        let end = behind_field + header + 1 + value.len() + free;
        let meaning = format!("{} (its length and {free}, the unused bytes behind it, in front)", shown(value));
        parts.push(part(behind_field..end, "value", meaning));
        at = end;
    }
    parts.push(part(at..bytes.len(), "end", "ff"));
    Ok(parts)
}

/// How many bytes the length at `at` takes.
fn written_len(bytes: &[u8], at: usize) -> usize {
    if bytes[at] == 254 { 5 } else { 1 }
}

fn intset(bytes: &[u8]) -> Result<Vec<Part>, PackedError> {
    let set = Intset::from_bytes(bytes)?;
    let width = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut parts = vec![
        part(0..4, "width", format!("{width} bytes each (u32 LE)")),
        part(4..8, "number of members", format!("{} (u32 LE)", set.len())),
    ];
    let width = (bytes.len() - 8) / set.len().max(1);
    parts.extend(set.iter().enumerate().map(|(index, value)| {
        let start = 8 + index * width;
        part(start..start + width, "member", value.to_string())
    }));
    Ok(parts)
}
