//! Reading arguments.

use crate::codec::long_double::{LongDouble, Parsed};
use crate::codec::number;

use super::CommandError;

/// Whether the argument is the keyword, in any case.
pub fn is(argument: &[u8], keyword: &str) -> bool {
    argument.eq_ignore_ascii_case(keyword.as_bytes())
}

pub fn int(argument: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(argument).ok_or(CommandError::NotInteger)
}

/// An integer that must not be negative.
pub fn count(argument: &[u8]) -> Result<usize, CommandError> {
    let value = number::parse_i64(argument).ok_or(CommandError::NotPositive)?;
    usize::try_from(value).map_err(|_| CommandError::NotPositive)
}

pub fn float(argument: &[u8]) -> Result<f64, CommandError> {
    number::parse_f64(argument).ok_or(CommandError::NotFloat)
}

/// The increment of INCRBYFLOAT and HINCRBYFLOAT.
pub fn long_double(argument: &[u8]) -> Result<Parsed, CommandError> {
    LongDouble::parse(argument).ok_or(CommandError::NotFloat)
}

/// The bytes for an error message, as C prints them: up to a NUL and 128 of them; the ends of lines, which would end the
/// reply, are spaces. What is no text becomes `?`.
pub fn printable(argument: &[u8]) -> String {
    let text = argument.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut shown = String::with_capacity(text.len().min(128));
    for chunk in text[..text.len().min(128)].utf8_chunks() {
        shown.push_str(chunk.valid());
        shown.extend(chunk.invalid().iter().map(|_| '?'));
    }
    shown.replace(['\r', '\n'], " ")
}

/// An integer of 32 bits.
pub fn int32(argument: &[u8]) -> Result<i64, CommandError> {
    let (least, greatest) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let out_of_range =
        || CommandError::err(format!("value is out of range, value must between {least} and {greatest}"));
    int(argument).and_then(|value| if (least..=greatest).contains(&value) { Ok(value) } else { Err(out_of_range()) })
}

/// Start and end of a range of ranks as LRANGE and kin take them: negative counts from the end, both inclusive.
/// Returns first index and count; `None` if the range is empty.
///
/// ```
/// use ironkeep::command::args::rank_range;
/// assert_eq!(rank_range(0, -1, 3), Some((0, 3)));
/// assert_eq!(rank_range(-100, 1, 3), Some((0, 2)));
/// assert_eq!(rank_range(2, 1, 3), None);
/// ```
pub fn rank_range(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    let total = i64::try_from(len).unwrap_or(i64::MAX);
    let absolute = |rank: i64| if rank < 0 { total.saturating_add(rank) } else { rank };
    let (start, end) = (absolute(start).max(0), absolute(end).min(total - 1));
    if start > end {
        return None;
    }
    Some((usize::try_from(start).ok()?, usize::try_from(end - start + 1).ok()?))
}
