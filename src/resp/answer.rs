//! What a server answers, decoded: the other side of [`reply`](super::reply), for the tools that ask servers.
//!
//! Both versions of the protocol are understood. The decoder takes whole scalars out of a buffer as they arrive and keeps
//! the aggregates that are under way itself, so that nothing is looked at twice and no announced count sizes memory.

use crate::codec::number::{parse_f64, parse_i64};

/// An answer deeper than this is no server's.
const MOST_LEVELS: usize = 64;
/// The longest line of a length, a number or a status. Error texts may quote what was sent.
const MOST_LINE: usize = 1 << 20;

/// An answer, as far as the tools tell kinds apart: sets and pushes are arrays, a verbatim string is its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A status such as `OK`.
    Simple(Vec<u8>),
    /// An error; the text begins with its code word.
    Error(Vec<u8>),
    Int(i64),
    Double(f64),
    Bool(bool),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Answer>),
    Map(Vec<(Answer, Answer)>),
}

impl Answer {
    /// The bytes of a string or status.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Answer::Bulk(bytes) | Answer::Simple(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of an error.
    pub fn error(&self) -> Option<&[u8]> {
        match self {
            Answer::Error(text) => Some(text),
            _ => None,
        }
    }
}

/// Why the bytes can't be an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("an answer begins with byte {0}, which no answer begins with: is this a Redis or Valkey server?")]
    UnknownKind(u8),
    #[error("an answer has a length or number that is none")]
    Number,
    #[error("a line of an answer has no end")]
    LongLine,
    #[error("a string of an answer is not followed by CRLF")]
    MissingCrlf,
    #[error("an answer is nested too deeply")]
    TooDeep,
}

/// An aggregate whose elements are still coming.
#[derive(Debug)]
struct Partial {
    kind: Aggregate,
    missing: u64,
    items: Vec<Answer>,
}

#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Array,
    Map,
    /// Remarks in front of an answer, which are dropped.
    Attribute,
}

/// A resumable decoder; one per connection.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Vec<Partial>,
}

enum Head {
    Whole(Answer),
    Begins(Partial),
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes what `buffer` begins with. The number says how many bytes are used up, whether or not an answer is
    /// complete; the next call must begin behind them.
    ///
    /// ```
    /// use ironkeep::resp::answer::{Answer, Decoder};
    /// let mut decoder = Decoder::new();
    /// assert_eq!(decoder.decode(b"*2\r\n:1\r\n$2\r\nh"), Ok((8, None)));
    /// let answer = Answer::Array(vec![Answer::Int(1), Answer::Bulk(b"hi".to_vec())]);
    /// assert_eq!(decoder.decode(b"$2\r\nhi\r\n"), Ok((8, Some(answer))));
    /// ```
    pub fn decode(&mut self, buffer: &[u8]) -> Result<(usize, Option<Answer>), AnswerError> {
        let mut used = 0;
        while let Some((head, len)) = decode_head(&buffer[used..])? {
            used += len;
            let done = match head {
                Head::Whole(answer) => self.complete(answer),
                Head::Begins(partial) if partial.missing == 0 => self.close(partial),
                Head::Begins(partial) => {
                    self.partial.push(partial);
                    if self.partial.len() > MOST_LEVELS {
                        return Err(AnswerError::TooDeep);
                    }
                    None
                }
            };
            if done.is_some() {
                return Ok((used, done));
            }
        }
        Ok((used, None))
    }

    /// Puts a whole answer where it belongs, and gives the outermost one if that makes it whole.
    fn complete(&mut self, mut answer: Answer) -> Option<Answer> {
        loop {
            let Some(around) = self.partial.last_mut() else { return Some(answer) };
            around.items.push(answer);
            around.missing -= 1;
            if around.missing > 0 {
                return None;
            }
            answer = self.partial.pop()?.finish()?;
        }
    }

    fn close(&mut self, partial: Partial) -> Option<Answer> {
        let answer = partial.finish()?;
        self.complete(answer)
    }
}

impl Partial {
    fn finish(self) -> Option<Answer> {
        match self.kind {
            Aggregate::Array => Some(Answer::Array(self.items)),
            Aggregate::Attribute => None,
            Aggregate::Map => {
                let mut items = self.items.into_iter();
                Some(Answer::Map(std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()))
            }
        }
    }
}

