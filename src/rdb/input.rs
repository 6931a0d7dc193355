//! The bytes under the reader: a buffer that knows its place in the file, the checksum so far, and, where a span is
//! to be kept as it stands, a copy of it, held ([`Input::capture`]) or handed on piece by piece ([`Input::tapped`]).

use std::io::{self, Read, Seek, SeekFrom};

use super::error::{Cause, Error};
use super::kind::Header;
use super::template::Templates;
use crate::codec::crc64::Crc64;

/// Size of the buffer; also the longest string that is given out without a copy.
pub(super) const BUFFER: usize = 128 * 1024;
/// Reading into a value grows by at most this, whatever length the file announces.
const STEP: usize = 1 << 20;

/// What is handed a span piece by piece.
type Tap<'t> = &'t mut dyn FnMut(&[u8]);

pub(super) struct Input<'t, R> {
    inner: R,
    buffer: Vec<u8>,
    /// The next byte to be given out, and the end of what was read.
    at: usize,
    end: usize,
    /// Up to here the given out bytes are in the checksum and in the captured span.
    settled: usize,
    /// File offset of the first byte in the buffer.
    base: u64,
    crc: Crc64,
    captured: Option<Vec<u8>>,
    /// No byte from this offset on is given out, as if the file ended there.
    ceiling: u64,
    tap: Option<Tap<'t>>,
    /// Up to here the given out bytes went through the tap. Apart from `settled`, so that a tap for every short value
    /// does not cut the checksum's blocks short.
    handed: usize,
    /// What is being read, for errors.
    pub(super) part: &'static str,
    /// What the file said at its start, for errors and for what depends on the version.
    pub(super) header: Header,
    /// Whether a value that is damaged inside is read on where that can be, without what is damaged.
    pub(super) lenient: bool,
    /// The hash templates that the file has defined so far.
    pub(super) templates: Templates,
}

impl<'t, R: Read> Input<'t, R> {
    pub(super) fn new(inner: R, header: Header) -> Self {
        Input {
            inner,
            buffer: vec![0; BUFFER],
            at: 0,
            end: 0,
            settled: 0,
            base: 0,
            crc: Crc64::new(),
            captured: None,
            ceiling: u64::MAX,
            tap: None,
            handed: 0,
            part: "the header",
            header,
            lenient: false,
            templates: Templates::default(),
        }
    }

