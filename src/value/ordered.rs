//! Byte strings ordered by score, then by their own bytes: the second half of a large sorted set, and the fields of a
//! large hash by the time they expire.

use crate::allocator::block_size;
use crate::cow::{Chunk, Place, Sequence, sequence};
use std::cmp::Ordering;

/// Most entries of a chunk.
const CHUNK_ENTRIES: usize = if cfg!(test) { 6 } else { 64 };
/// A chunk of more bytes is cut if it has more than one entry, so that few bytes are copied on a write.
const CHUNK_BYTES: usize = 4096;

/// A score (never NaN) and a member.
pub(super) type Scored<'a> = (f64, &'a [u8]);

/// Members in order of (score, bytes). A member must be added at most once.
#[derive(Clone, Debug, Default)]
pub(super) struct Ordered {
    chunks: Sequence<Run>,
}

/// Some members in order: `ends[i]` is where member `i` ends in `bytes`.
#[derive(Clone, Debug, Default)]
struct Run {
    scores: Vec<f64>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Chunk for Run {
    fn weight(&self) -> u64 {
        self.scores.len() as u64
    }

    fn key(&self) -> u64 {
        self.scores.first().map_or(0, |score| ascending_bits(*score))
    }
}

impl Ordered {
    pub(super) fn len(&self) -> usize {
        // Every entry takes memory, so the count fits.
        self.chunks.weight() as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn insert(&mut self, entry: Scored<'_>) {
        if self.chunks.is_empty() {
            self.chunks.push_back(Run::default());
        }
        let place = self.chunk_for(entry);
        let right = self.chunks.modify(place, |run| {
            let index = run.lower_bound(entry);
            run.insert(index, entry);
            // Filled in ascending order, full chunks stay full.
            run.is_full().then(|| run.cut(if index + 1 == run.scores.len() { index } else { run.scores.len() / 2 }))
        });
        if let Some(Some(right)) = right {
            // The part that stayed begins as the whole did, or with `entry`, and not behind it.
            let ordinal = match place {
                Place::Ordinal(ordinal) => ordinal,
                Place::Key(_) => self.chunks.position(place).ordinal,
            };
            self.chunks.insert(ordinal + 1, right);
        }
    }

    /// False if the entry is not there.
    pub(super) fn remove(&mut self, entry: Scored<'_>) -> bool {
        if self.chunks.is_empty() {
            return false;
        }
        let place = self.chunk_for(entry);
        let Some(run) = self.chunks.get(place) else { return false };
        let index = run.lower_bound(entry);
        if index == run.scores.len() || compare(run.entry(index), entry) != Ordering::Equal {
            return false;
        }
        if run.scores.len() > CHUNK_ENTRIES / 4 {
            self.chunks.modify(place, |run| run.remove(index));
            return true;
        }
        // What becomes small is named by its number: without its first entry it may have another key.
        let ordinal = self.chunks.position(place).ordinal;
        self.chunks.modify(Place::Ordinal(ordinal), |run| run.remove(index));
        self.join(ordinal);
        true
    }

    /// Takes up to `count` entries out from rank `start` on: whole chunks at once.
    pub(super) fn remove_range(&mut self, start: usize, count: usize) {
        let mut left = count;
        while left > 0
            && let Some((position, within)) = self.chunks.locate(start as u64)
        {
            let place = Place::Ordinal(position.ordinal);
            let within = within as usize; // the rank within a chunk is small
            let held = self.chunks.get(place).map_or(0, |run| run.scores.len());
            let going = left.min(held - within);
            if going == held {
                self.chunks.remove(position.ordinal);
            } else {
                self.chunks.modify(place, |run| run.remove_many(within, going));
                if held - going < CHUNK_ENTRIES / 4 {
                    self.join(position.ordinal);
                }
            }
            left -= going;
        }
    }

    /// How many entries come before `entry`, which need not be there.
    pub(super) fn rank(&self, entry: Scored<'_>) -> usize {
        if self.chunks.is_empty() {
            return 0;
        }
        let place = self.chunk_for(entry);
        let within = self.chunks.get(place).map_or(0, |run| run.lower_bound(entry));
        self.chunks.position(place).before as usize + within // at most the count
    }

    /// How many entries have a lower score, or no higher one if `or_equal`.
    pub(super) fn rank_of_score(&self, score: f64, or_equal: bool) -> usize {
        // The last chunk that begins with such a score is found by its key alone.
        let bits = ascending_bits(score);
        let Some(key) = (if or_equal { Some(bits) } else { bits.checked_sub(1) }) else { return 0 };
        let place = Place::Key(key);
        let Some(run) = self.chunks.get(place).filter(|run| run.key() <= key) else { return 0 };
        let within = run.partition(|(other, _)| other < score || (or_equal && other == score));
        self.chunks.position(place).before as usize + within // at most the count
    }

    /// How many entries satisfy `holds`, which must be true for a prefix and false for the rest.
    pub(super) fn prefix(&self, holds: impl Fn(Scored<'_>) -> bool) -> usize {
        let position = self.chunks.prefix(|run| holds(run.entry(0)));
        let Some(ordinal) = position.ordinal.checked_sub(1) else { return 0 };
        let Some(run) = self.chunks.get(Place::Ordinal(ordinal)) else { return 0 };
        // The last chunk that begins in the prefix may end outside; both numbers are at most the count.
        position.before as usize - run.scores.len() + run.partition(holds)
    }

    pub(super) fn first(&self) -> Option<Scored<'_>> {
        self.chunks.first().filter(|run| !run.scores.is_empty()).map(|run| run.entry(0))
    }

    /// Entries from rank `rank` upwards.
    pub(super) fn iter_from(&self, rank: usize) -> Ascending<'_> {
        match self.chunks.locate(rank as u64) {
            Some((position, within)) => {
                let mut runs = self.chunks.iter_between(position.ordinal, self.chunks.chunk_count());
                // The rank within a chunk is small.
                Ascending { run: runs.next(), runs, index: within as usize }
            }
            None => Ascending { run: None, runs: self.chunks.iter_between(0, 0), index: 0 },
        }
    }

