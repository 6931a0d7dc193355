//! Byte strings as 128 bits each, to tell whether one comes twice without keeping it.
//!
//! Two lanes of a multiply-and-fold hash, each keyed with secrets that are drawn at start: strings chosen to collide in
//! one process mean nothing in the next. Among a billion strings the chance that any two share their 128 bits is below
//! one in 10^20. The bits mean nothing outside the process.

use std::hash::{BuildHasher, RandomState};

/// Makes fingerprints; two of them make different ones.
///
/// ```
/// use ironkeep::codec::fingerprint::Fingerprints;
/// let fingerprints = Fingerprints::new();
/// assert_eq!(fingerprints.of(0, b"key"), fingerprints.of(0, b"key"));
/// assert_ne!(fingerprints.of(0, b"key"), fingerprints.of(1, b"key"));
/// ```
#[derive(Clone, Debug)]
pub struct Fingerprints {
    lanes: [Lane; 2],
}

#[derive(Clone, Debug)]
struct Lane {
    secrets: [u64; 4],
}

impl Default for Fingerprints {
    fn default() -> Self {
        Fingerprints::new()
    }
}

impl Fingerprints {
    /// Draws the secrets.
    pub fn new() -> Self {
        let lane = || {
            let random = RandomState::new();
            Lane { secrets: [0u8, 1, 2, 3].map(|number| random.hash_one(number)) }
        };
        Fingerprints { lanes: [lane(), lane()] }
    }

    /// The fingerprint of `bytes` in the `space`-th of many spaces, such as a database.
    pub fn of(&self, space: u64, bytes: &[u8]) -> u128 {
        let [first, second] = &self.lanes;
        u128::from(first.hash(space, bytes)) << 64 | u128::from(second.hash(space, bytes))
    }
}

impl Lane {
    fn hash(&self, space: u64, bytes: &[u8]) -> u64 {
        let [first, second, third, fourth] = self.secrets;
        let mut state = fold(space ^ first, bytes.len() as u64 ^ second); // widening
        let mut rest = bytes;
        while let Some((block, behind)) = rest.split_first_chunk::<16>() {
            let (low, high) = halves(block);
            state = fold(low ^ second, high ^ state);
            rest = behind;
        }
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let (low, high) = halves(&last);
        fold(fold(low ^ third, high ^ state), state ^ fourth)
    }
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(*block);
    (whole as u64, (whole >> 64) as u64) // the low half, the high half
}

/// The two halves of a product, one over the other.
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64 // the low half, the high half
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn strings_that_differ_a_little_differ_in_both_halves() {
        let fingerprints = Fingerprints::new();
        let mut halves = [HashSet::new(), HashSet::new()];
        let mut count = 0;
        for len in 0..70usize {
            for at in 0..len.max(1) {
                for value in 0..=20u8 {
                    let mut text = vec![7; len];
                    if let Some(byte) = text.get_mut(at) {
                        *byte = value;
                    }
                    // The same string is made again for every place.
                    if (len == 0 || value == 7) && (at > 0 || value > 0) && !(at == 0 && value == 7 && len > 0) {
                        continue;
                    }
                    let hash = fingerprints.of(3, &text);
                    assert!(halves[0].insert((hash >> 64) as u64) && halves[1].insert(hash as u64));
                    count += 1;
                }
            }
        }
        assert!(count > 40_000);
    }

    #[test]
    fn every_bit_of_the_result_depends_on_the_string() {
        let fingerprints = Fingerprints::new();
        let (mut ones, mut zeros) = (0u128, 0u128);
        for number in 0..200u32 {
            let hash = fingerprints.of(0, &number.to_le_bytes());
            ones |= hash;
            zeros |= !hash;
        }
        assert_eq!((ones, zeros), (u128::MAX, u128::MAX));
    }
}
