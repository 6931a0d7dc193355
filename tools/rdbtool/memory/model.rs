//! What one value costs a server that has loaded it, counted while its elements pass by.
//!
//! Which encoding a value gets is the server's decision at load, whatever the file has: small collections become
//! listpacks, intsets or one list node within the default limits of the configuration. While it is open which it will
//! be, both are counted; nothing is held but sums.

use super::allocator::Allocator;
use super::server::{Keys, Server, sds};
use super::stream::StreamSize;
use ironkeep::codec::number::{parse_i64, short_decimal};
use ironkeep::rdb::{KeyHeader, Kind, Visitor};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{ArrayItem, Element, Limits, Module};

/// The object in front of a value.
const OBJECT: u64 = 16;
/// The longest string that lies within its object where the key does not.
const EMBEDDED: u64 = 44;
/// Integers below are shared between keys.
const SHARED_INTEGERS: i64 = 10_000;
const LISTPACK: u64 = 7;
const QUICKLIST: u64 = 40;
const QUICKLIST_NODE: u64 = 40;
/// Most bytes of a list node.
const NODE_BYTES: u64 = 8192;
const ZSET: u64 = 16;
const SKIPLIST: u64 = 32;
/// The first node of a skiplist, which has all 32 levels.
const SKIPLIST_HEADER: u64 = 24 + 32 * LEVEL;
const SKIPLIST_NODE: u64 = 24;
const LEVEL: u64 = 16;
const ARRAY_SLOT: u64 = 8;
/// What an expiry adds to the name of a field in Redis: links to its neighbours, and flags.
const FIELD_EXPIRY: u64 = 18;
/// Shares of the index of fields by expiry, measured: Redis 8.0.6; Valkey 9.1.2 up to 127 fields, and beyond.
const FIELD_INDEX: [u64; 3] = [6, 8, 44];
const FIELD_INDEX_SMALL: u64 = 127;
/// The structure with the expiry of a hash whose fields expire, measured in Redis 8.0.6 with its place in the index.
const HASH_EXPIRY: u64 = 40;

/// What a key with its value costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Key, value and entries; not the key's share of the database's tables.
    pub bytes: u64,
    pub elements: u64,
    /// Length of the longest element (a field or its value, a member, an item, the string itself).
    pub longest: u64,
    /// What OBJECT ENCODING would answer.
    pub encoding: &'static str,
    /// Whether fields of a hash expire.
    pub has_field_expiry: bool,
}

/// Counts one value after the other.
pub struct Estimator {
    pub server: &'static Server,
    pub allocator: Allocator,
    limits: Limits,
    kind: Kind,
    elements: u64,
    longest: u64,
    /// Elements with an expiry of their own.
    expiring: u64,
    all_ints: bool,
    widest_int: u64,
    /// Bytes of the elements in one listpack; of a list, in the node that is open.
    packed: u64,
    /// Bytes of the elements as allocations of their own; of a list, of the nodes that are full.
    apart: u64,
    nodes: u64,
    /// Of a string: its length, and its value where it is an integer.
    len: u64,
    int: Option<i64>,
    /// Bytes that the next member's score takes as the file spells it.
    score: Option<u64>,
    stream: StreamSize,
    /// Of a module: all of it.
    whole: u64,
}

/// Characters of an integer.
fn digits(value: i64) -> u64 {
    let sign = u64::from(value < 0);
    sign + value.unsigned_abs().checked_ilog10().map_or(1, |log| u64::from(log) + 1)
}

fn len_of(element: Element<'_>) -> u64 {
    match element {
        Element::Int(value) => digits(value),
        Element::Bytes(bytes) => bytes.len() as u64, // usize fits
    }
}

/// The integer that a string spells in the only way that servers take for one.
/// Digits and sign of the longest integer.
const LONGEST_INT: u64 = 20;

fn int_of(element: Element<'_>) -> Option<i64> {
    match element {
        Element::Int(value) => Some(value),
        Element::Bytes(bytes @ [b'-' | b'0'..=b'9', ..]) if bytes.len() as u64 <= LONGEST_INT => parse_i64(bytes),
        Element::Bytes(_) => None,
    }
}

/// Bytes of a listpack entry, its length backwards included.
pub fn packed_len(element: Element<'_>) -> u64 {
    if let Some(value) = int_of(element) {
        return match value {
            0..=127 => 2,
            -4096..=4095 => 3,
            -32_768..=32_767 => 4,
            -8_388_608..=8_388_607 => 5,
            -2_147_483_648..=2_147_483_647 => 6,
            _ => 10,
        };
    }
    packed_string(len_of(element))
}

