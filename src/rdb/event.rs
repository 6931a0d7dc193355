//! What a reader tells its caller: events between keys, and the elements of a value.

use std::sync::Arc;

use super::kind::Kind;
use crate::value::stream::{IdempotenceCounts, Retention, StreamId};
use crate::value::{ArrayItem, Element, Module};

/// What comes next in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A named remark of the writer: `redis-ver`, `ctime`, `used-mem`, ... Unknown names are to be ignored.
    Aux { name: Vec<u8>, value: Vec<u8> },
    /// The keys that follow belong to this database.
    SelectDb(u64),
    /// How many keys, and keys with an expiry, the database holds; a hint of the writer.
    ResizeDb { keys: u64, expires: u64 },
    /// How many keys of a cluster slot follow; a hint of the writer.
    SlotInfo { slot: u64, keys: u64, expires: u64 },
    /// A slot import of Valkey 9 that was under way; its ranges are inclusive.
    SlotImport { job: Vec<u8>, ranges: Vec<(u64, u64)> },
    /// Data of a module that belongs to no key. `raw` is what follows the id, to the module EOF inclusive.
    ModuleAux { id: u64, module: String, raw: Vec<u8> },
    /// The source code of a function library.
    Function { code: Vec<u8> },
    /// A function library as release candidates of Redis 7.0 wrote it; no release loads one.
    FunctionPreGa { name: Vec<u8>, engine: Vec<u8>, description: Option<Vec<u8>>, code: Vec<u8> },
    /// The field names of hashes that refer to them by this number (Redis 8.10). The reader resolves the references.
    HashTemplate { id: u64, fields: Arc<[Vec<u8>]> },
    /// A command that came in while the file was written (Valkey 9.2, in replication): it acts on the keys before it.
    Update { arguments: Vec<Vec<u8>> },
    /// A number under an opcode of another product, which has no meaning here.
    Foreign { name: &'static str, value: u64 },
    /// A key. Its value is to be taken with `value`, `object` or `skip`; what is not taken is skipped.
    Key(KeyHeader),
    /// The end marker and the checksum behind it.
    End { checksum: Checksum },
}

impl Event {
    /// What no server loads from a file, in words and with what to do next: to leave it out would lose data.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Event::FunctionPreGa { .. } => Some(
                "a function library in the form of Redis 7.0's release candidates (FUNCTION_PRE_GA), which no release \
                 loads: save the file again without functions where it came from, and load them anew with FUNCTION LOAD",
            ),
            Event::Update { .. } => Some(
                "a command that came in while the file was written (UPDATE of Valkey 9.2), as only a replica is sent: \
                 save the data with BGSAVE on that server and use that file",
            ),
            _ => None,
        }
    }
}

/// A key and all that the file says of it before its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHeader {
    /// The database.
    pub db: u64,
    /// The key's bytes; may be empty.
    pub key: Vec<u8>,
    /// The type and encoding of the value.
    pub kind: Kind,
    /// Unix time in milliseconds at which the key expires.
    pub expire_at_ms: Option<i64>,
    /// Seconds since the last access, where the writer evicted by LRU.
    pub idle_seconds: Option<u64>,
    /// The logarithmic access counter, where the writer evicted by LFU.
    pub frequency: Option<u8>,
    /// What modules attached to the key (Redis 8.6), in the order of the file.
    pub metadata: Vec<KeyMetadata>,
    /// File offset of the first byte that belongs to the key, its expiry included.
    pub offset: u64,
}

impl KeyHeader {
    /// Why this server does not take the key, in words and with what to do next: what modules attached to a key has no
    /// place in it, and would be missing from every later save.
    pub fn refusal(&self) -> Option<String> {
        (!self.metadata.is_empty()).then(|| {
            format!(
                "the key \"{}\" has metadata of modules (KEY_META), which ironkeep would lose; `rdbtool convert --to 12 \
                 --lossy` writes a file without it and says of which keys",
                self.key.escape_ascii()
            )
        })
    }
}

/// What one module attached to a key, opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    /// Which class of metadata, of which module: the four bytes of the file.
    pub class: [u8; 4],
    /// The module opcodes that follow, up to and including the EOF opcode (a zero).
    pub raw: Vec<u8>,
}

/// What a stream says of itself behind its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCounters {
    /// How many entries there are.
    pub len: u64,
    /// The first entry's; [`StreamId::MIN`] without entries.
    pub first_id: StreamId,
    /// The last id ever given out.
    pub last_id: StreamId,
    /// The greatest id ever deleted; [`StreamId::MIN`] if none was.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
}

/// What the eight bytes at the end say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// They fit the bytes before them.
    Ok,
    /// The version is below 5 and has none.
    Absent,
    /// Zero: the writer had checksums switched off.
    Disabled,
    /// They do not fit; only reported when verification is off, an error otherwise.
    Mismatch { expected: u64, found: u64 },
}

