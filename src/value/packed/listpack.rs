//! The listpack: strings and integers in a row, readable from both ends.
//!
//! ```text
//! +------------------+--------------+---------+---------+-----+------+
//! | total bytes u32  | count u16 LE | entry 0 | entry 1 | ... | 0xFF |
//! +------------------+--------------+---------+---------+-----+------+
//! entry = encoding and data, then the length of those two ("back length"), to walk backwards
//!
//! 0vvvvvvv                     integer 0..127
//! 10llllll data                string, l < 64
//! 110vvvvv vvvvvvvv            integer of 13 bits, two's complement, high byte first
//! 1110llll llllllll data       string, l < 4096, high byte first
//! 11110000 l:u32 LE data       any string
//! 11110001 / 2 / 3 / 4         integer of 16 / 24 / 32 / 64 bits, LE, in the following bytes
//! ```
//!
//! The count is 65535 when there are that many or more; then only walking tells. The back length has 7 bits per byte,
//! the lowest group in the *last* byte, and every byte but the first has its high bit set, so that it reads from the
//! right. Its size follows from the length by Redis's own limits, of which three are one too low (16383 takes three
//! bytes); they are kept, because Redis skips forward by computing that size.
//!
//! ```
//! use ironkeep::value::packed::Listpack;
//! let mut pack = Listpack::new();
//! pack.push_back(b"abc");
//! pack.push_back(b"-1");
//! assert_eq!(pack.as_bytes(), [15, 0, 0, 0, 2, 0, 0x83, b'a', b'b', b'c', 4, 0xdf, 0xff, 2, 0xff]);
//! ```

use super::checked::Checked;
use super::{Element, PackedError};
use crate::codec::number::parse_i64;
use crate::cow::ThinBytes;
use std::ops::Range;

pub(super) const HEADER: usize = 6;
/// The first part of the header: the total.
const TOTAL: usize = 4;
pub(super) const END: u8 = 0xff;
const EMPTY: [u8; HEADER + 1] = [7, 0, 0, 0, 0, 0, END];
/// The count that means "walk to know".
pub(super) const UNKNOWN: u16 = u16::MAX;

/// Callers that are about to grow a listpack beyond this turn to another encoding, as Redis does.
pub const MAX_BYTES: usize = 1 << 30;

/// Strings and integers in the bytes that Redis stores. Positions are byte offsets of entries, as [`Listpack::first`],
/// [`Listpack::next`] and [`Listpack::seek`] give them; a change makes those behind it invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listpack(ThinBytes<true>);

impl Default for Listpack {
    fn default() -> Self {
        Listpack::new()
    }
}

impl Listpack {
    /// An empty listpack.
    pub fn new() -> Self {
        Listpack(ThinBytes::from(&EMPTY[..]))
    }

