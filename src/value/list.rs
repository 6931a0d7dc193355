//! Lists: one listpack, or a sequence of nodes.
//!
//! A short list is a single [`Listpack`]. One that exceeds `list-max-listpack-size` is a `quicklist`: nodes in order,
//! each a listpack within that limit, or a single element that alone exceeds it ("plain"). It becomes one listpack again
//! when a removal leaves one node of at most half the limit, so that a list at the edge does not go back and forth.

use super::packed::Checked;
use super::packed::listpack::ListpackIter;
use super::{Either, Element, Limits, Listpack, PackedError};
use crate::allocator::block_size;
use crate::cow::{Chunk, Place, Sequence, sequence};
use std::sync::Arc;

/// A node never exceeds this where the limit is a number of entries.
const SAFE_BYTES: usize = 8192;
/// What an entry is taken to cost beside its bytes when room in a node is judged.
const ENTRY_OVERHEAD: usize = 8;

/// One node of a list, as the RDB stores it.
#[derive(Clone, Copy, Debug)]
pub enum ListNode<'a> {
    /// Several elements.
    Packed(&'a Listpack),
    /// One element too large to be packed.
    Plain(&'a [u8]),
}

/// A list; see the module.
#[derive(Clone, Debug, Default)]
pub struct List(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Packed(Listpack),
    Linked(Box<Sequence<Node>>),
}

#[derive(Clone, Debug)]
enum Node {
    Packed(Listpack),
    Plain(Arc<Vec<u8>>),
}

impl Default for Repr {
    fn default() -> Self {
        Repr::Packed(Listpack::new())
    }
}

impl Chunk for Node {
    fn weight(&self) -> u64 {
        match self {
            Node::Packed(pack) => pack.len() as u64,
            Node::Plain(_) => 1,
        }
    }
}

/// The limit of a node, from `list-max-listpack-size`.
#[derive(Clone, Copy)]
struct NodeLimit {
    bytes: usize,
    entries: usize,
}

impl NodeLimit {
    fn of(limits: &Limits) -> Self {
        match limits.list_max_listpack_size {
            size @ 0.. => NodeLimit { bytes: SAFE_BYTES, entries: usize::try_from(size).unwrap_or(usize::MAX).max(1) },
            // -1 to -5 stand for 4 to 64 KB; anything below is as -5.
            size => NodeLimit { bytes: 4096 << (size.unsigned_abs().min(5) - 1), entries: usize::MAX },
        }
    }

    fn allows(&self, bytes: usize, entries: usize) -> bool {
        bytes <= self.bytes && entries <= self.entries
    }

    fn has_room(&self, pack: &Listpack, item: &[u8]) -> bool {
        self.allows(pack.byte_len() + item.len() + ENTRY_OVERHEAD, pack.len() + 1)
    }

    fn is_plain(&self, item: &[u8]) -> bool {
        item.len() > self.bytes
    }
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        List::default()
    }

    /// Loader: whether a listpack that is the only node of a list is all of it.
    pub(super) fn keeps(pack: Checked<'_>, limits: &Limits) -> bool {
        !pack.is_empty() && NodeLimit::of(limits).allows(pack.byte_len(), pack.len())
    }

    /// Loader: appends a node as it is; an empty one is an error. [`List::settle`] comes after the last.
    pub fn push_packed(&mut self, node: Listpack, _limits: &Limits) -> Result<(), PackedError> {
        if node.is_empty() {
            return Err(PackedError::new(0, "a list node without elements"));
        }
        self.link().push_back(Node::Packed(node));
        Ok(())
    }

    /// Loader: appends one element as a node of its own. [`List::settle`] comes after the last.
    pub fn push_plain(&mut self, item: Vec<u8>) {
        self.link().push_back(Node::Plain(Arc::new(item)));
    }

    /// Loader: chooses the encoding when all nodes are there, as Redis does after loading.
    pub fn settle(&mut self, limits: &Limits) {
        self.unlink(NodeLimit::of(limits));
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.len(),
            // Every element takes memory, so the count fits.
            Repr::Linked(nodes) => nodes.weight() as usize,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `listpack` or `quicklist`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Linked(_) => "quicklist",
        }
    }

    /// Bytes that the allocator holds for it, by a sample of the nodes.
    pub fn footprint(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.footprint(),
            Repr::Linked(nodes) => nodes.footprint(Node::footprint),
        }
    }

    /// How many nodes: 1 for a packed list.
    pub fn node_count(&self) -> usize {
        match &self.0 {
            Repr::Packed(_) => 1,
            Repr::Linked(nodes) => nodes.chunk_count(),
        }
    }

    /// The elements of a packed list.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Repr::Packed(pack) = &self.0 { Some(pack) } else { None }
    }

    /// What [`super::Compact`] keeps of it, as it was.
    pub(super) fn of_packed(pack: Listpack) -> Self {
        List(Repr::Packed(pack))
    }

    /// Its listpack, to be filled anew.
    pub(super) fn packed_mut(&mut self) -> Option<&mut Listpack> {
        if let Repr::Packed(pack) = &mut self.0 { Some(pack) } else { None }
    }

    /// The nodes in order, as the RDB stores them.
    pub fn nodes(&self) -> impl Iterator<Item = ListNode<'_>> + '_ {
        match &self.0 {
            Repr::Packed(pack) => Either::Left(std::iter::once(ListNode::Packed(pack))),
            Repr::Linked(nodes) => Either::Right(nodes.iter().map(|node| match node {
                Node::Packed(pack) => ListNode::Packed(pack),
                Node::Plain(item) => ListNode::Plain(item),
            })),
        }
    }

    /// Element number `index`.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        match &self.0 {
            Repr::Packed(pack) => pack.nth(index),
            Repr::Linked(nodes) => {
                let (position, within) = nodes.locate(index as u64)?;
                nodes.get(Place::Ordinal(position.ordinal))?.nth(within as usize) // smaller than the node's count
            }
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> + '_ {
        self.iter_from(0)
    }

    /// Elements from number `index` towards the end.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Element<'_>> + '_ {
        match &self.0 {
            Repr::Packed(pack) => Either::Left(pack.iter_at(pack.seek(index).unwrap_or(pack.end()))),
            Repr::Linked(nodes) => Either::Right(Forwards::new(nodes, index)),
        }
    }

    /// Elements from number `index` (or the last) towards the front.
    pub fn iter_rev_from(&self, index: usize) -> impl Iterator<Item = Element<'_>> + '_ {
        match &self.0 {
            Repr::Packed(pack) => {
                let behind = index.checked_add(1).and_then(|index| pack.seek(index)).unwrap_or(pack.end());
                Either::Left(pack.iter_before(behind).rev())
            }
            Repr::Linked(nodes) => Either::Right(Backwards::new(nodes, index)),
        }
    }

    /// Appends.
    pub fn push_back(&mut self, item: &[u8], limits: &Limits) {
        self.insert(self.len(), item, limits);
    }

    /// Puts in front.
    pub fn push_front(&mut self, item: &[u8], limits: &Limits) {
        self.insert(0, item, limits);
    }

    /// Takes the first element out.
    pub fn pop_front(&mut self, limits: &Limits) -> Option<Vec<u8>> {
        let item = self.get(0)?.to_vec();
        self.remove_range(0, 1, limits);
        Some(item)
    }

    /// Takes the last element out.
    pub fn pop_back(&mut self, limits: &Limits) -> Option<Vec<u8>> {
        let last = self.len().checked_sub(1)?;
        let item = self.get(last)?.to_vec();
        self.remove_range(last, 1, limits);
        Some(item)
    }

    /// Puts `item` before element number `index`, or at the end.
    pub fn insert(&mut self, index: usize, item: &[u8], limits: &Limits) {
        let limit = NodeLimit::of(limits);
        if let Repr::Packed(pack) = &mut self.0 {
            if limit.allows(pack.byte_len() + item.len(), pack.len() + 1) {
                let at = pack.seek(index).unwrap_or(pack.end());
                return pack.insert(at, item);
            }
            self.link();
        }
        let Repr::Linked(nodes) = &mut self.0 else { unreachable!("what is not packed is linked") };
        insert_into(nodes, index, item, limit);
    }

    /// Replaces element number `index`; false if there is none.
    pub fn set(&mut self, index: usize, item: &[u8], limits: &Limits) -> bool {
        if index >= self.len() {
            return false;
        }
        let limit = NodeLimit::of(limits);
        if let Repr::Packed(pack) = &mut self.0 {
            if limit.allows(pack.byte_len() + item.len(), pack.len()) {
                let at = pack.seek(index).expect("the index is below the count");
                pack.replace(at, item);
                return true;
            }
            self.link();
        }
        let Repr::Linked(nodes) = &mut self.0 else { unreachable!("what is not packed is linked") };
        let (position, within) = nodes.locate(index as u64).expect("the index is below the count");
        let place = Place::Ordinal(position.ordinal);
        let replaced = nodes.modify(place, |node| match node {
            Node::Packed(pack) if limit.allows(pack.byte_len() + item.len() + ENTRY_OVERHEAD, 1) => {
                let at = pack.seek(within as usize).expect("locate gives an entry of the node"); // below its count
                pack.replace(at, item);
                true
            }
            Node::Plain(old) if limit.is_plain(item) => {
                *old = Arc::new(item.to_vec());
                true
            }
            _ => false,
        });
        if replaced == Some(false) {
            remove_from(nodes, index, 1);
            insert_into(nodes, index, item, limit);
        }
        true
    }

    /// Takes up to `count` elements out from number `start` on.
    pub fn remove_range(&mut self, start: usize, count: usize, limits: &Limits) {
        match &mut self.0 {
            Repr::Packed(pack) => {
                if let Some(at) = pack.seek(start) {
                    pack.remove_many(at, count);
                }
            }
            Repr::Linked(nodes) => {
                remove_from(nodes, start, count);
                let limit = NodeLimit::of(limits);
                self.unlink(NodeLimit { bytes: limit.bytes / 2, entries: limit.entries / 2 });
            }
        }
    }

    fn link(&mut self) -> &mut Sequence<Node> {
        if let Repr::Packed(pack) = &mut self.0 {
            let mut nodes = Sequence::new();
            if !pack.is_empty() {
                nodes.push_back(Node::Packed(std::mem::take(pack)));
            }
            self.0 = Repr::Linked(Box::new(nodes));
        }
        match &mut self.0 {
            Repr::Linked(nodes) => nodes,
            Repr::Packed(_) => unreachable!("a packed list was linked above"),
        }
    }

    /// Becomes one listpack if a single node within `limit` is left.
    fn unlink(&mut self, limit: NodeLimit) {
        let Repr::Linked(nodes) = &self.0 else { return };
        if nodes.chunk_count() > 1 {
            return;
        }
        let pack = match (nodes.chunk_count(), nodes.first()) {
            (0, _) => Listpack::new(),
            (1, Some(Node::Packed(pack))) if limit.allows(pack.byte_len(), pack.len()) => pack.clone(),
            _ => return,
        };
        self.0 = Repr::Packed(pack);
    }
}

