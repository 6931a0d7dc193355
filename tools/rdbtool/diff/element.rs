//! A value as elements that can be compared: each says what part of the value it is, which one, and what it holds.
//!
//! Two values are the same exactly if they have the same elements. How they were encoded, by which version, and in which
//! order a hash or set lies in the file is lost on purpose. Numbers in an identity are big endian, so that elements sort
//! as they are read; whatever the file holds as an integer is its text.

use ironkeep::rdb::{StreamCounters, Visitor};
use ironkeep::value::stream::{IdempotenceCounts, Retention, StreamId};
use ironkeep::value::{ArrayItem, Element, Module};

/// Which part of a value an element is; in the order in which differences are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Part {
    /// When the key expires: no identity; Unix time in ms as text.
    Expiry,
    /// A string: no identity; its bytes.
    Value,
    /// Of a list: its place; its bytes.
    Item,
    /// Of a set: its bytes; nothing.
    Member,
    /// Of a sorted set: its bytes; the bits of its score.
    Score,
    /// Of a hash: its name; its value, and when it expires, as text or empty.
    Field,
    /// Of a stream: its id; names and values in turn.
    Entry,
    /// A number of a stream: its name; its text.
    Counter,
    /// Of a stream: its name; last id, entries read.
    Group,
    /// Of a group: both names; times seen and active.
    Consumer,
    /// Of a group: its name, the entry's id; time and count of deliveries.
    Pending,
    /// Of a pending entry: the group's name, its id; the consumer.
    Owner,
    /// Of a stream: its name; nothing.
    Producer,
    /// Of a producer: its name, the idempotent id; the entry's id.
    Produced,
    /// Of an array: its index; its text and form.
    Slot,
    /// What a module attached to the key: its class; its bytes.
    Metadata,
    /// A value of a module: no identity; its id and its bytes.
    Module,
    /// The code of a function library: no identity; its bytes.
    Code,
}

/// Every part, in order.
pub const PARTS: [Part; 18] = [
    Part::Expiry,
    Part::Value,
    Part::Item,
    Part::Member,
    Part::Score,
    Part::Field,
    Part::Entry,
    Part::Counter,
    Part::Group,
    Part::Consumer,
    Part::Pending,
    Part::Owner,
    Part::Producer,
    Part::Produced,
    Part::Slot,
    Part::Metadata,
    Part::Module,
    Part::Code,
];

impl Part {
    /// As it is named to people and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Part::Expiry => "expire_at_ms",
            Part::Value => "value",
            Part::Item => "item",
            Part::Member | Part::Score => "member",
            Part::Field => "field",
            Part::Entry => "entry",
            Part::Counter => "counter",
            Part::Group => "group",
            Part::Consumer => "consumer",
            Part::Pending => "pending",
            Part::Owner => "pending_consumer",
            Part::Producer => "producer",
            Part::Produced => "idempotent_id",
            Part::Slot => "slot",
            Part::Metadata => "metadata",
            Part::Module => "module",
            Part::Code => "code",
        }
    }
}

/// Takes elements.
pub trait Sink {
    /// An element: its part, what tells it from others of that part, and what it holds.
    fn element(&mut self, part: Part, identity: &[&[u8]], content: &[&[u8]]);
}

/// Turns a value into elements.
pub struct Elements<'a, S> {
    pub sink: &'a mut S,
    /// Whether expiry of fields is left out.
    pub ignores_expiry: bool,
    /// How many items, members, fields or entries there were.
    pub count: u64,
    /// The group or producer, and the consumer, that are being told.
    name: Vec<u8>,
    consumer: Vec<u8>,
}

impl<'a, S: Sink> Elements<'a, S> {
    pub fn new(sink: &'a mut S, ignores_expiry: bool) -> Self {
        Elements { sink, ignores_expiry, count: 0, name: Vec::new(), consumer: Vec::new() }
    }

    fn counter(&mut self, name: &str, text: &str) {
        self.sink.element(Part::Counter, &[name.as_bytes()], &[text.as_bytes()]);
    }
}

