//! Bitmaps: strings as arrays of bits, the most significant bit of a byte first.

use std::borrow::Cow;

use crate::codec::number;
use crate::value::Element;

use super::args::{self, is};
use super::spec::{CAT_BITMAP, Command, DENYOOM, FAST, Keys, ONE_KEY, READONLY, WRITE, command};
use super::string::edit;
use super::{CommandError, Context, Outcome};

mod field;

pub const COMMANDS: &[Command] = &[
    command("setbit", 4, WRITE | DENYOOM, ONE_KEY, CAT_BITMAP, "2.2.0", setbit),
    command("getbit", 3, READONLY | FAST, ONE_KEY, CAT_BITMAP, "2.2.0", getbit),
    command("bitcount", -2, READONLY, ONE_KEY, CAT_BITMAP, "2.6.0", bitcount),
    command("bitpos", -3, READONLY, ONE_KEY, CAT_BITMAP, "2.8.7", bitpos),
    command("bitop", -4, WRITE | DENYOOM, Keys::Range { first: 2, last: -1, step: 1 }, CAT_BITMAP, "2.6.0", bitop),
    command("bitfield", -2, WRITE | DENYOOM, ONE_KEY, CAT_BITMAP, "3.2.0", field::bitfield),
    command("bitfield_ro", -2, READONLY | FAST, ONE_KEY, CAT_BITMAP, "6.0.0", field::bitfield_ro),
];

/// The bit that an argument names, which a string may have: `#N` counts fields of `width` bits where there is such a
/// width.
fn bit_offset(context: &Context<'_>, argument: &[u8], width: Option<u64>) -> Result<u64, CommandError> {
    let invalid = || CommandError::err("bit offset is not an integer or out of range");
    let (digits, factor) = match (argument.strip_prefix(b"#"), width) {
        (Some(digits), Some(width)) => (digits, width),
        _ => (argument, 1),
    };
    let offset = number::parse_u64(digits).and_then(|count| count.checked_mul(factor)).ok_or_else(invalid)?;
    let max = u64::try_from(context.engine.config.proto_max_bulk_len).unwrap_or(0);
    // What the log holds was allowed when it was written.
    if !context.is_replay && offset >> 3 >= max {
        return Err(invalid());
    }
    Ok(offset)
}

/// Byte and mask of a bit.
fn place(offset: u64) -> Result<(usize, u8), CommandError> {
    let byte = usize::try_from(offset >> 3).map_err(|_| CommandError::StringTooLong)?;
    Ok((byte, 0x80 >> (offset & 7)))
}

