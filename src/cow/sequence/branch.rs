//! A branch of a sequence: its children, and their keys apart from them, so that a search reads little else.

use super::{Chunk, Place, Position};
use crate::codec::prefetch::prefetch;
use crate::cow::shared::Shared;

/// Most children of a branch.
const FAN: usize = if cfg!(test) { 6 } else { 64 };
/// Keys on a line of the cache.
const KEYS_PER_LINE: usize = 8;
/// How far a guess in a branch is mended step by step.
const GUESS_STEPS: usize = 4;
/// What a child takes in its branch.
pub(super) const CHILD_SIZE: usize = size_of::<u64>() + size_of::<Slot<()>>();

const _: () = assert!(FAN <= 255, "a path has a byte for each level");

/// Children with their keys, side by side.
#[derive(Clone, Debug)]
pub(super) struct Branch<C> {
    keys: Vec<u64>,
    below: Below<C>,
}

/// What a branch has below it: as many as keys.
#[derive(Clone, Debug)]
pub(super) enum Below<C> {
    Inner(Vec<Slot<Branch<C>>>),
    Last(Vec<Slot<C>>),
}

/// A child.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) weight: u64,
    pub(super) chunks: usize,
    pub(super) node: Shared<T>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Slot { weight: self.weight, chunks: self.chunks, node: self.node.clone() }
    }
}

impl<C> Default for Branch<C> {
    fn default() -> Self {
        Branch { keys: Vec::new(), below: Below::Last(Vec::new()) }
    }
}

impl<C: Chunk> Slot<Branch<C>> {
    fn of(node: Shared<Branch<C>>) -> Self {
        let position = node.end();
        Slot { weight: position.before, chunks: position.ordinal, node }
    }

    fn recount(&mut self) {
        let position = self.node.end();
        (self.weight, self.chunks) = (position.before, position.ordinal);
    }
}

impl<C: Chunk> Branch<C> {
    /// A branch over two.
    pub(super) fn over(left: Shared<Self>, right: Shared<Self>) -> Self {
        let keys = vec![left.first_key(), right.first_key()];
        Branch { keys, below: Below::Inner(vec![Slot::of(left), Slot::of(right)]) }
    }

    #[inline]
    pub(super) fn below(&self) -> &Below<C> {
        &self.below
    }

    pub(super) fn first(&self) -> &C {
        match &self.below {
            Below::Inner(slots) => slots[0].node.first(),
            Below::Last(slots) => &slots[0].node,
        }
    }

    fn first_key(&self) -> u64 {
        self.keys.first().copied().unwrap_or(0)
    }

    /// Its child, if it has one only, which is a branch.
    pub(super) fn only_branch(&self) -> Option<Shared<Self>> {
        match &self.below {
            Below::Inner(slots) if slots.len() == 1 => Some(slots[0].node.clone()),
            _ => None,
        }
    }

    /// Where it ends, counted from its beginning.
    fn end(&self) -> Position {
        let mut position = Position { ordinal: 0, before: 0 };
        match &self.below {
            Below::Inner(slots) => position.skip(slots),
            Below::Last(slots) => position.skip(slots),
        }
        position
    }

    /// The child in which `place` lies, and the place within it. `bounds`: between which the keys lie evenly, if they do,
    /// which become those of the child.
    #[inline]
    pub(super) fn pick(&self, place: Place, bounds: &mut Option<(u64, u64)>) -> (usize, Place) {
        match (place, &self.below) {
            (Place::Key(key), below) => {
                let index = pick_key(&self.keys, key, *bounds);
                if let (Some((low, high)), Below::Inner(_)) = (bounds, below) {
                    *low = self.keys[index];
                    *high = self.keys.get(index + 1).copied().unwrap_or(*high);
                }
                (index, place)
            }
            (Place::Ordinal(ordinal), Below::Last(_)) => (ordinal, Place::Ordinal(0)),
            (Place::Ordinal(mut ordinal), Below::Inner(slots)) => {
                let mut index = 0;
                while ordinal >= slots[index].chunks {
                    ordinal -= slots[index].chunks;
                    index += 1;
                }
                (index, Place::Ordinal(ordinal))
            }
        }
    }

    /// Follows the path; returns the closure's result with the chunk's weight before and after.
    pub(super) fn modify<R>(&mut self, path: &[u8], change: impl FnOnce(&mut C) -> R) -> (R, u64, u64) {
        let index = usize::from(path[0]);
        let (key, result, before, after) = match &mut self.below {
            Below::Inner(slots) => {
                let slot = &mut slots[index];
                let child = slot.node.make_mut();
                let (result, before, after) = child.modify(&path[1..], change);
                slot.weight = slot.weight - before + after;
                (child.first_key(), result, before, after)
            }
            Below::Last(slots) => {
                let slot = &mut slots[index];
                let chunk = slot.node.make_mut();
                let result = change(chunk);
                let before = std::mem::replace(&mut slot.weight, chunk.weight());
                (chunk.key(), result, before, slot.weight)
            }
        };
        self.keys[index] = key;
        (result, before, after)
    }

