//! BITFIELD: integers of 1 to 64 bits anywhere in a string.

use smallvec::SmallVec;

use super::super::args::{self, is};
use super::super::string::{check_len, edit};
use super::super::{CommandError, Context, Outcome};
use super::{bit_offset, text};
use crate::codec::number;

/// The type of an integer: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy)]
struct Kind {
    is_signed: bool,
    bits: u32,
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Set(i64),
    Add(i64),
}

/// What becomes of a result that its type can't hold.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    /// Nothing is written, and null answered.
    Fail,
}

#[derive(Clone, Copy)]
struct Operation {
    verb: Verb,
    kind: Kind,
    offset: u64,
    overflow: Overflow,
}

impl Kind {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        const INVALID: &str =
            "Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
        let (is_signed, max) = match word.first() {
            Some(b'i') => (true, 64),
            Some(b'u') => (false, 63),
            _ => return Err(CommandError::err(INVALID)),
        };
        let bits = number::parse_u64(&word[1..]).filter(|bits| (1..=max).contains(bits));
        let bits = bits.and_then(|bits| u32::try_from(bits).ok()).ok_or(CommandError::err(INVALID))?;
        Ok(Self { is_signed, bits })
    }

    fn min(self) -> i128 {
        if self.is_signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.is_signed))) - 1
    }

    /// The low bits as an integer of this type.
    fn wrap(self, value: i128) -> i128 {
        let low = value & ((1 << self.bits) - 1);
        if low > self.max() { low - (1 << self.bits) } else { low }
    }

    /// What is written for a result; `None` for nothing.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i128> {
        if (self.min()..=self.max()).contains(&value) {
            return Some(value);
        }
        match overflow {
            Overflow::Wrap => Some(self.wrap(value)),
            Overflow::Saturate => Some(value.clamp(self.min(), self.max())),
            Overflow::Fail => None,
        }
    }

    /// Bits behind the string's end are zeros.
    fn read(self, bytes: &[u8], offset: u64) -> i128 {
        // A type's bits lie in nine bytes at most.
        let start = usize::try_from(offset / 8).unwrap_or(usize::MAX);
        let found = bytes.get(start..).unwrap_or_default();
        let mut window = [0; 16];
        let len = found.len().min(9);
        window[..len].copy_from_slice(&found[..len]);
        let window = u128::from_be_bytes(window) << (offset % 8) >> (128 - self.bits);
        self.wrap(window.cast_signed())
    }

    /// The string reaches as far.
    fn write(self, bytes: &mut [u8], offset: u64, value: i128) {
        let start = (offset / 8) as usize; // of a string in memory
        let len = (bytes.len() - start).min(9);
        let shift = 128 - self.bits - (offset % 8) as u32; // below 8
        let mask = ((1_u128 << self.bits) - 1) << shift;
        let mut window = [0; 16];
        window[..len].copy_from_slice(&bytes[start..start + len]);
        let changed = u128::from_be_bytes(window) & !mask | (value.cast_unsigned() << shift) & mask;
        bytes[start..start + len].copy_from_slice(&changed.to_be_bytes()[..len]);
    }
}

impl Operation {
    fn parse_all(context: &Context<'_>) -> Result<SmallVec<[Self; 4]>, CommandError> {
        let mut operations = SmallVec::new();
        let mut overflow = Overflow::Wrap;
        let mut rest = &context.args[2..];
        while let [verb, tail @ ..] = rest {
            let operand = |index: usize| tail.get(index).copied().ok_or(CommandError::Syntax);
            let taken = if is(verb, "GET") {
                operand(1)?;
                2
            } else if is(verb, "SET") || is(verb, "INCRBY") {
                operand(2)?;
                3
            } else if is(verb, "OVERFLOW") {
                overflow = match operand(0)?.to_ascii_uppercase().as_slice() {
                    b"WRAP" => Overflow::Wrap,
                    b"SAT" => Overflow::Saturate,
                    b"FAIL" => Overflow::Fail,
                    _ => return Err(CommandError::err("Invalid OVERFLOW type specified")),
                };
                rest = &tail[1..];
                continue;
            } else {
                return Err(CommandError::Syntax);
            };
            let kind = Kind::parse(tail[0])?;
            let offset = bit_offset(context, tail[1], Some(kind.bits.into()))?;
            let verb = match taken {
                2 => Verb::Get,
                _ if is(verb, "SET") => Verb::Set(args::int(tail[2])?),
                _ => Verb::Add(args::int(tail[2])?),
            };
            operations.push(Self { verb, kind, offset, overflow });
            rest = &tail[taken..];
        }
        Ok(operations)
    }

