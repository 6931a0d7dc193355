//! The name of a stream entry: milliseconds and a sequence number within them.
//!
//! Ids order by both parts, are printed as `ms-seq`, and are stored as 16 bytes, both parts big endian, so that the
//! bytes order as the ids do.

use std::fmt;

/// An entry's id. [`StreamId::MIN`] names no entry: the first one possible is `0-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Usually the time of the append, in milliseconds since 1970.
    pub ms: u64,
    /// Tells apart the entries of one millisecond.
    pub seq: u64,
}

impl StreamId {
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// Parses `ms-seq`, or `ms` alone with `missing_seq` for the other part.
    ///
    /// ```
    /// use ironkeep::value::stream::StreamId;
    /// assert_eq!(StreamId::parse(b"5-7", 0), Some(StreamId::new(5, 7)));
    /// assert_eq!(StreamId::parse(b"5", u64::MAX), Some(StreamId::new(5, u64::MAX)));
    /// assert_eq!(StreamId::parse(b"5-", 0), None);
    /// ```
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        match memchr::memchr(b'-', text) {
            None => Some(Self::new(parse_part(text)?, missing_seq)),
            Some(dash) => Some(Self::new(parse_part(&text[..dash])?, parse_part(&text[dash + 1..])?)),
        }
    }

    /// The `ms` of `ms-*`, which asks for the next free sequence number; `None` for any other text.
    pub fn parse_open(text: &[u8]) -> Option<u64> {
        parse_part(text.strip_suffix(b"-*")?)
    }

    /// The id right after this one; `None` after [`StreamId::MAX`].
    pub fn incr(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self::new(self.ms, seq)),
            None => Some(Self::new(self.ms.checked_add(1)?, 0)),
        }
    }

    /// The id right before this one; `None` before [`StreamId::MIN`].
    pub fn decr(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self::new(self.ms, seq)),
            None => Some(Self::new(self.ms.checked_sub(1)?, u64::MAX)),
        }
    }

    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let joined = u128::from_be_bytes(bytes);
        // Both casts keep the half they are meant to keep.
        Self::new((joined >> 64) as u64, joined as u64)
    }

    /// The text `ms-seq`.
    pub fn to_text(self) -> Vec<u8> {
        let mut text = Vec::with_capacity(24);
        self.write_to(&mut text);
        text
    }

    /// Appends the text `ms-seq`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(self.ms).as_bytes());
        out.push(b'-');
        out.extend_from_slice(buffer.format(self.seq).as_bytes());
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// One part of an id. The servers take it with leading zeros, spaces or a plus, as C's `strtoull` does.
fn parse_part(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_ids_parse_and_others_do_not() {
        for (text, expected) in [
            ("0-0", StreamId::MIN),
            ("18446744073709551615-18446744073709551615", StreamId::MAX),
            ("1526919030474-55", StreamId::new(1526919030474, 55)),
            ("007-08", StreamId::new(7, 8)),
        ] {
            assert_eq!(StreamId::parse(text.as_bytes(), 9), Some(expected), "{text}");
        }
        assert_eq!(StreamId::parse(b"12", 9), Some(StreamId::new(12, 9)));
        for text in ["", "-", "+", "1-", "-1", "1-2-3", "a-1", "1-b", "1-*", "18446744073709551616-0", "1 -1", "1-1 "] {
            assert_eq!(StreamId::parse(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(StreamId::parse_open(b"12-*"), Some(12));
        assert_eq!(StreamId::parse_open(b"*"), None);
        assert_eq!(StreamId::parse_open(b"12-1"), None);
    }

    #[test]
    fn neighbours_carry_into_the_milliseconds_and_stop_at_the_ends() {
        assert_eq!(StreamId::new(1, u64::MAX).incr(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::new(2, 0).decr(), Some(StreamId::new(1, u64::MAX)));
        assert_eq!(StreamId::MAX.incr(), None);
        assert_eq!(StreamId::MIN.decr(), None);
        assert_eq!(StreamId::MIN.incr(), Some(StreamId::new(0, 1)));
    }

    #[test]
    fn bytes_order_as_ids_do() {
        let ids = [StreamId::MIN, StreamId::new(0, 300), StreamId::new(1, 2), StreamId::new(256, 1), StreamId::MAX];
        for pair in ids.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_bytes() < pair[1].to_bytes());
        }
        for id in ids {
            assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
            assert_eq!(StreamId::parse(&id.to_text(), 0), Some(id));
            assert_eq!(id.to_string().into_bytes(), id.to_text());
        }
    }
}
