//! Listpacks that lie in somebody else's bytes: one from a file, checked where it lies, and one that is put together at
//! the end of a buffer. A loader gathers thousands of them in one buffer, and copies each once, to where it stays.

use super::listpack::{END, HEADER, UNKNOWN, append_entry, check_entry};
use super::{Element, Listpack, ListpackIter, PackedError};
use crate::value::hash_of;

/// So many entries are compared with each other by their prints; more are put in a table.
pub(super) const FEW: usize = 64;

/// The bytes of a listpack, of which every entry has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Checked<'a> {
    /// Checks every entry, so that reading cannot fail afterwards.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PackedError> {
        if bytes.len() < HEADER + 1 {
            return Err(PackedError::new(0, "a listpack header cut short"));
        }
        let total = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if usize::try_from(total) != Ok(bytes.len()) {
            return Err(PackedError::new(0, "a listpack length that is not its own"));
        }
        let end = bytes.len() - 1;
        if bytes[end] != END {
            return Err(PackedError::new(end, "a listpack without its end mark"));
        }
        let (mut at, mut count) = (HEADER, 0usize);
        while at < end {
            at = check_entry(bytes, at, end)?;
            count += 1;
        }
        let claimed = u16::from_le_bytes([bytes[4], bytes[5]]);
        if claimed != UNKNOWN && usize::from(claimed) != count {
            return Err(PackedError::new(4, "a listpack count that does not match its entries"));
        }
        Ok(Checked { bytes, count })
    }

    /// Of bytes that have been checked before.
    pub(super) fn of(pack: &'a Listpack) -> Self {
        Checked { bytes: pack.as_bytes(), count: pack.len() }
    }

    /// The bytes as the RDB stores them.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the whole layout in bytes.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Position behind the last entry.
    pub fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    /// All entries in order.
    pub fn iter(&self) -> ListpackIter<'a> {
        ListpackIter::over(self.bytes)
    }

    /// Whether two of its entries are the same text, looking at every `stride`-th from the first on.
    pub fn has_twice(&self, stride: usize) -> bool {
        let items = || self.iter().step_by(stride);
        if self.count / stride <= FEW {
            return is_any_twice_of_few(items);
        }
        // A table with room for twice as many; the hash is keyed, so nobody can fill one place of it.
        let mut seen: Vec<Option<Element<'_>>> = vec![None; (self.count / stride * 2).next_power_of_two()];
        let mask = seen.len() - 1;
        items().any(|item| {
            let mut place = item.with(hash_of) as usize & mask; // the low bits
            while let Some(other) = &seen[place] {
                if *other == item {
                    return true;
                }
                place = (place + 1) & mask;
            }
            seen[place] = Some(item);
            false
        })
    }
}

/// Compares the prints of all with each other, and the texts of those whose prints are the same.
fn is_any_twice_of_few<'a, I: Iterator<Item = Element<'a>>>(items: impl Fn() -> I) -> bool {
    let mut prints = [0u32; FEW + 1]; // one more where the last group lacks its counterpart
    for (index, item) in items().enumerate() {
        let print = print_of(item);
        // No early end: so a vector is compared at once.
        let is_seen = prints[..index].iter().fold(false, |seen, other| seen | (*other == print));
        if is_seen && items().take(index).any(|before| before == item) {
            return true;
        }
        prints[index] = print;
    }
    false
}

/// A number that equal texts share, from a text's length and ends.
fn print_of(item: Element<'_>) -> u32 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let (front, back) = match (item.as_i64(), item) {
        (Some(value), _) | (None, Element::Int(value)) => (value.cast_unsigned(), 0),
        (None, Element::Bytes(text)) => ends_of(text),
    };
    let mixed = (front ^ back.rotate_left(29)).wrapping_mul(MIX);
    (mixed >> 32) as u32 // the upper half
}

/// The first and the last eight bytes of a text, which may overlap, and its length in them where it is shorter.
fn ends_of(text: &[u8]) -> (u64, u64) {
    if let (Some(front), Some(back)) = (text.first_chunk(), text.last_chunk()) {
        return (u64::from_le_bytes(*front), u64::from_le_bytes(*back) ^ text.len() as u64); // widening
    }
    let mut word = [0; 8];
    word[..text.len()].copy_from_slice(text);
    word[7] = text.len() as u8; // below 8
    (u64::from_le_bytes(word), 0)
}

/// A listpack that is put together at the end of a buffer.
#[derive(Debug)]
pub struct Packing {
    start: usize,
    count: usize,
}

impl Packing {
    /// An empty one behind what `out` holds.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        Packing { start, count: 0 }
    }

    /// Appends; what spells a canonical integer is stored as one.
    pub fn push(&mut self, out: &mut Vec<u8>, item: Element<'_>) {
        append_entry(out, item);
        self.count += 1;
    }

    /// Makes it what a file would have. It must not have grown beyond 4 GB.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.push(END);
        let bytes = &mut out[self.start..];
        let total = u32::try_from(bytes.len()).expect("callers stop long before 4 GB");
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..HEADER].copy_from_slice(&u16::try_from(self.count).unwrap_or(UNKNOWN).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_in_a_buffer_is_what_pushing_gives() {
        let items: [&[u8]; 7] = [b"", b"12", b"-70000", b"word", &[b'x'; 70], &[b'y'; 5000], b"9223372036854775807"];
        let mut out = b"before".to_vec();
        for count in 0..=items.len() {
            let start = out.len();
            let mut packing = Packing::begin(&mut out);
            items[..count].iter().for_each(|item| packing.push(&mut out, Element::Bytes(item)));
            packing.finish(&mut out);
            let pushed: Listpack = items[..count].iter().copied().collect();
            assert_eq!(&out[start..], pushed.as_bytes());
            let checked = Checked::new(&out[start..]).unwrap();
            assert_eq!((checked.len(), checked.is_empty()), (count, count == 0));
        }
        assert!(out.starts_with(b"before"));
    }

    #[test]
    fn texts_that_share_length_and_ends_are_told_apart() {
        let text = |middle: u8| [&b"12345678"[..], &[middle], b"12345678"].concat();
        for count in [2, FEW, FEW + 1] {
            let mut items: Vec<Vec<u8>> = (0..count).map(|index| text(index as u8)).collect();
            let pack = |items: &[Vec<u8>]| items.iter().map(|item| &item[..]).collect::<Listpack>();
            assert!(!pack(&items).has_twice(1), "{count}");
            items[count - 1] = text(0);
            assert!(pack(&items).has_twice(1), "{count}");
        }
        let short: Vec<Vec<u8>> = (0..9).map(|len| vec![0; len]).collect();
        assert!(!short.iter().map(|item| &item[..]).collect::<Listpack>().has_twice(1));
    }
}
