//! Sets of cluster slots as people write them: `0-5460,7000`.

use ironkeep::value::slot::SLOTS;
use nom::bytes::complete::tag;
use nom::character::complete::{space0, u16};
use nom::combinator::{all_consuming, map_res, opt};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of slots.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots(Box<[bool; SLOTS as usize]>);

impl Slots {
    pub fn none() -> Slots {
        Slots(Box::new([false; SLOTS as usize]))
    }

    pub fn add(&mut self, range: RangeInclusive<u16>) {
        self.0[usize::from(*range.start())..=usize::from(*range.end())].fill(true);
    }

    pub fn contains(&self, slot: u16) -> bool {
        self.0[usize::from(slot)]
    }

    /// The ranges, each as long as it goes, in order.
    pub fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in (0..SLOTS).filter(|slot| self.contains(*slot)) {
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == slot => *last = *last.start()..=slot,
                _ => ranges.push(slot..=slot),
            }
        }
        ranges
    }
}

/// As it is written: `0-5460,7000`.
impl fmt::Display for Slots {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match range.start() == range.end() {
                true => write!(out, "{comma}{}", range.start())?,
                false => write!(out, "{comma}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Slots({self})")
    }
}

/// A text that is no set of slots.
#[derive(Debug, thiserror::Error)]
#[error("slots are numbers and ranges from 0 to 16383, such as 0-5460,7000")]
pub struct NoSlots;

impl FromStr for Slots {
    type Err = NoSlots;

    fn from_str(text: &str) -> Result<Slots, NoSlots> {
        let ranges = separated_list1(tag(","), delimited(space0, range, space0));
        let (_, ranges) = all_consuming(ranges).parse(text).map_err(|_: nom::Err<nom::error::Error<&str>>| NoSlots)?;
        let mut slots = Slots::none();
        ranges.into_iter().for_each(|range| slots.add(range));
        Ok(slots)
    }
}

/// One slot, or the first and the last of a range.
pub fn range(text: &str) -> IResult<&str, RangeInclusive<u16>> {
    map_res((u16, opt(preceded(tag("-"), u16))), |(first, last)| {
        let last = last.unwrap_or(first);
        if first <= last && last < SLOTS { Ok(first..=last) } else { Err(NoSlots) }
    })
    .parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_slots_come_back_merged() {
        let slots: Slots = "7000, 0-5460,5461,16383".parse().unwrap();
        assert_eq!(slots.to_string(), "0-5461,7000,16383");
        assert!(slots.contains(0) && slots.contains(5461) && !slots.contains(5462) && slots.contains(16383));
        for text in ["", "5-1", "16384", "0-", "1;2", "0-16384"] {
            assert!(text.parse::<Slots>().is_err(), "{text}");
        }
    }
}