impl Node {
    fn of(item: &[u8], limit: NodeLimit) -> Node {
        if limit.is_plain(item) {
            return Node::Plain(Arc::new(item.to_vec()));
        }
        Node::Packed([item].into_iter().collect())
    }

    fn nth(&self, index: usize) -> Option<Element<'_>> {
        match self {
            Node::Packed(pack) => pack.nth(index),
            Node::Plain(item) => (index == 0).then_some(Element::Bytes(item)),
        }
    }

    fn has_room(&self, item: &[u8], limit: NodeLimit) -> bool {
        matches!(self, Node::Packed(pack) if !limit.is_plain(item) && limit.has_room(pack, item))
    }

    fn footprint(&self) -> usize {
        match self {
            Node::Packed(pack) => pack.footprint(),
            Node::Plain(item) => block_size(item.capacity()),
        }
    }

    fn entries(&self) -> Either<ListpackIter<'_>, std::iter::Once<Element<'_>>> {
        match self {
            Node::Packed(pack) => Either::Left(pack.iter()),
            Node::Plain(item) => Either::Right(std::iter::once(Element::Bytes(item))),
        }
    }
}

/// Inserts into the node that holds the place, into the one before if the place is its end, or into a new one.
fn insert_into(nodes: &mut Sequence<Node>, index: usize, item: &[u8], limit: NodeLimit) {
    let (ordinal, within) = match nodes.locate(index as u64) {
        Some((position, within)) => (position.ordinal, within as usize), // below the node's count
        None => (nodes.chunk_count(), 0),
    };
    let fits = |nodes: &Sequence<Node>, ordinal| {
        nodes.get(Place::Ordinal(ordinal)).is_some_and(|node| node.has_room(item, limit))
    };
    let put = |nodes: &mut Sequence<Node>, ordinal, within: Option<usize>| {
        nodes.modify(Place::Ordinal(ordinal), |node| {
            let Node::Packed(pack) = node else { unreachable!("only packed nodes have room") };
            let at = within.and_then(|within| pack.seek(within)).unwrap_or(pack.end());
            pack.insert(at, item);
        });
    };
    if within == 0 && ordinal > 0 && fits(nodes, ordinal - 1) {
        return put(nodes, ordinal - 1, None);
    }
    if fits(nodes, ordinal) {
        return put(nodes, ordinal, Some(within));
    }
    if within == 0 {
        return nodes.insert(ordinal, Node::of(item, limit));
    }
    // In the middle of a full node: it is cut there, and the item goes where there is room.
    let tail = nodes.modify(Place::Ordinal(ordinal), |node| {
        let Node::Packed(pack) = node else { unreachable!("a plain node has no middle") };
        let at = pack.seek(within).expect("locate gives an entry of the node");
        pack.split_off(at)
    });
    nodes.insert(ordinal + 1, Node::Packed(tail.expect("the node was located")));
    insert_into(nodes, index, item, limit);
}

