//! The ziplist: strings and integers in a row, before Redis 7.0.
//!
//! ```text
//! +-------------+---------------------+-----------+---------+-----+------+
//! | bytes u32   | last entry at u32   | count u16 | entry 0 | ... | 0xFF |     all little endian
//! +-------------+---------------------+-----------+---------+-----+------+
//! entry = length of the entry before it (1 byte, or 0xFE and u32), encoding, data
//!
//! 00llllll data                      string, l < 64
//! 01llllll llllllll data             string, l < 16384, high byte first
//! 10______ l:u32 BE data             any string
//! 11000000 / 11010000 / 11100000     integer of 16 / 32 / 64 bits, little endian
//! 11110000 / 11111110                integer of 24 / 8 bits (RDB version 6 on)
//! 1111vvvv                           the integer v - 1, for v = 1..13
//! ```
//!
//! The count is 65535 when there are that many or more. Where the last entry begins is not looked at: only a walk
//! from the end needs it.
//!
//! ```
//! use ironkeep::rdb::packed::Ziplist;
//! let bytes = [0x12, 0, 0, 0, 0x0e, 0, 0, 0, 2, 0, 0, 2, b'h', b'i', 4, 0xfe, 0xf6, 0xff];
//! let items: Vec<_> = Ziplist::parse(&bytes).unwrap().iter().map(|item| item.to_vec()).collect();
//! assert_eq!(items, [&b"hi"[..], b"-10"]);
//! ```
//!
//! [`ZiplistBuilder`] writes front to back. An entry that is changed in place may lengthen the link of the next, and that
//! one the link of the one behind it; where nothing is changed in place each link is right at once.

use crate::codec::number::parse_i64;
use crate::value::{Element, PackedError};

const HEADER: usize = 10;
const END: u8 = 0xff;
const LONG_BEFORE: u8 = 0xfe;
/// The count that means "walk to know".
const UNKNOWN: u16 = u16::MAX;

/// A ziplist whose every entry has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Ziplist<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// One entry: what it holds, and where the next begins.
struct Entry<'a> {
    item: Element<'a>,
    next: usize,
}

fn damage<T>(offset: usize, what: &'static str) -> Result<T, PackedError> {
    Err(PackedError { offset, what })
}

impl<'a> Ziplist<'a> {
    /// Checks the header and every entry.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PackedError> {
        let [b0, b1, b2, b3, _, _, _, _, c0, c1, ..] = *bytes else {
            return damage(0, "a ziplist header cut short");
        };
        if usize::try_from(u32::from_le_bytes([b0, b1, b2, b3])) != Ok(bytes.len()) {
            return damage(0, "a ziplist length that is not its own");
        }
        if bytes.len() == HEADER || bytes[bytes.len() - 1] != END {
            return damage(bytes.len() - 1, "a ziplist without its end mark");
        }
        let end = bytes.len() - 1;
        let (mut at, mut before, mut count) = (HEADER, 0, 0);
        while at < end {
            let entry = entry(bytes, at, end, Some(before))?;
            before = entry.next - at;
            at = entry.next;
            count += 1;
        }
        let claimed = u16::from_le_bytes([c0, c1]);
        if claimed != UNKNOWN && usize::from(claimed) != count {
            return damage(8, "a ziplist count that does not match its entries");
        }
        Ok(Ziplist { bytes, count })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries, first to last, with the bytes that each takes.
    pub fn entries(&self) -> impl Iterator<Item = (std::ops::Range<usize>, Element<'a>)> + use<'a> {
        let (bytes, mut at) = (self.bytes, HEADER);
        let end = bytes.len() - 1;
        std::iter::from_fn(move || {
            let entry = (at < end).then(|| entry(bytes, at, end, None).ok()).flatten()?;
            let range = at..entry.next;
            at = entry.next;
            Some((range, entry.item))
        })
    }

    /// The entries, first to last.
    pub fn iter(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let (bytes, mut at) = (self.bytes, HEADER);
        let end = bytes.len() - 1;
        std::iter::from_fn(move || {
            let entry = (at < end).then(|| entry(bytes, at, end, None).ok()).flatten()?;
            at = entry.next;
            Some(entry.item)
        })
    }
}

/// The entry at `at`, which must end before `end`; its link must say `before`, where that is given.
fn entry(bytes: &[u8], at: usize, end: usize, before: Option<usize>) -> Result<Entry<'_>, PackedError> {
    let rest = &bytes[at..end];
    let (link, rest) = match rest {
        [LONG_BEFORE, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]), rest),
        [LONG_BEFORE | END, ..] | [] => return damage(at, "a ziplist entry cut short"),
        [short, rest @ ..] => (u32::from(*short), rest),
    };
    if before.is_some_and(|before| usize::try_from(link) != Ok(before)) {
        return damage(at, "a ziplist entry that mistakes the length of the one before it");
    }
    let (item, rest) = match *rest {
        [head @ 0..0x40, ref rest @ ..] => string(at, rest, usize::from(head))?,
        [head @ 0x40..0x80, low, ref rest @ ..] => string(at, rest, usize::from(head & 0x3f) << 8 | usize::from(low))?,
        [0x80..0xc0, a, b, c, d, ref rest @ ..] => {
            // On a 32-bit machine the cast is exact too.
            string(at, rest, u32::from_be_bytes([a, b, c, d]) as usize)?
        }
        [0xc0, a, b, ref rest @ ..] => (Element::Int(i16::from_le_bytes([a, b]).into()), rest),
        [0xd0, a, b, c, d, ref rest @ ..] => (Element::Int(i32::from_le_bytes([a, b, c, d]).into()), rest),
        [0xe0, a, b, c, d, e, f, g, h, ref rest @ ..] => {
            (Element::Int(i64::from_le_bytes([a, b, c, d, e, f, g, h])), rest)
        }
        [0xf0, a, b, c, ref rest @ ..] => (Element::Int((i32::from_le_bytes([0, a, b, c]) >> 8).into()), rest),
        [0xfe, a, ref rest @ ..] => (Element::Int(i8::from_le_bytes([a]).into()), rest),
        [head @ 0xf1..=0xfd, ref rest @ ..] => (Element::Int(i64::from(head & 15) - 1), rest),
        _ => return damage(at, "a ziplist entry cut short or of no known kind"),
    };
    Ok(Entry { item, next: end - rest.len() })
}

