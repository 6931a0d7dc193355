//! The zipmap: a small hash before Redis 2.6.
//!
//! ```text
//! +-----------+-----+-------+-----+------+-------+-----------+-----+------+
//! | count u8  | len | field | len | free | value | free junk | ... | 0xFF |
//! +-----------+-----+-------+-----+------+-------+-----------+-----+------+
//! len = 1 byte below 254, or 254 and u32 little endian; free = 1 byte: how many bytes of junk follow the value
//! ```
//!
//! The count is 254 when there are that many or more; then only walking tells.
//!
//! ```
//! use ironkeep::rdb::packed::Zipmap;
//! let bytes = [1, 1, b'f', 2, 1, b'h', b'i', 0, 0xff];
//! let map = Zipmap::parse(&bytes).unwrap();
//! assert_eq!(map.iter().collect::<Vec<_>>(), [(&b"f"[..], &b"hi"[..])]);
//! ```

use crate::value::PackedError;

const END: u8 = 0xff;
const LONG: u8 = 0xfe;
/// From this count on the first byte does not tell.
const UNKNOWN: u8 = 254;

/// A zipmap whose every entry has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Zipmap<'a> {
    /// What stands between the count and the end mark.
    body: &'a [u8],
    count: usize,
}

fn damage<T>(offset: usize, what: &'static str) -> Result<T, PackedError> {
    Err(PackedError { offset, what })
}

impl<'a> Zipmap<'a> {
    /// Checks every entry.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PackedError> {
        let [claimed, body @ .., END] = bytes else {
            return damage(0, "a zipmap without its count or end mark");
        };
        let (mut rest, mut count) = (body, 0);
        while !rest.is_empty() {
            let at = bytes.len() - 1 - rest.len();
            let Some((_, _, behind)) = pair(rest) else {
                return damage(at, "a zipmap entry that reaches beyond the end");
            };
            rest = behind;
            count += 1;
        }
        if *claimed < UNKNOWN && usize::from(*claimed) != count {
            return damage(0, "a zipmap count that does not match its entries");
        }
        Ok(Zipmap { body, count })
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Fields and values in the order of the bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (field, value, behind) = pair(rest)?;
            rest = behind;
            Some((field, value))
        })
    }
}

/// The first field and value of `bytes`, and what follows them.
fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (field_len, rest) = length(bytes)?;
    let (field, rest) = rest.split_at_checked(field_len)?;
    let (value_len, rest) = length(rest)?;
    let (free, rest) = rest.split_first()?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((field, value, rest.get(usize::from(*free)..)?))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [LONG, a, b, c, d, rest @ ..] => Some((usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?, rest)),
        [LONG | END, ..] | [] => None,
        [short, rest @ ..] => Some((usize::from(*short), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_byte_lengths_are_read() {
        let long = vec![b'v'; 400];
        let head = [2, 1, b'a', 254, 0x90, 1, 0, 0, 0];
        let tail = [254, 2, 0, 0, 0, b'b', b'b', 0, 3, 9, 9, 9, 255];
        let bytes = [&head[..], &long, &tail].concat();
        let map = Zipmap::parse(&bytes).unwrap();
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&b"a"[..], &long[..]), (b"bb", b"")]);
    }

    #[test]
    fn broken_bytes_never_panic() {
        let bytes = [2, 1, b'a', 2, 1, b'x', b'y', 0, 1, b'b', 254, 1, 0, 0, 0, 0, b'z', 255];
        assert_eq!(Zipmap::parse(&bytes).unwrap().len(), 2);
        for at in 0..bytes.len() {
            assert!(Zipmap::parse(&bytes[..at]).is_err());
            for value in 0..=255 {
                let mut broken = bytes;
                broken[at] = value;
                if let Ok(map) = Zipmap::parse(&broken) {
                    assert_eq!(map.iter().count(), map.len());
                }
            }
        }
    }
}