fn remove_from(nodes: &mut Sequence<Node>, start: usize, count: usize) {
    let mut left = count;
    while left > 0
        && let Some((position, within)) = nodes.locate(start as u64)
    {
        let place = Place::Ordinal(position.ordinal);
        let held = nodes.get(place).map_or(0, |node| node.weight() as usize); // elements in memory
        let within = within as usize; // below the node's count
        let going = left.min(held - within);
        if going == held {
            nodes.remove(position.ordinal);
        } else {
            nodes.modify(place, |node| {
                let Node::Packed(pack) = node else { unreachable!("a plain node goes whole") };
                let at = pack.seek(within).expect("locate gives an entry of the node");
                pack.remove_many(at, going);
            });
        }
        left -= going;
    }
}

/// Elements of linked nodes towards the end.
struct Forwards<'a> {
    nodes: sequence::Iter<'a, Node>,
    node: Option<Either<ListpackIter<'a>, std::iter::Once<Element<'a>>>>,
}

impl<'a> Forwards<'a> {
    fn new(nodes: &'a Sequence<Node>, index: usize) -> Self {
        let Some((position, within)) = nodes.locate(index as u64) else {
            return Forwards { nodes: nodes.iter_between(0, 0), node: None };
        };
        let mut rest = nodes.iter_between(position.ordinal, nodes.chunk_count());
        let node = rest.next().map(|node| match node {
            // Below the node's count; a plain node has no second element.
            Node::Packed(pack) => Either::Left(pack.iter_at(pack.seek(within as usize).unwrap_or(pack.end()))),
            Node::Plain(_) => node.entries(),
        });
        Forwards { nodes: rest, node }
    }
}

