//! Random elements of a collection: SRANDMEMBER, HRANDFIELD, ZRANDMEMBER.

use fastrand::Rng;
use std::collections::HashSet;

use super::CommandError;
use crate::codec::number;

/// The count argument of these commands: how many, and whether an element may come more than once.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleSize {
    pub(super) count: usize,
    pub(super) is_distinct: bool,
}

impl SampleSize {
    /// `doubled`: each element takes two places in the reply, so that half as many are allowed.
    pub(super) fn parse(argument: &[u8], doubled: bool) -> Result<Self, CommandError> {
        let count = number::parse_i64(argument).ok_or(CommandError::NotInteger)?;
        if count == i64::MIN {
            let limit = i64::MAX;
            return Err(CommandError::err(format!("value is out of range, value must between -{limit} and {limit}")));
        }
        if doubled && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
            return Err(CommandError::OutOfRange);
        }
        let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        Ok(Self { count: size, is_distinct: count >= 0 })
    }
}

/// `count` different elements of a collection of `len`, or all: by drawing until they suffice where they are few, else
/// in one pass over `all`. `name` tells elements apart.
pub(super) fn distinct<T>(
    (len, count): (usize, usize),
    random: &mut Rng,
    all: impl Iterator<Item = T>,
    mut draw: impl FnMut(&mut Rng) -> Option<T>,
    name: impl Fn(&T) -> Vec<u8>,
) -> Vec<T> {
    if count >= len {
        return all.collect();
    }
    if count.saturating_mul(3) > len {
        let mut all: Vec<T> = all.collect();
        random.shuffle(&mut all);
        all.truncate(count);
        return all;
    }
    let mut drawn = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    while drawn.len() < count {
        let Some(element) = draw(random) else { break };
        if seen.insert(name(&element)) {
            drawn.push(element);
        }
    }
    drawn
}