/// The bytes of a string, spelled out where it is an integer.
fn text(string: Element<'_>) -> Cow<'_, [u8]> {
    match string {
        Element::Bytes(bytes) => Cow::Borrowed(bytes),
        Element::Int(_) => Cow::Owned(string.to_vec()),
    }
}

fn getbit(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (byte, mask) = place(bit_offset(context, args[2], None)?)?;
    let is_set = match context.read_string(args[1])? {
        None => false,
        Some(string) => text(string).get(byte).is_some_and(|found| found & mask != 0),
    };
    Ok(context.reply.int(i64::from(is_set)))
}

fn setbit(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (byte, mask) = place(bit_offset(context, args[2], None)?)?;
    let is_set = match args[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(CommandError::err("bit is not an integer or out of range")),
    };
    let (mut former, mut has_grown) = (false, false);
    edit(context, args[1], |bytes| {
        has_grown = bytes.len() <= byte;
        if has_grown {
            bytes.resize(byte + 1, 0);
        }
        former = bytes[byte] & mask != 0;
        bytes[byte] = if is_set { bytes[byte] | mask } else { bytes[byte] & !mask };
    })?;
    context.changed(usize::from(has_grown || former != is_set));
    Ok(context.reply.int(i64::from(former)))
}

/// Bits of a string, both ends among them.
#[derive(Clone, Copy)]
struct BitRange {
    first: u64,
    last: u64,
}

/// Start and end as BITCOUNT and BITPOS take them.
#[derive(Clone, Copy)]
struct Bounds {
    start: i64,
    /// Of the last one where none is given.
    end: Option<i64>,
    is_in_bits: bool,
}

impl Bounds {
    /// Of `start [end [BYTE|BIT]]`, which may be left out as a whole. Redis looks at the end before the unit in BITCOUNT,
    /// and behind it in BITPOS.
    fn parse(arguments: &[&[u8]], is_end_first: bool) -> Result<Self, CommandError> {
        if arguments.len() > 3 {
            return Err(CommandError::Syntax);
        }
        let start = arguments.first().map_or(Ok(0), |start| args::int(start))?;
        let end = arguments.get(1).map(|end| args::int(end)).transpose();
        let is_in_bits = match arguments.get(2) {
            None => Ok(false),
            Some(unit) if is(unit, "BIT") => Ok(true),
            Some(unit) if is(unit, "BYTE") => Ok(false),
            Some(_) => Err(CommandError::Syntax),
        };
        if is_end_first {
            return Ok(Self { start, end: end?, is_in_bits: is_in_bits? });
        }
        let is_in_bits = is_in_bits?;
        Ok(Self { start, end: end?, is_in_bits })
    }

    /// The bits that are meant of a string of that many bytes.
    fn of(self, len: usize) -> Option<BitRange> {
        let unit = if self.is_in_bits { 1 } else { 8 };
        let total = len * 8 / unit;
        let end = self.end.unwrap_or(-1);
        let (first, count) = args::rank_range(self.start, end.max(-(i64::try_from(total).ok()?)), total)?;
        let (first, count, unit) = (first as u64, count as u64, unit as u64);
        Some(BitRange { first: first * unit, last: (first + count) * unit - 1 })
    }
}

impl BitRange {
    /// First and last byte, and which bits of them are meant.
    fn bytes(self) -> (usize, usize, u8, u8) {
        let (first, last) = ((self.first / 8) as usize, (self.last / 8) as usize); // of a string in memory
        (first, last, 0xff >> (self.first % 8), !(0x7f_u8 >> (self.last % 8)))
    }

    fn count(self, bytes: &[u8]) -> u64 {
        let (first, last, head, tail) = self.bytes();
        if first == last {
            return u64::from((bytes[first] & head & tail).count_ones());
        }
        let (words, rest) = bytes[first + 1..last].as_chunks::<8>();
        let inner: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
        let rest = rest.iter().copied().chain([bytes[first] & head, bytes[last] & tail]);
        inner + rest.map(|byte| u64::from(byte.count_ones())).sum::<u64>()
    }

    /// The first bit of that value.
    fn find(self, bytes: &[u8], value: bool) -> Option<u64> {
        let (first, last, head, tail) = self.bytes();
        let flip = if value { 0 } else { 0xff };
        let masked = |at: usize| {
            let mask = if at == first { head } else { 0xff } & if at == last { tail } else { 0xff };
            (bytes[at] ^ flip) & mask
        };
        let at = if masked(first) != 0 {
            first
        } else {
            let inner = bytes.get(first + 1..last).unwrap_or_default();
            let (words, _) = inner.as_chunks::<8>();
            let skipped = 8 * words.iter().take_while(|word| **word == [flip; 8]).count();
            (first + 1 + skipped..=last).find(|at| masked(*at) != 0)?
        };
        Some(at as u64 * 8 + u64::from(masked(at).leading_zeros()))
    }
}

fn bitcount(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    if args.len() == 3 {
        return Err(CommandError::Syntax);
    }
    let bounds = Bounds::parse(&args[2..], true)?;
    let count = context.read_string(args[1])?.map(text).map_or(0, |bytes| {
        // As in Redis, who counts has nothing of ends the wrong way round, while who searches may find the first unit there.
        let is_backwards = bounds.start < 0 && bounds.end.is_some_and(|end| end < 0 && bounds.start > end);
        let range = bounds.of(bytes.len()).filter(|_| !is_backwards);
        range.map_or(0, |range| range.count(&bytes))
    });
    Ok(context.reply.int(count.cast_signed()))
}

fn bitpos(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let value = match args::int(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::err("The bit argument must be 1 or 0.")),
    };
    let bounds = Bounds::parse(&args[3..], false)?;
    let Some(bytes) = context.read_string(args[1])?.map(text) else {
        return Ok(context.reply.int(if value { -1 } else { 0 }));
    };
    let position = match bounds.of(bytes.len()) {
        None => -1,
        Some(range) => match range.find(&bytes, value) {
            Some(position) => position.cast_signed(),
            // Behind a string without an end there are zeros.
            None if !value && bounds.end.is_none() => (range.last + 1).cast_signed(),
            None => -1,
        },
    };
    drop(bytes);
    Ok(context.reply.int(position))
}

