//! Chunks in order: a counted B+tree whose clones share everything until one of them is written to.
//!
//! ```text
//!                  root: up to 64 children
//!            /              |             \
//!        branch          branch          branch        keys of the children | weight and chunks below each, pointer
//!       /  |   \        /   |  \        /   |  \
//!      chunk ...                         chunk ...     chunks, all at one depth, counted by their owners
//! ```
//!
//! A chunk has a weight (the things it holds), by which [`Sequence::locate`] finds the n-th thing, and may have a key
//! that ascends along the sequence, by which [`Place::Key`] finds its chunk without touching others. A chunk is named
//! by its ordinal, or by the [`Path`] that a search has found, until chunks come or go. Every operation on one chunk takes
//! O(log n); cloning the whole takes O(1); a change copies what lies on its path from the root and is still shared with a
//! clone, and works in place otherwise.
//!
//! Branches split when they overflow, at the edge where the insertion was if that is the first or the last place, so
//! that a sequence filled from one end has full branches; they merge with a neighbour when they hold a quarter.

mod branch;

use super::shared::Shared;
use crate::allocator::block_size;
use branch::{Below, Branch, Slot};

/// A piece of a [`Sequence`].
pub trait Chunk: Clone {
    /// Keys are below this and lie about as evenly as hashes do, so that a guess by proportion finds one.
    const EVEN_KEYS_BELOW: Option<u64> = None;

    /// How many things it holds.
    fn weight(&self) -> u64;

    /// Its least key. Along a sequence keys never descend.
    fn key(&self) -> u64 {
        0
    }
}

/// Which chunk an operation means.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The chunk with this many chunks before it.
    Ordinal(usize),
    /// The last chunk whose key is not above this one; the first chunk if all are above.
    Key(u64),
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Chunks before it.
    pub ordinal: usize,
    /// Weight of the chunks before it.
    pub before: u64,
}

/// The way from the root to a chunk. It stays right while chunks change, until one comes or goes.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Which child, at each level; those behind the last level mean nothing.
    steps: [u8; MOST_LEVELS],
}

/// Branches have at least a quarter of their children on average, so no tree that fits into memory is as deep.
const MOST_LEVELS: usize = if cfg!(test) { 16 } else { 8 };

/// Chunks in order; see the module.
#[derive(Clone, Debug)]
pub struct Sequence<C> {
    root: Shared<Branch<C>>,
    weight: u64,
    chunks: usize,
}

impl<C> Default for Sequence<C> {
    fn default() -> Self {
        Sequence { root: Shared::new(Branch::default()), weight: 0, chunks: 0 }
    }
}

impl<C: Chunk> Sequence<C> {
    /// An empty sequence.
    pub fn new() -> Self {
        Sequence::default()
    }

    /// Weight of all chunks.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// How many chunks.
    pub fn chunk_count(&self) -> usize {
        self.chunks
    }

    /// Bytes that the allocator holds for all of it, by a sample of the chunks; `beside` tells what a chunk holds outside
    /// of itself.
    pub fn footprint(&self, beside: impl Fn(&C) -> usize) -> usize {
        const SAMPLES: usize = 64;
        // Before a chunk stand its reference counts; branches are three quarters full.
        let own = block_size(2 * size_of::<usize>() + size_of::<C>()) + branch::CHILD_SIZE * 4 / 3;
        let step = self.chunks.div_ceil(SAMPLES).max(1);
        let sampled = (0..self.chunks).step_by(step).filter_map(|ordinal| self.get(Place::Ordinal(ordinal)));
        let (count, bytes) = sampled.fold((0, 0), |(count, bytes), chunk| (count + 1, bytes + beside(chunk)));
        self.chunks * (own + bytes / count.max(1))
    }

    /// Whether there is no chunk.
    pub fn is_empty(&self) -> bool {
        self.chunks == 0
    }

    /// The chunk at `place`, if there is one.
    pub fn get(&self, place: Place) -> Option<&C> {
        self.find(place).map(|(_, chunk)| chunk)
    }

