//! CRC-64 as RDB files and DUMP payloads carry it.
//!
//! The catalogues call it CRC-64/REDIS (Jones): polynomial ad93d23594c935a9, reflected, starts at 0, no final xor. It
//! is not CRC-64/XZ. Short updates cost much more per byte than long ones: feed blocks of at least 1 KiB.

use crc_fast::{CrcAlgorithm, Digest};

/// A running checksum.
#[derive(Clone, Copy)]
pub struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Crc64::new()
    }
}

impl Crc64 {
    /// The checksum of no bytes: zero.
    pub fn new() -> Self {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of `bytes`.
///
/// ```
/// assert_eq!(ironkeep::codec::crc64::crc64(b"123456789"), 0xe9c6d914c4b8d9ca);
/// ```
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Redis, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let bytes: Vec<u8> = (0..5000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut running = Crc64::new();
        assert_eq!(running.value(), 0);
        for piece in bytes.chunks(700) {
            running.update(piece);
        }
        assert_eq!(running.value(), crc64(&bytes));
    }
}
