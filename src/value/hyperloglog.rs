//! HyperLogLog: how many different elements were seen, in 12 KB at most. It is a string, byte for byte that of Redis.
//!
//! ```text
//! value  = "HYLL" encoding 3*NUL count registers
//! count  = 8 bytes, little-endian: the last estimate; the highest bit says that it is no longer true
//! dense  (encoding 0): 16,384 registers of 6 bits, the low bits of a byte first; 12,288 bytes
//! sparse (encoding 1): runs of registers
//!   00nnnnnn            n + 1 registers of 0
//!   01nnnnnn nnnnnnnn   n + 1 registers of 0
//!   1vvvvvnn            n + 1 registers of v + 1
//! ```
//!
//! An element's hash is MurmurHash64A with a fixed seed; its low 14 bits choose a register, which keeps the longest run of
//! zeros behind them, plus 1. A sparse value becomes a dense one where it would grow beyond `hll-sparse-max-bytes`, or where
//! a register exceeds 32. The estimate is Ertl's (arXiv:1702.01284).

use std::ops::Range;

const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
/// Bits of a hash that are counted.
const COUNTED_BITS: u32 = 64 - INDEX_BITS;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Largest value, and longest runs, of the sparse encoding.
const MAX_SPARSE_VALUE: u8 = 32;
const MAX_SHORT_ZEROS: usize = 64;
const MAX_SPARSE_RUN: usize = 4;
const SEED: u64 = 0xadc8_3b19;

/// The runs of a sparse value do not add up to its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// Every register of a value.
pub struct Registers(Box<[u8; REGISTERS]>);

/// A run of a sparse value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// 0 to 32.
    pub value: u8,
    pub len: usize,
    /// Bytes that it takes: 2 for a long run of zeros.
    width: usize,
}

/// A value that has seen nothing.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[4] = SPARSE;
    push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// Whether a string looks like a value.
pub fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && match bytes[4] {
            DENSE => bytes.len() == DENSE_LEN,
            encoding => encoding == SPARSE,
        }
}

pub fn is_dense(bytes: &[u8]) -> bool {
    bytes[4] == DENSE
}

/// The last estimate, if nothing was added since.
pub fn cached_count(bytes: &[u8]) -> Option<u64> {
    let count = u64::from_le_bytes(bytes[8..HEADER].try_into().ok()?);
    (count >> 63 == 0).then_some(count)
}

pub fn set_cached_count(bytes: &mut [u8], count: u64) {
    bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// Says that the last estimate is no longer true.
pub fn forget_count(bytes: &mut [u8]) {
    bytes[HEADER - 1] |= 0x80;
}

/// Adds an element. Returns whether a register has changed.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], max_sparse_bytes: usize) -> Result<bool, Corrupt> {
    let hash = murmur(element);
    let index = (hash & (REGISTERS as u64 - 1)) as usize;
    // The bit ends a hash of zeros.
    let zeros = (hash >> INDEX_BITS | 1 << COUNTED_BITS).trailing_zeros();
    raise(bytes, index, zeros as u8 + 1, max_sparse_bytes) // at most 51
}

/// Raises a register to `value`, where it is lower.
fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, max_sparse_bytes: usize) -> Result<bool, Corrupt> {
    if !is_dense(bytes) {
        if value <= MAX_SPARSE_VALUE
            && let Some(has_changed) = raise_sparse(bytes, index, value, max_sparse_bytes)?
        {
            return Ok(has_changed);
        }
        make_dense(bytes)?;
    }
    let is_higher = value > dense_register(bytes, index);
    if is_higher {
        set_dense_register(bytes, index, value);
    }
    Ok(is_higher)
}