    /// File offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64 // a buffer's length fits
    }

    /// An error at the next byte, in the part being read.
    pub(super) fn error(&self, cause: Cause) -> Error {
        Error::new(self.offset(), self.part, cause)
    }

    /// The error for bytes that contradict the format.
    pub(super) fn damaged(&self, what: &'static str) -> Error {
        self.error(Cause::Damaged(what))
    }

    /// The error for bytes at an earlier place that contradict the format.
    pub(super) fn damaged_at(&self, offset: u64, what: &'static str) -> Error {
        Error::new(offset, self.part, Cause::Damaged(what))
    }

    /// The error for a contradiction that can be passed over; none where that is asked for.
    pub(super) fn unless_lenient(&self, offset: u64, what: &'static str) -> Result<(), Error> {
        if self.lenient { Ok(()) } else { Err(self.damaged_at(offset, what)) }
    }

    /// Brings the bytes given out since the last time into the checksum and the captured span.
    fn settle(&mut self) {
        let fresh = &self.buffer[self.settled..self.at];
        self.crc.update(fresh);
        if let Some(captured) = &mut self.captured {
            captured.extend_from_slice(fresh);
        }
        self.settled = self.at;
    }

    /// Brings the bytes given out since the last time through the tap.
    fn hand(&mut self) {
        if let Some(tap) = &mut self.tap
            && self.handed < self.at
        {
            tap(&self.buffer[self.handed..self.at]);
        }
        self.handed = self.at;
    }

    /// Reads with `read`, and hands `tap` every byte that is given out meanwhile, in order, in pieces of at most
    /// [`BUFFER`] (or what [`Input::take_into`] takes at once).
    pub(super) fn tapped<T>(&mut self, tap: Tap<'_>, read: impl FnOnce(&mut Input<'_, &mut R>) -> T) -> T {
        // The same input in the hands of one that lives no longer than the tap; it gives everything back.
        let mut tapped = Input {
            inner: &mut self.inner,
            buffer: std::mem::take(&mut self.buffer),
            at: self.at,
            end: self.end,
            settled: self.settled,
            base: self.base,
            crc: self.crc,
            captured: self.captured.take(),
            ceiling: self.ceiling,
            tap: Some(tap),
            handed: self.at,
            part: self.part,
            header: self.header,
            lenient: self.lenient,
            templates: std::mem::take(&mut self.templates),
        };
        let result = read(&mut tapped);
        tapped.hand();
        self.buffer = std::mem::take(&mut tapped.buffer);
        self.captured = tapped.captured.take();
        self.templates = std::mem::take(&mut tapped.templates);
        (self.at, self.end, self.settled) = (tapped.at, tapped.end, tapped.settled);
        (self.base, self.crc, self.part) = (tapped.base, tapped.crc, tapped.part);
        result
    }

    /// Makes `count` bytes, at most [`BUFFER`], lie in the buffer in one piece.
    fn need(&mut self, count: usize) -> Result<(), Error> {
        if self.end - self.at >= count { Ok(()) } else { self.refill(count) }
    }

    #[cold]
    fn refill(&mut self, count: usize) -> Result<(), Error> {
        assert!(count <= BUFFER, "longer pieces are read by take_into");
        self.settle();
        self.hand();
        self.stay_below_ceiling(count as u64)?; // at most BUFFER
        self.buffer.copy_within(self.at..self.end, 0);
        self.base += self.at as u64; // a buffer's length fits
        (self.end, self.at, self.settled, self.handed) = (self.end - self.at, 0, 0, 0);
        while self.end < count {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(self.error(Cause::CutShort)),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(Cause::Io(error))),
            }
        }
        Ok(())
    }

    fn stay_below_ceiling(&self, count: u64) -> Result<(), Error> {
        match self.ceiling.checked_sub(self.offset()) {
            Some(left) if left >= count => Ok(()),
            _ => Err(self.error(Cause::CutShort)),
        }
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        self.need(1)?;
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.slice(N)?);
        Ok(bytes)
    }

    /// The next `count` bytes, at most [`BUFFER`], where they lie.
    pub(super) fn slice(&mut self, count: usize) -> Result<&[u8], Error> {
        self.need(count)?;
        self.at += count;
        Ok(&self.buffer[self.at - count..self.at])
    }

    /// Appends the next `count` bytes to `out`, asking for memory in steps as they arrive.
    pub(super) fn take_into(&mut self, out: &mut Vec<u8>, count: u64) -> Result<(), Error> {
        if self.ceiling != u64::MAX {
            self.stay_below_ceiling(count)?;
        }
        let mut left = count;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(STEP).min(STEP);
            if out.try_reserve(step).is_err() {
                return Err(self.error(Cause::OutOfMemory { bytes: count }));
            }
            if step <= BUFFER {
                out.extend_from_slice(self.slice(step)?);
            } else {
                self.take_directly(out, step)?;
            }
            left -= step as u64; // at most STEP
        }
        Ok(())
    }

    /// Appends `count` bytes to `out`: what the buffer holds, then from the input without passing the buffer.
    fn take_directly(&mut self, out: &mut Vec<u8>, count: usize) -> Result<(), Error> {
        let held = (self.end - self.at).min(count);
        out.extend_from_slice(&self.buffer[self.at..self.at + held]);
        self.at += held;
        self.settle();
        self.hand();
        // The buffer is empty, and what follows does not pass it.
        self.base += self.at as u64; // a buffer's length fits
        (self.at, self.end, self.settled, self.handed) = (0, 0, 0, 0);
        let start = out.len();
        out.resize(start + count - held, 0);
        let mut filled = start;
        while filled < out.len() {
            match self.inner.read(&mut out[filled..]) {
                Ok(0) => return Err(self.error(Cause::CutShort)),
                Ok(read) => {
                    self.base += read as u64; // a buffer's length fits
                    filled += read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(Cause::Io(error))),
            }
        }
        self.crc.update(&out[start..]);
        if let Some(captured) = &mut self.captured {
            captured.extend_from_slice(&out[start..]);
        }
        if let Some(tap) = &mut self.tap {
            tap(&out[start..]);
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub(super) fn pass(&mut self, count: u64) -> Result<(), Error> {
        if self.ceiling != u64::MAX {
            self.stay_below_ceiling(count)?;
        }
        let mut left = count;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            self.slice(step)?;
            left -= step as u64; // at most BUFFER
        }
        Ok(())
    }

    /// From here on keeps a copy of every byte given out.
    pub(super) fn capture(&mut self) {
        self.settle();
        self.captured = Some(Vec::new());
    }

    /// The copy of what was given out since [`Input::capture`].
    pub(super) fn captured(&mut self) -> Vec<u8> {
        self.settle();
        self.captured.take().unwrap_or_default()
    }

    /// What was read from the input but not given out.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// The checksum of all bytes given out so far.
    pub(super) fn checksum(&mut self) -> u64 {
        self.settle();
        self.crc.value()
    }

    /// Bytes that come next, at least one; none at the end.
    pub(super) fn ahead(&mut self) -> Result<&[u8], Error> {
        match self.need(1) {
            Err(error) if !error.is_cut_short() => Err(error),
            _ => Ok(&self.buffer[self.at..self.end]),
        }
    }

    /// The input, and what was read from it but not given out.
    pub(super) fn into_inner(mut self) -> (R, Vec<u8>) {
        self.buffer.truncate(self.end);
        self.buffer.drain(..self.at);
        (self.inner, self.buffer)
    }
}

