//! LZF, the compression of strings in RDB files.
//!
//! ```text
//! 000lllll  data            l + 1 bytes as they are
//! LLLooooo  oooooooo        L + 2 bytes from o + 1 bytes back, for L = 1..6
//! 111ooooo  L  oooooooo     L + 9 bytes from o + 1 bytes back
//! ```
//!
//! A copy may overlap what it writes. So a byte of input gives at most 88 bytes of output, which bounds what a damaged
//! length can ask for.
//!
//! ```
//! use ironkeep::codec::lzf::{Compressor, decompress};
//! let mut packed = Vec::new();
//! assert!(Compressor::new().compress(&[b'a'; 100], &mut packed));
//! assert_eq!(packed, [0, b'a', 0xe0, 90, 0]);
//! let mut text = Vec::new();
//! decompress(&packed, 100, &mut text).unwrap();
//! assert_eq!(text, [b'a'; 100]);
//! ```

/// Most bytes of one literal run.
const MAX_LITERAL: usize = 32;
/// Farthest distance of a copy.
const MAX_DISTANCE: usize = 1 << 13;
/// Longest copy.
const MAX_COPY: usize = 264;
/// Shortest copy.
const MIN_COPY: usize = 3;
/// Compression that saves less than this is not worth it.
const MIN_SAVING: usize = 4;
/// Most bytes passed over at a time where nothing repeats.
const MAX_STRIDE: usize = 15;
/// Bits of the table of places.
const TABLE_BITS: u32 = 14;

/// Compresses, reusing its table. Making one costs 64 KiB; using it again costs nothing.
pub struct Compressor {
    /// Where three bytes were last seen: `base` + position. What is below `base` is of an earlier input.
    places: Vec<u32>,
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor::new()
    }
}

impl Compressor {
    /// A compressor.
    pub fn new() -> Self {
        Compressor { places: vec![0; 1 << TABLE_BITS], base: 1 }
    }

    /// Appends `input` compressed to `out`, if that saves at least 4 bytes; otherwise leaves `out` as it was and says
    /// false.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(budget) = input.len().checked_sub(MIN_SAVING).filter(|budget| *budget > 0) else { return false };
        let Ok(length) = u32::try_from(input.len()) else { return false };
        match self.base.checked_add(length) {
            Some(_) => {}
            None if length < u32::MAX - 1 => {
                self.places.fill(0);
                self.base = 1;
            }
            None => return false,
        }
        let start = out.len();
        let fits = self.pack(input, out, start + budget);
        self.base += length;
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// Writes the tokens; false once `out` would grow beyond `limit`.
    fn pack(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
        let (mut at, mut literal) = (0, 0);
        while at + MIN_COPY <= input.len() {
            let Some(from) = self.earlier(input, at) else {
                // The longer nothing repeats, the larger the steps: incompressible input passes quickly.
                at += 1 + ((at - literal) >> 7).min(MAX_STRIDE);
                continue;
            };
            let most = (input.len() - at).min(MAX_COPY);
            let length = input[from..].iter().zip(&input[at..at + most]).take_while(|(a, b)| a == b).count();
            if !put_literals(&input[literal..at], out, limit) {
                return false;
            }
            put_copy(at - from - 1, length, out);
            // Remember the end of the copy too: that is where the next repetition often begins.
            for place in at + 1..(at + length).min(input.len() - MIN_COPY + 1) {
                if place == at + 1 || place + 2 >= at + length {
                    self.places[slot(input, place)] = self.base + place as u32; // the input is below 4 GiB
                }
            }
            at += length;
            literal = at;
        }
        put_literals(&input[literal..], out, limit) && out.len() <= limit
    }

    /// Where the three bytes at `at` were last seen within reach; remembers them here.
    fn earlier(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let place = &mut self.places[slot(input, at)];
        // The input is below 4 GiB, so its positions fit.
        let seen = std::mem::replace(place, self.base + at as u32).checked_sub(self.base)? as usize;
        (seen < at && at - seen <= MAX_DISTANCE && input[seen..seen + MIN_COPY] == input[at..at + MIN_COPY])
            .then_some(seen)
    }
}

/// The slot of the three bytes at `at`.
fn slot(input: &[u8], at: usize) -> usize {
    let word = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize // at most 14 bits
}

fn put_literals(mut bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
    if out.len() + bytes.len() > limit {
        return false;
    }
    while !bytes.is_empty() {
        let (run, rest) = bytes.split_at(bytes.len().min(MAX_LITERAL));
        out.push((run.len() - 1) as u8); // at most 31
        out.extend_from_slice(run);
        bytes = rest;
    }
    true
}