impl Checksum {
    /// One word for reports: `correct`, `absent`, `disabled`, `wrong`.
    pub fn state(&self) -> &'static str {
        match self {
            Checksum::Ok => "correct",
            Checksum::Absent => "absent",
            Checksum::Disabled => "disabled",
            Checksum::Mismatch { .. } => "wrong",
        }
    }
}

/// Takes the elements of one value as they are read. Methods that are not overridden drop what they get.
///
/// A visitor cannot stop the reader; one that cannot go on remembers why and drops the rest.
pub trait Visitor {
    /// A value begins. `count` is the number of elements that the file announces, where it does: it may be a lie.
    fn begin(&mut self, kind: Kind, count: Option<u64>) {
        let _ = (kind, count);
    }
    /// The length of a string that is packed in the file. True where no more is wanted of it: its bytes are proven
    /// and not unpacked, and [`Visitor::string`] is not called.
    fn string_length(&mut self, length: u64) -> bool {
        let _ = length;
        false
    }
    /// The value of a string.
    fn string(&mut self, value: Element<'_>) {
        let _ = value;
    }
    /// The next element of a list, from head to tail.
    fn list_item(&mut self, item: Element<'_>) {
        let _ = item;
    }
    /// A member of a set, in the order of the file.
    fn set_member(&mut self, member: Element<'_>) {
        let _ = member;
    }
    /// How the score of the next member stands in the file, where that is as text or as a whole number.
    fn zset_score(&mut self, spelled: Element<'_>) {
        let _ = spelled;
    }
    /// A member of a sorted set, in the order of the file, which some writers give descending. The score may be NaN
    /// in a damaged file.
    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        let _ = (member, score);
    }
    /// A field of a hash, and when it expires (Unix time in ms), if it does.
    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        let _ = (field, value, expire_at_ms);
    }
    /// A node of a stream with so many entries that live. True where no more is wanted of them: they are proven, and
    /// [`Visitor::stream_entry`] is not called for them.
    fn stream_node(&mut self, entries: u64) -> bool {
        let _ = entries;
        false
    }
    /// No field of the hash that has begun comes twice: they are those of a template that was looked through.
    fn distinct_fields(&mut self) {}
    /// The next entry of a stream. All entries come first, then the counters, then one group after the other, then
    /// what is known of producers.
    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        let _ = (id, fields);
    }
    /// What stands behind the last entry. Every stream has this, one without entries too.
    fn stream_counters(&mut self, counters: &StreamCounters) {
        let _ = counters;
    }
    /// A group of a stream begins; `entries_read` is `None` where it is not known.
    fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        let _ = (name, last_id, entries_read);
    }
    /// An entry that is pending in the group: when it was last delivered (Unix ms), and how often. All of them come
    /// before the consumers, who say which are theirs.
    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        let _ = (id, delivery_ms, count);
    }
    /// A consumer of the group begins: when it last tried and last got something (Unix ms).
    fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        let _ = (name, seen_ms, active_ms);
    }
    /// One of the pending entries is this consumer's.
    fn stream_consumer_pending(&mut self, id: StreamId) {
        let _ = id;
    }
    /// One of the pending entries was given back and is nobody's (Redis 8.8). They come behind the consumers.
    fn stream_nacked(&mut self, id: StreamId) {
        let _ = id;
    }
    /// How long idempotent ids are remembered (Redis 8.6). Comes behind all groups, where the file has it.
    fn stream_idempotence(&mut self, retention: &Retention) {
        let _ = retention;
    }
    /// A producer whose idempotent ids follow.
    fn stream_producer(&mut self, name: &[u8]) {
        let _ = name;
    }
    /// An idempotent id of the producer, and the entry that it became.
    fn stream_produced(&mut self, idempotent_id: &[u8], id: StreamId) {
        let _ = (idempotent_id, id);
    }
    /// What was ever counted of idempotent ids. Comes last.
    fn stream_idempotence_counts(&mut self, counts: &IdempotenceCounts) {
        let _ = counts;
    }
    /// An array begins (Redis 8.8); `insert_index` is where its next insert goes, if there was one.
    fn array(&mut self, insert_index: Option<u64>) {
        let _ = insert_index;
    }
    /// The next item of an array; indexes ascend.
    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        let _ = (index, item);
    }
    /// A whole value of a module.
    fn module(&mut self, module: &Module) {
        let _ = module;
    }
    /// The value is complete.
    fn end(&mut self) {}
}

/// Takes nothing: reading with it checks a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Visitor for Discard {
    fn string_length(&mut self, _length: u64) -> bool {
        true
    }

    fn stream_node(&mut self, _entries: u64) -> bool {
        true
    }
}
