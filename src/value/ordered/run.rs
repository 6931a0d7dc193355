//! Some members in order, in one block of memory.
//!
//! ```text
//! scores   count x f64 LE             in order, so that most searches read nothing else
//! ends     count x u16 LE             where each member ends among the members; u32 where they are more than 64 KB
//! members  one after the other
//! ```

use super::{CHUNK_BYTES, CHUNK_ENTRIES, Scored, compare};
use crate::codec::prefetch::prefetch;
use crate::cow::{Chunk, ThinBytes};
use std::cmp::Ordering;

const SCORE: usize = size_of::<f64>();
const NARROW_END: usize = size_of::<u16>();
const WIDE_END: usize = size_of::<u32>();
/// Members of more bytes have wide ends.
const MOST_NARROW: usize = u16::MAX as usize;
const CACHE_LINE: usize = 64;

/// Members in order of (score, bytes); see the module.
#[derive(Clone, Debug)]
pub(super) struct Run {
    block: ThinBytes,
    count: u32,
    is_wide: bool,
}

impl Default for Run {
    fn default() -> Self {
        Run { block: ThinBytes::from(&[][..]), count: 0, is_wide: false }
    }
}

impl Chunk for Run {
    fn weight(&self) -> u64 {
        u64::from(self.count)
    }

    fn key(&self) -> u64 {
        if self.count == 0 { 0 } else { super::ascending_bits(self.score(0)) }
    }
}