fn put_copy(distance: usize, length: usize, out: &mut Vec<u8>) {
    // The distance has 13 bits and the length at most 264, so each of the casts keeps its byte.
    let high = (distance >> 8) as u8;
    if length < 9 {
        out.push(((length - 2) << 5) as u8 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((length - 9) as u8);
    }
    out.push(distance as u8);
}

/// Why compressed bytes cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LzfError {
    /// A run or copy goes on behind the last byte.
    #[error("compressed bytes that end in the middle of a run")]
    CutShort,
    /// A copy from before the first byte.
    #[error("compressed bytes that copy from before their start")]
    TooFarBack,
    /// More or fewer bytes than announced.
    #[error("compressed bytes that do not give the length they announce")]
    WrongLength,
    /// No memory.
    #[error("no memory for the unpacked bytes")]
    OutOfMemory,
}

/// Appends the `length` bytes that `input` unpacks to. On an error `out` holds what was unpacked so far. Never
/// allocates more than 88 times the input.
pub fn decompress(input: &[u8], length: usize, out: &mut Vec<u8>) -> Result<(), LzfError> {
    if is_absurd(input, length) {
        return Err(LzfError::WrongLength);
    }
    out.try_reserve(length).map_err(|_| LzfError::OutOfMemory)?;
    let start = out.len();
    out.resize(start + length, 0);
    let (unpacked, ending) = unpack(input, &mut out[start..]);
    out.truncate(start + unpacked);
    ending
}

/// Whether `input` is too short for what it is said to unpack to.
fn is_absurd(input: &[u8], length: usize) -> bool {
    length > input.len().saturating_mul(MAX_COPY / MIN_COPY)
}

/// Whether [`decompress`] would give `length` bytes, and its error otherwise, without unpacking anything.
pub fn prove(input: &[u8], length: usize) -> Result<(), LzfError> {
    if is_absurd(input, length) {
        return Err(LzfError::WrongLength);
    }
    let (mut rest, mut at) = (input, 0);
    while let [control, tail @ ..] = rest {
        let (count, distance, tail) = match *control {
            literal @ ..32 => {
                let count = usize::from(literal) + 1;
                (count, 0, tail.get(count..).ok_or(LzfError::CutShort)?)
            }
            control => repetition(control, tail)?,
        };
        if count > length - at {
            return Err(LzfError::WrongLength);
        }
        if distance > at {
            return Err(LzfError::TooFarBack);
        }
        (at, rest) = (at + count, tail);
    }
    if at == length { Ok(()) } else { Err(LzfError::WrongLength) }
}

/// Fills `out`; the bytes that were unpacked, and whether they are all.
fn unpack(input: &[u8], out: &mut [u8]) -> (usize, Result<(), LzfError>) {
    let (mut rest, mut at) = (input, 0);
    while let [control, tail @ ..] = rest {
        let step = match *control {
            literal @ ..32 => put_run(tail, usize::from(literal) + 1, out, at),
            _ => put_repetition(*control, tail, out, at),
        };
        match step {
            Ok((end, tail)) => (at, rest) = (end, tail),
            Err(error) => return (at, Err(error)),
        }
    }
    (at, if at == out.len() { Ok(()) } else { Err(LzfError::WrongLength) })
}

/// Copies the first `count` bytes of `tail` to `at`; the end of what is unpacked then, and what follows them.
#[inline]
fn put_run<'a>(tail: &'a [u8], count: usize, out: &mut [u8], at: usize) -> Result<(usize, &'a [u8]), LzfError> {
    let room = &mut out[at..];
    // Two registers are copied faster than a length is looked at; what is too much is overwritten later.
    if let (Some(run), Some(room)) = (tail.first_chunk::<MAX_LITERAL>(), room.first_chunk_mut::<MAX_LITERAL>()) {
        *room = *run;
        return Ok((at + count, &tail[count..]));
    }
    let (run, tail) = tail.split_at_checked(count).ok_or(LzfError::CutShort)?;
    room.get_mut(..count).ok_or(LzfError::WrongLength)?.copy_from_slice(run);
    Ok((at + count, tail))
}

/// How long the copy is that begins with `control`, how far back it reaches, and what follows it.
#[inline]
fn repetition(control: u8, tail: &[u8]) -> Result<(usize, usize, &[u8]), LzfError> {
    let (count, low, tail) = match (control >> 5, tail) {
        (7, [more, low, tail @ ..]) => (usize::from(*more) + 9, *low, tail),
        (7, _) | (_, []) => return Err(LzfError::CutShort),
        (short, [low, tail @ ..]) => (usize::from(short) + 2, *low, tail),
    };
    Ok((count, (usize::from(control & 31) << 8 | usize::from(low)) + 1, tail))
}

