//! Bytes to records and annotations.
//!
//! The grammar of a record is that of a request on a socket ([`resp::Decoder`](crate::resp::Decoder)), taken strictly:
//! no inline commands, no empty requests. The scanner keeps one buffer, as long as the longest record.

use std::io::{self, Read};

use crc64fast::Digest;
use smallvec::SmallVec;

use super::Fault;
use super::seal::{self, BrokenMark, Mark};
use crate::resp::request::{Decoder, RequestLimits, Step};

/// The longest annotation that servers read, with its line feed.
pub const MAX_ANNOTATION: usize = 1024;
const CHUNK: usize = 1 << 16;
/// A log may hold what a server with a raised `proto-max-bulk-len` took; the bytes that remain are the limit.
const LIMITS: RequestLimits = RequestLimits { max_bulk_len: i64::MAX / 2, authenticated: true };

/// A command as it stands in the file.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    pub offset: u64,
    /// Its bytes, to be copied as they are.
    pub raw: &'a [u8],
    /// One at least.
    pub arguments: Words<'a>,
}

/// The words of a record. Most have no more than these, and each that has room here is moved along with the record.
pub type Words<'a> = SmallVec<[&'a [u8]; 5]>;

impl Record<'_> {
    /// Whether this is the command `name`, in any case.
    pub fn is(&self, name: &[u8]) -> bool {
        self.arguments[0].eq_ignore_ascii_case(name)
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// Never: a record has arguments.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The offset behind it.
    pub fn end(&self) -> u64 {
        self.offset + self.len()
    }
}

/// A line that begins with `#`, which no server executes.
#[derive(Debug, Clone, Copy)]
pub struct Annotation<'a> {
    pub offset: u64,
    /// The whole line.
    pub raw: &'a [u8],
    /// Of a mark: the checksum of what stands between it and the one before it.
    pub crc: Option<u64>,
}

impl<'a> Annotation<'a> {
    /// What the line says, if it is one of ours.
    pub fn mark(&self) -> Option<Result<Mark<'a>, BrokenMark>> {
        Mark::parse(self.raw)
    }

    /// What stands between `#` and the end of the line.
    pub fn text(&self) -> &'a [u8] {
        let line = self.raw.strip_suffix(b"\n").unwrap_or(self.raw);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.strip_prefix(b"#").unwrap_or(line)
    }

    /// The Unix time in seconds of a `#TS:` line: what follows it happened then or later.
    pub fn timestamp(&self) -> Option<i64> {
        crate::codec::number::parse_i64(self.text().strip_prefix(b"TS:")?)
    }
}

/// What a log file is made of.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // lent and looked at, one at a time, never stored
pub enum Item<'a> {
    Record(Record<'a>),
    Annotation(Annotation<'a>),
}

impl<'a> Item<'a> {
    /// The mark that it is, if it is a whole one of ours.
    pub fn mark(&self) -> Option<Mark<'a>> {
        match self {
            Self::Record(_) => None,
            Self::Annotation(annotation) => annotation.mark().and_then(Result::ok),
        }
    }

    pub fn offset(&self) -> u64 {
        match self {
            Self::Record(record) => record.offset,
            Self::Annotation(annotation) => annotation.offset,
        }
    }

    pub fn raw(&self) -> &'a [u8] {
        match self {
            Self::Record(record) => record.raw,
            Self::Annotation(annotation) => annotation.raw,
        }
    }

    /// The offset behind it.
    pub fn end(&self) -> u64 {
        self.offset() + self.raw().len() as u64
    }

    pub fn record(&self) -> Option<&Record<'a>> {
        match self {
            Self::Record(record) => Some(record),
            Self::Annotation(_) => None,
        }
    }
}

/// Finds records and annotations in a stream, one after the other. After a fault there is no going on.
pub struct Scanner<R> {
    reader: R,
    buffer: Vec<u8>,
    /// `buffer[start..]` is unread; `offset` is the file offset of `buffer[start]`.
    start: usize,
    offset: u64,
    end: Option<u64>,
    decoder: Decoder,
    /// Of what stands since the last mark, up to `buffer[digested]`.
    digest: Digest,
    digested: usize,
}

enum Found {
    Record(usize),
    Annotation(usize),
}

impl<R: Read> Scanner<R> {
    /// Scans a file, or a stream of unknown length, from its beginning.
    pub fn new(reader: R) -> Self {
        Self::resume(reader, Vec::new(), 0, None)
    }

    /// Scans from the file offset `offset` on: first `unread`, which was taken from the reader already, then the
    /// reader. Where the length `end` of the file is known, a record that claims to go beyond is not waited for.
    pub fn resume(reader: R, unread: Vec<u8>, offset: u64, end: Option<u64>) -> Self {
        let (decoder, digest) = (Decoder::new(), Digest::new());
        Self { reader, buffer: unread, start: 0, offset, end, decoder, digest, digested: 0 }
    }

