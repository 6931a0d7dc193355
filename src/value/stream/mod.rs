//! Streams: entries in the order of their ids, never changed once appended, and the groups that consume them.
//!
//! Entries live in packed nodes ([`node`] has the picture), which are what the RDB stores; nodes and groups are shared
//! between a stream and its clones until one of them is written to. Besides the entries a stream remembers its past:
//! the last id it gave out, the greatest id ever deleted, and how many entries were ever added. From these follows
//! how far behind a group is ([`Stream::lag`]), as far as deleted entries leave that knowable.

pub mod group;
pub mod id;
pub mod idempotence;
pub mod node;
mod ordered;
mod radix;
#[cfg(test)]
mod tests;

pub use group::{Consumer, Group, Nacked, Pending};
pub use id::StreamId;
pub use idempotence::{Idempotence, IdempotenceCounts, Producer, Retention};
pub use node::{Entry, Fields, Node};

use super::Limits;
use super::packed::{Listpack, PackedError};
use crate::allocator::block_size;
use ordered::Ordered;
use std::collections::BTreeMap;
use std::sync::Arc;

/// No node, and so no entry, grows beyond this; the servers' limit.
const MAX_NODE_BYTES: usize = 1 << 30;
/// The most that the listpack adds to the text of an element.
const ELEMENT_OVERHEAD: usize = 11;

/// A stream with its groups. A clone costs two counted pointers.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    nodes: Ordered<Arc<Node>>,
    /// See [`Stream::radix_nodes`].
    radix_nodes: usize,
    groups: Arc<BTreeMap<Arc<[u8]>, Arc<Group>>>,
    len: usize,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    idempotence: Option<Arc<Idempotence>>,
}

/// Why an entry was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the id is not greater than the last one of the stream")]
    NotGreater,
    #[error("the entry is larger than 1 GB")]
    TooLarge,
}

/// What a file says of a stream besides its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    pub last_id: StreamId,
    pub max_deleted_id: StreamId,
    pub entries_added: u64,
}

/// The last id that a file gives a stream is below that of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the last id of the stream, {last_id}, is below its last entry's, {top}")]
pub struct CounterError {
    pub last_id: StreamId,
    pub top: StreamId,
}

/// What a trim leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// That many entries, the newest.
    Newest(u64),
    /// The entries from that id on.
    From(StreamId),
}

/// How a stream is to be trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    pub keep: Keep,
    /// Drop whole nodes only, which is cheap, and leave what is more than asked for.
    pub approximate: bool,
    /// The most entries to remove; 0 for no limit.
    pub limit: usize,
}

impl Stream {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Bytes that the allocator holds for it, by a sample of the nodes.
    pub fn footprint(&self) -> usize {
        const SAMPLES: usize = 64;
        let groups = self.groups.iter().map(|(name, group)| name.len() + group.footprint());
        let sampled = self.nodes.iter().step_by(self.nodes.len().div_ceil(SAMPLES).max(1));
        let (count, bytes) =
            sampled.fold((0, 0), |(count, bytes), (_, node)| (count + 1, bytes + node.listpack().footprint()));
        let node = block_size(2 * size_of::<usize>() + size_of::<Node>()) + bytes / count.max(1);
        block_size(size_of::<Self>()) + self.nodes.footprint() + self.nodes.len() * node + groups.sum::<usize>()
    }