/// Repeats at `at` what a copy names; the end of what is unpacked then, and what follows the copy.
#[inline]
fn put_repetition<'a>(control: u8, tail: &'a [u8], out: &mut [u8], at: usize) -> Result<(usize, &'a [u8]), LzfError> {
    let (count, distance, tail) = repetition(control, tail)?;
    if count > out.len() - at {
        return Err(LzfError::WrongLength);
    }
    let from = at.checked_sub(distance).ok_or(LzfError::TooFarBack)?;
    repeat(out, from, at, count);
    Ok((at + count, tail))
}

/// Copies `count` bytes from `from` to `at`, which may lie in what is being copied.
#[inline]
fn repeat(out: &mut [u8], from: usize, at: usize, count: usize) {
    const BLOCK: usize = 16;
    if at - from >= BLOCK && at + count + BLOCK <= out.len() {
        for done in (0..count).step_by(BLOCK) {
            out.copy_within(from + done..from + done + BLOCK, at + done);
        }
        return;
    }
    let mut done = 0;
    while done < count {
        let piece = (count - done).min(at + done - from);
        out.copy_within(from..from + piece, at + done);
        done += piece;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of every kind: noise, runs, words, short periods.
    fn samples() -> Vec<Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut samples = vec![vec![b'x'; 5000], b"abcabcabcabcabcabcabcabcabcabc".to_vec()];
        for round in 0..400 {
            let length = random.usize(5..if round % 40 == 0 { 60_000 } else { 600 });
            let alphabet = [2, 5, 40, 256][round % 4];
            let period = [1, 3, 50, 9000][random.usize(0..4)];
            let mut text: Vec<u8> = (0..length).map(|_| random.u16(0..alphabet).to_le_bytes()[0]).collect();
            for at in period..length {
                if random.u8(0..8) > 0 {
                    text[at] = text[at - period];
                }
            }
            samples.push(text);
        }
        samples
    }

    #[test]
    fn what_we_pack_every_reader_unpacks() {
        let mut compressor = Compressor::new();
        let mut packed_some = 0;
        for text in samples() {
            let mut packed = b"before".to_vec();
            if !compressor.compress(&text, &mut packed) {
                assert_eq!(packed, b"before");
                continue;
            }
            packed_some += 1;
            let packed = &packed[6..];
            assert!(packed.len() + MIN_SAVING <= text.len());
            assert_eq!(lzf::decompress(packed, text.len()).unwrap(), text);
            let mut unpacked = Vec::new();
            decompress(packed, text.len(), &mut unpacked).unwrap();
            assert_eq!(unpacked, text);
        }
        assert!(packed_some > 150, "{packed_some}");
    }

    #[test]
    fn what_others_pack_we_unpack() {
        for text in samples() {
            let Ok(packed) = lzf::compress(&text) else { continue };
            let mut unpacked = b"before".to_vec();
            decompress(&packed, text.len(), &mut unpacked).unwrap();
            assert_eq!(&unpacked[6..], text);
        }
    }

    #[test]
    fn damaged_input_gives_an_error_or_the_announced_length() {
        let mut random = fastrand::Rng::with_seed(11);
        for text in samples().into_iter().filter(|text| text.len() < 700) {
            let mut packed = Vec::new();
            Compressor::new().compress(&text, &mut packed);
            for _ in 0..20 {
                let mut broken = packed.clone();
                for _ in 0..random.usize(0..4) {
                    if !broken.is_empty() {
                        let at = random.usize(0..broken.len());
                        broken[at] = random.u8(..);
                    }
                }
                broken.truncate(random.usize(0..=broken.len()));
                let length = random.usize(1..1000);
                let mut unpacked = Vec::new();
                let ending = decompress(&broken, length, &mut unpacked);
                assert_eq!(prove(&broken, length), ending);
                if ending.is_ok() {
                    assert_eq!(unpacked.len(), length);
                    assert_eq!(lzf::decompress(&broken, length).ok(), Some(unpacked));
                }
            }
        }
    }

    #[test]
    fn an_absurd_length_is_refused_before_memory_is_asked_for() {
        let mut out = Vec::new();
        assert_eq!(decompress(&[0, b'a'], usize::MAX, &mut out), Err(LzfError::WrongLength));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn the_table_survives_four_gigabytes_of_input() {
        let mut compressor = Compressor::new();
        compressor.base = u32::MAX - 150;
        for _ in 0..3 {
            let mut packed = Vec::new();
            assert!(compressor.compress(&[b'z'; 100], &mut packed));
            assert_eq!(packed, [0, b'z', 0xe0, 90, 0]);
        }
    }
}