    /// Takes bytes from outside and checks every entry, so that reading cannot fail afterwards.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackedError> {
        Checked::new(bytes).map(|checked| Listpack(ThinBytes::from(checked.as_bytes())))
    }

    /// The same, to look at.
    pub fn checked(&self) -> Checked<'_> {
        Checked::of(self)
    }

    /// The bytes without what their number tells: the total in front and the end mark.
    pub(in crate::value) fn body(&self) -> &[u8] {
        Listpack::body_of(&self.0)
    }

    /// What [`Listpack::body`] gives, of the bytes of a listpack.
    pub(in crate::value) fn body_of(bytes: &[u8]) -> &[u8] {
        &bytes[TOTAL..bytes.len() - 1]
    }

    /// Of what [`Listpack::body`] gave: nothing is checked.
    pub(in crate::value) fn of_body(body: &[u8]) -> Self {
        let mut pack = Listpack::new();
        pack.refill(body);
        pack
    }

    /// The same, in the memory that it has.
    pub(in crate::value) fn refill(&mut self, body: &[u8]) {
        let end = TOTAL + body.len();
        let total = u32::try_from(end + 1).expect("callers stop growing a listpack at MAX_BYTES");
        let bytes = self.0.replace(0..self.0.len(), end + 1);
        bytes[..TOTAL].copy_from_slice(&total.to_le_bytes());
        bytes[TOTAL..end].copy_from_slice(body);
        bytes[end] = END;
    }

    /// Of bytes that are damaged further on, the entries before the damage.
    pub fn whole_beginning(bytes: &[u8]) -> Self {
        let (mut at, mut count) = (HEADER, 0);
        let end = bytes.len();
        while at < end
            && let Ok(next) = check_entry(bytes, at, end)
        {
            (at, count) = (next, count + 1);
        }
        if count == 0 {
            return Listpack::new();
        }
        let mut pack = Listpack(ThinBytes::from(&bytes[..at]));
        pack.0.extend_from_slice(&[END]);
        pack.write_header(count);
        pack
    }

    /// The bytes as the RDB stores them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as the RDB stores them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// Size of the whole layout in bytes.
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Bytes held by the allocation.
    pub fn footprint(&self) -> usize {
        self.0.footprint()
    }

    /// How many entries; beyond 65534 this walks.
    pub fn len(&self) -> usize {
        match self.header_count() {
            UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER + 1
    }

    /// All entries in order, from both ends.
    pub fn iter(&self) -> ListpackIter<'_> {
        ListpackIter::over(&self.0)
    }

    /// Entries from position `at` on.
    pub fn iter_at(&self, at: usize) -> ListpackIter<'_> {
        ListpackIter { bytes: &self.0, front: at, back: self.end() }
    }

    /// Entries before position `at`; walk it with `rev()`.
    pub fn iter_before(&self, at: usize) -> ListpackIter<'_> {
        ListpackIter { bytes: &self.0, front: HEADER, back: at }
    }

    /// Position of the first entry.
    pub fn first(&self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER)
    }

    /// Position of the last entry.
    pub fn last(&self) -> Option<usize> {
        self.previous(self.end())
    }

    /// Position behind the last entry: where [`Listpack::insert`] appends.
    pub fn end(&self) -> usize {
        self.0.len() - 1
    }

    /// Position of the entry after the one at `at`.
    pub fn next(&self, at: usize) -> Option<usize> {
        let next = at + entry_size(&self.0, at);
        (next < self.end()).then_some(next)
    }

    /// Position of the entry before the one at `at` (or before the end).
    pub fn previous(&self, at: usize) -> Option<usize> {
        (at > HEADER).then(|| previous_entry(&self.0, at))
    }

    /// Position of entry number `index`, walked from the nearer end.
    pub fn seek(&self, index: usize) -> Option<usize> {
        let count = self.len();
        if index >= count {
            return None;
        }
        if index <= count / 2 {
            return Some((0..index).fold(HEADER, |at, _| at + entry_size(&self.0, at)));
        }
        Some((index..count).fold(self.end(), |at, _| previous_entry(&self.0, at)))
    }

    /// The entry at position `at`.
    pub fn get(&self, at: usize) -> Element<'_> {
        decode(&self.0, at).0
    }

    /// Entry number `index`.
    pub fn nth(&self, index: usize) -> Option<Element<'_>> {
        self.seek(index).map(|at| self.get(at))
    }

    /// Position of the first entry that is `needle`, looking at every `stride`-th entry from position `from` on:
    /// stride 2 from the first entry looks at the fields of a hash.
    pub fn find(&self, from: Option<usize>, needle: &[u8], stride: usize) -> Option<usize> {
        let number = parse_i64(needle);
        let (mut at, end, mut turn) = (from?, self.end(), 0);
        while at < end {
            if turn == 0 {
                let (element, next) = decode(&self.0, at);
                let hit = match element {
                    Element::Int(value) => number == Some(value),
                    Element::Bytes(bytes) => bytes == needle,
                };
                if hit {
                    return Some(at);
                }
                at = next;
                turn = stride - 1;
            } else {
                at += entry_size(&self.0, at);
                turn -= 1;
            }
        }
        None
    }

    /// As [`Checked::has_twice`].
    pub fn has_twice(&self, stride: usize) -> bool {
        self.checked().has_twice(stride)
    }

    /// Appends; what spells a canonical integer is stored as one.
    pub fn push_back(&mut self, item: &[u8]) {
        self.splice(self.end()..self.end(), 0, &[item]);
    }

    /// Puts in front.
    pub fn push_front(&mut self, item: &[u8]) {
        self.splice(HEADER..HEADER, 0, &[item]);
    }

    /// Appends an element, without going through its text if it is an integer.
    pub fn push_element(&mut self, item: Element<'_>) {
        self.push_all(&[item]);
    }

    /// Appends several elements at once.
    pub fn push_all(&mut self, items: &[Element<'_>]) {
        let count = self.header_count();
        let len_of = |item: &Element<'_>| match item {
            Element::Int(value) => integer_len(*value) + back_len_size(integer_len(*value)),
            Element::Bytes(text) => Listpack::entry_len(text),
        };
        let end = self.end();
        let mut gap = self.0.replace(end..end, items.iter().map(len_of).sum());
        for item in items {
            gap = match item {
                Element::Int(value) => {
                    let data = encode_integer(gap, *value);
                    close(gap, data)
                }
                Element::Bytes(text) => encode(gap, text),
            };
        }
        self.write_header(if count == UNKNOWN { usize::from(UNKNOWN) } else { usize::from(count) + items.len() });
    }

    /// Puts `item` before the entry at `at`, which then follows it; `at` may be [`Listpack::end`].
    pub fn insert(&mut self, at: usize, item: &[u8]) {
        self.splice(at..at, 0, &[item]);
    }

    /// Puts several items, in order, before the entry at `at`.
    pub fn insert_all(&mut self, at: usize, items: &[&[u8]]) {
        self.splice(at..at, 0, items);
    }

    /// Replaces the entry at `at`, which stays at `at`.
    pub fn replace(&mut self, at: usize, item: &[u8]) {
        let size = entry_size(&self.0, at);
        self.splice(at..at + size, 1, &[item]);
    }

    /// As [`Listpack::replace`], by an integer: where it stands if it is as long.
    pub fn replace_by_int(&mut self, at: usize, value: i64) {
        if data_len(&self.0, at) == integer_len(value) {
            encode_integer(&mut self.0[at..], value);
        } else {
            self.replace(at, itoa::Buffer::new().format(value).as_bytes());
        }
    }

    /// Removes the entry at `at`; its successor is then at `at`.
    pub fn remove(&mut self, at: usize) {
        self.remove_many(at, 1);
    }

    /// Removes up to `count` entries from position `at` on and says how many there were.
    pub fn remove_many(&mut self, at: usize, count: usize) -> usize {
        let (mut behind, mut removed) = (at, 0);
        while removed < count && behind < self.end() {
            behind += entry_size(&self.0, behind);
            removed += 1;
        }
        self.splice(at..behind, removed, &[]);
        removed
    }

    /// Cuts at `at`: the entries from there on are returned, the others stay.
    pub fn split_off(&mut self, at: usize) -> Listpack {
        let mut tail = Listpack::new();
        let moving = &self.0[at..self.end()];
        tail.0.replace(HEADER..HEADER, moving.len()).copy_from_slice(moving);
        let moved = tail.iter().count();
        tail.write_header(moved);
        let total = self.header_count();
        let end = self.end();
        self.0.replace(at..end, 0);
        let left = if total == UNKNOWN { self.iter().count() } else { usize::from(total) - moved };
        self.write_header(left);
        tail
    }

    /// Appends all entries of `other` as they are.
    pub fn append(&mut self, other: &Listpack) {
        let count = self.len() + other.len();
        let end = self.end();
        let entries = &other.0[HEADER..other.end()];
        self.0.replace(end..end, entries.len()).copy_from_slice(entries);
        self.write_header(count);
    }

    /// Bytes that `item` takes as an entry.
    pub fn entry_len(item: &[u8]) -> usize {
        let data = match parse_i64(item) {
            Some(value) => integer_len(value),
            None => string_header_len(item.len()) + item.len(),
        };
        data + back_len_size(data)
    }

    fn header_count(&self) -> u16 {
        u16::from_le_bytes([self.0[4], self.0[5]])
    }

    /// Replaces the bytes of `range`, which hold `removed` entries, by `items`.
    fn splice(&mut self, range: Range<usize>, removed: usize, items: &[&[u8]]) {
        let count = self.header_count();
        let mut left = usize::from(count) - if count == UNKNOWN { 0 } else { removed };
        let size = items.iter().map(|item| Listpack::entry_len(item)).sum();
        let mut gap = self.0.replace(range, size);
        for item in items {
            gap = encode(gap, item);
        }
        left += items.len();
        self.write_header(if count == UNKNOWN { usize::from(UNKNOWN) } else { left });
    }

    fn write_header(&mut self, count: usize) {
        let total = u32::try_from(self.0.len()).expect("callers stop growing a listpack at MAX_BYTES");
        self.0[..4].copy_from_slice(&total.to_le_bytes());
        self.0[4..6].copy_from_slice(&u16::try_from(count).unwrap_or(UNKNOWN).to_le_bytes());
    }
}