impl<R: Read + Seek> Input<'_, R> {
    /// Goes on at another offset, and ends at `ceiling`. The checksum means nothing afterwards.
    pub(super) fn reposition(&mut self, offset: u64, ceiling: u64) -> Result<(), Error> {
        let held = offset.checked_sub(self.base).and_then(|at| usize::try_from(at).ok()).filter(|at| *at <= self.end);
        match held {
            Some(at) => self.at = at,
            None => {
                self.inner.seek(SeekFrom::Start(offset)).map_err(|error| self.error(Cause::Io(error)))?;
                (self.base, self.at, self.end) = (offset, 0, 0);
            }
        }
        (self.settled, self.handed, self.captured, self.ceiling) = (self.at, self.at, None, ceiling);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::crc64::crc64;
    use crate::rdb::Lineage;

    /// Gives a few bytes at a time, as a pipe does.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(self.0.len()).min(777);
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn pieces_of_any_size_give_every_byte_once_and_its_checksum() {
        let bytes: Vec<u8> =
            (0..4_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
        let mut input = Input::new(Dribble(&bytes), Header { lineage: Lineage::Redis, version: 11 });
        let mut out = Vec::new();
        out.extend_from_slice(input.slice(100_000).unwrap());
        out.push(input.byte().unwrap());
        input.capture();
        input.take_into(&mut out, 2_500_000).unwrap();
        out.extend(input.array::<16>().unwrap());
        assert_eq!(input.captured(), bytes[100_001..2_600_017]);
        assert_eq!(input.offset(), 2_600_017);
        assert_eq!(input.checksum(), crc64(&bytes[..2_600_017]));
        input.pass(1_000_000).unwrap();
        assert_eq!(out, bytes[..2_600_017]);
        assert_eq!(input.checksum(), crc64(&bytes[..3_600_017]));
        let error = input.take_into(&mut out, u64::MAX).unwrap_err();
        assert!(error.is_cut_short());
        assert!(out.capacity() < 20_000_000, "memory follows the bytes that came, not those announced");
    }

    #[test]
    fn a_tap_gets_what_is_read_through_it_and_nothing_else() {
        let bytes: Vec<u8> =
            (0..4_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
        let mut input = Input::new(Dribble(&bytes), Header { lineage: Lineage::Redis, version: 11 });
        input.slice(1000).unwrap();
        let (mut tapped, mut longest) = (Vec::new(), 0);
        let mut tap = |piece: &[u8]| {
            longest = longest.max(piece.len());
            tapped.extend_from_slice(piece);
        };
        let mut out = Vec::new();
        input
            .tapped(&mut tap, |input| {
                input.pass(3)?;
                input.pass(1_000_000)?;
                input.take_into(&mut out, 1_500_000)?;
                input.byte()
            })
            .unwrap();
        assert!(longest <= STEP, "memory does not follow the length of what is read");
        assert_eq!(tapped, bytes[1000..2_501_004]);
        input.pass(500_000).unwrap();
        assert_eq!((input.offset(), input.checksum()), (3_001_004, crc64(&bytes[..3_001_004])));
    }

    #[test]
    fn what_was_read_ahead_is_handed_back() {
        let mut input = Input::new(&b"abcdef"[..], Header { lineage: Lineage::Redis, version: 11 });
        input.slice(2).unwrap();
        let (rest, ahead) = input.into_inner();
        assert_eq!((rest, &ahead[..]), (&b""[..], &b"cdef"[..]));
    }
}
