//! Which of many things come twice, at 16 bytes each, and beyond a budget on disk.

use std::io;

use crate::disk::Sorter;

/// Bytes of one fingerprint.
const EACH: usize = size_of::<u128>();

/// So many are compared with one another, which is quicker than sorting them.
const FEW: usize = 24;

/// By what less is held in memory once there is a file.
const REDUCTION: usize = 16;

/// Collects fingerprints and tells which occur more than once.
pub(super) struct Repeats {
    held: Vec<u128>,
    /// How many are held before all go to the disk; fewer after the first time.
    most: usize,
    whole: usize,
    is_reduced: bool,
    spilled: Option<Sorter>,
}

impl Repeats {
    /// Holds up to `budget` bytes of fingerprints in memory.
    pub(super) fn new(budget: usize) -> Self {
        Repeats { held: Vec::new(), most: budget / EACH, whole: budget / EACH, is_reduced: false, spilled: None }
    }

    pub(super) fn push(&mut self, fingerprint: u128) -> io::Result<()> {
        if self.held.len() == self.most {
            self.spill()?;
        }
        if self.held.len() == self.held.capacity() {
            // Doubling by the vector itself could exceed the budget.
            let more = self.held.len().max(64).min(self.most - self.held.len()).max(1);
            self.held.reserve_exact(more);
        }
        self.held.push(fingerprint);
        Ok(())
    }

    /// Brings what is held to the disk as one sorted run; what comes twice is twice in the merged runs too.
    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        // What was held takes its memory until the end of this, so the sorter gets a fraction of it.
        let sorter = self.spilled.get_or_insert_with(|| Sorter::new(self.most * EACH / 4));
        for fingerprint in self.held.drain(..) {
            sorter.push(&fingerprint.to_be_bytes())?;
        }
        self.held = Vec::new();
        if !std::mem::replace(&mut self.is_reduced, true) {
            self.most = (self.most / REDUCTION).max(1);
        }
        Ok(())
    }

    /// Those that came more than once, each once, sorted. Ready for another collection afterwards.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u128>> {
        let mut repeated = Vec::new();
        match self.spilled.take() {
            None if self.held.len() <= FEW => {
                for (at, fingerprint) in self.held.iter().enumerate() {
                    if self.held[..at].contains(fingerprint) {
                        repeated.push(*fingerprint);
                    }
                }
                repeated.sort_unstable();
                repeated.dedup();
            }
            None => {
                self.held.sort_unstable();
                for pair in self.held.windows(2) {
                    if pair[0] == pair[1] && repeated.last() != Some(&pair[0]) {
                        repeated.push(pair[0]);
                    }
                }
            }
            Some(mut sorter) => {
                for fingerprint in self.held.drain(..) {
                    sorter.push(&fingerprint.to_be_bytes())?;
                }
                self.most = self.whole;
                self.is_reduced = false;
                let mut sorted = sorter.finish()?;
                let mut previous = None;
                while let Some(record) = sorted.next()? {
                    let fingerprint = <[u8; EACH]>::try_from(record).map(u128::from_be_bytes).ok();
                    if fingerprint == previous && repeated.last().copied() != fingerprint {
                        repeated.extend(fingerprint);
                    }
                    previous = fingerprint;
                }
            }
        }
        self.clear();
        Ok(repeated)
    }

    /// Forgets everything; keeps little memory.
    pub(super) fn clear(&mut self) {
        self.spilled = None;
        (self.most, self.is_reduced) = (self.whole, false);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_found_in_memory_and_on_disk() {
        for budget in [16 * 3000, 16 * 100, 16 * 10] {
            let mut repeats = Repeats::new(budget);
            for round in 0..3 {
                for number in 0..1000u128 {
                    repeats.push(number * 7 + round).unwrap();
                }
                for number in [70, 7, 70] {
                    repeats.push(number + round).unwrap();
                }
                assert_eq!(repeats.finish().unwrap(), [7 + round, 70 + round], "{budget}");
                assert!(repeats.finish().unwrap().is_empty());
                [9, 3, 9, 5, 3, 9].into_iter().for_each(|number| repeats.push(number).unwrap());
                assert_eq!(repeats.finish().unwrap(), [3, 9]);
            }
        }
    }
}
