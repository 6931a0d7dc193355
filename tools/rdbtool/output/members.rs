//! The members of one sorted set, held until all are known.
//!
//! Servers write a large sorted set from its highest score down, old ones in no order at all; it is shown in its order:
//! by score, then by the bytes of the member. One flat buffer holds the members, so that a set costs its bytes and 24
//! more per member.

use std::cmp::Ordering;

/// Buffers beyond this are given back after use, in bytes.
const KEEP: usize = 1 << 20;

/// Members and scores in the order of arrival, then sorted.
#[derive(Default)]
pub struct Members {
    bytes: Vec<u8>,
    index: Vec<Member>,
}

#[derive(Clone, Copy)]
struct Member {
    score: f64,
    start: usize,
    end: usize,
}

impl Members {
    pub fn push(&mut self, score: f64, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.index.push(Member { score, start, end: self.bytes.len() });
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Puts the members in their order.
    pub fn sort(&mut self) {
        let Members { bytes, index } = self;
        let order = |left: &Member, right: &Member| {
            by_score(left.score, right.score)
                .then_with(|| bytes[left.start..left.end].cmp(&bytes[right.start..right.end]))
        };
        if index.is_sorted_by(|left, right| order(left, right).is_ge()) {
            index.reverse();
        }
        if !index.is_sorted_by(|left, right| order(left, right).is_le()) {
            index.sort_unstable_by(order);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.index.iter().map(|member| (&self.bytes[member.start..member.end], member.score))
    }

    /// Empties it for the next set.
    pub fn clear(&mut self) {
        if self.bytes.capacity() + self.index.capacity() > KEEP {
            *self = Members::default();
        }
        self.bytes.clear();
        self.index.clear();
    }
}

/// Redis's order of scores: the two zeros are equal. A NaN, which no healthy file holds, comes last.
fn by_score(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}
