//! A leaf of a packed map: up to 64 records, found by tag.
//!
//! ```text
//! low      u64           least hash position that belongs here
//! count    u8
//! tags     [u8; 65]      lowest byte of each record's hash, searched with memchr
//! offsets  [u16; 65]     where each record starts in `bytes`
//! bytes    records       part key, part value
//! large    [Arc<[u8]>]   parts longer than 253 bytes
//!
//! part:    length u8 (0..=253), then the bytes        or 255, then the index into `large` as u16 LE
//! ```
//!
//! Tags and offsets stand in the leaf itself, so that a lookup waits for memory twice: for the leaf and for its bytes.
//! The size of 64 keeps a leaf with its reference counts within 256 bytes.

use super::HashFunction;
use crate::allocator::block_size;
use crate::codec::prefetch::prefetch;
use crate::cow::sequence::Chunk;
use std::sync::Arc;

/// Most records of a leaf, but for the moment before it is cut.
pub(super) const LEAF_RECORDS: usize = if cfg!(test) { 8 } else { 64 };
const ROOM: usize = LEAF_RECORDS + 1;
/// Longest part that stands in the leaf itself.
pub(super) const INLINE: usize = 253;
const OUT_OF_LINE: u8 = 255;

const _: () = assert!(ROOM * 2 * (INLINE + 1) <= 65536, "offsets have 16 bits");
const _: () = assert!(size_of::<Leaf>() + 16 <= 256);

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) low: u64,
    bytes: Vec<u8>,
    /// Boxed, since few leaves have any and eight bytes are less than 24.
    #[allow(clippy::box_collection)]
    large: Option<Box<Vec<Arc<[u8]>>>>,
    offsets: [u16; ROOM],
    count: u8,
    tags: [u8; ROOM],
}

/// Where a key belongs.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) position: u64,
    pub(super) tag: u8,
}

impl Default for Leaf {
    fn default() -> Self {
        Leaf { low: 0, bytes: Vec::new(), large: None, offsets: [0; ROOM], count: 0, tags: [0; ROOM] }
    }
}

impl Chunk for Leaf {
    /// Positions have 48 bits.
    const EVEN_KEYS_BELOW: Option<u64> = Some(1 << 48);

    fn weight(&self) -> u64 {
        u64::from(self.count)
    }

    fn key(&self) -> u64 {
        self.low
    }
}

impl Leaf {
    pub(super) fn find(&self, spot: Spot, key: &[u8]) -> Option<usize> {
        // The lines of a leaf are all wanted, so they are fetched side by side.
        prefetch(&self.low);
        prefetch(&self.offsets[LEAF_RECORDS / 2]);
        prefetch(&self.tags);
        memchr::memchr_iter(spot.tag, &self.tags[..self.count()]).find(|&index| self.part(self.offset(index)).0 == key)
    }

    /// How many records.
    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes that the allocator holds for its records, but for their large parts.
    pub(super) fn footprint(&self) -> usize {
        block_size(self.bytes.capacity())
    }

    /// Registers a record that begins at the end of the bytes.
    fn begin_record(&mut self, tag: u8) {
        let index = self.count();
        self.tags[index] = tag;
        self.offsets[index] = u16::try_from(self.bytes.len()).expect("the bytes of a leaf stay below 64 KB");
        self.count += 1;
    }

    /// The large part that the part at `at` stands for.
    fn large_at(&self, at: usize) -> &Arc<[u8]> {
        let large = self.large.as_ref().expect("a large part is in the leaf that names it");
        &large[self.large_index(at)]
    }

    fn offset(&self, index: usize) -> usize {
        usize::from(self.offsets[index])
    }

    pub(super) fn record(&self, index: usize) -> (&[u8], &[u8]) {
        let (key, behind) = self.part(self.offset(index));
        (key, self.part(behind).0)
    }

    /// The part at `at` and the offset behind it.
    fn part(&self, at: usize) -> (&[u8], usize) {
        match self.bytes[at] {
            OUT_OF_LINE => (self.large_at(at), at + 3),
            len => {
                let end = at + 1 + usize::from(len);
                (&self.bytes[at + 1..end], end)
            }
        }
    }

