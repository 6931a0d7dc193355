//! Lists.
use super::{Element, Limits, Listpack, PackedError};
use std::collections::VecDeque;

/// One node of a list, as the RDB stores it.
#[derive(Clone, Copy, Debug)]
pub enum ListNode<'a> {
    /// Several elements.
    Packed(&'a Listpack),
    /// One element too large to be packed.
    Plain(&'a [u8]),
}

#[derive(Clone, Debug, Default)]
pub struct List {
    items: VecDeque<Vec<u8>>,
    packs: Vec<Listpack>,
}

impl List {
    pub fn new() -> Self {
        List::default()
    }
    pub fn len(&self) -> usize {
        self.items.len()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    pub fn encoding(&self) -> &'static str {
        "listpack"
    }
    pub fn footprint(&self) -> usize {
        0
    }
    fn changed(&mut self) {
        self.packs = vec![self.items.iter().map(Vec::as_slice).collect()];
    }
    pub fn push_back(&mut self, item: &[u8], _limits: &Limits) {
        self.items.push_back(item.to_vec());
        self.changed();
    }
    pub fn push_front(&mut self, item: &[u8], _limits: &Limits) {
        self.items.push_front(item.to_vec());
        self.changed();
    }
    pub fn pop_front(&mut self, _limits: &Limits) -> Option<Vec<u8>> {
        let r = self.items.pop_front();
        self.changed();
        r
    }
    pub fn pop_back(&mut self, _limits: &Limits) -> Option<Vec<u8>> {
        let r = self.items.pop_back();
        self.changed();
        r
    }
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        self.items.get(index).map(Element::from)
    }
    /// Replaces; false if there is no such index.
    pub fn set(&mut self, index: usize, item: &[u8], _limits: &Limits) -> bool {
        let ok = index < self.len();
        if ok {
            self.items[index] = item.to_vec();
        }
        self.changed();
        ok
    }
    /// Inserts before `index`.
    pub fn insert(&mut self, index: usize, item: &[u8], _limits: &Limits) {
        self.items.insert(index, item.to_vec());
        self.changed();
    }
    pub fn remove_range(&mut self, start: usize, count: usize, _limits: &Limits) {
        let end = start.saturating_add(count).min(self.len());
        if start < end {
            self.items.drain(start..end);
        }
        self.changed();
    }
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> + '_ {
        self.iter_from(0)
    }
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Element<'_>> + '_ {
        self.items.iter().skip(index).map(Element::from)
    }
    /// From `index` towards the front.
    pub fn iter_rev_from(&self, index: usize) -> impl Iterator<Item = Element<'_>> + '_ {
        self.items.iter().take(index.saturating_add(1)).rev().map(Element::from)
    }
    pub fn nodes(&self) -> impl Iterator<Item = ListNode<'_>> + '_ {
        self.packs.iter().map(ListNode::Packed)
    }
    pub fn node_count(&self) -> usize {
        self.packs.len()
    }
    /// Loader: appends a whole node (empty ones are an error).
    pub fn push_packed(&mut self, node: Listpack, _limits: &Limits) -> Result<(), PackedError> {
        if node.is_empty() {
            return Err(PackedError::new(0, "an empty list node"));
        }
        self.items.extend(node.iter().map(|e| e.to_vec()));
        self.changed();
        Ok(())
    }
    /// Loader: appends one large element as its own node.
    pub fn push_plain(&mut self, item: Vec<u8>) {
        self.items.push_back(item);
        self.changed();
    }
    /// Loader: after the last node, chooses the encoding as Redis does after loading.
    pub fn settle(&mut self, _limits: &Limits) {}
}