/// `None` where it must become dense.
fn raise_sparse(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    max_sparse_bytes: usize,
) -> Result<Option<bool>, Corrupt> {
    let (mut at, mut first, mut previous) = (HEADER, 0, None);
    let run = loop {
        let run = Run::read(bytes, at).ok_or(Corrupt)?;
        if index < first + run.len {
            break run;
        }
        previous = Some(at);
        at += run.width;
        first += run.len;
    };
    if run.value >= value {
        return Ok(Some(false));
    }
    let mut parts = Vec::with_capacity(5);
    let mut push = |value: u8, len: usize| match value {
        _ if len == 0 => {}
        0 => push_zeros(&mut parts, len),
        value => parts.push(packed_run(value, len)),
    };
    push(run.value, index - first);
    push(value, 1);
    push(run.value, first + run.len - 1 - index);
    if parts.len() > run.width && bytes.len() + parts.len() - run.width > max_sparse_bytes {
        return Ok(None);
    }
    bytes.splice(at..at + run.width, parts);
    join_runs(bytes, previous.unwrap_or(HEADER));
    Ok(Some(true))
}

/// Joins runs of one value that lie side by side, among the next five.
fn join_runs(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = Run::read(bytes, at) else { return };
        match Run::read(bytes, at + run.width) {
            Some(next) if run.value > 0 && next.value == run.value && run.len + next.len <= MAX_SPARSE_RUN => {
                bytes[at + 1] = packed_run(run.value, run.len + next.len);
                bytes.remove(at);
            }
            _ => at += run.width,
        }
    }
}

/// At most 4 registers of 1 to 32.
fn packed_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

fn push_zeros(out: &mut Vec<u8>, len: usize) {
    let rest = (len - 1) as u16; // there are 16,384 registers
    match rest.to_be_bytes() {
        [0, low] if len <= MAX_SHORT_ZEROS => out.push(low),
        [high, low] => out.extend_from_slice(&[0x40 | high, low]),
    }
}

impl Run {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let first = *bytes.get(at)?;
        Some(match first >> 6 {
            0 => Self { value: 0, len: usize::from(first) + 1, width: 1 },
            1 => {
                let len = usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                Self { value: 0, len: len + 1, width: 2 }
            }
            _ => Self { value: (first >> 2 & 31) + 1, len: usize::from(first & 3) + 1, width: 1 },
        })
    }

    /// Whether it is written as a long run of zeros.
    pub fn is_long(self) -> bool {
        self.width == 2
    }
}

/// The runs of a sparse value.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let run = Run::read(bytes, at)?;
        at += run.width;
        Some(run)
    })
}

/// Turns a sparse value into a dense one.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupt> {
    let registers = Registers::of(bytes)?;
    bytes.truncate(HEADER);
    bytes[4] = DENSE;
    bytes.resize(DENSE_LEN, 0);
    let set = registers.0.iter().enumerate().filter(|(_, value)| **value > 0);
    set.for_each(|(index, value)| set_dense_register(bytes, index, *value));
    Ok(())
}

/// First byte of a dense register, and the bits in front of it.
fn dense_place(index: usize) -> (usize, u32) {
    (HEADER + index * 6 / 8, (index * 6 % 8) as u32)
}

fn dense_register(bytes: &[u8], index: usize) -> u8 {
    let (at, shift) = dense_place(index);
    let pair = u16::from_le_bytes([bytes[at], bytes.get(at + 1).copied().unwrap_or(0)]);
    (pair >> shift & 63) as u8
}

