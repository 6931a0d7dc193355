//! The bytes of a radix tree (`rax`), as streams index their nodes, pending entries, groups and consumers with.
//!
//! A node is a header of 4 bytes, its characters padded to 8, a pointer per child and one for a value. A run of
//! characters without a branch is one node with one child; where keys part, a node has a child for each. Keys are told
//! in ascending order, so that a stack as deep as one key is all that is held.

use super::allocator::Allocator;

const HEADER: u64 = 4;
const POINTER: u64 = 8;
/// The structure in front of the tree.
const HEAD: u64 = 24;

/// Adds up the tree of the keys it is told.
#[derive(Default)]
pub struct RaxSize {
    last: Vec<u8>,
    /// The places on the way to the last key where keys part: depth, and how many children there are so far.
    branches: Vec<(usize, u64)>,
    count: u64,
    bytes: u64,
}

fn padded(characters: u64) -> u64 {
    (HEADER + characters).next_multiple_of(POINTER)
}

impl RaxSize {
    /// Takes the next key, which is greater than the one before.
    pub fn add(&mut self, key: &[u8], allocator: Allocator) {
        let shared = key.iter().zip(&self.last).take_while(|(left, right)| left == right).count();
        if self.count > 0 {
            self.close(shared, shared + 1, allocator);
            match self.branches.last_mut() {
                Some((depth, children)) if *depth == shared => *children += 1,
                _ => self.branches.push((shared, 2)),
            }
        }
        self.count += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
    }

    /// Counts what of the last key lies below `depth`, from the character `top` on: nothing more will be added to it.
    fn close(&mut self, depth: usize, top: usize, allocator: Allocator) {
        self.bytes += allocator.size(padded(0) + POINTER); // the leaf with the value
        let mut end = self.last.len();
        while let Some((at, children)) = self.branches.pop_if(|(at, _)| *at > depth) {
            // The character behind the place is held by the branch itself.
            self.run(at + 1, end, allocator);
            self.bytes += allocator.size(padded(children) + children * POINTER);
            end = at;
        }
        self.run(top, end, allocator);
    }

    /// A run of characters without a branch.
    fn run(&mut self, start: usize, end: usize, allocator: Allocator) {
        if end > start {
            self.bytes += allocator.size(padded((end - start) as u64) + POINTER); // usize fits
        }
    }

    /// The bytes of the tree of all keys told, which may be none.
    pub fn finish(mut self, allocator: Allocator) -> u64 {
        let head = allocator.size(HEAD);
        if self.count == 0 {
            return head + allocator.size(padded(0));
        }
        // The root is a branch only where keys part at their first character.
        let root = self.branches.first().copied().filter(|(at, _)| *at == 0);
        self.close(0, usize::from(root.is_some()), allocator);
        if let Some((_, children)) = root {
            self.bytes += allocator.size(padded(children) + children * POINTER);
        }
        head + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(keys: &[&[u8]]) -> u64 {
        let mut rax = RaxSize::default();
        keys.iter().for_each(|key| rax.add(key, Allocator::JemallocBundled));
        rax.finish(Allocator::JemallocBundled)
    }

    #[test]
    fn nodes_are_counted_as_they_lie() {
        assert_eq!(size(&[]), 24 + 8);
        // A run of 16 characters and a leaf.
        assert_eq!(size(&[&[7; 16]]), 24 + 32 + 16);
        // A run of 3, a branch of two, and a run of 2 with a leaf behind each.
        assert_eq!(size(&[b"abcdef", b"abcxef"]), 24 + 16 + 24 + 2 * (16 + 16));
        // The root is the branch.
        assert_eq!(size(&[b"a", b"b", b"c"]), 24 + 32 + 3 * 16);
        // A branch below a branch.
        assert_eq!(size(&[b"aa", b"ab", b"b"]), 24 + 24 + 24 + 3 * 16);
    }
}