impl<'a> FromIterator<&'a [u8]> for Listpack {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(items: I) -> Self {
        let mut pack = Listpack::new();
        for item in items {
            pack.push_back(item);
        }
        pack
    }
}

/// Entries of a [`Listpack`], from both ends.
#[derive(Clone, Debug)]
pub struct ListpackIter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> ListpackIter<'a> {
    /// All entries of bytes that have been checked.
    pub(super) fn over(bytes: &'a [u8]) -> Self {
        ListpackIter { bytes, front: HEADER, back: bytes.len() - 1 }
    }

    /// Passes over the next entry from the front without reading it.
    #[inline]
    pub fn skip_one(&mut self) {
        if self.front < self.back {
            self.front += entry_size(self.bytes, self.front);
        }
    }

    /// Position of the next entry from the front, or where the walk ends.
    pub fn position(&self) -> usize {
        self.front
    }
}

impl<'a> Iterator for ListpackIter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (element, next) = decode(self.bytes, self.front);
        self.front = next;
        Some(element)
    }
}

impl DoubleEndedIterator for ListpackIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = previous_entry(self.bytes, self.back);
        Some(decode(self.bytes, self.back).0)
    }
}

/// [`data_len`] by the first byte, where that is enough to tell.
const DATA_LEN: [u8; 256] = {
    let mut table = [9; 256];
    let mut first = 0;
    while first < 256 {
        table[first] = match first {
            0x00..=0x7f => 1,
            0x80..=0xbf => 1 + (first as u8 & 0x3f),
            0xc0..=0xdf => 2,
            0xe0..=0xf0 => 0, // more bytes tell
            0xf1 => 3,
            0xf2 => 4,
            0xf3 => 5,
            _ => 9,
        };
        first += 1;
    }
    table
};