fn packed_string(len: u64) -> u64 {
    let body = len
        + match len {
            0..64 => 1,
            64..4096 => 2,
            _ => 5,
        };
    body + match body {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 5,
    }
}

/// Bytes of a score in a listpack that a server makes of a double: a whole number is one there too, any other is its
/// shortest text. (What a file holds in a listpack stays as it is, with 17 digits if Redis before 7.2 wrote it.)
fn packed_score(score: f64) -> u64 {
    let whole = score as i64; // compared below
    if whole as f64 == score && whole.unsigned_abs() < 1 << 53 {
        return packed_len(Element::Int(whole));
    }
    if let Some((digits, places)) = short_decimal(score.abs()) {
        let whole = digits / 10i64.pow(places);
        return packed_string(u64::from(score < 0.0) + self::digits(whole) + 1 + u64::from(places));
    }
    packed_string(ryu::Buffer::new().format(score).len() as u64) // usize fits
}

impl Estimator {
    pub fn new(server: &'static Server, allocator: Allocator) -> Estimator {
        Estimator {
            server,
            allocator,
            limits: Limits::default(),
            kind: Kind::String,
            elements: 0,
            longest: 0,
            expiring: 0,
            all_ints: true,
            widest_int: 0,
            packed: 0,
            apart: 0,
            nodes: 0,
            len: 0,
            int: None,
            score: None,
            stream: StreamSize::default(),
            whole: 0,
        }
    }

    /// What the value that has just passed by costs under this key; `None` for a collection without elements, which
    /// servers pass over.
    pub fn finish(&mut self, key: &KeyHeader) -> Option<Estimate> {
        let type_name = self.kind.type_name();
        if type_name == "stream" {
            self.stream.close(self.allocator);
        }
        let (value, encoding) = match type_name {
            "string" => return Some(self.text(key)),
            _ if self.elements == 0 && matches!(type_name, "list" | "set" | "zset" | "hash") => return None,
            "list" => self.list(),
            "set" => self.set(),
            "zset" => self.zset(),
            "hash" => self.hash(),
            "stream" => (self.stream.bytes(), "stream"),
            "array" => (self.apart, "array"),
            _ => (self.whole, "module"),
        };
        Some(Estimate {
            bytes: self.key(key, 0, None) + value,
            elements: self.elements,
            longest: self.longest,
            encoding,
            has_field_expiry: self.expiring > 0,
        })
    }

    /// The key with its entries and the object of its value; `embedded` are the bytes of a value within the object.
    fn key(&self, key: &KeyHeader, embedded: u64, object: Option<u64>) -> u64 {
        let size = |bytes| self.allocator.size(bytes);
        let name = sds(key.key.len() as u64); // usize fits
        let expires = key.expire_at_ms.is_some();
        match self.server.keys {
            Keys::InObject { header, .. } => {
                let pointer = if embedded == 0 || header == 16 { 16 } else { header };
                size(pointer + u64::from(expires) * 8 + 1 + name + embedded)
            }
            keys => {
                let entry = self.server.entry(self.allocator);
                let named = if keys == Keys::InEntry { size(17 + name) } else { size(name) + entry };
                named + object.unwrap_or_else(|| size(OBJECT + embedded)) + u64::from(expires) * entry
            }
        }
    }

    fn text(&self, key: &KeyHeader) -> Estimate {
        let size = |bytes| self.allocator.size(bytes);
        let embedded = 4 + self.len; // a header of three bytes, and the end
        let (bytes, encoding) = match (self.server.keys, self.int) {
            (Keys::InObject { .. }, Some(_)) => (self.key(key, 0, None), "int"),
            (Keys::InObject { header, most }, None) => {
                let fits = header
                    + u64::from(key.expire_at_ms.is_some()) * 8
                    + 1
                    + sds(key.key.len() as u64) // usize fits
                    + embedded
                    <= most;
                match fits {
                    true => (self.key(key, embedded, None), "embstr"),
                    false => (self.key(key, 0, None) + size(sds(self.len)), "raw"),
                }
            }
            (_, Some(0..SHARED_INTEGERS)) => (self.key(key, 0, Some(0)), "int"),
            (_, Some(_)) => (self.key(key, 0, None), "int"),
            (_, None) if self.len <= EMBEDDED => (self.key(key, embedded, None), "embstr"),
            (_, None) => (self.key(key, 0, None) + size(sds(self.len)), "raw"),
        };
        Estimate { bytes, elements: 1, longest: self.len, encoding, has_field_expiry: false }
    }