    /// The chunk at `place`, if there is one, and the way to it.
    #[inline]
    pub fn find(&self, place: Place) -> Option<(Path, &C)> {
        if self.is_empty() || matches!(place, Place::Ordinal(ordinal) if ordinal >= self.chunks) {
            return None;
        }
        let (mut branch, mut place) = (&*self.root, place);
        let mut bounds = C::EVEN_KEYS_BELOW.map(|end| (0, end));
        let mut path = Path { steps: [0; MOST_LEVELS] };
        for step in &mut path.steps {
            let (index, rest) = branch.pick(place, &mut bounds);
            *step = index as u8; // a branch has fewer children
            match branch.below() {
                Below::Inner(slots) => (branch, place) = (&slots[index].node, rest),
                Below::Last(slots) => return Some((path, &slots[index].node)),
            }
        }
        unreachable!("no tree is so deep")
    }

    /// The chunk at the end of the path.
    pub fn at(&self, path: &Path) -> Option<&C> {
        let mut branch = &*self.root;
        for index in path.steps.iter().copied().map(usize::from) {
            match branch.below() {
                Below::Inner(slots) => branch = &slots.get(index)?.node,
                Below::Last(slots) => return slots.get(index).map(|slot| &*slot.node),
            }
        }
        None
    }

    /// The first chunk.
    pub fn first(&self) -> Option<&C> {
        self.get(Place::Ordinal(0))
    }

    /// The last chunk.
    pub fn last(&self) -> Option<&C> {
        self.get(Place::Ordinal(self.chunks.checked_sub(1)?))
    }

    /// The chunk that holds thing number `rank`, and how many things of the chunk come before it.
    pub fn locate(&self, rank: u64) -> Option<(Position, u64)> {
        if rank >= self.weight {
            return None;
        }
        let (mut branch, mut rest) = (&*self.root, rank);
        let mut ordinal = 0;
        loop {
            match branch.below() {
                Below::Inner(slots) => {
                    let index = pick_weight(slots, &mut rest);
                    ordinal += slots[..index].iter().map(|slot| slot.chunks).sum::<usize>();
                    branch = &slots[index].node;
                }
                Below::Last(slots) => {
                    ordinal += pick_weight(slots, &mut rest);
                    return Some((Position { ordinal, before: rank - rest }, rest));
                }
            }
        }
    }

    /// How many chunks at the start, and of which weight, satisfy `holds`, which must be true for a prefix of the
    /// sequence and false for the rest.
    pub fn prefix(&self, mut holds: impl FnMut(&C) -> bool) -> Position {
        let mut position = Position { ordinal: 0, before: 0 };
        if self.is_empty() {
            return position;
        }
        let mut branch = &*self.root;
        loop {
            match branch.below() {
                Below::Inner(slots) => {
                    // The boundary lies in the last child that begins inside the prefix.
                    let index = slots.partition_point(|slot| holds(slot.node.first())).saturating_sub(1);
                    position.skip(&slots[..index]);
                    branch = &slots[index].node;
                }
                Below::Last(slots) => {
                    let index = slots.partition_point(|slot| holds(&slot.node));
                    position.skip(&slots[..index]);
                    return position;
                }
            }
        }
    }

    /// Where the chunk at `place` stands; of an empty sequence or beyond its end, the end.
    pub fn position(&self, place: Place) -> Position {
        match self.find(place) {
            Some((path, _)) => self.position_at(&path),
            None => Position { ordinal: self.chunks, before: self.weight },
        }
    }

    /// Where the chunk at the end of the path stands.
    pub fn position_at(&self, path: &Path) -> Position {
        let mut position = Position { ordinal: 0, before: 0 };
        let mut branch = &*self.root;
        for index in path.steps.iter().copied().map(usize::from) {
            match branch.below() {
                Below::Inner(slots) => {
                    position.skip(&slots[..index]);
                    branch = &slots[index].node;
                }
                Below::Last(slots) => {
                    position.skip(&slots[..index]);
                    break;
                }
            }
        }
        position
    }

    /// Changes the chunk at `place` in place, or a copy of it if a clone shares it. `None` if there is no such chunk.
    pub fn modify<R>(&mut self, place: Place, change: impl FnOnce(&mut C) -> R) -> Option<R> {
        let (path, _) = self.find(place)?;
        Some(self.modify_at(&path, change))
    }

    /// Changes the chunk at the end of the path, as [`Sequence::modify`].
    pub fn modify_at<R>(&mut self, path: &Path, change: impl FnOnce(&mut C) -> R) -> R {
        let (result, before, after) = self.root.make_mut().modify(&path.steps, change);
        self.weight = self.weight - before + after;
        result
    }

