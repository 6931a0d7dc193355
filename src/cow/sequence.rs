//! Chunks in order: a counted B+tree whose clones share everything until one of them is written to.
//!
//! ```text
//!                  root: up to 32 slots
//!            /              |             \
//!        branch          branch          branch        a slot = key, weight and chunks below it, Arc to it
//!       /  |   \        /   |  \        /   |  \
//!    Arc<C> ...                        Arc<C> ...      chunks, all at one depth
//! ```
//!
//! A chunk has a weight (the things it holds), by which [`Sequence::locate`] finds the n-th thing, and may have a key
//! that ascends along the sequence, by which [`Place::Key`] finds its chunk without touching others. A chunk is named
//! by its ordinal. Every operation on one chunk takes O(log n); cloning the whole takes O(1); a change copies what lies
//! on its path from the root and is still shared with a clone, and works in place otherwise.
//!
//! Branches split when they overflow, at the edge where the insertion was if that is the first or the last place, so
//! that a sequence filled from one end has full branches; they merge with a neighbour when they hold a quarter.

use std::sync::Arc;

use crate::allocator::block_size;

/// Most slots of a branch.
const FAN: usize = if cfg!(test) { 6 } else { 32 };

/// How far a guess in a branch is mended slot by slot.
const GUESS_STEPS: usize = 4;

/// A piece of a [`Sequence`].
pub trait Chunk: Clone {
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

#[derive(Clone, Debug)]
struct Slot<T> {
    key: u64,
    weight: u64,
    chunks: usize,
    node: Arc<T>,
}

#[derive(Clone, Debug)]
enum Branch<C> {
    Inner(Vec<Slot<Branch<C>>>),
    Last(Vec<Slot<C>>),
}

/// Chunks in order; see the module.
#[derive(Clone, Debug)]
pub struct Sequence<C> {
    root: Arc<Branch<C>>,
    weight: u64,
    chunks: usize,
}

impl<C> Default for Sequence<C> {
    fn default() -> Self {
        Sequence { root: Arc::new(Branch::Last(Vec::new())), weight: 0, chunks: 0 }
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
        let own = block_size(2 * size_of::<usize>() + size_of::<C>()) + size_of::<Slot<C>>() * 4 / 3;
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
        if self.is_empty() || matches!(place, Place::Ordinal(ordinal) if ordinal >= self.chunks) {
            return None;
        }
        let (mut branch, mut place) = (&*self.root, place);
        loop {
            match branch {
                Branch::Inner(slots) => {
                    let (index, rest) = pick(slots, place);
                    (branch, place) = (&slots[index].node, rest);
                }
                Branch::Last(slots) => return Some(&slots[pick(slots, place).0].node),
            }
        }
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
            branch = match branch {
                Branch::Inner(slots) => {
                    let index = pick_weight(slots, &mut rest);
                    ordinal += slots[..index].iter().map(|slot| slot.chunks).sum::<usize>();
                    &slots[index].node
                }
                Branch::Last(slots) => {
                    ordinal += pick_weight(slots, &mut rest);
                    return Some((Position { ordinal, before: rank - rest }, rest));
                }
            };
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
            match branch {
                Branch::Inner(slots) => {
                    // The boundary lies in the last child that begins inside the prefix.
                    let index = slots.partition_point(|slot| holds(slot.node.first())).saturating_sub(1);
                    position.skip(&slots[..index]);
                    branch = &slots[index].node;
                }
                Branch::Last(slots) => {
                    let index = slots.partition_point(|slot| holds(&slot.node));
                    position.skip(&slots[..index]);
                    return position;
                }
            }
        }
    }

    /// Where the chunk at `place` stands; of an empty sequence or beyond its end, the end.
    pub fn position(&self, place: Place) -> Position {
        let mut position = Position { ordinal: self.chunks, before: self.weight };
        if self.get(place).is_none() {
            return position;
        }
        position = Position { ordinal: 0, before: 0 };
        let (mut branch, mut place) = (&*self.root, place);
        loop {
            match branch {
                Branch::Inner(slots) => {
                    let (index, rest) = pick(slots, place);
                    position.skip(&slots[..index]);
                    (branch, place) = (&slots[index].node, rest);
                }
                Branch::Last(slots) => {
                    position.skip(&slots[..pick(slots, place).0]);
                    return position;
                }
            }
        }
    }

