//! The members of one sorted set, held back until all are known.
//!
//! Servers write a large sorted set from its highest score down, old ones in no order at all; it is shown in its order:
//! by score, then by the bytes of the member. A set of usual size lies in one flat buffer, at its bytes and 24 more per
//! member; what is more than [`IN_MEMORY`] is sorted through a temporary file, as records whose bytes sort as the
//! members do:
//!
//! ```text
//! record = score u64 BE (see order_of), member, flags: 1 where the score is -0
//! ```
//!
//! The two zeros are equal, so that their members are ordered among each other: behind a score of zero a zero byte of
//! the member is followed by FF, and the member by two zero bytes, lest the flags take part.

use ironkeep::disk::Sorter;
use ironkeep::value::Element;
use std::cmp::Ordering;
use std::io;

/// Bytes of members and index that stay in memory.
const IN_MEMORY: usize = 512 << 10;
/// The sorter's share of what is more.
const SORTED_AT_ONCE: usize = 2 << 20;
/// Buffers beyond this are given back after use, in bytes.
const KEEP: usize = 1 << 20;

/// Members and scores in the order of arrival.
#[derive(Default)]
pub struct Members {
    bytes: Vec<u8>,
    index: Vec<Member>,
    sorter: Option<Sorter>,
    count: u64,
}

#[derive(Clone, Copy)]
struct Member {
    score: f64,
    start: usize,
    end: usize,
}

impl Members {
    /// Takes a member.
    pub fn push(&mut self, member: Element<'_>, score: f64) -> io::Result<()> {
        self.count += 1;
        if let Some(sorter) = &mut self.sorter {
            return member.with(|member| push(sorter, member, score));
        }
        let start = self.bytes.len();
        member.write_to(&mut self.bytes);
        self.index.push(Member { score, start, end: self.bytes.len() });
        if self.bytes.len() + self.index.len() * size_of::<Member>() > IN_MEMORY { self.leave_memory() } else { Ok(()) }
    }

    #[cold]
    fn leave_memory(&mut self) -> io::Result<()> {
        let mut sorter = Sorter::new(SORTED_AT_ONCE);
        for member in std::mem::take(&mut self.index) {
            push(&mut sorter, &self.bytes[member.start..member.end], member.score)?;
        }
        self.bytes = Vec::new();
        self.sorter = Some(sorter);
        Ok(())
    }

    /// How many were taken since the last drain.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Hands every member and its score to `each`, in their order, and is empty for the next set.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8], f64)) -> io::Result<()> {
        self.count = 0;
        if let Some(sorter) = self.sorter.take() {
            let mut sorted = sorter.finish()?;
            let mut member = Vec::new();
            while let Some(record) = sorted.next()? {
                let score = read(record, &mut member)?;
                each(&member, score);
            }
            return Ok(());
        }
        self.sort();
        for member in &self.index {
            each(&self.bytes[member.start..member.end], member.score);
        }
        self.clear();
        Ok(())
    }

    fn sort(&mut self) {
        let Members { bytes, index, .. } = self;
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

    /// Drops what it holds.
    pub fn clear(&mut self) {
        if self.bytes.capacity() + self.index.capacity() * size_of::<Member>() > KEEP {
            *self = Members::default();
        }
        self.bytes.clear();
        self.index.clear();
        self.sorter = None;
        self.count = 0;
    }
}

/// Redis's order of scores: the two zeros are equal. A NaN, which no healthy file holds, comes last.
fn by_score(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

const SIGN: u64 = 1 << 63;

/// A number that orders as the scores do: positive doubles order as their bits, negative ones the other way.
fn order_of(score: f64) -> u64 {
    match score {
        _ if score.is_nan() => u64::MAX,
        0.0 => SIGN,
        _ if score.is_sign_negative() => !score.to_bits(),
        _ => score.to_bits() | SIGN,
    }
}

fn score_of(order: u64, flags: u8) -> f64 {
    match order {
        u64::MAX => f64::NAN,
        SIGN if flags == 1 => -0.0,
        _ if order & SIGN != 0 => f64::from_bits(order & !SIGN),
        _ => f64::from_bits(!order),
    }
}

fn push(sorter: &mut Sorter, member: &[u8], score: f64) -> io::Result<()> {
    sorter.push_with(|record| {
        let order = order_of(score);
        record.extend_from_slice(&order.to_be_bytes());
        if order == SIGN {
            for part in member.split_inclusive(|&byte| byte == 0) {
                record.extend_from_slice(part);
                if part.ends_with(&[0]) {
                    record.push(0xff);
                }
            }
            record.extend_from_slice(&[0, 0]);
        } else {
            record.extend_from_slice(member);
        }
        record.push(u8::from(score == 0.0 && score.is_sign_negative()));
    })
}

/// Puts the record's member into `member`, and gives its score.
fn read(record: &[u8], member: &mut Vec<u8>) -> io::Result<f64> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let (order, rest) = record.split_first_chunk().ok_or_else(broken)?;
    let (flags, text) = rest.split_last().ok_or_else(broken)?;
    let order = u64::from_be_bytes(*order);
    member.clear();
    if order == SIGN {
        let text = text.strip_suffix(&[0, 0]).ok_or_else(broken)?;
        let mut after_zero = false;
        // An FF behind a zero is ours.
        member.extend(text.iter().filter(|&&byte| {
            let added = after_zero;
            after_zero = byte == 0 && !added;
            !added
        }));
    } else {
        member.extend_from_slice(text);
    }
    Ok(score_of(order, *flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(members: &mut Members) -> Vec<(Vec<u8>, u64)> {
        let mut out = Vec::new();
        members.drain(|member, score| out.push((member.to_vec(), score.to_bits()))).unwrap();
        out
    }

    #[test]
    fn the_file_sorts_as_memory_does_with_zeros_and_prefixes_too() {
        let mut random = fastrand::Rng::with_seed(3);
        let scores = [-0.0, 0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, -5e-324, 0.1, f64::MAX, f64::NAN];
        let mut set: Vec<(Vec<u8>, f64)> = Vec::new();
        for _ in 0..3000 {
            let score = if random.bool() { scores[random.usize(..scores.len())] } else { random.f64() - 0.5 };
            let member: Vec<u8> = (0..random.usize(..6)).map(|_| [0, 1, 0xff, b'a'][random.usize(..4)]).collect();
            if !set.iter().any(|(other, _)| *other == member) {
                set.push((member, score));
            }
        }
        let (mut held, mut spilled) = (Members::default(), Members::default());
        spilled.leave_memory().unwrap();
        for (member, score) in &set {
            held.push(Element::Bytes(member), *score).unwrap();
            spilled.push(Element::Bytes(member), *score).unwrap();
        }
        assert_eq!(held.len(), set.len() as u64);
        let (held, spilled) = (drained(&mut held), drained(&mut spilled));
        assert_eq!(held.len(), set.len());
        assert!(held == spilled);
    }
}