    /// Puts `chunk` before chunk number `ordinal`, at most the count of chunks.
    pub fn insert(&mut self, ordinal: usize, chunk: C) {
        assert!(ordinal <= self.chunks, "a chunk is inserted within the sequence or at its end");
        self.weight += chunk.weight();
        self.chunks += 1;
        if let Some(right) = self.root.make_mut().insert(ordinal, chunk) {
            let left = std::mem::replace(&mut self.root, Shared::new(Branch::default()));
            self.root = Shared::new(Branch::over(left, Shared::new(right)));
        }
    }

    /// Appends a chunk.
    pub fn push_back(&mut self, chunk: C) {
        self.insert(self.chunks, chunk);
    }

    /// Puts a chunk in front.
    pub fn push_front(&mut self, chunk: C) {
        self.insert(0, chunk);
    }

    /// Takes chunk number `ordinal` out.
    pub fn remove(&mut self, ordinal: usize) -> Option<Shared<C>> {
        if ordinal >= self.chunks {
            return None;
        }
        let chunk = self.root.make_mut().remove(ordinal);
        self.weight -= chunk.weight();
        self.chunks -= 1;
        while let Some(only) = self.root.only_branch() {
            self.root = only;
        }
        Some(chunk)
    }

    /// All chunks in order.
    pub fn iter(&self) -> Iter<'_, C> {
        self.iter_between(0, self.chunks)
    }

    /// The chunks from number `start` up to, not including, number `end`, from both ends.
    pub fn iter_between(&self, start: usize, end: usize) -> Iter<'_, C> {
        Iter {
            sequence: self,
            front: start,
            back: end.min(self.chunks),
            near_front: Run::none(),
            near_back: Run::none(),
        }
    }

    /// The slots beside chunk number `ordinal` under one branch, and the ordinal of the first of them.
    fn run(&self, ordinal: usize) -> Run<'_, C> {
        let (mut branch, mut rest) = (&*self.root, Place::Ordinal(ordinal));
        loop {
            let (index, below) = branch.pick(rest, &mut None);
            match branch.below() {
                Below::Inner(slots) => (branch, rest) = (&slots[index].node, below),
                Below::Last(slots) => return Run { slots, start: ordinal - index },
            }
        }
    }
}

impl<C: Chunk> FromIterator<C> for Sequence<C> {
    fn from_iter<I: IntoIterator<Item = C>>(chunks: I) -> Self {
        let mut sequence = Sequence::new();
        for chunk in chunks {
            sequence.push_back(chunk);
        }
        sequence
    }
}

/// Chunks of a [`Sequence`], from both ends.
#[derive(Clone, Debug)]
pub struct Iter<'a, C> {
    sequence: &'a Sequence<C>,
    front: usize,
    back: usize,
    near_front: Run<'a, C>,
    near_back: Run<'a, C>,
}

#[derive(Debug)]
struct Run<'a, C> {
    slots: &'a [Slot<C>],
    start: usize,
}

impl<C> Clone for Run<'_, C> {
    fn clone(&self) -> Self {
        Run { slots: self.slots, start: self.start }
    }
}

impl<'a, C> Run<'a, C> {
    fn none() -> Self {
        Run { slots: &[], start: 0 }
    }

    fn get(&self, ordinal: usize) -> Option<&'a C> {
        self.slots.get(ordinal.wrapping_sub(self.start)).map(|slot| &*slot.node)
    }
}

impl<'a, C: Chunk> Iterator for Iter<'a, C> {
    type Item = &'a C;

    fn next(&mut self) -> Option<&'a C> {
        if self.front >= self.back {
            return None;
        }
        if self.near_front.get(self.front).is_none() {
            self.near_front = self.sequence.run(self.front);
        }
        self.front += 1;
        self.near_front.get(self.front - 1)
    }
}

impl<C: Chunk> DoubleEndedIterator for Iter<'_, C> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back -= 1;
        if self.near_back.get(self.back).is_none() {
            self.near_back = self.sequence.run(self.back);
        }
        self.near_back.get(self.back)
    }
}

impl Position {
    fn skip<T>(&mut self, slots: &[Slot<T>]) {
        for slot in slots {
            self.ordinal += slot.chunks;
            self.before += slot.weight;
        }
    }
}