    fn list(&self) -> (u64, &'static str) {
        let size = |bytes| self.allocator.size(bytes);
        if self.nodes == 0 && self.server.packed_lists {
            return (size(LISTPACK + self.packed), "listpack");
        }
        let (open, nodes) =
            if self.packed > 0 { (size(LISTPACK + self.packed), self.nodes + 1) } else { (0, self.nodes) };
        (size(QUICKLIST) + nodes * size(QUICKLIST_NODE) + self.apart + open, "quicklist")
    }

    fn is_packed(&self, entries: usize, value: usize) -> bool {
        self.elements <= entries as u64 && self.longest <= value as u64 // usize fits
    }

    fn set(&self) -> (u64, &'static str) {
        let limits = &self.limits;
        if self.all_ints && self.elements <= limits.set_max_intset_entries as u64 {
            return (self.allocator.size(8 + self.elements * self.widest_int), "intset");
        }
        if self.server.packed_sets && self.is_packed(limits.set_max_listpack_entries, limits.set_max_listpack_value) {
            return (self.allocator.size(LISTPACK + self.packed), "listpack");
        }
        let entries = self.server.set_entries(self.elements, self.allocator);
        (self.table() + entries + self.apart, "hashtable")
    }

    /// The table of a value, without its elements and entries.
    fn table(&self) -> u64 {
        self.allocator.size(self.server.table_head()) + self.server.table(self.elements, self.allocator)
    }

    fn zset(&self) -> (u64, &'static str) {
        let size = |bytes| self.allocator.size(bytes);
        if self.is_packed(self.limits.zset_max_listpack_entries, self.limits.zset_max_listpack_value) {
            return (size(LISTPACK + self.packed), "listpack");
        }
        let skiplist = match self.server.has_wide_buckets() {
            true => size(SKIPLIST_HEADER + SKIPLIST),
            false => size(SKIPLIST) + size(SKIPLIST_HEADER),
        };
        let entries = self.elements * self.server.entry(self.allocator);
        (size(ZSET) + self.table() + skiplist + entries + self.apart, "skiplist")
    }

    fn hash(&self) -> (u64, &'static str) {
        let size = |bytes| self.allocator.size(bytes);
        let (limits, server) = (&self.limits, self.server);
        let packed = self.is_packed(limits.hash_max_listpack_entries, limits.hash_max_listpack_value);
        if packed && self.expiring == 0 {
            return (size(LISTPACK + self.packed), "listpack");
        }
        if packed && server.packed_field_expiry {
            // Each field has a third element: its expiry, or 0.
            let expiries = self.expiring * 10 + (self.elements - self.expiring) * 2;
            return (size(LISTPACK + self.packed + expiries) + HASH_EXPIRY, "listpackex");
        }
        let index = match (self.expiring, server.has_wide_buckets()) {
            (0, _) => 0,
            (count, false) => HASH_EXPIRY + count * FIELD_INDEX[0] + self.unfinished_table(),
            (count @ ..=FIELD_INDEX_SMALL, true) => count * FIELD_INDEX[1],
            (count, true) => count * FIELD_INDEX[2],
        };
        let head =
            if server.has_wide_buckets() { size(server.table_head() + 16) - size(server.table_head()) } else { 0 };
        let entries = self.elements * server.entry(self.allocator);
        (self.table() + head + entries + index + self.apart, "hashtable")
    }

    /// A hash whose fields expire is not given its size before it is loaded. Its table grows as fields come, and the
    /// move from the last smaller one, a bucket per insertion and the empty ones for nothing, may be under way still.
    fn unfinished_table(&self) -> u64 {
        let before = (self.elements + 1).next_power_of_two() / 2;
        let is_moving = before >= 4 && (self.elements - before.min(self.elements)) * 100 < before * 63;
        if is_moving { self.allocator.size(before * 8) } else { 0 }
    }

    /// A node of a skiplist, over its levels: each node has one more with a chance of a quarter.
    #[inline]
    fn skiplist_node(&self, fixed: u64) -> u64 {
        let size = |levels: u64| self.allocator.size(fixed + levels * LEVEL);
        (size(1) * 48 + size(2) * 12 + size(3) * 3 + size(4)) / 64
    }

    fn count(&mut self, len: u64) {
        self.elements += 1;
        self.longest = self.longest.max(len);
    }
}

impl Visitor for Estimator {
    fn begin(&mut self, kind: Kind, _count: Option<u64>) {
        self.kind = kind;
        (self.elements, self.longest, self.expiring) = (0, 0, 0);
        (self.all_ints, self.widest_int) = (true, 2);
        (self.packed, self.apart, self.nodes, self.whole) = (0, 0, 0, 0);
        if kind.type_name() == "stream" {
            self.stream = StreamSize::default();
        }
    }