    fn large_index(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[at + 1], self.bytes[at + 2]]))
    }

    /// Whether it has to be cut before anything else is put in.
    pub(super) fn is_full(&self) -> bool {
        self.count() > LEAF_RECORDS
    }

    pub(super) fn push(&mut self, tag: u8, key: &[u8], value: &[u8]) {
        make_room(&mut self.bytes, key.len().min(INLINE) + value.len().min(INLINE) + 2);
        self.begin_record(tag);
        self.push_part(key);
        self.push_part(value);
    }

    fn push_part(&mut self, part: &[u8]) {
        match u8::try_from(part.len()) {
            Ok(len) if part.len() <= INLINE => {
                self.bytes.push(len);
                self.bytes.extend_from_slice(part);
            }
            _ => self.push_large(Arc::from(part)),
        }
    }

    fn push_large(&mut self, part: Arc<[u8]>) {
        let large = self.large.get_or_insert_default();
        let index = u16::try_from(large.len()).expect("a leaf has at most two large parts per record");
        self.bytes.push(OUT_OF_LINE);
        self.bytes.extend_from_slice(&index.to_le_bytes());
        large.push(part);
    }

    /// Puts `value` under `key`: in record number `index`, whose value's length is returned, or in a new one.
    pub(super) fn put(&mut self, index: Option<usize>, spot: Spot, key: &[u8], value: &[u8]) -> Option<usize> {
        match index {
            Some(index) => Some(self.replace(index, value)),
            None => {
                self.push(spot.tag, key, value);
                None
            }
        }
    }

    /// Returns the length of the value that was there.
    pub(super) fn replace(&mut self, index: usize, value: &[u8]) -> usize {
        let at = self.part(self.offset(index)).1;
        let old = self.part(at).0.len();
        if old == value.len() && old <= INLINE {
            self.bytes[at + 1..at + 1 + old].copy_from_slice(value);
            return old;
        }
        let (tag, start) = (self.tags[index], self.offset(index));
        if self.bytes[start] == OUT_OF_LINE {
            let key = Arc::clone(self.large_at(start));
            self.remove(index);
            self.push(tag, &[], &[]);
            let at = self.bytes.len() - 2;
            self.bytes.truncate(at);
            self.push_large(key);
            self.push_part(value);
        } else {
            let key = self.part(start).0.to_vec();
            self.remove(index);
            self.push(tag, &key, value);
        }
        old
    }

    /// Returns the length of the value that was there. The last record takes the number of the removed one.
    pub(super) fn remove(&mut self, index: usize) -> usize {
        let start = self.offset(index);
        let value = self.part(start).1;
        let (old, end) = (self.part(value).0.len(), self.part(value).1);
        // From the value to the key, so that the key's index is still the key's.
        for at in [value, start] {
            if self.bytes[at] == OUT_OF_LINE {
                self.remove_large(self.large_index(at));
            }
        }
        self.bytes.drain(start..end);
        let last = self.count() - 1;
        self.tags[index] = self.tags[last];
        self.offsets[index] = self.offsets[last];
        self.count -= 1;
        let gone = end - start;
        for offset in &mut self.offsets[..last] {
            if usize::from(*offset) > start {
                // What is removed lies before, so it is smaller than the offset.
                *offset -= gone as u16;
            }
        }
        old
    }

    /// Takes a large part out; the last one takes its index.
    fn remove_large(&mut self, index: usize) {
        let Some(large) = &mut self.large else { unreachable!("a large part is in the leaf that names it") };
        let last = large.len() - 1;
        large.swap_remove(index);
        if last == 0 {
            self.large = None;
        }
        if index == last {
            return;
        }
        for record in 0..self.count() {
            let key = self.offset(record);
            // A key whose large part was just taken out is about to go, and its length no longer matters here.
            let value = if self.bytes[key] == OUT_OF_LINE { key + 3 } else { self.part(key).1 };
            for at in [key, value] {
                if self.bytes[at] == OUT_OF_LINE && self.large_index(at) == last {
                    // Indices fit 16 bits: this one is smaller than one that did.
                    self.bytes[at + 1..at + 3].copy_from_slice(&(index as u16).to_le_bytes());
                }
            }
        }
    }

    /// Keeps the lower half of the positions and returns the upper.
    pub(super) fn cut(&mut self, hash: HashFunction) -> Leaf {
        let positions: Vec<u64> = (0..self.count()).map(|index| hash(self.record(index).0) >> 16).collect();
        let mut sorted = positions.clone();
        sorted.sort_unstable();
        let middle = sorted.len() / 2;
        let least = sorted[0];
        let bound =
            if sorted[middle] > least { Some(sorted[middle]) } else { sorted.iter().copied().find(|p| *p > least) };
        let mut left = Leaf { low: self.low, ..Leaf::default() };
        let mut right = Leaf { low: bound.unwrap_or(least), ..Leaf::default() };
        let keeps = |index: usize| bound.map_or(index < middle, |bound| positions[index] < bound);
        for side in [true, false] {
            let records = (0..positions.len()).filter(|&index| keeps(index) == side);
            (if side { &mut left } else { &mut right }).take_records(self, records);
        }
        *self = left;
        right
    }

    pub(super) fn take_in(&mut self, other: &Leaf) {
        self.take_records(other, 0..other.count());
    }

    /// Copies records of `other` to here, in buffers of a fitting size.
    fn take_records(&mut self, other: &Leaf, records: impl Iterator<Item = usize> + Clone) {
        let mut bytes = 0;
        for index in records.clone() {
            bytes += other.part(other.part(other.offset(index)).1).1 - other.offset(index);
        }
        self.bytes.reserve_exact(bytes + bytes / 16);
        for index in records {
            let mut at = other.offset(index);
            self.begin_record(other.tags[index]);
            for _ in 0..2 {
                let (part, behind) = other.part(at);
                match other.bytes[at] {
                    OUT_OF_LINE => self.push_large(Arc::clone(other.large_at(at))),
                    _ => self.push_part(part),
                }
                at = behind;
            }
        }
    }
}

/// Grows by a sixteenth: doubling would leave a quarter of all buffers empty.
fn make_room(buffer: &mut Vec<u8>, extra: usize) {
    if buffer.capacity() - buffer.len() < extra {
        buffer.reserve_exact(extra + buffer.len() / 16);
    }
}
