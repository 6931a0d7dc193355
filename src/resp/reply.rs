//! Replies, written once, in the client's version of the protocol.
//!
//! Every method that writes a whole reply (or the header of one whose elements follow) returns a [`Reply`], which a
//! handler must return: so no handler can forget to answer.

use crate::codec::number;

/// The protocol version that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Proof that a reply was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply(());

/// Bytes at most of what stands around a bulk string: the mark, the length, two line ends.
const MOST_AROUND: usize = 1 + 20 + 2 + 2;

/// Appends replies to a client's output.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

impl<'a> Encoder<'a> {
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Bytes written so far, to come back to with [`Encoder::truncate`].
    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    pub fn ok(&mut self) -> Reply {
        self.out.extend_from_slice(b"+OK\r\n");
        Reply(())
    }

    /// `+text`; the text must have no line breaks.
    pub fn simple(&mut self, text: &str) -> Reply {
        self.line(b'+', text.as_bytes())
    }

    /// `-text`, where the text begins with the error's code word. Line breaks become spaces.
    pub fn error(&mut self, text: &[u8]) -> Reply {
        self.out.push(b'-');
        self.out.extend(text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
        Reply(())
    }

    pub fn int(&mut self, value: i64) -> Reply {
        self.header(b':', value)
    }

    /// A count of things.
    pub fn count(&mut self, count: usize) -> Reply {
        self.int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) -> Reply {
        self.out.reserve(bytes.len() + MOST_AROUND);
        self.header(b'$', bytes.len() as i64); // slices never exceed i64::MAX
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
        Reply(())
    }

    /// A bulk string of fewer than a hundred bytes, which `write` appends where they belong.
    pub fn short_bulk(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Reply {
        let start = self.out.len();
        self.out.extend_from_slice(b"$00\r\n");
        let text = self.out.len();
        write(self.out);
        let len = self.out.len() - text;
        assert!(len < 100, "a short text has a length of two digits");
        self.out[start + 1] += (len / 10) as u8; // a digit
        self.out[start + 2] += (len % 10) as u8; // a digit
        if len < 10 {
            self.out.remove(start + 1);
        }
        self.out.extend_from_slice(b"\r\n");
        Reply(())
    }

    pub fn bulk_int(&mut self, value: i64) -> Reply {
        let mut buffer = itoa::Buffer::new();
        self.bulk(buffer.format(value).as_bytes())
    }

    /// The null bulk string of RESP2 or the null of RESP3.
    pub fn null(&mut self) -> Reply {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
        Reply(())
    }

    /// The null array of RESP2 or the null of RESP3.
    pub fn null_array(&mut self) -> Reply {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
        Reply(())
    }

    /// A double: its text as a bulk string in RESP2.
    pub fn double(&mut self, value: f64) -> Reply {
        if self.protocol == Protocol::Resp2 {
            return self.short_bulk(|text| number::write_f64(text, value));
        }
        self.out.push(b',');
        number::write_f64(self.out, value);
        self.out.extend_from_slice(b"\r\n");
        Reply(())
    }

    /// A boolean: 1 or 0 in RESP2.
    pub fn bool(&mut self, value: bool) -> Reply {
        match self.protocol {
            Protocol::Resp2 => self.int(i64::from(value)),
            Protocol::Resp3 => self.line(b'#', if value { b"t" } else { b"f" }),
        }
    }

    /// Text with a format of three letters (`txt`, `mkd`): a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) -> Reply {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() as i64 + 4); // slices never exceed i64::MAX
        self.out.extend_from_slice(format.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
        Reply(())
    }

    /// The header of an array; `count` replies must follow.
    pub fn array(&mut self, count: usize) -> Reply {
        self.header(b'*', count as i64) // counts of things in memory never exceed i64::MAX
    }

    /// The header of a map of `count` pairs: a flat array in RESP2.
    pub fn map(&mut self, count: usize) -> Reply {
        match self.protocol {
            Protocol::Resp2 => self.array(count * 2),
            Protocol::Resp3 => self.header(b'%', count as i64), // as in `array`
        }
    }

    /// The header of a set: an array in RESP2.
    pub fn set(&mut self, count: usize) -> Reply {
        match self.protocol {
            Protocol::Resp2 => self.array(count),
            Protocol::Resp3 => self.header(b'~', count as i64), // as in `array`
        }
    }

    /// The header of a push message: an array in RESP2.
    pub fn push(&mut self, count: usize) -> Reply {
        match self.protocol {
            Protocol::Resp2 => self.array(count),
            Protocol::Resp3 => self.header(b'>', count as i64), // as in `array`
        }
    }

    /// Puts an array header for `count` elements in front of what was written since `start` (a former [`len`]), for
    /// replies whose length is known only at their end.
    ///
    /// [`len`]: Encoder::len
    pub fn array_since(&mut self, start: usize, count: usize) -> Reply {
        let tail = self.out.split_off(start);
        self.array(count);
        self.out.extend_from_slice(&tail);
        Reply(())
    }

    /// Bytes that already are replies.
    pub fn raw(&mut self, encoded: &[u8]) -> Reply {
        self.out.extend_from_slice(encoded);
        Reply(())
    }

    fn line(&mut self, kind: u8, text: &[u8]) -> Reply {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
        Reply(())
    }

    #[inline]
    fn header(&mut self, kind: u8, value: i64) -> Reply {
        // Nearly all have one or two digits. The casts are of single digits.
        match value {
            0..10 => self.out.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']),
            10..100 => {
                let (tens, ones) = (b'0' + (value / 10) as u8, b'0' + (value % 10) as u8);
                self.out.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
            }
            _ => {
                self.out.push(kind);
                number::write_i64(self.out, value);
                self.out.extend_from_slice(b"\r\n");
            }
        }
        Reply(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_of_any_size_are_spelled_right() {
        for value in [0, 9, 10, 99, 100, -1, -10, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            Encoder::new(&mut out, Protocol::Resp2).int(value);
            assert_eq!(out, format!(":{value}\r\n").as_bytes());
        }
        for len in [0, 9, 10, 99, 100, 1000] {
            let (mut out, text) = (Vec::new(), "x".repeat(len));
            Encoder::new(&mut out, Protocol::Resp2).bulk(text.as_bytes());
            assert_eq!(out, format!("${len}\r\n{text}\r\n").as_bytes());
        }
        for value in [0.0, -0.0, 1.0, 0.5, 123456789.0, 1234567890.0, 0.1 + 0.2, -1.0 / 3.0, f64::INFINITY, 1e300] {
            let spell = |protocol| {
                let mut out = b"before".to_vec();
                Encoder::new(&mut out, protocol).double(value);
                String::from_utf8(out).unwrap()
            };
            let mut text = Vec::new();
            number::write_f64(&mut text, value);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(spell(Protocol::Resp2), format!("before${}\r\n{text}\r\n", text.len()));
            assert_eq!(spell(Protocol::Resp3), format!("before,{text}\r\n"));
        }
    }

    #[test]
    fn both_protocols_are_spelled_right() {
        let spell = |protocol| {
            let mut out = Vec::new();
            let mut encoder = Encoder::new(&mut out, protocol);
            encoder.map(1);
            encoder.double(1.5);
            encoder.null();
            encoder.bool(true);
            encoder.verbatim("txt", b"hi");
            let start = encoder.len();
            encoder.int(1);
            encoder.int(2);
            encoder.array_since(start, 2);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(spell(Protocol::Resp2), "*2\r\n$3\r\n1.5\r\n$-1\r\n:1\r\n$2\r\nhi\r\n*2\r\n:1\r\n:2\r\n");
        assert_eq!(spell(Protocol::Resp3), "%1\r\n,1.5\r\n_\r\n#t\r\n=6\r\ntxt:hi\r\n*2\r\n:1\r\n:2\r\n");
    }
}