    /// The checksum under way of what was given since the last mark.
    pub fn digest(&mut self) -> Digest {
        self.absorb();
        self.digest.clone()
    }

    /// The file offset of the next record or annotation.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record or annotation; `None` where the file ends behind one.
    #[inline]
    #[allow(clippy::should_implement_trait)] // it lends from its buffer, as no Iterator can
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Fault> {
        let Some(found) = self.find()? else {
            return Ok(None);
        };
        let (offset, start) = (self.offset, self.start);
        let (Found::Record(len) | Found::Annotation(len)) = found;
        let is_mark = matches!(found, Found::Annotation(_)) && seal::begins_mark(&self.buffer[start..]);
        let crc = is_mark.then(|| self.end_span(len));
        self.start += len;
        self.offset += len as u64;
        let raw = &self.buffer[start..start + len];
        Ok(Some(match found {
            Found::Record(_) => {
                let arguments = self.decoder.ranges().iter().map(|range| &raw[range.clone()]).collect();
                Item::Record(Record { offset, raw, arguments })
            }
            Found::Annotation(_) => Item::Annotation(Annotation { offset, raw, crc }),
        }))
    }

    /// Brings the digest up to what was given.
    fn absorb(&mut self) {
        self.digest.write(&self.buffer[self.digested..self.start]);
        self.digested = self.start;
    }

    /// The checksum of a span that ends here, with a mark of `len` bytes.
    fn end_span(&mut self, len: usize) -> u64 {
        self.absorb();
        self.digested = self.start + len;
        std::mem::take(&mut self.digest).sum64()
    }

    fn find(&mut self) -> Result<Option<Found>, Fault> {
        loop {
            let unread = &self.buffer[self.start..];
            let found = match unread.first() {
                None => None,
                Some(b'*') => self.find_record()?,
                Some(b'#') => self.find_annotation()?,
                Some(&got) => return Err(Fault::NoRecord { offset: self.offset, got }),
            };
            if found.is_some() {
                return Ok(found);
            }
            let available = self.buffer.len() - self.start;
            let wanted = self.decoder.bytes_wanted(available);
            let beyond = self.end.is_some_and(|end| self.offset + (available + wanted) as u64 > end);
            if !beyond && self.read_more(wanted)? {
                continue;
            }
            return match available {
                0 => Ok(None),
                _ => Err(Fault::Cut { record: self.offset, end: self.end_of_file(beyond) }),
            };
        }
    }

    fn end_of_file(&self, beyond: bool) -> u64 {
        let read = self.offset + (self.buffer.len() - self.start) as u64;
        if beyond { self.end.unwrap_or(read) } else { read }
    }

    fn find_record(&mut self) -> Result<Option<Found>, Fault> {
        let unread = &self.buffer[self.start..];
        match self.decoder.decode(unread, LIMITS) {
            Ok(Step::Incomplete) => Ok(None),
            // The count is canonical, so only 0 and negative ones begin like this.
            Ok(_) if matches!(unread.get(1), Some(b'0' | b'-')) => Err(Fault::NoArguments { offset: self.offset }),
            Ok(Step::Request { consumed } | Step::Inline { consumed }) => Ok(Some(Found::Record(consumed))),
            Err(source) => {
                let offset = self.offset + first_wrong_byte(unread);
                Err(Fault::Malformed { record: self.offset, offset, source })
            }
        }
    }

    fn find_annotation(&self) -> Result<Option<Found>, Fault> {
        let unread = &self.buffer[self.start..];
        let window = &unread[..unread.len().min(MAX_ANNOTATION)];
        match memchr::memchr2(b'\n', 0, window) {
            // A power cut has left a hole: the line goes on in another one behind it.
            Some(nul) if window[nul] == 0 => {
                Err(Fault::NulInAnnotation { record: self.offset, offset: self.offset + nul as u64 }) // a window is short
            }
            Some(line_feed) => Ok(Some(Found::Annotation(line_feed + 1))),
            None if unread.len() >= MAX_ANNOTATION => Err(Fault::LongAnnotation { offset: self.offset }),
            None => Ok(None),
        }
    }

    /// Reads at least a byte, unless the stream is at its end. The buffer grows by what has arrived, never by what a
    /// length in the file promises, unless the file is known to be long enough.
    fn read_more(&mut self, wanted: usize) -> Result<bool, Fault> {
        if self.start > 0 {
            self.absorb();
            self.buffer.drain(..self.start);
            (self.start, self.digested) = (0, 0);
        }
        let filled = self.buffer.len();
        let grow = if self.end.is_some() { wanted.max(CHUNK) } else { wanted.clamp(CHUNK, filled.max(CHUNK)) };
        self.buffer.resize(filled + grow, 0);
        let result = loop {
            match self.reader.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(filled + *result.as_ref().unwrap_or(&0));
        let offset = self.offset + filled as u64;
        result.map(|count| count > 0).map_err(|source| Fault::Io { offset, source })
    }
}

/// The index of the byte at which `bytes` stop being a request: the shortest prefix that is refused ends there.
fn first_wrong_byte(bytes: &[u8]) -> u64 {
    let refused = |len: usize| Decoder::new().decode(&bytes[..len], LIMITS).is_err();
    let (mut good, mut bad) = (0, bytes.len());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if refused(middle) { bad = middle } else { good = middle }
    }
    good as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode_request;

