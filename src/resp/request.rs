//! Finding requests in bytes that arrive piecemeal.
//!
//! The decoder keeps positions, not copies: a finished request is a list of ranges into the caller's buffer, which the
//! caller turns into slices. It remembers where it stopped, so a request of 512 MB that arrives in 16 KiB pieces is
//! looked at once and not 32,768 times. Any error is final for the stream, as the boundaries are lost.

use std::ops::Range;

use smallvec::SmallVec;

use crate::codec::number;

/// The most arguments that one request may have, as in Redis 7.
pub const MAX_ARGUMENTS: i64 = i32::MAX as i64; // widens
/// The longest header or inline line.
pub const MAX_INLINE: usize = 64 * 1024;

/// The argument slices of one request.
pub type Arguments<'a> = SmallVec<[&'a [u8]; 16]>;

/// Why the bytes can't be a request; the texts are those of Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("invalid multibulk length")]
    MultibulkLength,
    #[error("invalid bulk length")]
    BulkLength,
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedDollar(u8),
    #[error("too big mbulk count string")]
    MultibulkTooBig,
    #[error("too big bulk count string")]
    BulkTooBig,
    #[error("too big inline request")]
    InlineTooBig,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulk,
    #[error("expected CRLF after the bytes of an argument")]
    MissingCrlf,
}

/// What [`Decoder::decode`] found at the start of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Incomplete,
    /// A request; it took `consumed` bytes, and [`Decoder::arguments`] has its ranges. May have no arguments at all.
    Request { consumed: usize },
    /// An inline request; its words are in [`Decoder::inline_words`].
    Inline { consumed: usize },
}

/// Limits that a connection sets before it is authenticated, and that the configuration sets for all.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    pub max_bulk_len: i64,
    pub authenticated: bool,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { max_bulk_len: 512 * 1024 * 1024, authenticated: true }
    }
}

/// A resumable request decoder; one per stream.
#[derive(Debug, Default)]
pub struct Decoder {
    ranges: Vec<Range<usize>>,
    words: Vec<Vec<u8>>,
    position: usize,
    missing: i64,
    bulk_len: Option<usize>,
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets how far it was in a request: the next buffer begins with another one.
    pub fn restart(&mut self) {
        (self.missing, self.bulk_len) = (0, None);
    }

    /// Looks for one request at the start of `buffer`. After `Incomplete` the caller must come back with a buffer that
    /// begins with the same bytes; after a request, with the bytes behind it.
    pub fn decode(&mut self, buffer: &[u8], limits: RequestLimits) -> Result<Step, ProtocolError> {
        if self.missing == 0 {
            self.ranges.clear();
            self.position = 0;
            match buffer.first() {
                None => return Ok(Step::Incomplete),
                Some(b'*') => {}
                Some(_) => return self.decode_inline(buffer),
            }
            let Some((count, after)) = self.read_header(buffer, ProtocolError::MultibulkTooBig)? else {
                return Ok(Step::Incomplete);
            };
            let count = count.filter(|count| *count <= MAX_ARGUMENTS).ok_or(ProtocolError::MultibulkLength)?;
            if count > 10 && !limits.authenticated {
                return Err(ProtocolError::UnauthenticatedMultibulk);
            }
            if count <= 0 {
                return Ok(Step::Request { consumed: after });
            }
            self.position = after;
            self.missing = count;
        }
        self.decode_arguments(buffer, limits)
    }

