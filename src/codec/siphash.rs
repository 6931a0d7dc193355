//! SipHash-1-3 of whole byte strings: keyed, so that nobody outside can choose names that collide.
//!
//! The standard library's hasher is the same function fed piece by piece, which costs a short key twice as much.
//! One round per word of 8 bytes, three at the end; the last word holds what remains, and the length in its top byte
//! (Aumasson and Bernstein, "SipHash: a fast short-input PRF", with c = 1 and d = 3).

use std::hash::{BuildHasher, RandomState};

/// The key of 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SipKey(u64, u64);

impl SipKey {
    /// A key that the system's randomness decides.
    pub fn random() -> Self {
        Self(RandomState::new().hash_one(0), RandomState::new().hash_one(1))
    }

    /// The hash of `bytes`.
    #[inline]
    pub fn hash(self, bytes: &[u8]) -> u64 {
        let mut state = State {
            v0: self.0 ^ 0x736f_6d65_7073_6575,
            v1: self.1 ^ 0x646f_7261_6e64_6f6d,
            v2: self.0 ^ 0x6c79_6765_6e65_7261,
            v3: self.1 ^ 0x7465_6462_7974_6573,
        };
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.absorb(u64::from_le_bytes(*word));
        }
        let last = match bytes.last_chunk::<8>() {
            _ if rest.is_empty() => 0,
            // The last word but for the bytes that were absorbed with the one before it.
            Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
            None => rest.iter().rev().fold(0, |last, byte| last << 8 | u64::from(*byte)),
        };
        state.absorb(last | (bytes.len() as u64) << 56); // of the length the low byte is meant
        state.v2 ^= 0xff;
        state.round();
        state.round();
        state.round();
        state.v0 ^ state.v1 ^ state.v2 ^ state.v3
    }
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline]
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    /// The standard library's default hasher has the key 0 and is the oracle.
    #[test]
    fn every_length_gives_what_the_standard_library_gives() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            let mut oracle = DefaultHasher::new();
            oracle.write(&bytes[..len]);
            assert_eq!(SipKey(0, 0).hash(&bytes[..len]), oracle.finish(), "{len} bytes");
        }
    }

    #[test]
    fn keys_differ_and_decide() {
        let (one, other) = (SipKey::random(), SipKey::random());
        assert_ne!(one, other);
        assert_ne!(one.hash(b"name"), other.hash(b"name"));
    }
}