/// Encoding byte, length bytes and data of an entry whose bytes are known to be good.
#[inline]
fn data_len(bytes: &[u8], at: usize) -> usize {
    let first = bytes[at];
    match DATA_LEN[usize::from(first)] {
        0 if first == 0xf0 => 5 + long_len(bytes, at),
        0 => 2 + (usize::from(first & 0x0f) << 8 | usize::from(bytes[at + 1])),
        len => usize::from(len),
    }
}

fn long_len(bytes: &[u8], at: usize) -> usize {
    let len = u32::from_le_bytes([bytes[at + 1], bytes[at + 2], bytes[at + 3], bytes[at + 4]]);
    // usize has at least 32 bits on every platform that this server runs on.
    len as usize
}

#[inline]
fn entry_size(bytes: &[u8], at: usize) -> usize {
    let data = data_len(bytes, at);
    data + back_len_size(data)
}

/// The entry at `at` and the position behind it.
#[inline]
fn decode(bytes: &[u8], at: usize) -> (Element<'_>, usize) {
    let data = data_len(bytes, at);
    let end = at + data;
    let element = match bytes[at] {
        small @ 0x00..=0x7f => Element::Int(i64::from(small)),
        0x80..=0xbf => Element::Bytes(&bytes[at + 1..end]),
        0xe0..=0xef => Element::Bytes(&bytes[at + 2..end]),
        0xf0 => Element::Bytes(&bytes[at + 5..end]),
        _ => Element::Int(decode_integer(&bytes[at..end])),
    };
    (element, end + back_len_size(data))
}