    /// The ranges of the last request's arguments in the buffer that was given.
    pub fn arguments<'a>(&self, buffer: &'a [u8]) -> Arguments<'a> {
        self.ranges.iter().map(|range| &buffer[range.clone()]).collect()
    }

    /// The ranges of the last request's arguments.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Takes the words of the last inline request.
    pub fn take_inline_words(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.words)
    }

    /// The words of the last inline request.
    pub fn inline_words(&self) -> Arguments<'_> {
        self.words.iter().map(Vec::as_slice).collect()
    }

    /// Bytes that the request under way is known to need beyond `available`, so that a reader can make room at once.
    pub fn bytes_wanted(&self, available: usize) -> usize {
        self.bulk_len.map_or(0, |len| (self.position + len + 2).saturating_sub(available))
    }

    fn decode_arguments(&mut self, buffer: &[u8], limits: RequestLimits) -> Result<Step, ProtocolError> {
        self.take_short_arguments(buffer, limits);
        while self.missing > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => match self.decode_bulk_header(buffer, limits)? {
                    Some(len) => len,
                    None => return Ok(Step::Incomplete),
                },
            };
            let end = self.position + len;
            let Some(terminator) = buffer.get(end..end + 2) else {
                return Ok(Step::Incomplete);
            };
            if terminator != b"\r\n" {
                return Err(ProtocolError::MissingCrlf);
            }
            self.ranges.push(self.position..end);
            self.position = end + 2;
            self.bulk_len = None;
            self.missing -= 1;
        }
        Ok(Step::Request { consumed: self.position })
    }

    /// Takes arguments whose length has few digits, as nearly all are, as far as they are there and as they should be. The
    /// first one that is not is left for [`Decoder::decode_arguments`].
    #[inline]
    fn take_short_arguments(&mut self, buffer: &[u8], limits: RequestLimits) {
        let (mut position, mut missing) = (self.position, self.missing);
        while missing > 0 && self.bulk_len.is_none() {
            let Some([b'$', line @ ..]) = buffer.get(position..) else { break };
            let Some((len, digits)) = short_number(line) else { break };
            let start = position + 1 + digits + 2;
            let end = start + len;
            if buffer.get(end..end + 2) != Some(b"\r\n") || len as i64 > limits.max_bulk_len {
                break;
            }
            self.ranges.push(start..end);
            position = end + 2;
            missing -= 1;
        }
        (self.position, self.missing) = (position, missing);
    }

    fn decode_bulk_header(&mut self, buffer: &[u8], limits: RequestLimits) -> Result<Option<usize>, ProtocolError> {
        match buffer.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::ExpectedDollar(other)),
        }
        let Some((len, after)) = self.read_header(buffer, ProtocolError::BulkTooBig)? else {
            return Ok(None);
        };
        let len = len.filter(|len| (0..=limits.max_bulk_len).contains(len)).ok_or(ProtocolError::BulkLength)?;
        if len > 16384 && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        self.position = after;
        self.bulk_len = usize::try_from(len).ok();
        Ok(self.bulk_len)
    }

    /// The number behind the type byte at `self.position` (`None` inside where it isn't one) and the offset behind its
    /// line; `Ok(None)` where the line has not arrived.
    #[allow(clippy::type_complexity)]
    fn read_header(
        &self,
        buffer: &[u8],
        too_big: ProtocolError,
    ) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
        let line = &buffer[self.position + 1..];
        if let Some((value, digits)) = short_number(line) {
            return Ok(Some((Some(value as i64), self.position + 1 + digits + 2))); // of three digits
        }
        let Some(len) = memchr::memchr(b'\r', &line[..line.len().min(MAX_INLINE)]) else {
            return if line.len() >= MAX_INLINE { Err(too_big) } else { Ok(None) };
        };
        match line.get(len + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some((number::parse_i64(&line[..len]), self.position + 1 + len + 2))),
            Some(_) => Ok(Some((None, self.position + 1 + len + 2))),
        }
    }

    fn decode_inline(&mut self, buffer: &[u8]) -> Result<Step, ProtocolError> {
        let Some(len) = memchr::memchr(b'\n', &buffer[..buffer.len().min(MAX_INLINE)]) else {
            return if buffer.len() >= MAX_INLINE { Err(ProtocolError::InlineTooBig) } else { Ok(Step::Incomplete) };
        };
        let line = buffer[..len].strip_suffix(b"\r").unwrap_or(&buffer[..len]);
        self.words = split_words(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        Ok(Step::Inline { consumed: len + 1 })
    }
}