/// A scalar, or the beginning of an aggregate, and its length; `None` where it has not arrived whole.
fn decode_head(buffer: &[u8]) -> Result<Option<(Head, usize)>, AnswerError> {
    let Some(&kind) = buffer.first() else { return Ok(None) };
    if !b"+-:,#_(*%~>|$=!".contains(&kind) {
        return Err(AnswerError::UnknownKind(kind));
    }
    let Some(line_len) = memchr::memchr(b'\n', &buffer[..buffer.len().min(MOST_LINE)]) else {
        return if buffer.len() >= MOST_LINE { Err(AnswerError::LongLine) } else { Ok(None) };
    };
    let line = buffer[1..line_len].strip_suffix(b"\r").ok_or(AnswerError::MissingCrlf)?;
    let behind = line_len + 1;
    let whole = |answer| Ok(Some((Head::Whole(answer), behind)));
    match kind {
        b'+' | b'(' => whole(Answer::Simple(line.to_vec())),
        b'-' => whole(Answer::Error(line.to_vec())),
        b':' => whole(Answer::Int(parse_i64(line).ok_or(AnswerError::Number)?)),
        b',' => whole(Answer::Double(parse_f64(line).ok_or(AnswerError::Number)?)),
        b'#' => whole(Answer::Bool(line == b"t")),
        b'_' => whole(Answer::Null),
        b'$' | b'=' | b'!' => decode_bulk(kind, line, &buffer[behind..], behind),
        _ => {
            let Some(count) = length(line)? else { return whole(Answer::Null) };
            let (kind, per_item) = match kind {
                b'%' => (Aggregate::Map, 2),
                b'|' => (Aggregate::Attribute, 2),
                _ => (Aggregate::Array, 1),
            };
            let missing = count.checked_mul(per_item).ok_or(AnswerError::Number)?;
            Ok(Some((Head::Begins(Partial { kind, missing, items: Vec::new() }), behind)))
        }
    }
}

/// A count or length; `None` for -1, which stands for null.
fn length(line: &[u8]) -> Result<Option<u64>, AnswerError> {
    match parse_i64(line) {
        Some(-1) => Ok(None),
        Some(count) => u64::try_from(count).map(Some).map_err(|_| AnswerError::Number),
        None => Err(AnswerError::Number),
    }
}

fn decode_bulk(kind: u8, line: &[u8], body: &[u8], behind: usize) -> Result<Option<(Head, usize)>, AnswerError> {
    let Some(len) = length(line)? else { return Ok(Some((Head::Whole(Answer::Null), behind))) };
    let len = usize::try_from(len).map_err(|_| AnswerError::Number)?;
    let Some(end) = len.checked_add(2).filter(|end| *end <= body.len()) else { return Ok(None) };
    if &body[len..end] != b"\r\n" {
        return Err(AnswerError::MissingCrlf);
    }
    let bytes = body[..len].to_vec();
    let answer = match kind {
        b'!' => Answer::Error(bytes),
        // A verbatim string begins with its format, as in `txt:`.
        b'=' => Answer::Bulk(bytes.get(4..).unwrap_or_default().to_vec()),
        _ => Answer::Bulk(bytes),
    };
    Ok(Some((Head::Whole(answer), behind + end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Encoder, Protocol};

    /// Feeds a byte at a time.
    fn dribbled(bytes: &[u8]) -> Vec<Answer> {
        let (mut decoder, mut waiting, mut found) = (Decoder::new(), Vec::new(), Vec::new());
        for &byte in bytes {
            waiting.push(byte);
            let (used, answer) = decoder.decode(&waiting).unwrap();
            waiting.drain(..used);
            found.extend(answer);
        }
        assert!(waiting.is_empty());
        found
    }

    #[test]
    fn what_our_encoder_writes_is_understood_in_both_protocols() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut out = Vec::new();
            let mut encoder = Encoder::new(&mut out, protocol);
            encoder.array(3);
            encoder.int(-7);
            encoder.bulk(b"a\r\nb");
            encoder.array(0);
            encoder.null();
            encoder.error(b"ERR no");
            encoder.verbatim("txt", b"text");
            let nested = Answer::Array(vec![Answer::Int(-7), Answer::Bulk(b"a\r\nb".to_vec()), Answer::Array(vec![])]);
            let wanted = [nested, Answer::Null, Answer::Error(b"ERR no".to_vec()), Answer::Bulk(b"text".to_vec())];
            assert_eq!(dribbled(&out), wanted);
        }
    }

    #[test]
    fn maps_doubles_and_attributes_are_those_of_the_third_version() {
        let bytes = b"|1\r\n+ttl\r\n:1\r\n%1\r\n+k\r\n~2\r\n,1.5\r\n#t\r\n*-1\r\n";
        let set = Answer::Array(vec![Answer::Double(1.5), Answer::Bool(true)]);
        assert_eq!(dribbled(bytes), [Answer::Map(vec![(Answer::Simple(b"k".to_vec()), set)]), Answer::Null]);
    }

    #[test]
    fn what_is_no_answer_is_refused_and_counts_size_nothing() {
        for bytes in [&b"HTTP/1.1 400\r\n"[..], b"$-2\r\n", b"*x\r\n", b"$1\r\nabc", b"+ok\n"] {
            assert!(Decoder::new().decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        let deep = b"*1\r\n".repeat(MOST_LEVELS + 1);
        assert_eq!(Decoder::new().decode(&deep), Err(AnswerError::TooDeep));
        assert_eq!(Decoder::new().decode(b"*9223372036854775807\r\n"), Ok((22, None)));
    }
}