/// An integer of more than one byte.
fn decode_integer(entry: &[u8]) -> i64 {
    match *entry {
        [first, low] => {
            let raw = i64::from(first & 0x1f) << 8 | i64::from(low);
            if raw >= 1 << 12 { raw - (1 << 13) } else { raw }
        }
        [_, a, b] => i64::from(i16::from_le_bytes([a, b])),
        [_, a, b, c] => i64::from(i32::from_le_bytes([0, a, b, c]) >> 8),
        [_, a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [_, a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("the entry was checked when the listpack was taken in"),
    }
}

/// Checks the entry at `at` and returns the position behind it; `end` is where the end mark stands.
pub(super) fn check_entry(bytes: &[u8], at: usize, end: usize) -> Result<usize, PackedError> {
    let first = bytes[at];
    let header = match first {
        0xe0..=0xef => 2,
        0xf0 => 5,
        0xf5..=0xff => return Err(PackedError::new(at, "a listpack entry of unknown encoding")),
        _ => 1,
    };
    let cut_short = PackedError::new(at, "a listpack entry that reaches beyond the end");
    if header > end - at {
        return Err(cut_short);
    }
    let data = data_len(bytes, at);
    let next = data.checked_add(back_len_size(data)).and_then(|size| size.checked_add(at)).ok_or(cut_short)?;
    if next > end {
        return Err(cut_short);
    }
    let is_right = match bytes[at + data..next] {
        [back] => usize::from(back) == data,
        ref back => {
            let mut expected = [0; 5];
            let size = write_back_len(&mut expected, data);
            *back == expected[..size]
        }
    };
    if !is_right {
        return Err(PackedError::new(at + data, "a listpack entry whose back length is wrong"));
    }
    Ok(next)
}

/// Position of the entry that ends just before `at`.
fn previous_entry(bytes: &[u8], at: usize) -> usize {
    let (mut place, mut shift, mut data) = (at, 0, 0usize);
    loop {
        place -= 1;
        data |= usize::from(bytes[place] & 0x7f) << shift;
        if bytes[place] & 0x80 == 0 {
            return place - data;
        }
        shift += 7;
    }
}

/// Bytes of the back length of an entry of `data` bytes; see the module's word on the odd limits.
#[inline]
fn back_len_size(data: usize) -> usize {
    match data {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2097150 => 3,
        2097151..=268435454 => 4,
        _ => 5,
    }
}

/// Writes the back length into `out` and returns its size.
fn write_back_len(out: &mut [u8; 5], data: usize) -> usize {
    let size = back_len_size(data);
    for (place, byte) in out[..size].iter_mut().rev().enumerate() {
        // Seven bits fit a byte.
        *byte = (data >> (7 * place) & 0x7f) as u8;
    }
    for byte in &mut out[1..size] {
        *byte |= 0x80;
    }
    size
}

fn string_header_len(len: usize) -> usize {
    match len {
        0..=63 => 1,
        64..=4095 => 2,
        _ => 5,
    }
}

fn integer_len(value: i64) -> usize {
    match value {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32768..=32767 => 3,
        -8388608..=8388607 => 4,
        -2147483648..=2147483647 => 5,
        _ => 9,
    }
}

/// Writes `item` as an entry to the start of `out`, which has room for it, and returns what is behind.
fn encode<'a>(out: &'a mut [u8], item: &[u8]) -> &'a mut [u8] {
    let data = match parse_i64(item) {
        Some(value) => encode_integer(out, value),
        None => encode_string(out, item),
    };
    close(out, data)
}

/// Writes the back length of an entry behind its `data` bytes, and returns what is behind.
fn close(out: &mut [u8], data: usize) -> &mut [u8] {
    let mut back = [0; 5];
    let size = write_back_len(&mut back, data);
    out[data..data + size].copy_from_slice(&back[..size]);
    &mut out[data + size..]
}