impl<'a> Iterator for Forwards<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            if let Some(item) = self.node.as_mut()?.next() {
                return Some(item);
            }
            self.node = self.nodes.next().map(Node::entries);
        }
    }
}

/// Elements of linked nodes towards the front.
struct Backwards<'a> {
    nodes: sequence::Iter<'a, Node>,
    node: Option<Either<std::iter::Rev<ListpackIter<'a>>, std::iter::Once<Element<'a>>>>,
}

impl<'a> Backwards<'a> {
    fn new(nodes: &'a Sequence<Node>, index: usize) -> Self {
        let none = Backwards { nodes: nodes.iter_between(0, 0), node: None };
        let Some(last) = nodes.weight().checked_sub(1) else { return none };
        let Some((position, within)) = nodes.locate((index as u64).min(last)) else { return none };
        let mut rest = nodes.iter_between(0, position.ordinal + 1);
        let node = rest.next_back().map(|node| match node {
            Node::Packed(pack) => {
                // Below the node's count.
                let behind = pack.seek(within as usize + 1).unwrap_or(pack.end());
                Either::Left(pack.iter_before(behind).rev())
            }
            Node::Plain(item) => Either::Right(std::iter::once(Element::Bytes(item))),
        });
        Backwards { nodes: rest, node }
    }
}

