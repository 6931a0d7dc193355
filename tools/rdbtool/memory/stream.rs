//! What a stream costs, counted while its entries pass by.
//!
//! Entries are laid into nodes as a server would that was given them by XADD: up to 100 of them and 4096 bytes, names of
//! fields left out where they are those of the node's first entry. Nodes, groups, consumers and pending entries hang in
//! radix trees.

use super::allocator::Allocator;
use super::model::packed_len;
use super::rax::RaxSize;
use super::server::sds;
use ironkeep::value::Element;
use ironkeep::value::stream::StreamId;

const STREAM: u64 = 80;
const GROUP: u64 = 40;
const CONSUMER: u64 = 32;
const PENDING: u64 = 24;
const NODE_BYTES: u64 = 4096;
const NODE_ENTRIES: u64 = 100;
/// A listpack's own bytes, and what every node begins with: counts of entries, deleted ones and fields, and an end.
const NODE_HEAD: u64 = 7 + 4 * SMALL_INT;
const SMALL_INT: u64 = 2;

/// Adds up one stream.
#[derive(Default)]
pub struct StreamSize {
    bytes: u64,
    nodes: RaxSize,
    /// The node that is being filled: its first id, names of fields, entries and bytes.
    first: StreamId,
    names: Vec<Vec<u8>>,
    entries: u64,
    node_bytes: u64,
    has_groups: bool,
    groups: RaxSize,
    /// The group and consumer that are being told.
    open: Option<[RaxSize; 2]>,
    consumer: Option<RaxSize>,
}

fn int(value: u64) -> u64 {
    packed_len(Element::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

impl StreamSize {
    pub fn entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)], allocator: Allocator) {
        let values: u64 = fields.iter().map(|(_, value)| packed_len(*value)).sum();
        let names = || fields.iter().map(|(name, _)| packed_len(*name)).sum::<u64>();
        if self.entries == 0 || self.entries >= NODE_ENTRIES || self.node_bytes + values >= NODE_BYTES {
            self.close_node(allocator);
            self.nodes.add(&id.to_bytes(), allocator);
            self.first = id;
            self.names.clear();
            self.names.extend(fields.iter().map(|(name, _)| name.to_vec()));
            self.node_bytes = NODE_HEAD + names();
        }
        self.entries += 1;
        let same = self.names.len() == fields.len()
            && self.names.iter().zip(fields).all(|(left, (right, _))| right.eq_bytes(left));
        let named = if same { 0 } else { int(fields.len() as u64) + names() }; // usize fits
        let ids = int(id.ms.wrapping_sub(self.first.ms)) + int(id.seq.wrapping_sub(self.first.seq));
        self.node_bytes += SMALL_INT + ids + named + values + int(fields.len() as u64 + 3); // usize fits
    }

    fn close_node(&mut self, allocator: Allocator) {
        if self.entries > 0 {
            self.bytes += allocator.size(self.node_bytes);
        }
        (self.entries, self.node_bytes) = (0, 0);
    }

    pub fn group(&mut self, name: &[u8], allocator: Allocator) {
        self.close_group(allocator);
        self.has_groups = true;
        self.groups.add(name, allocator);
        self.bytes += allocator.size(GROUP);
        self.open = Some(Default::default());
    }

    pub fn pending(&mut self, id: StreamId, allocator: Allocator) {
        self.bytes += allocator.size(PENDING);
        if let Some([pending, _]) = &mut self.open {
            pending.add(&id.to_bytes(), allocator);
        }
    }

    pub fn consumer(&mut self, name: &[u8], allocator: Allocator) {
        self.close_consumer(allocator);
        if let Some([_, consumers]) = &mut self.open {
            consumers.add(name, allocator);
        }
        self.bytes += allocator.size(CONSUMER) + allocator.size(sds(name.len() as u64)); // usize fits
        self.consumer = Some(RaxSize::default());
    }

    pub fn consumer_pending(&mut self, id: StreamId, allocator: Allocator) {
        if let Some(pending) = &mut self.consumer {
            pending.add(&id.to_bytes(), allocator);
        }
    }

    /// A producer or an idempotent id with a name of `len` bytes; no server that has them was at hand.
    pub fn produced(&mut self, len: usize, allocator: Allocator) {
        self.bytes += allocator.size(sds(len as u64)) + allocator.size(PENDING); // usize fits
    }

    fn close_consumer(&mut self, allocator: Allocator) {
        if let Some(pending) = self.consumer.take() {
            self.bytes += pending.finish(allocator);
        }
    }

    fn close_group(&mut self, allocator: Allocator) {
        self.close_consumer(allocator);
        for tree in self.open.take().into_iter().flatten() {
            self.bytes += tree.finish(allocator);
        }
    }

    /// Counts what is still open: the stream is complete.
    pub fn close(&mut self, allocator: Allocator) {
        self.close_node(allocator);
        self.close_group(allocator);
        self.bytes += allocator.size(STREAM) + std::mem::take(&mut self.nodes).finish(allocator);
        if std::mem::take(&mut self.has_groups) {
            self.bytes += std::mem::take(&mut self.groups).finish(allocator);
        }
    }

    /// What was counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