/// What BITOP makes of its sources, of which those that are shorter end in zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    /// In the first, and in none of the others.
    Diff,
    /// In one of the others, and not in the first.
    Diff1,
    /// In the first, and in one of the others.
    AndOr,
    /// In exactly one.
    One,
}

impl Operation {
    fn parse(word: &[u8]) -> Option<Self> {
        Some(match word.to_ascii_uppercase().as_slice() {
            b"AND" => Self::And,
            b"OR" => Self::Or,
            b"XOR" => Self::Xor,
            b"NOT" => Self::Not,
            b"DIFF" => Self::Diff,
            b"DIFF1" => Self::Diff1,
            b"ANDOR" => Self::AndOr,
            b"ONE" => Self::One,
            _ => return None,
        })
    }

    fn check(self, sources: usize) -> Result<(), CommandError> {
        let name = match self {
            Self::Not if sources != 1 => {
                return Err(CommandError::err("BITOP NOT must be called with a single source key."));
            }
            Self::Diff if sources < 2 => "DIFF",
            Self::Diff1 if sources < 2 => "DIFF1",
            Self::AndOr if sources < 2 => "ANDOR",
            _ => return Ok(()),
        };
        Err(CommandError::err(format!("BITOP {name} must be called with at least two source keys.")))
    }

    /// As long as the longest source.
    fn apply(self, sources: &[Cow<'_, [u8]>]) -> Vec<u8> {
        let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let padded = |source: &[u8]| {
            let mut bytes = Vec::with_capacity(len);
            bytes.extend_from_slice(source);
            bytes.resize(len, 0);
            bytes
        };
        let [first, others @ ..] = sources else { return Vec::new() };
        match self {
            Self::Not => first.iter().map(|byte| !byte).collect(),
            Self::And => others.iter().fold(padded(first), |mut all, source| {
                all.iter_mut().zip(source.iter()).for_each(|(all, byte)| *all &= byte);
                all[source.len()..].fill(0);
                all
            }),
            Self::Or => others.iter().fold(padded(first), |any, source| combine(any, source, |any, byte| any | byte)),
            Self::Xor => others.iter().fold(padded(first), |odd, source| combine(odd, source, |odd, byte| odd ^ byte)),
            Self::Diff | Self::Diff1 | Self::AndOr => {
                let any = others.iter().fold(padded(&[]), |any, source| combine(any, source, |any, byte| any | byte));
                let first = padded(first);
                let of = |(first, any): (&u8, u8)| match self {
                    Self::Diff => first & !any,
                    Self::Diff1 => !first & any,
                    _ => first & any,
                };
                first.iter().zip(any).map(of).collect()
            }
            Self::One => {
                let (mut any, mut several) = (padded(first), padded(&[]));
                for source in others {
                    several.iter_mut().zip(&any).zip(source.iter()).for_each(|((s, any), byte)| *s |= any & byte);
                    any = combine(any, source, |any, byte| any | byte);
                }
                any.iter().zip(several).map(|(any, several)| any & !several).collect()
            }
        }
    }
}

fn combine(mut bytes: Vec<u8>, source: &[u8], of: impl Fn(u8, u8) -> u8) -> Vec<u8> {
    bytes.iter_mut().zip(source).for_each(|(byte, other)| *byte = of(*byte, *other));
    bytes
}

fn bitop(context: &mut Context<'_>) -> Outcome {
    let (target, keys) = (context.args[2], &context.args[3..]);
    let operation = Operation::parse(context.args[1]).ok_or(CommandError::Syntax)?;
    operation.check(keys.len())?;
    let views = context.engine.keyspace.db(context.session.db).into_values(keys);
    let sources = views.into_iter().map(|view| match view {
        None => Ok(Cow::Borrowed(&[][..])),
        Some(view) => view.string().map(text).ok_or(CommandError::WrongType),
    });
    let result = operation.apply(&sources.collect::<Result<Vec<_>, _>>()?);
    let len = result.len();
    if len > 0 {
        context.db_mut().set_edited(target, &result, crate::keyspace::Expiry::Clear);
        context.changed(1);
    } else if context.remove(target) {
        context.changed(1);
    }
    Ok(context.reply.count(len))
}
