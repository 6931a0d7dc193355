//! The cluster slot of a key.

use crate::codec::crc16::crc16;

/// How many slots a cluster has.
pub const SLOTS: u16 = 16384;

/// The slot of a key: the CRC-16 of what stands between the first `{` and the next `}`, or of the whole key where
/// nothing does.
///
/// ```
/// use ironkeep::value::slot::slot_of;
/// assert_eq!((slot_of(b"123456789"), slot_of(b"foo")), (12739, 12182));
/// assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
/// ```
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key)) % SLOTS
}

fn tag_of(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    match memchr::memchr(b'}', &key[open + 1..]) {
        None | Some(0) => key,
        Some(length) => &key[open + 1..][..length],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CLUSTER KEYSLOT of Redis 7.0 answers.
    #[test]
    fn only_the_first_tag_counts_and_an_empty_one_does_not() {
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
        assert_eq!((slot_of(b""), slot_of(b"bar"), slot_of(b"{}")), (0, 5061, 15257));
    }
}