    /// Changes the chunk at `place` in place, or a copy of it if a clone shares it. `None` if there is no such chunk.
    pub fn modify<R>(&mut self, place: Place, change: impl FnOnce(&mut C) -> R) -> Option<R> {
        if self.is_empty() || matches!(place, Place::Ordinal(ordinal) if ordinal >= self.chunks) {
            return None;
        }
        let (result, before, after) = Arc::make_mut(&mut self.root).modify(place, change);
        self.weight = self.weight - before + after;
        Some(result)
    }

    /// Puts `chunk` before chunk number `ordinal`, at most the count of chunks.
    pub fn insert(&mut self, ordinal: usize, chunk: C) {
        assert!(ordinal <= self.chunks, "a chunk is inserted within the sequence or at its end");
        self.weight += chunk.weight();
        self.chunks += 1;
        let split = Arc::make_mut(&mut self.root).insert(ordinal, chunk);
        if let Some(right) = split {
            let left = Slot::of_branch(std::mem::replace(&mut self.root, Arc::new(Branch::Last(Vec::new()))));
            self.root = Arc::new(Branch::Inner(vec![left, Slot::of_branch(Arc::new(right))]));
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
    pub fn remove(&mut self, ordinal: usize) -> Option<Arc<C>> {
        if ordinal >= self.chunks {
            return None;
        }
        let chunk = Arc::make_mut(&mut self.root).remove(ordinal);
        self.weight -= chunk.weight();
        self.chunks -= 1;
        while let Branch::Inner(slots) = &*self.root
            && let [only] = &slots[..]
        {
            self.root = Arc::clone(&only.node);
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
            match branch {
                Branch::Inner(slots) => {
                    let (index, below) = pick(slots, rest);
                    (branch, rest) = (&slots[index].node, below);
                }
                Branch::Last(slots) => return Run { slots, start: ordinal - pick(slots, rest).0 },
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

impl<C: Chunk> Slot<C> {
    fn of_chunk(chunk: C) -> Self {
        Slot { key: chunk.key(), weight: chunk.weight(), chunks: 1, node: Arc::new(chunk) }
    }
}

impl<C: Chunk> Slot<Branch<C>> {
    fn of_branch(node: Arc<Branch<C>>) -> Self {
        let mut slot = Slot { key: 0, weight: 0, chunks: 0, node };
        slot.recount();
        slot
    }

    fn recount(&mut self) {
        let mut position = Position { ordinal: 0, before: 0 };
        self.key = match &*self.node {
            Branch::Inner(slots) => {
                position.skip(slots);
                slots.first().map_or(0, |slot| slot.key)
            }
            Branch::Last(slots) => {
                position.skip(slots);
                slots.first().map_or(0, |slot| slot.key)
            }
        };
        (self.chunks, self.weight) = (position.ordinal, position.before);
    }
}

impl<C: Chunk> Branch<C> {
    fn first(&self) -> &C {
        match self {
            Branch::Inner(slots) => slots[0].node.first(),
            Branch::Last(slots) => &slots[0].node,
        }
    }

    fn first_key(&self) -> u64 {
        match self {
            Branch::Inner(slots) => slots[0].key,
            Branch::Last(slots) => slots[0].key,
        }
    }

    fn slot_count(&self) -> usize {
        match self {
            Branch::Inner(slots) => slots.len(),
            Branch::Last(slots) => slots.len(),
        }
    }

    /// Returns the closure's result with the chunk's weight before and after.
    fn modify<R>(&mut self, place: Place, change: impl FnOnce(&mut C) -> R) -> (R, u64, u64) {
        match self {
            Branch::Inner(slots) => {
                let (index, rest) = pick(slots, place);
                let slot = &mut slots[index];
                let child = Arc::make_mut(&mut slot.node);
                let (result, before, after) = child.modify(rest, change);
                slot.key = child.first_key();
                slot.weight = slot.weight - before + after;
                (result, before, after)
            }
            Branch::Last(slots) => {
                let index = pick(slots, place).0;
                let slot = &mut slots[index];
                let before = slot.weight;
                let chunk = Arc::make_mut(&mut slot.node);
                let result = change(chunk);
                (slot.key, slot.weight) = (chunk.key(), chunk.weight());
                (result, before, slot.weight)
            }
        }
    }

    /// Inserts before chunk `ordinal`; returns the right part if this branch had to split.
    fn insert(&mut self, ordinal: usize, chunk: C) -> Option<Self> {
        match self {
            Branch::Last(slots) => {
                slots.insert(ordinal, Slot::of_chunk(chunk));
                split(slots, ordinal).map(Branch::Last)
            }
            Branch::Inner(slots) => {
                let (mut index, mut rest) = (0, ordinal);
                while index + 1 < slots.len() && rest > slots[index].chunks {
                    rest -= slots[index].chunks;
                    index += 1;
                }
                let right = Arc::make_mut(&mut slots[index].node).insert(rest, chunk);
                slots[index].recount();
                let right = right?;
                slots.insert(index + 1, Slot::of_branch(Arc::new(right)));
                split(slots, index + 1).map(Branch::Inner)
            }
        }
    }

    fn remove(&mut self, ordinal: usize) -> Arc<C> {
        match self {
            Branch::Last(slots) => slots.remove(ordinal).node,
            Branch::Inner(slots) => {
                let (index, rest) = pick(slots, Place::Ordinal(ordinal));
                let Place::Ordinal(rest) = rest else { unreachable!("an ordinal leaves an ordinal") };
                let chunk = Arc::make_mut(&mut slots[index].node).remove(rest);
                slots[index].recount();
                if slots[index].chunks == 0 {
                    slots.remove(index);
                } else if slots[index].node.slot_count() <= FAN / 4 {
                    merge(slots, index);
                }
                chunk
            }
        }
    }
}

/// The slot in which `place` lies, and the place within it.
fn pick<T>(slots: &[Slot<T>], place: Place) -> (usize, Place) {
    match place {
        Place::Ordinal(mut ordinal) => {
            let mut index = 0;
            while ordinal >= slots[index].chunks {
                ordinal -= slots[index].chunks;
                index += 1;
            }
            (index, Place::Ordinal(ordinal))
        }
        Place::Key(key) => (pick_key(slots, key), place),
    }
}

/// The last slot whose key is not above `key`, or the first. Where keys lie evenly, as hashes do, a guess by proportion
/// is at most a few slots off, and walking from there touches fewer cache lines than halving; where they don't, halving
/// takes over.
fn pick_key<T>(slots: &[Slot<T>], key: u64) -> usize {
    let halve = |slots: &[Slot<T>]| slots.partition_point(|slot| slot.key <= key).saturating_sub(1);
    let [first, .., last] = slots else { return 0 };
    if key < first.key {
        return 0;
    }
    if key >= last.key {
        return slots.len() - 1;
    }
    // A share below one, or just one by rounding, of few slots: only a guess.
    let share = (key - first.key) as f64 / (last.key - first.key) as f64;
    let mut index = ((share * (slots.len() - 1) as f64) as usize).min(slots.len() - 2);
    for _ in 0..GUESS_STEPS {
        if slots[index].key > key {
            index -= 1; // the first key is below
        } else if slots[index + 1].key <= key {
            index += 1; // the last key is above
        } else {
            return index;
        }
    }
    halve(slots)
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

/// Cuts slots that overflow, beside `inserted` if that is an edge.
fn split<T>(slots: &mut Vec<Slot<T>>, inserted: usize) -> Option<Vec<Slot<T>>> {
    if slots.len() <= FAN {
        return None;
    }
    let at = match inserted {
        0 => 1,
        last if last == slots.len() - 1 => last,
        _ => slots.len() / 2,
    };
    Some(slots.split_off(at))
}

/// Merges the branch in slot `index` with a neighbour if both fit into one.
fn merge<C: Chunk>(slots: &mut Vec<Slot<Branch<C>>>, index: usize) {
    let count = |index: usize| slots.get(index).map_or(FAN, |slot| slot.node.slot_count());
    let left = if index > 0 && count(index - 1) + count(index) <= FAN * 3 / 4 {
        index - 1
    } else if count(index) + count(index + 1) <= FAN * 3 / 4 {
        index
    } else {
        return;
    };
    let right = Arc::unwrap_or_clone(slots.remove(left + 1).node);
    match (Arc::make_mut(&mut slots[left].node), right) {
        (Branch::Inner(left), Branch::Inner(right)) => left.extend(right),
        (Branch::Last(left), Branch::Last(right)) => left.extend(right),
        _ => unreachable!("neighbours have the same depth"),
    }
    slots[left].recount();
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
            let slots: Vec<Slot<()>> =
                keys.iter().map(|key| Slot { key: *key, weight: 1, chunks: 1, node: Arc::new(()) }).collect();
            for key in keys.iter().flat_map(|key| [key.saturating_sub(1), *key, key.saturating_add(1)]) {
                let expected = keys.partition_point(|other| *other <= key).saturating_sub(1);
                assert_eq!(pick_key(&slots, key), expected, "{key} in {keys:?}");
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