    /// Inserts before chunk `ordinal`; returns the right part if this branch had to split.
    pub(super) fn insert(&mut self, ordinal: usize, chunk: C) -> Option<Self> {
        match &mut self.below {
            Below::Last(_) => {
                let slot = Slot { weight: chunk.weight(), chunks: 1, node: Shared::new(chunk) };
                self.put_or_split(ordinal, |branch, index| branch.put_chunk(index, slot))
            }
            Below::Inner(slots) => {
                let (mut index, mut rest) = (0, ordinal);
                while index + 1 < slots.len() && rest > slots[index].chunks {
                    rest -= slots[index].chunks;
                    index += 1;
                }
                let child = slots[index].node.make_mut();
                let right = child.insert(rest, chunk);
                self.keys[index] = child.first_key();
                slots[index].recount();
                let slot = Slot::of(Shared::new(right?));
                self.put_or_split(index + 1, |branch, index| branch.put_branch(index, slot))
            }
        }
    }

    /// Calls `put` with the place for a child that comes before child `index`: in this branch, or, where this is full, in
    /// one of its halves, of which the right is returned.
    fn put_or_split(&mut self, index: usize, put: impl FnOnce(&mut Self, usize)) -> Option<Self> {
        let count = self.keys.len();
        if count < FAN {
            put(self, index);
            return None;
        }
        let at = if index == 0 || index == count { index } else { count / 2 };
        let mut right = self.split_off(at);
        if index > at || index == count {
            put(&mut right, index - at)
        } else {
            put(self, index)
        }
        Some(right)
    }

    fn put_chunk(&mut self, index: usize, slot: Slot<C>) {
        let Below::Last(slots) = &mut self.below else { unreachable!("chunks are below the last branches") };
        insert(&mut self.keys, index, slot.node.key());
        insert(slots, index, slot);
    }

    fn put_branch(&mut self, index: usize, slot: Slot<Self>) {
        let Below::Inner(slots) = &mut self.below else { unreachable!("branches are below inner branches") };
        insert(&mut self.keys, index, slot.node.first_key());
        insert(slots, index, slot);
    }

    fn split_off(&mut self, at: usize) -> Self {
        let keys = split_off(&mut self.keys, at);
        let below = match &mut self.below {
            Below::Inner(slots) => Below::Inner(split_off(slots, at)),
            Below::Last(slots) => Below::Last(split_off(slots, at)),
        };
        Branch { keys, below }
    }

    pub(super) fn remove(&mut self, ordinal: usize) -> Shared<C> {
        let (index, rest) = self.pick(Place::Ordinal(ordinal), &mut None);
        match &mut self.below {
            Below::Last(slots) => {
                self.keys.remove(index);
                slots.remove(index).node
            }
            Below::Inner(slots) => {
                let Place::Ordinal(rest) = rest else { unreachable!("an ordinal leaves an ordinal") };
                let child = slots[index].node.make_mut();
                let chunk = child.remove(rest);
                self.keys[index] = child.first_key();
                slots[index].recount();
                if slots[index].chunks == 0 {
                    slots.remove(index);
                    self.keys.remove(index);
                } else if slots[index].node.keys.len() <= FAN / 4 {
                    self.merge(index);
                }
                chunk
            }
        }
    }

    /// Merges the branch that is child `index` with a neighbour if both fit into one.
    fn merge(&mut self, index: usize) {
        let Below::Inner(slots) = &mut self.below else { unreachable!("only branches merge") };
        let count = |index: usize| slots.get(index).map_or(FAN, |slot| slot.node.keys.len());
        let left = if index > 0 && count(index - 1) + count(index) <= FAN * 3 / 4 {
            index - 1
        } else if count(index) + count(index + 1) <= FAN * 3 / 4 {
            index
        } else {
            return;
        };
        self.keys.remove(left + 1);
        let right = slots.remove(left + 1).node.unwrap_or_clone();
        let into = slots[left].node.make_mut();
        into.keys.extend(right.keys);
        match (&mut into.below, right.below) {
            (Below::Inner(left), Below::Inner(right)) => left.extend(right),
            (Below::Last(left), Below::Last(right)) => left.extend(right),
            _ => unreachable!("neighbours have the same depth"),
        }
        slots[left].recount();
    }
}

/// The last of the keys that is not above `key`, or the first. Where keys lie evenly between `bounds`, a guess by
/// proportion is at most a few places off, and walking from there touches fewer cache lines than halving; where it is not,
/// halving takes over.
#[inline]
pub(super) fn pick_key(keys: &[u64], key: u64, bounds: Option<(u64, u64)>) -> usize {
    if let Some(bounds) = bounds
        && let Some(index) = guess(keys, key, bounds)
    {
        return index;
    }
    // All lines at once, rather than one after the other.
    keys.iter().step_by(KEYS_PER_LINE).for_each(|line| prefetch(line));
    keys.partition_point(|other| *other <= key).saturating_sub(1)
}

#[inline]
fn guess(keys: &[u64], key: u64, (low, high): (u64, u64)) -> Option<usize> {
    // Bounds that are wrong make a poor guess, no worse.
    let share = key.wrapping_sub(low) as i64 as f64 / high.wrapping_sub(low) as i64 as f64;
    let mut index = ((share * keys.len() as f64) as usize).min(keys.len().checked_sub(1)?);
    for _ in 0..GUESS_STEPS {
        if keys[index] > key {
            let Some(before) = index.checked_sub(1) else { return Some(0) };
            index = before;
        } else if keys.get(index + 1).is_some_and(|next| *next <= key) {
            index += 1;
        } else {
            return Some(index);
        }
    }
    None
}

/// Grows by half: few branches stay full, and every large collection has many.
fn insert<T>(items: &mut Vec<T>, index: usize, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 2).max(2));
    }
    items.insert(index, item);
}

fn split_off<T>(items: &mut Vec<T>, at: usize) -> Vec<T> {
    let right = items.split_off(at);
    items.shrink_to(at + at / 4);
    right
}