    /// Gives one byte per read, so that every resumption is exercised.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn sample() -> Vec<u8> {
        let mut bytes = b"#TS:1700000000\r\n".to_vec();
        encode_request(&mut bytes, &[&b"SET"[..], b"key", b"*1\r\n$4\r\nPING\r\n"]);
        bytes.extend_from_slice(b"#\n");
        encode_request(&mut bytes, &[b"DEL", b"key"]);
        bytes
    }

    fn spans(reader: impl Read, end: Option<u64>) -> (Vec<(u64, u64)>, Option<Fault>) {
        let mut scanner = Scanner::resume(reader, Vec::new(), 0, end);
        let mut spans = Vec::new();
        loop {
            match scanner.next() {
                Ok(Some(item)) => spans.push((item.offset(), item.end())),
                Ok(None) => return (spans, None),
                Err(fault) => return (spans, Some(fault)),
            }
        }
    }

    #[test]
    fn records_and_annotations_have_their_offsets() {
        let bytes = sample();
        let expected = vec![(0, 16), (16, 59), (59, 61), (61, 83)];
        assert_eq!(spans(&bytes[..], None).0, expected);
        assert_eq!(spans(Drip(&bytes), Some(83)).0, expected);
        let mut scanner = Scanner::new(&bytes[..]);
        let Ok(Some(Item::Annotation(first))) = scanner.next() else { panic!("no annotation") };
        assert_eq!(first.timestamp(), Some(1_700_000_000));
    }

    #[test]
    fn a_file_cut_anywhere_gives_its_whole_records_and_the_start_of_the_cut_one() {
        let bytes = sample();
        let ends = [0, 16, 59, 61, 83];
        for cut in 0..bytes.len() {
            for end in [None, Some(cut as u64)] {
                let (whole, fault) = spans(&bytes[..cut], end);
                let last = *ends.iter().rfind(|&&end| end <= cut as u64).unwrap();
                assert_eq!(whole.last().map_or(0, |span| span.1), last);
                match fault {
                    None => assert_eq!(last, cut as u64),
                    Some(Fault::Cut { record, end }) => assert_eq!((record, end), (last, cut as u64)),
                    Some(other) => panic!("cut {cut}: {other}"),
                }
            }
        }
    }

    #[test]
    fn a_flipped_byte_is_never_a_panic_and_its_fault_lies_in_the_file() {
        let bytes = sample();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                if let (_, Some(fault)) = spans(&flipped[..], Some(bytes.len() as u64)) {
                    assert!(fault.offset() <= bytes.len() as u64 && !fault.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn a_fault_names_the_byte() {
        let fault = |bytes: &[u8]| spans(bytes, Some(bytes.len() as u64)).1.unwrap();
        assert!(matches!(fault(b"*2\r\n$3\r\nDEL\r\n:1\r\n"), Fault::Malformed { record: 0, offset: 13, .. }));
        assert!(matches!(fault(b"*1\r\n$3\r\nDELETE\r\n"), Fault::Malformed { record: 0, offset: 12, .. }));
        assert!(matches!(fault(b"*0\r\n"), Fault::NoArguments { offset: 0 }));
        assert!(matches!(fault(b"*-1\r\n"), Fault::NoArguments { offset: 0 }));
        assert!(matches!(fault(b"#\nPING\r\n"), Fault::NoRecord { offset: 2, got: b'P' }));
        assert!(matches!(fault(&[0; 10]), Fault::NoRecord { offset: 0, got: 0 }));
        assert!(matches!(fault(&[b'#'; 1025]), Fault::LongAnnotation { offset: 0 }));
        assert!(matches!(fault(b"#\n#TS:1\0\n"), Fault::NulInAnnotation { record: 2, offset: 7 }));
        assert!(matches!(fault(b"#TS:1\0"), Fault::NulInAnnotation { record: 0, offset: 5 }));
    }

    #[test]
    fn a_promise_of_bytes_is_not_an_allocation() {
        let bytes = b"*1\r\n$4000000000000\r\nshort";
        for end in [None, Some(bytes.len() as u64)] {
            let mut scanner = Scanner::resume(&bytes[..], Vec::new(), 0, end);
            assert!(matches!(scanner.next(), Err(Fault::Cut { record: 0, end: 25 })));
            assert!(scanner.buffer.capacity() < 4 * CHUNK);
        }
    }
}