/// Appends `item` as an entry.
pub(super) fn append_entry(out: &mut Vec<u8>, item: Element<'_>) {
    let start = out.len();
    let data = match (item.as_i64(), item) {
        (Some(value), _) | (None, Element::Int(value)) => {
            out.resize(start + integer_len(value), 0);
            encode_integer(&mut out[start..], value)
        }
        (None, Element::Bytes(text)) => {
            out.resize(start + string_header_len(text.len()) + text.len(), 0);
            encode_string(&mut out[start..], text)
        }
    };
    let mut back = [0; 5];
    let size = write_back_len(&mut back, data);
    out.extend_from_slice(&back[..size]);
}

/// Returns how many bytes it wrote.
fn encode_integer(out: &mut [u8], value: i64) -> usize {
    let bytes = value.to_le_bytes();
    let len = integer_len(value);
    match len {
        1 => out[0] = bytes[0],
        // Bits 8 to 12 of the two's complement go beside the mark.
        2 => out[..2].copy_from_slice(&[0xc0 | bytes[1] & 0x1f, bytes[0]]),
        _ => {
            out[0] = match len {
                3 => 0xf1,
                4 => 0xf2,
                5 => 0xf3,
                _ => 0xf4,
            };
            out[1..len].copy_from_slice(&bytes[..len - 1]);
        }
    }
    len
}

/// Returns how many bytes it wrote.
fn encode_string(out: &mut [u8], text: &[u8]) -> usize {
    let len = text.len();
    let header = string_header_len(len);
    match header {
        // The lengths fit the bits that their form has for them.
        1 => out[0] = 0x80 | len as u8,
        2 => out[..2].copy_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]),
        _ => {
            let len = u32::try_from(len).expect("callers stop growing a listpack at MAX_BYTES");
            out[0] = 0xf0;
            out[1..5].copy_from_slice(&len.to_le_bytes());
        }
    }
    out[header..header + len].copy_from_slice(text);
    header + len
}

#[cfg(test)]
mod tests {
    use super::super::checked::FEW;
    use super::*;

    fn sample() -> Vec<Vec<u8>> {
        let mut items: Vec<Vec<u8>> = Vec::new();
        for shift in 0..64 {
            for value in [1i64 << shift, -(1i64 << (shift % 63)), (1i64 << (shift % 63)) - 1] {
                items.push(value.to_string().into_bytes());
            }
        }
        for len in [0, 1, 63, 64, 126, 127, 128, 4095, 4096, 16377, 16378, 16379, 20000] {
            items.push(vec![b'x'; len]);
        }
        items.push(b"-0".to_vec());
        items.push(b"007".to_vec());
        items
    }

    #[test]
    fn every_encoding_reads_back_from_both_ends() {
        let items = sample();
        let pack: Listpack = items.iter().map(Vec::as_slice).collect();
        assert_eq!(pack.len(), items.len());
        assert!(pack.iter().map(|item| item.to_vec()).eq(items.iter().cloned()));
        assert!(pack.iter().rev().map(|item| item.to_vec()).eq(items.iter().rev().cloned()));
        for (index, item) in items.iter().enumerate() {
            assert_eq!(pack.nth(index), Some(Element::from(item)));
            assert!(pack.find(pack.first(), item, 1).is_some());
        }
        assert_eq!(Listpack::from_bytes(pack.as_bytes()), Ok(pack));
    }

