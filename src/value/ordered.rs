//! Byte strings ordered by score, then by their own bytes: the second half of a large sorted set, and the fields of a
//! large hash by the time they expire.

mod run;

use crate::cow::{Chunk, Path, Place, Sequence, sequence};
use run::Run;
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

impl Ordered {
    pub(super) fn len(&self) -> usize {
        // Every entry takes memory, so the count fits.
        self.chunks.weight() as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn insert(&mut self, entry: Scored<'_>) {
        let Some((path, run)) = self.chunk_for(entry) else {
            let mut run = Run::default();
            run.insert(0, entry);
            return self.chunks.push_back(run);
        };
        let index = run.lower_bound(entry);
        let right = self.chunks.modify_at(&path, |run| {
            run.insert(index, entry);
            // Filled in ascending order, full chunks stay full.
            run.is_full().then(|| run.cut(if index + 1 == run.len() { index } else { run.len() / 2 }))
        });
        if let Some(right) = right {
            self.chunks.insert(self.chunks.position_at(&path).ordinal + 1, right);
        }
    }

    /// False if the entry is not there.
    pub(super) fn remove(&mut self, entry: Scored<'_>) -> bool {
        let found = self.find(entry);
        if let Some((path, index)) = found {
            self.remove_at(&path, index);
        }
        found.is_some()
    }

    fn remove_at(&mut self, path: &Path, index: usize) {
        let left = self.chunks.modify_at(path, |run| {
            run.remove_many(index, 1);
            run.len()
        });
        if left < CHUNK_ENTRIES / 4 {
            self.join(self.chunks.position_at(path).ordinal);
        }
    }

    /// Gives a member that is there another score.
    pub(super) fn rescore(&mut self, entry: Scored<'_>, score: f64) {
        let Some((path, run)) = self.chunk_for(entry) else { return };
        let Some(index) = run.find(entry) else { return };
        if run.may_rescore(index, (score, entry.1)) {
            self.chunks.modify_at(&path, |run| run.rescore(index, score));
        } else {
            self.remove_at(&path, index);
            self.insert((score, entry.1));
        }
    }

    /// Takes up to `count` entries out from rank `start` on: whole chunks at once.
    pub(super) fn remove_range(&mut self, start: usize, count: usize) {
        let mut left = count;
        while left > 0
            && let Some((position, within)) = self.chunks.locate(start as u64)
        {
            let place = Place::Ordinal(position.ordinal);
            let within = within as usize; // the rank within a chunk is small
            let held = self.chunks.get(place).map_or(0, Run::len);
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
        let Some((path, run)) = self.chunk_for(entry) else { return 0 };
        self.chunks.position_at(&path).before as usize + run.lower_bound(entry) // at most the count
    }

    /// How many entries have a lower score, or no higher one if `or_equal`.
    pub(super) fn rank_of_score(&self, score: f64, or_equal: bool) -> usize {
        // The last chunk that begins with such a score is found by its key alone.
        let bits = ascending_bits(score);
        let Some(key) = (if or_equal { Some(bits) } else { bits.checked_sub(1) }) else { return 0 };
        let Some((path, run)) = self.chunks.find(Place::Key(key)).filter(|(_, run)| run.key() <= key) else { return 0 };
        let within = run.partition(|(other, _)| other < score || (or_equal && other == score));
        self.chunks.position_at(&path).before as usize + within // at most the count
    }

    /// How many entries satisfy `holds`, which must be true for a prefix and false for the rest.
    pub(super) fn prefix(&self, holds: impl Fn(Scored<'_>) -> bool) -> usize {
        let position = self.chunks.prefix(|run| holds(run.entry(0)));
        let Some(ordinal) = position.ordinal.checked_sub(1) else { return 0 };
        let Some(run) = self.chunks.get(Place::Ordinal(ordinal)) else { return 0 };
        // The last chunk that begins in the prefix may end outside; both numbers are at most the count.
        position.before as usize - run.len() + run.partition(holds)
    }

    pub(super) fn first(&self) -> Option<Scored<'_>> {
        self.chunks.first().filter(|run| !run.is_empty()).map(|run| run.entry(0))
    }

    /// Entries from rank `rank` upwards.
    pub(super) fn iter_from(&self, rank: usize) -> Ascending<'_> {
        match self.chunks.locate(rank as u64) {
            Some((position, within)) => {
                let mut runs = self.chunks.iter_between(position.ordinal, self.chunks.chunk_count());
                let (run, index) = (runs.next(), within as usize); // the rank within a chunk is small
                Ascending { run, runs, index, start: run.map_or(0, |run| run.start(index)) }
            }
            None => Ascending { run: None, runs: self.chunks.iter_between(0, 0), index: 0, start: 0 },
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
        self.chunks.footprint(Run::footprint)
    }

    /// Where the entry is.
    fn find(&self, entry: Scored<'_>) -> Option<(Path, usize)> {
        let (path, run) = self.chunk_for(entry)?;
        Some((path, run.find(entry)?))
    }

    /// The last chunk that does not begin behind `entry`, or the first.
    fn chunk_for(&self, entry: Scored<'_>) -> Option<(Path, &Run)> {
        // A lower score tells without a look at the member.
        let begins_before = |run: &Run| {
            !run.is_empty() && (run.score(0) < entry.0 || compare(run.entry(0), entry) != Ordering::Greater)
        };
        let found = self.chunks.find(Place::Key(ascending_bits(entry.0)))?;
        if begins_before(found.1) {
            return Some(found);
        }
        // Several chunks begin with this score: the members decide.
        self.chunks.find(Place::Ordinal(self.chunks.prefix(begins_before).ordinal.saturating_sub(1)))
    }

    fn join(&mut self, ordinal: usize) {
        let count = |ordinal| self.chunks.get(Place::Ordinal(ordinal)).map_or(CHUNK_ENTRIES, Run::len);
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
    /// Where the next member begins among those of the run.
    start: usize,
}

impl<'a> Iterator for Ascending<'a> {
    type Item = Scored<'a>;

    #[inline]
    fn next(&mut self) -> Option<Scored<'a>> {
        loop {
            let run = self.run?;
            if self.index < run.len() {
                let (entry, end) = run.entry_from(self.index, self.start);
                self.index += 1;
                self.start = end;
                return Some(entry);
            }
            self.run = self.runs.next();
            (self.index, self.start) = (0, 0);
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
            self.index = self.run.map_or(0, Run::len);
        }
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
                    let other = f64::from(rng.i32(-3..3));
                    let to = model.binary_search_by(|entry| compare((entry.0, &entry.1), (other, &member)));
                    if let Err(to) = to {
                        ordered.rescore((score, &member), other);
                        model.insert(to, (other, member));
                        model.remove(if to <= at { at + 1 } else { at });
                    }
                }
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