    /// Entries from rank `rank` (or the last) downwards.
    pub(super) fn iter_rev_from(&self, rank: usize) -> Descending<'_> {
        let Some(last) = self.len().checked_sub(1) else {
            return Descending { run: None, runs: self.chunks.iter_between(0, 0), index: 0 };
        };
        let (position, within) =
            self.chunks.locate(rank.min(last) as u64).expect("the rank was brought below the count");
        let mut runs = self.chunks.iter_between(0, position.ordinal + 1);
        Descending { run: runs.next_back(), runs, index: within as usize + 1 }
    }

    pub(super) fn footprint(&self) -> usize {
        self.chunks.footprint(|run| {
            let Run { scores, ends, bytes } = run;
            block_size(scores.capacity() * 8) + block_size(ends.capacity() * 4) + block_size(bytes.capacity())
        })
    }

    /// The last chunk that does not begin behind `entry`, or the first.
    fn chunk_for(&self, entry: Scored<'_>) -> Place {
        let place = Place::Key(ascending_bits(entry.0));
        let begins_before = |run: &Run| !run.scores.is_empty() && compare(run.entry(0), entry) != Ordering::Greater;
        if self.chunks.get(place).is_some_and(begins_before) {
            return place;
        }
        // Several chunks begin with this score: the members decide.
        Place::Ordinal(self.chunks.prefix(begins_before).ordinal.saturating_sub(1))
    }

    fn join(&mut self, ordinal: usize) {
        let count = |ordinal| self.chunks.get(Place::Ordinal(ordinal)).map_or(CHUNK_ENTRIES, |run| run.scores.len());
        let own = count(ordinal);
        if own == 0 {
            self.chunks.remove(ordinal);
            return;
        }
        let left = if ordinal > 0 && count(ordinal - 1) + own <= CHUNK_ENTRIES / 2 {
            ordinal - 1
        } else if count(ordinal + 1) + own <= CHUNK_ENTRIES / 2 {
            ordinal
        } else {
            return;
        };
        let right = self.chunks.remove(left + 1).expect("a neighbour was just counted");
        self.chunks.modify(Place::Ordinal(left), |run| run.append(&right)).expect("a neighbour was just counted");
    }
}

