//! The ids that are pending in the group being read, and which of them a consumer was given.
//!
//! Streams with millions of pending entries exist, and a visit should not grow with them: ids, which servers write in
//! ascending order, are kept as differences, about four bytes each. Ids out of order are kept aside.

use std::collections::BTreeMap;

use crate::value::stream::StreamId;

/// Ids of one block; the bits of a `u64` tell which were given.
const BLOCK: u32 = u64::BITS;

#[derive(Default)]
pub(super) struct PendingIds {
    blocks: Vec<Block>,
    last: Option<StreamId>,
    /// Ids that came behind a greater one.
    late: BTreeMap<StreamId, bool>,
    not_given: u64,
}

struct Block {
    first: StreamId,
    /// For each further id: its ms less those before, then its seq, less that before where the ms are the same.
    differences: Vec<u8>,
    count: u32,
    given: u64,
}

impl PendingIds {
    /// Adds an id; false if it is there.
    pub(super) fn insert(&mut self, id: StreamId) -> bool {
        let fresh = match self.last {
            Some(last) if id <= last => self.find(id).is_none() && self.late.insert(id, false).is_none(),
            last => {
                self.append(id, last);
                self.last = Some(id);
                true
            }
        };
        self.not_given += u64::from(fresh);
        fresh
    }

    /// Notes that a consumer was given `id`: `None` if it is not pending, false if it was given before.
    pub(super) fn give(&mut self, id: StreamId) -> Option<bool> {
        let fresh = match self.find(id) {
            Some((block, place)) => {
                let bit = 1 << place;
                let given = &mut self.blocks[block].given;
                let fresh = *given & bit == 0;
                *given |= bit;
                fresh
            }
            None => !std::mem::replace(self.late.get_mut(&id)?, true),
        };
        self.not_given -= u64::from(fresh);
        Some(fresh)
    }

    /// How many ids no consumer was given.
    pub(super) fn not_given(&self) -> u64 {
        self.not_given
    }

    fn append(&mut self, id: StreamId, last: Option<StreamId>) {
        match (self.blocks.last_mut(), last) {
            (Some(block), Some(last)) if block.count < BLOCK => {
                let ms = id.ms - last.ms;
                put(&mut block.differences, ms);
                put(&mut block.differences, if ms == 0 { id.seq - last.seq } else { id.seq });
                block.count += 1;
            }
            _ => {
                if let Some(full) = self.blocks.last_mut() {
                    full.differences.shrink_to_fit();
                }
                self.blocks.push(Block { first: id, differences: Vec::new(), count: 1, given: 0 });
            }
        }
    }

    /// The block of an id that came in order, and its place there.
    fn find(&self, id: StreamId) -> Option<(usize, u32)> {
        let index = self.blocks.partition_point(|block| block.first <= id).checked_sub(1)?;
        let place = self.blocks[index].ids().position(|other| other == id)?;
        u32::try_from(place).ok().map(|place| (index, place))
    }
}

impl Block {
    fn ids(&self) -> impl Iterator<Item = StreamId> {
        let mut left = &self.differences[..];
        std::iter::successors(Some(self.first), move |before| {
            let ms = take(&mut left)?;
            let seq = take(&mut left)?;
            let seq = if ms == 0 { before.seq + seq } else { seq };
            Some(StreamId::new(before.ms + ms, seq))
        })
    }
}

/// Appends a number, seven bits to a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80); // the low seven bits
        number >>= 7;
    }
    out.push(number as u8); // below 0x80
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_a_map_whatever_the_order() {
        let mut rng = fastrand::Rng::with_seed(29);
        let (mut ids, mut model) = (PendingIds::default(), BTreeMap::new());
        let mut last = StreamId::MIN;
        let mut all = vec![StreamId::MIN, StreamId::MAX];
        for _ in 0..5_000 {
            let id = match rng.u8(0..10) {
                0 => StreamId::new(rng.u64(0..=last.ms), rng.u64(0..4)),
                1..=4 => StreamId::new(last.ms, last.seq + rng.u64(1..1_000)),
                _ => StreamId::new(last.ms + rng.u64(1..100_000), rng.u64(0..3)),
            };
            last = last.max(id);
            all.push(id);
            assert_eq!(ids.insert(id), model.insert(id, false).is_none());
        }
        for _ in 0..8_000 {
            let id = all[rng.usize(0..all.len())];
            assert_eq!(ids.give(id), model.get_mut(&id).map(|given| !std::mem::replace(given, true)));
            assert_eq!(ids.give(StreamId::new(id.ms, id.seq ^ 1 << 40)), None);
        }
        assert_eq!(ids.not_given(), model.values().filter(|given| !**given).count() as u64);
    }

    #[test]
    fn a_pending_entry_takes_a_few_bytes() {
        let mut ids = PendingIds::default();
        for ms in 0..100_000 {
            assert!(ids.insert(StreamId::new(1_700_000_000_000 + ms * 3, 0)));
        }
        let bytes: usize = ids.blocks.iter().map(|block| size_of::<Block>() + block.differences.capacity()).sum();
        assert!(bytes < 500_000, "{bytes} bytes");
    }
}