impl Run {
    /// A run of these, which must be in order.
    fn collect<'a>(entries: impl Iterator<Item = Scored<'a>> + Clone) -> Self {
        let (count, len) = entries.clone().fold((0, 0), |(count, len), entry| (count + 1, len + entry.1.len()));
        let is_wide = len > MOST_NARROW;
        let width = if is_wide { WIDE_END } else { NARROW_END };
        let mut block = ThinBytes::zeroed(count * (SCORE + width) + len);
        let (scores, rest) = block.split_at_mut(count * SCORE);
        let (ends, members) = rest.split_at_mut(count * width);
        let places = scores.chunks_exact_mut(SCORE).zip(ends.chunks_exact_mut(width));
        let mut at = 0;
        for ((score, end), entry) in places.zip(entries) {
            members[at..at + entry.1.len()].copy_from_slice(entry.1);
            at += entry.1.len();
            score.copy_from_slice(&entry.0.to_le_bytes());
            // Members of a chunk are below 4 GB, and below 64 KB where ends are narrow.
            end.copy_from_slice(&(at as u32).to_le_bytes()[..width]);
        }
        Run { block, count: u32::try_from(count).expect("a chunk has few entries"), is_wide }
    }

    pub(super) fn len(&self) -> usize {
        self.count as usize // 32 bits fit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn footprint(&self) -> usize {
        self.block.footprint()
    }

    fn width(&self) -> usize {
        if self.is_wide { WIDE_END } else { NARROW_END }
    }

    /// Where the members begin in the block.
    fn members_at(&self) -> usize {
        self.len() * (SCORE + self.width())
    }

    fn members_len(&self) -> usize {
        self.block.len() - self.members_at()
    }

    fn scores(&self) -> &[[u8; SCORE]] {
        &self.block.as_chunks().0[..self.len()]
    }

    pub(super) fn score(&self, index: usize) -> f64 {
        f64::from_le_bytes(self.scores()[index])
    }

    fn end(&self, index: usize) -> usize {
        let ends = &self.block[self.len() * SCORE..];
        if self.is_wide {
            u32::from_le_bytes(ends.as_chunks().0[index]) as usize // 32 bits fit
        } else {
            usize::from(u16::from_le_bytes(ends.as_chunks().0[index]))
        }
    }

    /// Where member `index` begins among the members.
    pub(super) fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.end(before))
    }

    pub(super) fn entry(&self, index: usize) -> Scored<'_> {
        let members = self.members_at();
        (self.score(index), &self.block[members + self.start(index)..members + self.end(index)])
    }

    /// Entry `index`, whose member begins at `start`, and where that ends.
    #[inline]
    pub(super) fn entry_from(&self, index: usize, start: usize) -> (Scored<'_>, usize) {
        let (members, end) = (self.members_at(), self.end(index));
        ((self.score(index), &self.block[members + start..members + end]), end)
    }

    fn entries(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = Scored<'_>> + Clone {
        range.map(|index| self.entry(index))
    }

    /// How many entries satisfy `holds`, which must be true for a prefix and false for the rest.
    pub(super) fn partition(&self, holds: impl Fn(Scored<'_>) -> bool) -> usize {
        self.partition_between(0, self.len(), holds)
    }

    fn partition_between(&self, low: usize, high: usize, holds: impl Fn(Scored<'_>) -> bool) -> usize {
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.entry(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// How many entries have a lower score.
    fn lower_scores(&self, score: f64) -> usize {
        // The scores' lines at once, rather than one after the other.
        self.block[..self.len() * SCORE].iter().step_by(CACHE_LINE).for_each(|line| prefetch(line));
        self.scores().partition_point(|other| f64::from_le_bytes(*other) < score)
    }

    /// How many entries come before `entry`.
    pub(super) fn lower_bound(&self, entry: Scored<'_>) -> usize {
        let low = self.lower_scores(entry.0);
        let is_tie = |other: &[u8; SCORE]| f64::from_le_bytes(*other) <= entry.0;
        // Seldom more than one.
        let ties = match &self.scores()[low..] {
            [first, rest @ ..] if is_tie(first) => match rest.first() {
                Some(second) if is_tie(second) => 1 + rest.partition_point(is_tie),
                _ => 1,
            },
            _ => return low,
        };
        self.partition_between(low, low + ties, |(_, member)| member < entry.1)
    }

    /// The place of `entry`, if it is there.
    pub(super) fn find(&self, entry: Scored<'_>) -> Option<usize> {
        let index = self.lower_bound(entry);
        (index < self.len() && compare(self.entry(index), entry) == Ordering::Equal).then_some(index)
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() > CHUNK_ENTRIES || (self.members_len() > CHUNK_BYTES && self.len() > 1)
    }

    /// Whether entry `index` may have this score and stay where it is, between two others.
    pub(super) fn may_rescore(&self, index: usize, (score, member): Scored<'_>) -> bool {
        let is_between = index > 0 && index + 1 < self.len();
        is_between
            && compare(self.entry(index - 1), (score, member)) == Ordering::Less
            && compare((score, member), self.entry(index + 1)) == Ordering::Less
    }

    pub(super) fn rescore(&mut self, index: usize, score: f64) {
        self.block[index * SCORE..][..SCORE].copy_from_slice(&score.to_le_bytes());
    }

    pub(super) fn insert(&mut self, index: usize, (score, member): Scored<'_>) {
        let (count, len) = (self.len(), member.len());
        if self.is_wide || self.members_len() + len > MOST_NARROW {
            let new = std::iter::once((score, member));
            *self = Run::collect(self.entries(0..index).chain(new).chain(self.entries(index..count)));
            return;
        }
        let (old, start) = (self.block.len(), self.start(index));
        let (ends, members) = (count * SCORE, count * (SCORE + NARROW_END));
        self.block.replace(old..old, SCORE + NARROW_END + len);
        let block = &mut *self.block;
        // From the back, so that nothing is overwritten before it has moved.
        block.copy_within(members + start..old, members + SCORE + NARROW_END + start + len);
        block.copy_within(members..members + start, members + SCORE + NARROW_END);
        block[members + SCORE + NARROW_END + start..][..len].copy_from_slice(member);
        let end = ends + index * NARROW_END;
        block.copy_within(end..members, end + SCORE + NARROW_END);
        block.copy_within(ends..end, ends + SCORE);
        block.copy_within(index * SCORE..ends, (index + 1) * SCORE);
        block[index * SCORE..][..SCORE].copy_from_slice(&score.to_le_bytes());
        let ends = &mut block[ends + SCORE..members + SCORE + NARROW_END];
        ends[index * NARROW_END..][..NARROW_END].copy_from_slice(&(start as u16).to_le_bytes()); // narrow, as it was
        shift(&mut ends[index * NARROW_END..], len as u16); // narrow: checked above
        self.count += 1;
    }

    pub(super) fn remove_many(&mut self, index: usize, removed: usize) {
        let (count, behind) = (self.len(), index + removed);
        if self.is_wide {
            *self = Run::collect(self.entries(0..index).chain(self.entries(behind..count)));
            return;
        }
        let (start, end, left) = (self.start(index), self.start(behind), count - removed);
        let (ends, members) = (count * SCORE, count * (SCORE + NARROW_END));
        let (new_ends, new_members) = (left * SCORE, left * (SCORE + NARROW_END));
        let block = &mut *self.block;
        shift(&mut block[ends + behind * NARROW_END..members], ((end - start) as u16).wrapping_neg()); // both narrow
        // From the front, so that nothing is overwritten before it has moved.
        block.copy_within(behind * SCORE..ends, index * SCORE);
        block.copy_within(ends..ends + index * NARROW_END, new_ends);
        block.copy_within(ends + behind * NARROW_END..members, new_ends + index * NARROW_END);
        block.copy_within(members..members + start, new_members);
        block.copy_within(members + end.., new_members + start);
        let len = block.len() - removed * (SCORE + NARROW_END) - (end - start);
        self.block.truncate(len);
        self.count = left as u32; // fewer than there were
    }

    /// Keeps the entries before `index` and returns the others.
    pub(super) fn cut(&mut self, index: usize) -> Run {
        let right = Run::collect(self.entries(index..self.len()));
        *self = Run::collect(self.entries(0..index));
        right
    }

    pub(super) fn append(&mut self, other: &Run) {
        *self = Run::collect(self.entries(0..self.len()).chain(other.entries(0..other.len())));
    }
}

/// Adds to narrow ends.
fn shift(ends: &mut [u8], by: u16) {
    for end in ends.as_chunks_mut().0 {
        *end = u16::from_le_bytes(*end).wrapping_add(by).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_behaves_as_a_vector_whatever_the_lengths_of_its_members() {
        for (seed, long) in [(1, 40), (2, 3_000), (3, 40_000)] {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut run, mut model) = (Run::default(), Vec::<(f64, Vec<u8>)>::new());
            for step in 0..400 {
                let entry = (f64::from(rng.i32(-4..4)), vec![rng.u8(..); rng.usize(..long)]);
                let index = run.lower_bound((entry.0, &entry.1));
                let found = model.binary_search_by(|other| compare((other.0, &other.1), (entry.0, &entry.1)));
                assert_eq!((run.find((entry.0, &entry.1)).ok_or(index)), found);
                if found.is_err() && model.len() < 40 {
                    run.insert(index, (entry.0, &entry.1));
                    model.insert(index, entry);
                } else if !model.is_empty() {
                    let start = rng.usize(..model.len());
                    let count = rng.usize(..=(model.len() - start).min(3));
                    run.remove_many(start, count);
                    model.drain(start..start + count);
                }
                if step % 50 == 49 {
                    let at = rng.usize(..=model.len());
                    let right = run.cut(at);
                    assert_eq!((run.len(), right.len()), (at, model.len() - at));
                    run.append(&right);
                }
                assert!(run.entries(0..run.len()).eq(model.iter().map(|(score, member)| (*score, &member[..]))));
            }
        }
    }

    #[test]
    fn a_score_changes_in_place_only_between_its_neighbours() {
        let mut run = Run::collect([(1.0, &b"a"[..]), (2.0, b"b"), (3.0, b"c")].into_iter());
        assert!(run.may_rescore(1, (2.5, b"b")) && run.may_rescore(1, (1.0, b"b")) && run.may_rescore(1, (3.0, b"b")));
        assert!(!run.may_rescore(1, (0.5, b"b")) && !run.may_rescore(1, (3.5, b"b")));
        assert!(!run.may_rescore(0, (1.5, b"a")) && !run.may_rescore(2, (2.5, b"c")));
        run.rescore(1, 2.5);
        assert_eq!((run.entry(1), run.len()), ((2.5, &b"b"[..]), 3));
    }
}