/// A number of up to three digits that `\r\n` follows, and how many they are.
#[inline]
fn short_number(line: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: &u8| usize::from(byte - b'0');
    match line {
        [ones @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(ones), 1)),
        [tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(tens) * 10 + digit(ones), 2)),
        [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((digit(hundreds) * 100 + digit(tens) * 10 + digit(ones), 3))
        }
        _ => None,
    }
}

/// Splits a line into words with the quoting of inline requests, redis.conf and the manifest: `"..."` with `\n \r \t
/// \b \a \xHH` escapes, `'...'` with `\'` only. `None` where quotes are not closed or something follows a closing one.
///
/// ```
/// use ironkeep::resp::request::split_words;
/// assert_eq!(split_words(br#"set k "a\x41 b""#).unwrap(), [b"set".to_vec(), b"k".to_vec(), b"aA b".to_vec()]);
/// assert_eq!(split_words(b"\"open"), None);
/// ```
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0);
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [byte, tail @ ..] = rest {
            if !is_space(*byte) {
                break;
            }
            rest = tail;
        }
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let [byte, tail @ ..] = rest {
            match byte {
                b'"' | b'\'' => {
                    rest =
                        if *byte == b'"' { double_quoted(tail, &mut word)? } else { single_quoted(tail, &mut word)? };
                    if rest.first().is_some_and(|byte| !is_space(*byte)) {
                        return None;
                    }
                    break;
                }
                byte if is_space(*byte) => break,
                byte => {
                    word.push(*byte);
                    rest = tail;
                }
            }
        }
        words.push(word);
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = [*high, *low];
                word.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                rest = tail;
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Appends a request, which is also a record of the log.
pub fn encode_request<A: AsRef<[u8]>>(out: &mut Vec<u8>, arguments: &[A]) {
    let mut number = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(number.format(arguments.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for argument in arguments {
        let argument = argument.as_ref();
        out.push(b'$');
        out.extend_from_slice(number.format(argument.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_cut_anywhere_is_resumed() {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, &[&b"SET"[..], b"key", b"a\r\nb", b""]);
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::new();
            assert_eq!(decoder.decode(&bytes[..cut], RequestLimits::default()), Ok(Step::Incomplete), "cut {cut}");
            let step = decoder.decode(&bytes, RequestLimits::default());
            assert_eq!(step, Ok(Step::Request { consumed: bytes.len() }));
            assert_eq!(decoder.arguments(&bytes).as_slice(), [&b"SET"[..], b"key", b"a\r\nb", b""]);
        }
    }

    #[test]
    fn bad_framing_is_named() {
        let decode = |bytes: &[u8]| Decoder::new().decode(bytes, RequestLimits::default());
        assert_eq!(decode(b"*x\r\n"), Err(ProtocolError::MultibulkLength));
        assert_eq!(decode(b"*2147483648\r\n"), Err(ProtocolError::MultibulkLength));
        assert_eq!(decode(b"*1\r\n:1\r\n"), Err(ProtocolError::ExpectedDollar(b':')));
        assert_eq!(decode(b"*1\r\n$-1\r\n"), Err(ProtocolError::BulkLength));
        assert_eq!(decode(b"*1\r\n$1\r\nabc"), Err(ProtocolError::MissingCrlf));
        assert_eq!(decode(b"get \"x\n"), Err(ProtocolError::UnbalancedQuotes));
        assert_eq!(decode(b"*0\r\n"), Ok(Step::Request { consumed: 4 }));
        assert_eq!(decode(b"*-1\r\n"), Ok(Step::Request { consumed: 5 }));
    }

    #[test]
    fn an_unauthenticated_client_cannot_ask_for_memory() {
        let limits = RequestLimits { authenticated: false, ..RequestLimits::default() };
        assert_eq!(Decoder::new().decode(b"*11\r\n", limits), Err(ProtocolError::UnauthenticatedMultibulk));
        assert_eq!(Decoder::new().decode(b"*1\r\n$16385\r\n", limits), Err(ProtocolError::UnauthenticatedBulk));
    }
}