    fn is_write(&self) -> bool {
        !matches!(self.verb, Verb::Get)
    }

    /// Bytes that a string must have for it.
    fn end(&self) -> usize {
        usize::try_from((self.offset + u64::from(self.kind.bits)).div_ceil(8)).unwrap_or(usize::MAX)
    }

    /// The reply, and what is to be written.
    fn run(&self, bytes: &[u8]) -> (Option<i128>, Option<i128>) {
        let former = self.kind.read(bytes, self.offset);
        match self.verb {
            Verb::Get => (Some(former), None),
            Verb::Set(value) => {
                // Of an unsigned type a negative number is one that is too large.
                let value = if self.kind.is_signed { value.into() } else { value.cast_unsigned().into() };
                let fitting = self.kind.fit(value, self.overflow);
                (fitting.map(|_| former), fitting)
            }
            Verb::Add(increment) => {
                let fitting = self.kind.fit(former + i128::from(increment), self.overflow);
                (fitting, fitting)
            }
        }
    }
}

pub(super) fn bitfield(context: &mut Context<'_>) -> Outcome {
    let operations = Operation::parse_all(context)?;
    if operations.iter().any(Operation::is_write) { write(context, &operations) } else { read(context, &operations) }
}

pub(super) fn bitfield_ro(context: &mut Context<'_>) -> Outcome {
    let operations = Operation::parse_all(context)?;
    if operations.iter().any(Operation::is_write) {
        return Err(CommandError::err("BITFIELD_RO only supports the GET subcommand"));
    }
    read(context, &operations)
}

fn read(context: &mut Context<'_>, operations: &[Operation]) -> Outcome {
    let key = context.args[1];
    let values: SmallVec<[i128; 4]> = {
        let bytes = context.read_string(key)?.map(text).unwrap_or_default();
        operations.iter().map(|operation| operation.kind.read(&bytes, operation.offset)).collect()
    };
    let reply = context.reply.array(values.len());
    values.into_iter().for_each(|value| put(context, Some(value)));
    Ok(reply)
}

fn write(context: &mut Context<'_>, operations: &[Operation]) -> Outcome {
    let len = operations.iter().filter(|operation| operation.is_write()).map(Operation::end).max().unwrap_or(0);
    context.read_string(context.args[1])?;
    check_len(context, len)?;
    let mut values: SmallVec<[Option<i128>; 4]> = SmallVec::new();
    let mut changes = 0;
    edit(context, context.args[1], |bytes| {
        if bytes.len() < len {
            bytes.resize(len, 0);
            changes += 1;
        }
        for operation in operations {
            let (reply, written) = operation.run(bytes);
            if let Some(value) = written {
                changes += usize::from(operation.kind.read(bytes, operation.offset) != value);
                operation.kind.write(bytes, operation.offset, value);
            }
            values.push(reply);
        }
    })?;
    context.changed(changes);
    let reply = context.reply.array(values.len());
    values.into_iter().for_each(|value| put(context, value));
    Ok(reply)
}

fn put(context: &mut Context<'_>, value: Option<i128>) {
    match value.and_then(|value| i64::try_from(value).ok()) {
        Some(value) => context.reply.int(value),
        None => context.reply.null(),
    };
}