    /// The last id given out; the next entry's must be greater.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    pub fn set_last_id(&mut self, id: StreamId) {
        self.last_id = id;
    }

    /// The id of the first entry, [`StreamId::MIN`] without entries.
    pub fn first_id(&self) -> StreamId {
        self.nodes.first().and_then(|(_, node)| node.first_live_id()).unwrap_or(StreamId::MIN)
    }

    /// The id of the last entry, [`StreamId::MIN`] without entries.
    pub fn top_id(&self) -> StreamId {
        self.range(StreamId::MIN, StreamId::MAX).next_back().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// The greatest id that was deleted by name, [`StreamId::MIN`] if none was. What was trimmed does not count.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// How many entries were ever appended.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// Sets what a file, or XSETID, says of the stream. The last id can't be below an entry's.
    pub fn set_counters(&mut self, counters: Counters) -> Result<(), CounterError> {
        let top = self.top_id();
        if counters.last_id < top {
            return Err(CounterError { last_id: counters.last_id, top });
        }
        self.last_id = counters.last_id;
        self.max_deleted_id = counters.max_deleted_id;
        self.entries_added = counters.entries_added;
        Ok(())
    }

    /// Appends an entry of field and value pairs. The last node takes it, unless the entry would make it longer than
    /// the limits allow.
    pub fn append(&mut self, id: StreamId, fields: &[(&[u8], &[u8])], limits: &Limits) -> Result<(), AppendError> {
        if id <= self.last_id {
            return Err(AppendError::NotGreater);
        }
        let text: usize = fields.iter().map(|(field, value)| field.len() + value.len()).sum();
        if text + 2 * fields.len() * ELEMENT_OVERHEAD > MAX_NODE_BYTES {
            return Err(AppendError::TooLarge);
        }
        if !self.nodes.last().is_some_and(|(_, node)| has_room(node, text, limits)) {
            self.insert_node(Node::new(id, fields));
        }
        let last = self.nodes.last_mut().expect("it is there, or was just put there");
        Arc::make_mut(last).append(id, fields);
        self.len += 1;
        // A file may have told any number.
        self.entries_added = self.entries_added.saturating_add(1);
        self.last_id = id;
        Ok(())
    }

    /// Deletes the entry; false if there is none of that id.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((master, node)) = self.nodes.floor(id) else {
            return false;
        };
        // Looking first keeps a shared node shared where there is nothing to delete.
        if !node.contains(id) {
            return false;
        }
        self.edit(master, |node| node.delete(id));
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        true
    }

    /// The entries with ids from `start` to `end`, both included; `rev()` gives them from the end.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        let first = self.nodes.floor(start).map_or(start, |(master, _)| master);
        self.nodes.range(first, end).flat_map(move |(_, node)| node.range(start, end))
    }

    /// The entry of that id.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    pub fn contains(&self, id: StreamId) -> bool {
        self.nodes.floor(id).is_some_and(|(_, node)| node.contains(id))
    }

    /// Removes the oldest entries and says how many; see [`Trim`].
    pub fn trim(&mut self, trim: Trim) -> usize {
        let mut removed = 0;
        while let Some((master, node)) = self.nodes.first() {
            let live = node.live();
            let (done, whole) = match trim.keep {
                Keep::Newest(newest) => {
                    let newest = usize::try_from(newest).unwrap_or(usize::MAX);
                    (self.len <= newest, self.len - live >= newest)
                }
                Keep::From(id) => (false, node.last_id().is_none_or(|last| last < id)),
            };
            if done || (trim.limit != 0 && removed + live > trim.limit) {
                break;
            }
            if !whole {
                if !trim.approximate {
                    removed += self.trim_node(master, trim.keep);
                }
                break;
            }
            self.remove_node(master);
            self.len -= live;
            removed += live;
        }
        removed
    }

    /// Nodes in order, each with the id it is filed under, for the writer of a file.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &Listpack)> {
        self.nodes.iter().map(|(master, node)| (master, node.listpack()))
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Nodes of the radix tree that Redis would file these nodes in.
    pub fn radix_nodes(&self) -> usize {
        // A tree without keys has its root.
        self.radix_nodes.max(1)
    }

    /// Appends a node from a file, whose bytes are checked. A node that has no living entry is left out.
    pub fn push_node(&mut self, node: Node) -> Result<(), PackedError> {
        let before = self.nodes.last().and_then(|(_, node)| node.last_id());
        if before.is_some_and(|before| node.master() <= before) {
            let offset = node.listpack().first().unwrap_or(0);
            return Err(PackedError::new(offset, "a stream node that begins before the end of the one before it"));
        }
        let master = node.master();
        if node.live() == 0 {
            return Ok(());
        }
        self.len += node.live();
        self.last_id = self.last_id.max(node.last_id().unwrap_or(master));
        self.insert_node(node);
        Ok(())
    }

    /// What is remembered of producers that number their messages; `None` where no file said anything of it.
    pub fn idempotence(&self) -> Option<&Idempotence> {
        self.idempotence.as_deref()
    }

    pub fn set_idempotence(&mut self, idempotence: Option<Idempotence>) {
        self.idempotence = idempotence.map(Arc::new);
    }

    fn insert_node(&mut self, node: Node) {
        let master = node.master();
        self.radix_nodes += radix::share(&self.nodes, master);
        self.nodes.insert(master, Arc::new(node));
    }

    fn remove_node(&mut self, master: StreamId) {
        self.nodes.remove(master);
        self.radix_nodes -= radix::share(&self.nodes, master);
    }

    /// Changes a node, and drops it if no entry is left in it.
    fn edit<R>(&mut self, master: StreamId, change: impl FnOnce(&mut Node) -> R) -> R {
        let node = Arc::make_mut(self.nodes.get_mut(master).expect("the node was just found"));
        let result = change(node);
        if node.live() == 0 {
            self.remove_node(master);
        }
        result
    }

    fn trim_node(&mut self, master: StreamId, keep: Keep) -> usize {
        let len = self.len;
        let deleted = self.edit(master, |node| match keep {
            Keep::Newest(newest) => {
                let surplus = len - usize::try_from(newest).unwrap_or(usize::MAX).min(len);
                node.delete_front(|_, deleted| deleted < surplus)
            }
            Keep::From(first) => node.delete_front(|id, _| id < first),
        });
        self.len -= deleted;
        deleted
    }
}