/// Entries upwards.
#[derive(Clone, Debug)]
pub(super) struct Ascending<'a> {
    runs: sequence::Iter<'a, Run>,
    run: Option<&'a Run>,
    index: usize,
}

impl<'a> Iterator for Ascending<'a> {
    type Item = Scored<'a>;

    fn next(&mut self) -> Option<Scored<'a>> {
        loop {
            let run = self.run?;
            if self.index < run.scores.len() {
                self.index += 1;
                return Some(run.entry(self.index - 1));
            }
            self.run = self.runs.next();
            self.index = 0;
        }
    }
}

/// Entries downwards; `index` counts those of the chunk still to come.
#[derive(Clone, Debug)]
pub(super) struct Descending<'a> {
    runs: sequence::Iter<'a, Run>,
    run: Option<&'a Run>,
    index: usize,
}

impl<'a> Iterator for Descending<'a> {
    type Item = Scored<'a>;

    fn next(&mut self) -> Option<Scored<'a>> {
        loop {
            let run = self.run?;
            if self.index > 0 {
                self.index -= 1;
                return Some(run.entry(self.index));
            }
            self.run = self.runs.next_back();
            self.index = self.run.map_or(0, |run| run.scores.len());
        }
    }
}

impl Run {
    fn start(&self, index: usize) -> usize {
        // Offsets are 32 bits, which every usize of ours holds.
        index.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    fn entry(&self, index: usize) -> Scored<'_> {
        (self.scores[index], &self.bytes[self.start(index)..self.ends[index] as usize])
    }

