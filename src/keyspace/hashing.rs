//! Hashes of keys, computed once per request.
//!
//! Who executes many requests at once has hashed their keys before, to fetch their memory. While a request runs, its
//! keys are known by the place of their bytes: handlers pass on the slices that they were given, so an equal address and
//! length mean the same bytes. [`Hashing::forget`] ends that with the request.

use std::cell::Cell;

use crate::codec::siphash::SipKey;

/// Hashes keys elsewhere than where the keyspace is, say in another thread.
#[derive(Clone, Copy)]
pub struct KeyHasher(SipKey);

impl KeyHasher {
    /// The hash by which a key has its place.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u64 {
        self.0.hash(key)
    }
}

pub(super) struct Hashing {
    key: SipKey,
    known: Vec<Known>,
    /// The key that was asked for last; the same or the next one is asked for now.
    next: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Known {
    address: usize,
    len: usize,
    hash: u64,
}

impl Hashing {
    pub(super) fn new() -> Self {
        Self { key: SipKey::random(), known: Vec::new(), next: Cell::new(0) }
    }

    pub(super) fn hasher(&self) -> KeyHasher {
        KeyHasher(self.key)
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        for index in self.next.get()..self.known.len().min(self.next.get() + 2) {
            let known = self.known[index];
            if known.address == key.as_ptr().addr() && known.len == key.len() {
                self.next.set(index);
                debug_assert_eq!(known.hash, self.key.hash(key));
                return known.hash;
            }
        }
        self.key.hash(key)
    }

    /// The bytes at this place have this hash, until [`Hashing::forget`].
    #[inline]
    pub(super) fn know(&mut self, key: &[u8], hash: u64) {
        self.known.push(Known { address: key.as_ptr().addr(), len: key.len(), hash });
    }

    #[inline]
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.next.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_computed_and_what_is_forgotten_is() {
        let mut hashing = Hashing { key: SipKey::random(), known: Vec::new(), next: Cell::new(0) };
        let keys = [b"first".as_slice(), b"second", b"third"];
        let hashes = keys.map(|key| hashing.hash(key));
        for (key, hash) in keys.iter().zip(hashes) {
            hashing.know(key, hash);
        }
        for (key, hash) in keys.iter().zip(hashes) {
            assert_eq!((hashing.hash(key), hashing.hash(key)), (hash, hash));
            assert_eq!(hashing.hash(&key[1..]), hashing.key.hash(&key[1..]));
        }
        assert_eq!(hashing.hash(keys[0]), hashes[0]);
        hashing.forget();
        assert_eq!(keys.map(|key| hashing.hash(key)), hashes);
    }
}