    fn string_length(&mut self, length: u64) -> bool {
        let is_enough = length > LONGEST_INT;
        if is_enough {
            (self.len, self.int) = (length, None);
        }
        is_enough
    }

    fn string(&mut self, value: Element<'_>) {
        (self.len, self.int) = (len_of(value), int_of(value));
    }

    fn list_item(&mut self, item: Element<'_>) {
        self.count(len_of(item));
        let entry = packed_len(item);
        if LISTPACK + self.packed + entry > NODE_BYTES && self.packed > 0 {
            self.apart += self.allocator.size(LISTPACK + self.packed);
            (self.nodes, self.packed) = (self.nodes + 1, 0);
        }
        self.packed += entry;
    }

    fn set_member(&mut self, member: Element<'_>) {
        let len = len_of(member);
        self.count(len);
        if self.all_ints {
            match int_of(member) {
                Some(value) => {
                    let width = match value {
                        -32_768..=32_767 => 2,
                        -2_147_483_648..=2_147_483_647 => 4,
                        _ => 8,
                    };
                    self.widest_int = self.widest_int.max(width);
                }
                None => self.all_ints = false,
            }
        }
        if self.elements <= 128 {
            self.packed += packed_len(member);
        }
        self.apart += self.allocator.size(sds(len));
    }

    fn zset_score(&mut self, spelled: Element<'_>) {
        self.score = Some(packed_len(spelled));
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        let len = len_of(member);
        self.count(len);
        let spelled = self.score.take();
        if self.elements <= 128 && len <= 64 {
            self.packed += packed_len(member) + spelled.unwrap_or_else(|| packed_score(score));
        }
        self.apart += match self.server.has_wide_buckets() {
            true => self.skiplist_node(SKIPLIST_NODE - 8 + 1 + sds(len)),
            false => self.skiplist_node(SKIPLIST_NODE) + self.allocator.size(sds(len)),
        };
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        let (name, len) = (len_of(field), len_of(value));
        self.count(name.max(len));
        let expires = expire_at_ms.is_some();
        self.expiring += u64::from(expires);
        if self.elements <= 512 && self.longest <= 64 {
            self.packed += packed_len(field) + packed_len(value);
        }
        let size = |bytes| self.allocator.size(bytes);
        self.apart += if let Keys::InObject { .. } = self.server.keys {
            // Field and value are one allocation up to 128 bytes; a field that expires has the longer header.
            let named = if expires { 8 + sds(name.max(32)) + name - name.max(32) } else { sds(name) };
            let together = named + 4 + len;
            if together <= 128 { size(together) } else { size(8 + named) + size(sds(len)) }
        } else {
            size(sds(name) + u64::from(expires) * FIELD_EXPIRY) + size(sds(len))
        };
    }

    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        self.elements += 1;
        self.stream.entry(id, fields, self.allocator);
    }

    fn stream_group(&mut self, name: &[u8], _last_id: StreamId, _entries_read: Option<u64>) {
        self.stream.group(name, self.allocator);
    }

    fn stream_pending(&mut self, id: StreamId, _delivery_ms: i64, _count: u64) {
        self.stream.pending(id, self.allocator);
    }

    fn stream_consumer(&mut self, name: &[u8], _seen_ms: i64, _active_ms: Option<i64>) {
        self.stream.consumer(name, self.allocator);
    }

    fn stream_consumer_pending(&mut self, id: StreamId) {
        self.stream.consumer_pending(id, self.allocator);
    }

    fn stream_producer(&mut self, name: &[u8]) {
        self.stream.produced(name.len(), self.allocator);
    }

    fn stream_produced(&mut self, idempotent_id: &[u8], _id: StreamId) {
        self.stream.produced(idempotent_id.len(), self.allocator);
    }

    fn array_item(&mut self, _index: u64, item: ArrayItem<'_>) {
        // A slot, and an allocation for a string that does not fit into it. No server with arrays was at hand.
        let len = match item {
            ArrayItem::String(text) => len_of(text),
            ArrayItem::Int(_) | ArrayItem::Double(_) | ArrayItem::SmallString(_) => 0,
        };
        self.count(len);
        self.apart += ARRAY_SLOT + if len > 0 { self.allocator.size(sds(len)) } else { 0 };
    }

    fn module(&mut self, module: &Module) {
        // Nobody but the module knows what it makes of it.
        self.elements = 1;
        self.longest = module.raw.len() as u64; // usize fits
        self.whole = self.longest;
    }
}