    #[test]
    fn many_elements_at_once_are_the_same_bytes_as_one_by_one() {
        let items = sample();
        let one_by_one: Listpack = items.iter().map(Vec::as_slice).collect();
        let elements = items.iter().map(|item| parse_i64(item).map_or(Element::from(item), Element::Int));
        let mut at_once = Listpack::new();
        at_once.push_all(&elements.collect::<Vec<_>>());
        assert_eq!(at_once, one_by_one);
        at_once.push_all(&[]);
        assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn any_entry_becomes_any_integer_and_the_others_stay() {
        let numbers = [0, 127, 128, -1, 4095, -4097, 40_000, -9_000_000, i64::MAX, i64::MIN];
        for item in sample() {
            for number in numbers {
                let mut pack: Listpack = [&b"front"[..], &item, b"behind"].into_iter().collect();
                let at = pack.seek(1).unwrap();
                pack.replace_by_int(at, number);
                let expected: Listpack =
                    [&b"front"[..], number.to_string().as_bytes(), b"behind"].into_iter().collect();
                assert_eq!(pack, expected);
            }
        }
    }

    #[test]
    fn a_listpack_behaves_as_a_vector() {
        let mut rng = fastrand::Rng::with_seed(2);
        let items = sample();
        let (mut pack, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
        for _ in 0..3000 {
            let item = &items[rng.usize(..items.len())];
            let index = rng.usize(..=model.len());
            let at = pack.seek(index).unwrap_or(pack.end());
            match rng.u8(..8) {
                0..=2 => {
                    pack.insert(at, item);
                    model.insert(index, item.clone());
                }
                3 if index < model.len() => {
                    pack.replace(at, item);
                    model[index] = item.clone();
                }
                4 | 5 if index < model.len() => {
                    let count = rng.usize(1..4);
                    let removed = pack.remove_many(at, count);
                    assert_eq!(model.drain(index..(index + count).min(model.len())).count(), removed);
                }
                6 => {
                    let tail = pack.split_off(at);
                    let rest = model.split_off(index);
                    assert!(tail.iter().map(|item| item.to_vec()).eq(rest.iter().cloned()));
                    pack.append(&tail);
                    model.extend(rest);
                }
                _ => {
                    pack.push_front(item);
                    model.insert(0, item.clone());
                }
            }
            assert_eq!(pack.len(), model.len());
            if model.len() > 60 {
                pack.remove_many(pack.seek(20).unwrap(), 40);
                model.drain(20..60);
            }
        }
        assert!(pack.iter().map(|item| item.to_vec()).eq(model));
        assert!(Listpack::from_bytes(&pack.into_bytes()).is_ok());
    }

    #[test]
    fn beyond_the_header_the_count_is_walked() {
        let mut pack = Listpack::new();
        for _ in 0..65540 {
            pack.push_back(b"1");
        }
        assert_eq!(pack.len(), 65540);
        assert_eq!(pack.remove_many(6, 10), 10);
        assert_eq!(pack.len(), 65530);
        assert!(Listpack::from_bytes(&pack.into_bytes()).is_ok());
    }

    #[test]
    fn cuts_and_flips_are_errors_or_still_readable() {
        let pack: Listpack = [&b"abc"[..], b"12345", b"-7", &[b'y'; 100], b"99999999999"].into_iter().collect();
        let good = pack.into_bytes();
        for cut in 0..good.len() {
            assert!(Listpack::from_bytes(&good[..cut]).is_err());
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(pack) = Listpack::from_bytes(&bad) {
                    assert_eq!(pack.iter().count(), pack.iter().rev().count());
                }
            }
        }
    }

    #[test]
    fn an_entry_that_stands_twice_is_seen_however_it_is_stored() {
        for count in [1, 2, 16, FEW, FEW + 1, 200] {
            let items: Vec<Vec<u8>> = (0..count).map(|i| format!("{i}").into_bytes()).collect();
            let mut pairs = Listpack::new();
            for item in &items {
                pairs.push_back(item);
                pairs.push_back(b"same value");
            }
            assert!(!pairs.has_twice(2));
            assert_eq!(pairs.has_twice(1), count > 1);
            for twice in [0, count - 1] {
                let mut pack: Listpack = items.iter().map(|item| &item[..]).collect();
                assert!(!pack.has_twice(1));
                // An integer that was stored as a string, as a file may have it.
                let text = items[twice].len();
                let end = pack.end();
                let gap = pack.0.replace(end..end, text + 2);
                gap[0] = 0x80 | text as u8;
                gap[1..=text].copy_from_slice(&items[twice]);
                gap[text + 1] = text as u8 + 1;
                pack.write_header(count + 1);
                assert!(pack.has_twice(1), "{count} {twice}");
            }
        }
    }
}