/// The slot that holds thing number `rank`, which is lowered to its rank within the slot.
fn pick_weight<T>(slots: &[Slot<T>], rank: &mut u64) -> usize {
    let mut index = 0;
    while *rank >= slots[index].weight {
        *rank -= slots[index].weight;
        index += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Run(Vec<u64>);

    impl Chunk for Run {
        fn weight(&self) -> u64 {
            self.0.len() as u64
        }

        fn key(&self) -> u64 {
            self.0.first().copied().unwrap_or(0)
        }
    }

    fn check(sequence: &Sequence<Run>, model: &[Run]) {
        assert_eq!(sequence.chunk_count(), model.len());
        assert!(sequence.iter().eq(model));
        assert!(sequence.iter().rev().eq(model.iter().rev()));
        let flat: Vec<u64> = model.iter().flat_map(|run| run.0.iter().copied()).collect();
        assert_eq!(sequence.weight(), flat.len() as u64);
        for (rank, thing) in flat.iter().enumerate().step_by(7) {
            let (position, within) = sequence.locate(rank as u64).unwrap();
            assert_eq!(model[position.ordinal].0[within as usize], *thing);
            assert_eq!(position, sequence.position(Place::Ordinal(position.ordinal)));
            assert_eq!(position.before + within, rank as u64);
        }
        assert!(sequence.locate(flat.len() as u64).is_none());
    }

    #[test]
    fn a_sequence_behaves_as_a_vector_and_clones_stay_as_they_were() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut sequence, mut model) = (Sequence::new(), Vec::<Run>::new());
        let mut clones = Vec::new();
        for step in 0..6000 {
            let at = rng.usize(..=model.len());
            let grow = step % 2000 < 1200;
            match rng.u8(..10) {
                0..=3 if grow => {
                    let run = Run(vec![step; rng.usize(..4)]);
                    sequence.insert(at, run.clone());
                    model.insert(at, run);
                }
                4 if grow => {
                    sequence.push_back(Run(vec![step]));
                    model.push(Run(vec![step]));
                }
                5 if grow => {
                    sequence.push_front(Run(vec![step]));
                    model.insert(0, Run(vec![step]));
                }
                6 => {
                    let change = |run: &mut Run| run.0.push(step);
                    let done = sequence.modify(Place::Ordinal(at), change).is_some();
                    assert_eq!(done, model.get_mut(at).map(change).is_some());
                }
                _ => {
                    let removed = sequence.remove(at);
                    assert_eq!(removed.is_some(), at < model.len());
                    if at < model.len() {
                        assert_eq!(*removed.unwrap(), model.remove(at));
                    }
                }
            }
            if step % 97 == 0 {
                clones.push((sequence.clone(), model.clone()));
                check(&sequence, &model);
            }
        }
        for (sequence, model) in &clones {
            check(sequence, model);
        }
    }

    #[test]
    fn a_key_is_picked_as_by_halving_wherever_the_keys_lie() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..3000 {
            let bits = rng.u32(1..64);
            let mut keys: Vec<u64> = (0..rng.usize(1..40)).map(|_| rng.u64(..) >> rng.u32(0..=bits)).collect();
            keys.sort_unstable();
            for key in keys.iter().flat_map(|key| [key.saturating_sub(1), *key, key.saturating_add(1)]) {
                let expected = keys.partition_point(|other| *other <= key).saturating_sub(1);
                for bounds in [None, Some((0, u64::MAX >> 1)), Some((key, key)), Some((keys[0], keys[keys.len() - 1]))]
                {
                    assert_eq!(branch::pick_key(&keys, key, bounds), expected, "{key} in {keys:?}");
                }
            }
        }
    }

    #[test]
    fn keys_and_prefixes_find_the_chunk() {
        let sequence: Sequence<Run> = (0..500).map(|i| Run(vec![i * 10, i * 10 + 5])).collect();
        for key in 0..5000 {
            let expected = (key / 10) as usize;
            assert_eq!(sequence.position(Place::Key(key)).ordinal, expected);
            assert_eq!(sequence.get(Place::Key(key)).unwrap().0[0], expected as u64 * 10);
            let prefix = sequence.prefix(|run| run.0[0] <= key);
            assert_eq!((prefix.ordinal, prefix.before), (expected + 1, expected as u64 * 2 + 2));
        }
        assert_eq!(sequence.prefix(|_| false).ordinal, 0);
        assert!(sequence.iter_between(100, 103).map(|run| run.0[0]).eq([1000, 1010, 1020]));
    }
}