fn string<'a>(at: usize, rest: &'a [u8], length: usize) -> Result<(Element<'a>, &'a [u8]), PackedError> {
    match rest.split_at_checked(length) {
        Some((text, rest)) => Ok((Element::Bytes(text), rest)),
        None => damage(at, "a ziplist string that reaches beyond the end"),
    }
}

/// A string longer than this spells no integer.
const LONGEST_INTEGER: usize = 20;

/// Makes a ziplist, front to back. What it gets spells an integer or not, and is stored accordingly, as every server
/// does, whose searches rest on that.
#[derive(Clone, Debug)]
pub struct ZiplistBuilder {
    /// The header's room, then the entries.
    bytes: Vec<u8>,
    /// Where the last entry begins; the header's end where there is none.
    last: usize,
    count: usize,
}

impl Default for ZiplistBuilder {
    fn default() -> Self {
        ZiplistBuilder { bytes: vec![0; HEADER], last: HEADER, count: 0 }
    }
}

impl ZiplistBuilder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the ziplist so far.
    pub fn byte_len(&self) -> usize {
        self.bytes.len() + 1
    }

    /// Bytes of the ziplist with `item` in it, or a few more.
    pub fn byte_len_with(&self, item: Element<'_>) -> usize {
        const MOST_BESIDE: usize = 5 + 5;
        self.byte_len() + MOST_BESIDE + item.len()
    }

    /// Appends an entry. The whole must stay below 4 GB, which is for the caller to see to.
    pub fn push(&mut self, item: Element<'_>) {
        let start = self.bytes.len();
        match start - self.last {
            before if before < usize::from(LONG_BEFORE) => self.bytes.push(before as u8), // below 254
            before => {
                self.bytes.push(LONG_BEFORE);
                self.bytes.extend((before as u32).to_le_bytes()); // an entry is below 4 GB
            }
        }
        match item {
            Element::Int(value) => self.push_integer(value),
            Element::Bytes(text) if text.len() <= LONGEST_INTEGER => match parse_i64(text) {
                Some(value) => self.push_integer(value),
                None => self.push_string(text),
            },
            Element::Bytes(text) => self.push_string(text),
        }
        self.last = start;
        self.count += 1;
    }

    // Each cast keeps what its range leaves.
    fn push_integer(&mut self, value: i64) {
        let out = &mut self.bytes;
        match value {
            0..=12 => out.push(0xf1 + value as u8),
            -0x80..0x80 => out.extend([0xfe, value as u8]),
            -0x8000..0x8000 => {
                out.push(0xc0);
                out.extend((value as i16).to_le_bytes());
            }
            -0x80_0000..0x80_0000 => {
                out.push(0xf0);
                out.extend(&(value as i32).to_le_bytes()[..3]);
            }
            -0x8000_0000..0x8000_0000 => {
                out.push(0xd0);
                out.extend((value as i32).to_le_bytes());
            }
            _ => {
                out.push(0xe0);
                out.extend(value.to_le_bytes());
            }
        }
    }

    fn push_string(&mut self, text: &[u8]) {
        match text.len() {
            // The casts keep what the range leaves; no string is as long as 4 GB.
            length @ 0..0x40 => self.bytes.push(length as u8),
            length @ 0x40..0x4000 => self.bytes.extend((0x4000 | length as u16).to_be_bytes()),
            length => {
                self.bytes.push(0x80);
                self.bytes.extend((length as u32).to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(text);
    }

    /// The bytes, as the RDB stores them.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len());
        assert!(total.is_ok(), "a ziplist is below 4 GB");
        let last = if self.count == 0 { HEADER } else { self.last };
        let count = u16::try_from(self.count).unwrap_or(UNKNOWN);
        self.bytes[..4].copy_from_slice(&total.unwrap_or(u32::MAX).to_le_bytes());
        self.bytes[4..8].copy_from_slice(&(last as u32).to_le_bytes()); // below the total
        self.bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(items: &[&[u8]]) -> Vec<u8> {
        let mut builder = ZiplistBuilder::new();
        items.iter().for_each(|item| builder.push(Element::Bytes(item)));
        builder.finish()
    }

    /// What stands between the header and the end mark.
    fn entries(bytes: &[u8]) -> &[u8] {
        &bytes[HEADER..bytes.len() - 1]
    }

    #[test]
    fn every_integer_takes_the_form_that_servers_give_it() {
        let forms: [(&[u8], &[u8]); 16] = [
            (b"0", &[0xf1]),
            (b"12", &[0xfd]),
            (b"13", &[0xfe, 13]),
            (b"-1", &[0xfe, 0xff]),
            (b"-128", &[0xfe, 0x80]),
            (b"127", &[0xfe, 0x7f]),
            (b"128", &[0xc0, 0x80, 0]),
            (b"-129", &[0xc0, 0x7f, 0xff]),
            (b"32767", &[0xc0, 0xff, 0x7f]),
            (b"32768", &[0xf0, 0, 0x80, 0]),
            (b"-8388608", &[0xf0, 0, 0, 0x80]),
            (b"8388607", &[0xf0, 0xff, 0xff, 0x7f]),
            (b"8388608", &[0xd0, 0, 0, 0x80, 0]),
            (b"-2147483648", &[0xd0, 0, 0, 0, 0x80]),
            (b"2147483648", &[0xe0, 0, 0, 0, 0x80, 0, 0, 0, 0]),
            (b"-9223372036854775808", &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80]),
        ];
        for (text, form) in forms {
            assert_eq!(entries(&built(&[text])), [&[0], form].concat(), "{}", text.escape_ascii());
            assert_eq!(texts(&built(&[text])), [text]);
        }
        for text in [&b"-0"[..], b"01", b"+1", b"9223372036854775808", b" 1", b""] {
            assert_eq!(entries(&built(&[text])), [&[0, text.len() as u8], text].concat(), "no integer's own text");
        }
    }

    #[test]
    fn strings_take_the_shortest_length_and_links_tell_the_entry_before() {
        let bytes = built(&[b"hi", b"-10"]);
        assert_eq!(bytes, [0x12, 0, 0, 0, 0x0e, 0, 0, 0, 2, 0, 0, 2, b'h', b'i', 4, 0xfe, 0xf6, 0xff]);
        assert_eq!(built(&[]), [11, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0xff]);
        for (length, head) in [
            (63, &[0x3f][..]),
            (64, &[0x40, 0x40]),
            (16383, &[0x7f, 0xff]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (70000, &[0x80, 0, 1, 0x11, 0x70]),
        ] {
            let text = vec![b'x'; length];
            assert_eq!(entries(&built(&[&text])), [&[0], head, &text].concat());
        }
    }

    #[test]
    fn links_grow_to_five_bytes_where_the_entry_before_reaches_254() {
        // An entry is its link (1 byte), its head (2) and its text: 253 bytes with 250 of text, 254 with 251.
        for (length, link) in [(250, &[253][..]), (251, &[0xfe, 254, 0, 0, 0]), (252, &[0xfe, 255, 0, 0, 0])] {
            let bytes = built(&[&vec![b'x'; length], b"y"]);
            assert_eq!(entries(&bytes)[3 + length..], [link, &[1, b'y']].concat());
        }
        // Each link of five bytes makes its own entry reach 254: a chain.
        let mut chain = vec![vec![b'x'; 251]];
        chain.extend(std::iter::repeat_n(vec![b'x'; 247], 5));
        chain.push(b"end".to_vec());
        let items: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let bytes = built(&items);
        assert_eq!(texts(&bytes), chain);
        let link = [&[0xfe, 254, 0, 0, 0, 0x40, 247][..], &[b'x'; 247]].concat();
        assert_eq!(entries(&bytes)[254..], [link.repeat(5), vec![0xfe, 254, 0, 0, 0, 3], b"end".to_vec()].concat());
        let tail = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
        assert_eq!(usize::try_from(tail).unwrap(), bytes.len() - 1 - 9, "where the last entry begins");
    }

    #[test]
    fn a_ziplist_of_65535_entries_leaves_its_count_to_a_walk() {
        for count in [65_534_usize, 65_535, 70_000] {
            let mut builder = ZiplistBuilder::new();
            (0..count).for_each(|index| builder.push(Element::Int(index as i64)));
            let bytes = builder.finish();
            let told = u16::from_le_bytes([bytes[8], bytes[9]]);
            assert_eq!(told, u16::try_from(count.min(65_535)).unwrap());
            assert_eq!(Ziplist::parse(&bytes).unwrap().len(), count);
        }
    }

    /// A ziplist of raw entries, each without its link.
    fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        let (mut before, mut last) = (0usize, HEADER);
        for entry in entries {
            last = HEADER + body.len();
            let start = body.len();
            match u8::try_from(before) {
                Ok(short) if short < LONG_BEFORE => body.push(short),
                _ => {
                    body.push(LONG_BEFORE);
                    body.extend(u32::try_from(before).unwrap().to_le_bytes());
                }
            }
            body.extend_from_slice(entry);
            before = body.len() - start;
        }
        let total = u32::try_from(HEADER + body.len() + 1).unwrap();
        let mut bytes = total.to_le_bytes().to_vec();
        bytes.extend(u32::try_from(last).unwrap().to_le_bytes());
        bytes.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
        bytes.extend(body);
        bytes.push(END);
        bytes
    }

    fn texts(bytes: &[u8]) -> Vec<Vec<u8>> {
        Ziplist::parse(bytes).unwrap().iter().map(|item| item.to_vec()).collect()
    }

    #[test]
    fn every_integer_width_is_read() {
        let bytes = ziplist(&[
            &[0xf1],
            &[0xfd],
            &[0xfe, 0x80],
            &[0xc0, 0x00, 0x80],
            &[0xf0, 0xff, 0xff, 0x7f],
            &[0xf0, 0x00, 0x00, 0x80],
            &[0xd0, 0, 0, 0, 0x80],
            &[0xe0, 255, 255, 255, 255, 255, 255, 255, 0x7f],
        ]);
        let expected = ["0", "12", "-128", "-32768", "8388607", "-8388608", "-2147483648", "9223372036854775807"];
        assert_eq!(texts(&bytes), expected.map(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn strings_of_every_length_form_are_read() {
        let long = vec![b'x'; 300];
        let bytes = ziplist(&[
            &[&[3][..], b"abc"].concat(),
            &[&[0x41, 0x2c][..], &long].concat(),
            &[&[0x80, 0, 0, 1, 0x2c][..], &long].concat(),
            &[0],
        ]);
        assert_eq!(texts(&bytes), [b"abc".to_vec(), long.clone(), long, Vec::new()]);
    }

    #[test]
    fn broken_bytes_never_panic_and_a_cut_is_always_found() {
        let bytes = ziplist(&[&[3, b'a', b'b', b'c'], &[0xc0, 1, 2], &[0x80, 0, 0, 0, 2, b'x', b'y'], &[0xf5]]);
        for at in 0..bytes.len() {
            assert!(Ziplist::parse(&bytes[..at]).is_err());
            for value in 0..=255 {
                let mut broken = bytes.clone();
                broken[at] = value;
                if let Ok(list) = Ziplist::parse(&broken) {
                    assert_eq!(list.iter().count(), list.len());
                }
            }
        }
    }
}
