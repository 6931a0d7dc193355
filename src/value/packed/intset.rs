//! The intset: integers in ascending order, all of one width.
//!
//! ```text
//! +----------------+----------------+-------------------------------+
//! | width u32 LE   | count u32 LE   | count integers, LE, ascending |
//! | 2, 4 or 8      |                | of `width` bytes each         |
//! +----------------+----------------+-------------------------------+
//! ```
//!
//! The width grows when a value does not fit and never shrinks, as in every Redis.
//!
//! ```
//! use ironkeep::value::packed::Intset;
//! let mut set = Intset::new();
//! set.insert(5);
//! set.insert(-2);
//! assert_eq!(set.as_bytes(), [2, 0, 0, 0, 2, 0, 0, 0, 0xfe, 0xff, 5, 0]);
//! ```

use super::PackedError;
use crate::cow::ThinBytes;

const HEADER: usize = 8;
/// The first part of the header: the width.
const WIDTH: usize = 4;

/// A sorted set of integers in the bytes that Redis stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intset(ThinBytes<true>);

impl Default for Intset {
    fn default() -> Self {
        Intset::new()
    }
}

impl Intset {
    /// An empty set of the smallest width.
    pub fn new() -> Self {
        Intset(ThinBytes::from(&[2, 0, 0, 0, 0, 0, 0, 0][..]))
    }

    /// Takes bytes from outside, which [`Intset::check`] has a look at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackedError> {
        Intset::check(bytes).map(|_| Intset(ThinBytes::from(bytes)))
    }

    /// Checks everything: width, count against the length, strict order. How many integers there are.
    pub fn check(bytes: &[u8]) -> Result<usize, PackedError> {
        if bytes.len() < HEADER {
            return Err(PackedError::new(0, "an intset header cut short"));
        }
        let width = match word(bytes, 0) {
            2 => 2,
            4 => 4,
            8 => 8,
            _ => return Err(PackedError::new(0, "an intset width that does not exist")),
        };
        let body = &bytes[HEADER..];
        if u64::try_from(body.len()) != Ok(u64::from(word(bytes, 4)) * u64::from(bytes[0])) {
            return Err(PackedError::new(4, "an intset count that does not match its length"));
        }
        let mut previous = None;
        for (index, slot) in body.chunks_exact(width).enumerate() {
            let value = integer_in(slot);
            if previous.is_some_and(|previous| previous >= value) {
                return Err(PackedError::new(HEADER + index * width, "an intset out of order"));
            }
            previous = Some(value);
        }
        Ok(body.len() / width)
    }

    /// The bytes without the width, which the count and the number of bytes tell.
    pub(in crate::value) fn body(&self) -> &[u8] {
        Intset::body_of(&self.0)
    }

    /// What [`Intset::body`] gives, of the bytes of an intset.
    pub(in crate::value) fn body_of(bytes: &[u8]) -> &[u8] {
        &bytes[WIDTH..]
    }

    /// Of what [`Intset::body`] gave: nothing is checked.
    pub(in crate::value) fn of_body(body: &[u8]) -> Self {
        let count = word(body, 0) as usize; // every integer takes memory, so the count fits
        let width = (body.len() + WIDTH - HEADER).checked_div(count).unwrap_or(2);
        let mut set = Intset::new();
        let bytes = set.0.replace(0..HEADER, WIDTH + body.len());
        let width = u32::try_from(width).expect("the width of an intset is 2, 4 or 8");
        bytes[..WIDTH].copy_from_slice(&width.to_le_bytes());
        bytes[WIDTH..].copy_from_slice(body);
        set
    }

    /// The bytes as the RDB stores them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as the RDB stores them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// How many integers.
    pub fn len(&self) -> usize {
        (self.0.len() - HEADER) / self.width()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER
    }

    /// Bytes held by the allocation.
    pub fn footprint(&self) -> usize {
        self.0.footprint()
    }

    /// The integer at `index` in ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    /// Whether `value` is a member.
    pub fn contains(&self, value: i64) -> bool {
        self.search(value).is_ok()
    }

    /// The first index whose integer is `value` or greater.
    pub fn lower_bound(&self, value: i64) -> usize {
        self.search(value).unwrap_or_else(|index| index)
    }

    /// Adds `value`; false if it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        let Err(index) = self.search(value) else { return false };
        let needed = width_of(value);
        if needed > self.width() {
            self.widen(needed);
        }
        let (at, width) = (HEADER + index * self.width(), self.width());
        self.0.replace(at..at, width).copy_from_slice(&value.to_le_bytes()[..width]);
        self.write_count();
        true
    }

    /// Removes `value`; false if it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.search(value) else { return false };
        let (at, width) = (HEADER + index * self.width(), self.width());
        self.0.replace(at..at + width, 0);
        self.write_count();
        true
    }

    /// The integers in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + '_ {
        (0..self.len()).map(|index| self.at(index))
    }

    fn width(&self) -> usize {
        usize::from(self.0[0])
    }

    fn at(&self, index: usize) -> i64 {
        let width = self.width();
        integer_in(&self.0[HEADER + index * width..][..width])
    }

    fn search(&self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn widen(&mut self, width: usize) {
        let mut wider = Vec::with_capacity(HEADER + (self.len() + 1) * width);
        wider.extend_from_slice(&[0; HEADER]);
        for value in self.iter() {
            wider.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        wider[0] = u8::try_from(width).expect("the width of an intset is 2, 4 or 8");
        self.0 = ThinBytes::from(&wider[..]);
    }

    fn write_count(&mut self) {
        let count = u32::try_from(self.len()).expect("an intset is turned into a table long before 2^32 members");
        self.0[4..8].copy_from_slice(&count.to_le_bytes());
    }
}

fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// The integer that is all of `slot`.
#[inline]
fn integer_in(slot: &[u8]) -> i64 {
    match *slot {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("the width of an intset is 2, 4 or 8"),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_intset_behaves_as_an_ordered_set_and_survives_its_bytes() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut set = Intset::new();
        let mut model = BTreeSet::new();
        for step in 0..4000 {
            let shift = if step < 1000 { 52 } else { rng.u32(0..60) };
            let value = rng.i64(..) >> shift;
            if rng.u8(..) < 160 {
                assert_eq!(set.insert(value), model.insert(value));
            } else {
                assert_eq!(set.remove(value), model.remove(&value));
            }
            assert_eq!(set.contains(value), model.contains(&value));
            assert_eq!(set.len(), model.len());
        }
        assert!(set.iter().eq(model.iter().copied()));
        assert_eq!(Intset::from_bytes(set.as_bytes()), Ok(set));
    }

    #[test]
    fn broken_intsets_are_refused() {
        let mut set = Intset::new();
        for value in [1, 2, 70000] {
            set.insert(value);
        }
        let good = set.into_bytes();
        for cut in 0..good.len() {
            assert!(Intset::from_bytes(&good[..cut]).is_err());
        }
        for (at, byte) in [(0, 3), (0, 2), (4, 4), (8, 2), (7, 255)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(Intset::from_bytes(&bad).is_err());
        }
    }
}