/// Groups.
impl Stream {
    /// Groups in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&name[..], &**group))
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }

    /// The group, to be changed; it is no longer shared afterwards.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        // Looking first keeps the table shared where there is nothing to change.
        self.groups.get(name)?;
        Arc::make_mut(&mut self.groups).get_mut(name).map(Arc::make_mut)
    }

    /// Adds a group; false, and nothing changes, if the name is taken.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        Arc::make_mut(&mut self.groups).insert(name.into(), Arc::new(group));
        true
    }

    /// Removes a group with all it knows; false if there is none of that name.
    pub fn destroy_group(&mut self, name: &[u8]) -> bool {
        self.groups.contains_key(name) && Arc::make_mut(&mut self.groups).remove(name).is_some()
    }

    /// Notes that the group was given the entry `id`: it becomes the group's last id if it is greater, and the count
    /// of entries read follows as far as it is known.
    pub fn advance_group(&mut self, name: &[u8], id: StreamId) {
        let Some(group) = self.group(name).filter(|group| id > group.last_id()) else {
            return;
        };
        let entries_read = match self.counted(group) {
            Some(read) => Some(read.saturating_add(1)),
            None if self.entries_added == 0 => group.entries_read(),
            None => self.entries_up_to(id),
        };
        if let Some(group) = self.group_mut(name) {
            group.set_last_id(id);
            group.set_entries_read(entries_read);
        }
    }

    /// How many entries the group has not been given yet, where that is known. It is negative for a group that was
    /// told, by XGROUP or a file, that it has read more entries than there ever were.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.is_empty() {
            return Some(0);
        }
        let read = self.counted(group).or_else(|| self.entries_up_to(group.last_id()))?;
        Some(self.entries_added.cast_signed().wrapping_sub(read.cast_signed()))
    }

    /// The group's own count of entries read, if it tells how many are left: it does while the group's last entry has
    /// not been trimmed and no later one was deleted.
    fn counted(&self, group: &Group) -> Option<u64> {
        let last_id = group.last_id();
        group.entries_read().filter(|_| last_id >= self.first_id() && !self.deleted_from(last_id))
    }

    /// How many entries were ever appended with ids up to `id`, where that is known: entries trimmed from the front
    /// don't blur it, entries deleted among the living do.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if id >= self.last_id || self.is_empty() {
            return (id <= self.last_id).then_some(self.entries_added);
        }
        let first = self.first_id();
        if self.max_deleted_id != StreamId::MIN && self.max_deleted_id >= first {
            return None;
        }
        // `len` is never more than was added, unless a file says so.
        let before = self.entries_added.saturating_sub(u64::try_from(self.len).unwrap_or(u64::MAX));
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before + 1),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Whether an entry from `start` on was deleted from among the living.
    fn deleted_from(&self, start: StreamId) -> bool {
        !self.is_empty() && self.max_deleted_id >= self.first_id() && self.max_deleted_id >= start
    }
}

/// Whether the node may take an entry with that many bytes of text.
fn has_room(node: &Node, text: usize, limits: &Limits) -> bool {
    let most_bytes = match limits.stream_node_max_bytes {
        0 => MAX_NODE_BYTES,
        bytes => bytes.min(MAX_NODE_BYTES),
    };
    node.listpack().byte_len() + text < most_bytes
        && (limits.stream_node_max_entries == 0 || node.total() < limits.stream_node_max_entries)
}