impl<S: Sink> Visitor for Elements<'_, S> {
    fn string(&mut self, value: Element<'_>) {
        self.count += 1;
        value.with(|value| self.sink.element(Part::Value, &[], &[value]));
    }

    fn list_item(&mut self, item: Element<'_>) {
        let place = self.count.to_be_bytes();
        self.count += 1;
        item.with(|item| self.sink.element(Part::Item, &[&place], &[item]));
    }

    fn set_member(&mut self, member: Element<'_>) {
        self.count += 1;
        member.with(|member| self.sink.element(Part::Member, &[member], &[]));
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        self.count += 1;
        let bits = score.to_bits().to_be_bytes();
        member.with(|member| self.sink.element(Part::Score, &[member], &[&bits]));
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        self.count += 1;
        let mut text = itoa::Buffer::new();
        let expiry = match expire_at_ms {
            Some(ms) if !self.ignores_expiry => text.format(ms).as_bytes(),
            _ => &[],
        };
        field.with(|field| value.with(|value| self.sink.element(Part::Field, &[field], &[value, expiry])));
    }

    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        self.count += 1;
        let texts: Vec<Vec<u8>> = fields.iter().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect();
        let content: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        self.sink.element(Part::Entry, &[&id.to_bytes()], &content);
    }

    fn stream_counters(&mut self, counters: &StreamCounters) {
        self.counter("last_id", &counters.last_id.to_string());
        self.counter("max_deleted_id", &counters.max_deleted_id.to_string());
        self.counter("entries_added", &counters.entries_added.to_string());
    }

    fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.name = name.to_vec();
        let read = entries_read.map_or_else(|| "unknown".to_owned(), |read| read.to_string());
        self.sink.element(Part::Group, &[name], &[last_id.to_string().as_bytes(), read.as_bytes()]);
    }

    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        let content = [delivery_ms.to_string(), count.to_string()];
        self.sink.element(
            Part::Pending,
            &[&self.name, &id.to_bytes()],
            &[content[0].as_bytes(), content[1].as_bytes()],
        );
    }

    fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        self.consumer = name.to_vec();
        let active = active_ms.map_or_else(|| "never".to_owned(), |ms| ms.to_string());
        let content = [seen_ms.to_string().into_bytes(), active.into_bytes()];
        self.sink.element(Part::Consumer, &[&self.name, name], &[&content[0], &content[1]]);
    }

    fn stream_consumer_pending(&mut self, id: StreamId) {
        self.sink.element(Part::Owner, &[&self.name, &id.to_bytes()], &[&self.consumer]);
    }

    fn stream_nacked(&mut self, id: StreamId) {
        self.sink.element(Part::Owner, &[&self.name, &id.to_bytes()], &[b"(nobody)"]);
    }

    fn stream_idempotence(&mut self, retention: &Retention) {
        self.counter("idempotence_duration_seconds", &retention.duration_seconds.to_string());
        self.counter("idempotence_max_entries", &retention.max_entries.to_string());
    }

    fn stream_producer(&mut self, name: &[u8]) {
        self.name = name.to_vec();
        self.sink.element(Part::Producer, &[name], &[]);
    }

    fn stream_produced(&mut self, idempotent_id: &[u8], id: StreamId) {
        self.sink.element(Part::Produced, &[&self.name, idempotent_id], &[id.to_string().as_bytes()]);
    }

    fn stream_idempotence_counts(&mut self, counts: &IdempotenceCounts) {
        self.counter("idempotent_ids_added", &counts.added.to_string());
        self.counter("idempotent_ids_duplicate", &counts.duplicates.to_string());
    }

    fn array(&mut self, insert_index: Option<u64>) {
        let index = insert_index.map_or_else(|| "none".to_owned(), |index| index.to_string());
        self.counter("insert_index", &index);
    }

    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        self.count += 1;
        let (sink, place) = (&mut *self.sink, index.to_be_bytes());
        let mut tell = |form: &[u8], text: &[u8]| sink.element(Part::Slot, &[&place], &[text, form]);
        match item {
            ArrayItem::String(text) | ArrayItem::SmallString(text) => text.with(|text| tell(b"string", text)),
            ArrayItem::Int(value) => tell(b"integer", value.to_string().as_bytes()),
            ArrayItem::Double(value) => tell(b"double", value.to_string().as_bytes()),
        }
    }

    fn module(&mut self, module: &Module) {
        self.count += 1;
        self.sink.element(Part::Module, &[], &[&module.id.to_be_bytes(), &module.raw]);
    }
}
