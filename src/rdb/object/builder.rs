//! A visitor that makes a value of what it is told: how large encodings are read, and what else can be told as
//! elements becomes a value.

use super::stream::StreamBuilder;
use crate::rdb::event::{StreamCounters, Visitor};
use crate::rdb::kind::Kind;
use crate::value::stream::{IdempotenceCounts, Retention, StreamId};
use crate::value::{Array, ArrayItem, Element, Hash, Insert, Limits, List, Module, Object, Set, StringValue, Zset};

/// Builds an [`Object`] from its elements, told in the order of a file.
pub struct ObjectBuilder<'a> {
    limits: &'a Limits,
    object: Option<Object>,
    stream: Option<StreamBuilder<'a>>,
    /// The first thing that no value can hold.
    problem: Option<&'static str>,
}

impl<'a> ObjectBuilder<'a> {
    /// A builder whose values change their encoding at `limits`.
    pub fn new(limits: &'a Limits) -> Self {
        ObjectBuilder { limits, object: None, stream: None, problem: None }
    }

    fn with_stream(&mut self, tell: impl FnOnce(&mut StreamBuilder<'a>)) {
        if let Some(stream) = &mut self.stream {
            tell(stream);
        }
    }

    /// The value; `None` if it is a collection that got no element. The error says what no value can hold.
    pub fn finish(self) -> Result<Option<Object>, &'static str> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if let Some(stream) = self.stream {
            return stream.finish().map(|stream| Some(Object::Stream(Box::new(stream))));
        }
        Ok(self.object.filter(|object| match object {
            Object::List(value) => !value.is_empty(),
            Object::Set(value) => !value.is_empty(),
            Object::Zset(value) => !value.is_empty(),
            Object::Hash(value) => !value.is_empty(),
            Object::Array(value) => !value.is_empty(),
            Object::String(_) | Object::Stream(_) | Object::Module(_) => true,
        }))
    }

    /// What of a damaged stream or array could be held; `None` of other types, and where that is nothing.
    pub(in crate::rdb) fn finish_part(self) -> Option<Object> {
        if let Some(stream) = self.stream {
            let stream = stream.finish_part();
            return (!stream.is_empty() || stream.group_count() > 0).then_some(Object::Stream(Box::new(stream)));
        }
        self.object.filter(|object| matches!(object, Object::Array(array) if !array.is_empty()))
    }
}

impl Visitor for ObjectBuilder<'_> {
    fn begin(&mut self, kind: Kind, count: Option<u64>) {
        // It chooses an encoding, no size: a count that is not true allocates nothing.
        let count = count.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
        self.object = match kind.type_name() {
            "list" => Some(Object::List(List::new())),
            "set" => Some(Object::Set(Set::with_count(count, self.limits))),
            "zset" => Some(Object::Zset(Zset::with_count(count, self.limits))),
            "hash" => Some(Object::Hash(Hash::with_count(count, self.limits))),
            _ => None,
        };
        self.stream = (kind.type_name() == "stream").then(|| StreamBuilder::new(self.limits));
    }

    fn string(&mut self, value: Element<'_>) {
        self.object = Some(Object::String(match value {
            Element::Int(value) => StringValue::from(value),
            Element::Bytes(bytes) => StringValue::from(bytes),
        }));
    }

    fn list_item(&mut self, item: Element<'_>) {
        if let Some(Object::List(list)) = &mut self.object {
            item.with(|item| list.push_back(item, self.limits));
        }
    }

    fn set_member(&mut self, member: Element<'_>) {
        if let Some(Object::Set(set)) = &mut self.object
            && !member.with(|member| set.insert(member, self.limits))
        {
            self.problem = Some("a set holds a member twice");
        }
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        if score.is_nan() {
            self.problem = Some("a score is not a number");
        } else if let Some(Object::Zset(zset)) = &mut self.object
            && member.with(|member| zset.insert_exact(member, score, self.limits)) != Insert::Added
        {
            self.problem = Some("a sorted set holds a member twice");
        }
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        let Some(Object::Hash(hash)) = &mut self.object else { return };
        field.with(|field| {
            if !value.with(|value| hash.set(field, value, self.limits)) {
                self.problem = Some("a hash holds a field twice");
            }
            if expire_at_ms.is_some() {
                hash.set_expire(field, expire_at_ms, self.limits);
            }
        });
    }

    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        self.with_stream(|stream| stream.stream_entry(id, fields));
    }

    fn stream_counters(&mut self, counters: &StreamCounters) {
        self.with_stream(|stream| stream.stream_counters(counters));
    }

    fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.with_stream(|stream| stream.stream_group(name, last_id, entries_read));
    }

    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        self.with_stream(|stream| stream.stream_pending(id, delivery_ms, count));
    }

    fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        self.with_stream(|stream| stream.stream_consumer(name, seen_ms, active_ms));
    }

    fn stream_consumer_pending(&mut self, id: StreamId) {
        self.with_stream(|stream| stream.stream_consumer_pending(id));
    }

    fn stream_nacked(&mut self, id: StreamId) {
        self.with_stream(|stream| stream.stream_nacked(id));
    }

    fn stream_idempotence(&mut self, retention: &Retention) {
        self.with_stream(|stream| stream.stream_idempotence(retention));
    }

    fn stream_producer(&mut self, name: &[u8]) {
        self.with_stream(|stream| stream.stream_producer(name));
    }

    fn stream_produced(&mut self, idempotent_id: &[u8], id: StreamId) {
        self.with_stream(|stream| stream.stream_produced(idempotent_id, id));
    }

    fn stream_idempotence_counts(&mut self, counts: &IdempotenceCounts) {
        self.with_stream(|stream| stream.stream_idempotence_counts(counts));
    }

    fn array(&mut self, insert_index: Option<u64>) {
        self.object = Some(Object::Array(Array::new(insert_index)));
    }

    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        if let Some(Object::Array(array)) = &mut self.object
            && !array.push(index, item)
        {
            self.problem = Some("the indexes of an array do not ascend");
        }
    }

    fn module(&mut self, module: &Module) {
        self.object = Some(Object::Module(module.clone()));
    }
}