fn set_dense_register(bytes: &mut [u8], index: usize, value: u8) {
    let (at, shift) = dense_place(index);
    let pair = u16::from_le_bytes([bytes[at], bytes.get(at + 1).copied().unwrap_or(0)]);
    let [low, high] = (pair & !(63 << shift) | u16::from(value) << shift).to_le_bytes();
    bytes[at] = low;
    if let Some(next) = bytes.get_mut(at + 1) {
        *next = high;
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// Those of a value.
    pub fn of(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut registers = Self::default();
        registers.merge(bytes)?;
        Ok(registers)
    }

    pub fn iter(&self) -> impl Iterator<Item = u8> {
        self.0.iter().copied()
    }

    /// Raises them to those of a value.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        if is_dense(bytes) {
            let registers = self.0.iter_mut().enumerate();
            registers.for_each(|(index, register)| *register = dense_register(bytes, index).max(*register));
            return Ok(());
        }
        let (mut first, mut end) = (0, HEADER);
        for run in runs(bytes) {
            end += run.width;
            let range: Range<usize> = first..first + run.len;
            first = range.end;
            let registers = self.0.get_mut(range).ok_or(Corrupt)?;
            registers.iter_mut().for_each(|register| *register = run.value.max(*register));
        }
        // Nothing, nor half of a run, may stand behind them.
        if first == REGISTERS && end == bytes.len() { Ok(()) } else { Err(Corrupt) }
    }

    /// Raises a value's registers to these. A sparse value stays one as far as it can.
    pub fn raise(&self, bytes: &mut Vec<u8>, max_sparse_bytes: usize) -> Result<(), Corrupt> {
        for (index, value) in self.iter().enumerate().filter(|(_, value)| *value > 0) {
            raise(bytes, index, value, max_sparse_bytes)?;
        }
        Ok(())
    }

    /// The estimate.
    pub fn count(&self) -> u64 {
        let mut histogram = [0_u32; 64];
        self.iter().for_each(|value| histogram[usize::from(value & 63)] += 1);
        let all = REGISTERS as f64;
        let mut z = all * tau((all - f64::from(histogram[COUNTED_BITS as usize + 1])) / all);
        for of_value in histogram[1..=COUNTED_BITS as usize].iter().rev() {
            z = (z + f64::from(*of_value)) * 0.5;
        }
        z += all * sigma(f64::from(histogram[0]) / all);
        // 1 / (2 ln 2)
        const ALPHA: f64 = 0.721_347_520_444_481_7;
        (ALPHA * all * all / z).round() as u64
    }
}

/// As in the paper: the correction for registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let former = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if former == z {
            return z / 3.0;
        }
    }
}

/// As in the paper: the correction for registers that are empty.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let former = z;
        z += x * y;
        y += y;
        if former == z {
            return z;
        }
    }
}

/// MurmurHash64A, reading little-endian words.
fn murmur(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut mixed = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        mixed ^= mixed >> SHIFT;
        hash = (hash ^ mixed.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_value_has_the_registers_of_a_dense_one() {
        let (mut sparse, mut dense) = (empty(), empty());
        make_dense(&mut dense).unwrap();
        for number in 0..20_000_u32 {
            let element = number.to_string();
            let has_changed = add(&mut sparse, element.as_bytes(), 3000).unwrap();
            assert_eq!(add(&mut dense, element.as_bytes(), 0).unwrap(), has_changed);
            if number % 97 == 0 {
                let registers = [&sparse, &dense].map(|bytes| Registers::of(bytes).unwrap());
                assert!(registers[0].iter().eq(registers[1].iter()));
                let (seen, estimate) = (f64::from(number + 1), registers[0].count() as f64);
                assert!((estimate - seen).abs() <= (seen * 0.05).max(2.0), "{estimate} of {seen}");
            }
        }
        assert!(is_dense(&sparse) && is_valid(&sparse));
    }

    #[test]
    fn broken_values_are_told_and_nothing_panics() {
        let mut value = empty();
        (0..200_u32).for_each(|number| assert!(add(&mut value, &number.to_le_bytes(), 3000).is_ok()));
        for at in HEADER..value.len() {
            for byte in 0..=255 {
                let mut broken = value.clone();
                broken[at] = byte;
                let registers = Registers::of(&broken);
                let _ = add(&mut broken, b"one more", 3000);
                assert!(registers.is_err() || Registers::of(&broken).is_ok());
            }
            assert!(Registers::of(&value[..at]).is_err());
        }
    }
}