impl<'a> Iterator for Backwards<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            if let Some(item) = self.node.as_mut()?.next() {
                return Some(item);
            }
            self.node = self.nodes.next_back().map(|node| match node {
                Node::Packed(pack) => Either::Left(pack.iter().rev()),
                Node::Plain(item) => Either::Right(std::iter::once(Element::Bytes(item))),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn check(list: &List, model: &VecDeque<Vec<u8>>) {
        assert_eq!(list.len(), model.len());
        for index in [0, 1, 7, model.len() / 2, model.len().saturating_sub(1), model.len(), usize::MAX] {
            assert!(list.iter_from(index).map(|item| item.to_vec()).eq(model.iter().skip(index).cloned()));
            let back = model.iter().take(index.saturating_add(1)).rev();
            assert!(list.iter_rev_from(index).map(|item| item.to_vec()).eq(back.cloned()));
            assert_eq!(list.get(index), model.get(index).map(Element::from));
        }
        let mut copy = List::new();
        for node in list.nodes().filter(|_| !model.is_empty()) {
            match node {
                ListNode::Packed(pack) => copy.push_packed(pack.clone(), &Limits::default()).unwrap(),
                ListNode::Plain(item) => copy.push_plain(item.to_vec()),
            }
        }
        copy.settle(&Limits::default());
        assert!(copy.iter().eq(list.iter()));
    }

    #[test]
    fn a_list_behaves_as_a_deque_and_clones_stay_as_they_were() {
        for (seed, size) in [1, 5, -1, -2].into_iter().enumerate() {
            let limits = Limits { list_max_listpack_size: size, ..Limits::default() };
            let mut rng = fastrand::Rng::with_seed(seed as u64);
            let (mut list, mut model) = (List::new(), VecDeque::new());
            let mut clones = Vec::new();
            for step in 0..4000 {
                let len = if rng.u8(..40) == 0 { rng.usize(..10_000) } else { rng.usize(..300) };
                let item = if rng.bool() { rng.i16(..).to_string().into_bytes() } else { vec![b'x'; len] };
                let index = rng.usize(..=model.len());
                let grow = step % 2000 < 1200;
                match rng.u8(..10) {
                    0 | 1 if grow => {
                        list.push_back(&item, &limits);
                        model.push_back(item);
                    }
                    2 if grow => {
                        list.push_front(&item, &limits);
                        model.push_front(item);
                    }
                    3 | 4 if grow => {
                        list.insert(index, &item, &limits);
                        model.insert(index, item);
                    }
                    5 => {
                        assert_eq!(list.set(index, &item, &limits), index < model.len());
                        if let Some(place) = model.get_mut(index) {
                            *place = item;
                        }
                    }
                    6 => assert_eq!(list.pop_front(&limits), model.pop_front()),
                    7 => assert_eq!(list.pop_back(&limits), model.pop_back()),
                    _ => {
                        let count = rng.usize(..4);
                        list.remove_range(index, count, &limits);
                        model.drain(index..(index + count).min(model.len()));
                    }
                }
                if step % 101 == 0 {
                    clones.push((list.clone(), model.clone()));
                }
            }
            for (list, model) in &clones {
                check(list, model);
            }
        }
    }

    #[test]
    fn the_encoding_changes_where_redis_changes_it() {
        let limits = Limits { list_max_listpack_size: 10, ..Limits::default() };
        let mut list = List::new();
        (0..10).for_each(|_| list.push_back(b"x", &limits));
        assert_eq!(list.encoding(), "listpack");
        list.push_back(b"x", &limits);
        assert_eq!((list.encoding(), list.node_count()), ("quicklist", 2));
        list.remove_range(5, 1, &limits);
        list.pop_back(&limits);
        assert_eq!((list.encoding(), list.node_count()), ("quicklist", 1));
        list.remove_range(0, 4, &limits);
        assert_eq!((list.encoding(), list.len()), ("listpack", 5));
        let mut large = List::new();
        large.push_back(&[b'x'; 9000], &Limits::default());
        assert!(matches!(large.nodes().next(), Some(ListNode::Plain(item)) if item.len() == 9000));
    }
}