    fn partition(&self, holds: impl Fn(Scored<'_>) -> bool) -> usize {
        let (mut low, mut high) = (0, self.scores.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.entry(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn lower_bound(&self, entry: Scored<'_>) -> usize {
        self.partition(|other| compare(other, entry) == Ordering::Less)
    }

    fn is_full(&self) -> bool {
        self.scores.len() > CHUNK_ENTRIES || (self.bytes.len() > CHUNK_BYTES && self.scores.len() > 1)
    }

    fn insert(&mut self, index: usize, (score, member): Scored<'_>) {
        let len = u32::try_from(member.len()).expect("a member is below 4 GB");
        let start = self.start(index);
        make_room(&mut self.scores, 1);
        make_room(&mut self.ends, 1);
        make_room(&mut self.bytes, member.len());
        self.scores.insert(index, score);
        self.bytes.splice(start..start, member.iter().copied());
        // The start of a member is below 4 GB: only the last of a chunk can be long, and it was alone before.
        self.ends.insert(index, start as u32);
        for end in &mut self.ends[index..] {
            *end += len;
        }
    }

    fn remove(&mut self, index: usize) {
        self.remove_many(index, 1);
    }

    fn remove_many(&mut self, index: usize, count: usize) {
        let (start, end) = (self.start(index), self.start(index + count));
        self.bytes.drain(start..end);
        self.scores.drain(index..index + count);
        self.ends.drain(index..index + count);
        for later in &mut self.ends[index..] {
            *later -= (end - start) as u32; // a difference of two 32-bit offsets
        }
    }

    /// Keeps the entries before `index` and returns the others.
    fn cut(&mut self, index: usize) -> Run {
        let start = self.start(index);
        let right = Run {
            scores: self.scores.split_off(index),
            ends: self.ends.split_off(index).into_iter().map(|end| end - start as u32).collect(), // an offset
            bytes: self.bytes.split_off(start),
        };
        self.scores.shrink_to(index + index / 8);
        self.ends.shrink_to(index + index / 8);
        self.bytes.shrink_to(start + start / 8);
        right
    }

    fn append(&mut self, other: &Run) {
        let start = self.bytes.len();
        self.scores.extend_from_slice(&other.scores);
        self.ends.extend(other.ends.iter().map(|end| end + start as u32)); // an offset
        self.bytes.extend_from_slice(&other.bytes);
    }
}

/// Order by score (the two zeros are equal), then by bytes.
pub(super) fn compare(left: Scored<'_>, right: Scored<'_>) -> Ordering {
    left.0.partial_cmp(&right.0).expect("a score is never NaN").then_with(|| left.1.cmp(right.1))
}

/// Maps scores to integers of the same order, and both zeros to one.
fn ascending_bits(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn make_room<T>(buffer: &mut Vec<T>, extra: usize) {
    if buffer.capacity() - buffer.len() < extra {
        buffer.reserve_exact(extra + buffer.len() / 8 + 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_ascend_with_scores() {
        let scores = [f64::NEG_INFINITY, -1e300, -1.0, -f64::MIN_POSITIVE, -0.0, 1e-310, 1.0, 2.0, f64::INFINITY];
        assert!(scores.windows(2).all(|pair| ascending_bits(pair[0]) < ascending_bits(pair[1])));
        assert_eq!(ascending_bits(-0.0), ascending_bits(0.0));
    }

    #[test]
    fn entries_stay_in_order_and_clones_as_they_were() {
        let mut rng = fastrand::Rng::with_seed(8);
        let (mut ordered, mut model) = (Ordered::default(), Vec::<(f64, Vec<u8>)>::new());
        let mut clones = Vec::new();
        for step in 0..6000 {
            let score = f64::from(rng.i32(-3..3)) * rng.f64().round();
            let member = vec![rng.u8(b'a'..b'f'); rng.usize(..40)];
            let found = model.binary_search_by(|other| compare((other.0, &other.1), (score, &member)));
            let rank = found.unwrap_or_else(|rank| rank);
            assert_eq!(ordered.rank((score, &member)), rank);
            match found {
                Err(at) if rng.u32(..100) < if step % 2000 < 1500 { 80 } else { 10 } => {
                    ordered.insert((score, &member));
                    model.insert(at, (score, member));
                }
                Err(_) => assert!(!ordered.remove((score, &member))),
                Ok(at) if rng.bool() => {
                    assert!(ordered.remove((score, &member)));
                    model.remove(at);
                }
                Ok(_) => {}
            }
            assert_eq!(ordered.first().map(|first| first.0), model.first().map(|first| first.0));
            if step % 113 == 0 {
                clones.push((ordered.clone(), model.clone()));
            }
        }
        for (ordered, model) in &clones {
            let expected: Vec<Scored<'_>> = model.iter().map(|(score, member)| (*score, &member[..])).collect();
            for rank in (0..model.len() + 2).step_by(11) {
                assert!(ordered.iter_from(rank).eq(expected.iter().skip(rank).copied()));
                assert!(ordered.iter_rev_from(rank).eq(expected.iter().take(rank + 1).rev().copied()));
            }
            for bound in -4..4 {
                let bound = f64::from(bound);
                assert_eq!(ordered.prefix(|entry| entry.0 < bound), expected.partition_point(|entry| entry.0 < bound));
                assert_eq!(ordered.rank_of_score(bound, false), expected.partition_point(|entry| entry.0 < bound));
                assert_eq!(ordered.rank_of_score(bound, true), expected.partition_point(|entry| entry.0 <= bound));
            }
            for (start, count) in
                [(0, 3), (5, 40), (model.len() / 2, 1), (model.len() / 3, usize::MAX), (0, usize::MAX)]
            {
                let mut shorter = ordered.clone();
                shorter.remove_range(start, count);
                let left = expected.iter().take(start).chain(expected.iter().skip(start.saturating_add(count)));
                assert!(shorter.iter_from(0).eq(left.copied()), "{start} {count} of {}", model.len());
                assert!(ordered.iter_from(0).eq(expected.iter().copied()));
            }
        }
    }
}
