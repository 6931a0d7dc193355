//! The whole elements of a value that is damaged inside, or that holds an element twice, written anew as the plain form
//! of their type, which every version has; a stream and an array in the type that the file has them in.
//!
//! Of a stream what stays is every entry before the damage of its node, the nodes behind it, and the groups with their
//! consumers and pending entries up to where the lengths lead nowhere.

use std::collections::HashSet;

use crate::codec::fingerprint::Fingerprints;
use crate::rdb::event::{StreamCounters, Visitor};
use crate::rdb::kind::{Header, Kind, Lineage};
use crate::rdb::object::{self, ObjectBuilder};
use crate::rdb::output::Output;
use crate::rdb::primitive::{put_count, put_element, put_length};
use crate::value::stream::{IdempotenceCounts, Retention, StreamId};
use crate::value::{ArrayItem, Element, Limits};

/// The first version with binary scores, and the first of Redis whose fields expire.
const BINARY_SCORES: u32 = 8;
const FIELD_EXPIRY: u32 = 12;

/// Collects elements; of one that comes twice the first stays.
pub(super) struct Salvage<'a> {
    fingerprints: &'a Fingerprints,
    header: Header,
    seen: HashSet<u128>,
    type_name: &'static str,
    /// Where in `bytes` each element begins, and when it expires.
    elements: Vec<(usize, Option<i64>)>,
    bytes: Vec<u8>,
    /// A stream or an array in the making, its type, and how many entries it has.
    whole: Option<(ObjectBuilder<'a>, Kind, u64)>,
    limits: &'a Limits,
}

impl<'a> Salvage<'a> {
    pub(super) fn new(fingerprints: &'a Fingerprints, header: Header, limits: &'a Limits) -> Self {
        let (seen, elements, bytes) = (HashSet::new(), Vec::new(), Vec::new());
        Salvage { fingerprints, header, seen, type_name: "", elements, bytes, whole: None, limits }
    }

    pub(super) fn count(&self) -> u64 {
        match &self.whole {
            Some((.., count)) => *count,
            None => self.elements.len() as u64, // widening
        }
    }

    /// The type, and the value as a file of the version holds it; `None` where nothing was saved or cannot be said.
    pub(super) fn finish(self) -> Option<(Kind, Vec<u8>)> {
        if let Some((builder, kind, _)) = self.whole {
            let value = builder.finish_part()?;
            let mut output = Output::new(Vec::new(), false, false);
            object::write(&mut output, &value, kind).ok()?;
            return Some((kind, output.finish(false).ok()?));
        }
        let expires = self.elements.iter().any(|(_, at)| at.is_some());
        let kind = match self.type_name {
            _ if self.elements.is_empty() => return None,
            "list" => Kind::List,
            "set" => Kind::Set,
            "zset" if self.has_binary_scores() => Kind::Zset2,
            "zset" => Kind::Zset,
            "hash" if !expires => Kind::Hash,
            "hash" if self.header.lineage == Lineage::Valkey => Kind::ValkeyHash2,
            "hash" if self.header.version >= FIELD_EXPIRY => Kind::HashMetadata,
            _ => return None,
        };
        let mut out = Vec::with_capacity(self.bytes.len() + 16 * self.elements.len() + 16);
        let smallest = self.elements.iter().filter_map(|(_, at)| *at).min().unwrap_or(0);
        if kind == Kind::HashMetadata {
            out.extend_from_slice(&smallest.to_le_bytes());
        }
        put_count(&mut out, self.elements.len());
        let ends = self.elements.iter().skip(1).map(|(start, _)| *start).chain([self.bytes.len()]);
        for ((start, expire_at_ms), end) in self.elements.iter().zip(ends) {
            if kind == Kind::HashMetadata {
                put_length(&mut out, expire_at_ms.map_or(0, |at| at.abs_diff(smallest) + 1));
            }
            out.extend_from_slice(&self.bytes[*start..end]);
            if kind == Kind::ValkeyHash2 {
                out.extend_from_slice(&expire_at_ms.unwrap_or(-1).to_le_bytes());
            }
        }
        Some((kind, out))
    }

    fn has_binary_scores(&self) -> bool {
        self.header.lineage == Lineage::Valkey || self.header.version >= BINARY_SCORES
    }

    fn tell(&mut self, tell: impl FnOnce(&mut ObjectBuilder<'a>)) {
        if let Some((builder, ..)) = &mut self.whole {
            tell(builder);
        }
    }

    fn tell_entry(&mut self, tell: impl FnOnce(&mut ObjectBuilder<'a>)) {
        if let Some((builder, _, count)) = &mut self.whole {
            *count += 1;
            tell(builder);
        }
    }

    fn is_new(&mut self, element: Element<'_>) -> bool {
        self.seen.insert(element.with(|bytes| self.fingerprints.of(0, bytes)))
    }

    fn add(&mut self, parts: &[Element<'_>], expire_at_ms: Option<i64>) {
        self.elements.push((self.bytes.len(), expire_at_ms));
        parts.iter().for_each(|part| put_element(&mut self.bytes, *part, None));
    }

    fn put_score(&mut self, score: f64) {
        if self.has_binary_scores() {
            return self.bytes.extend_from_slice(&score.to_le_bytes());
        }
        let text = match score {
            f64::INFINITY => return self.bytes.push(254),
            f64::NEG_INFINITY => return self.bytes.push(255),
            score => score.to_string(),
        };
        // The longest of the shortest spellings of a double without an exponent has 327 digits; those below 253
        // fit, and longer ones are spelled with one.
        let text = if text.len() < 253 { text } else { format!("{score:e}") };
        self.bytes.push(text.len() as u8); // below 253
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

impl Visitor for Salvage<'_> {
    fn begin(&mut self, kind: Kind, count: Option<u64>) {
        self.type_name = kind.type_name();
        if matches!(self.type_name, "stream" | "array") {
            let mut builder = ObjectBuilder::new(self.limits);
            builder.begin(kind, count);
            self.whole = Some((builder, kind, 0));
        }
    }

    fn list_item(&mut self, item: Element<'_>) {
        self.add(&[item], None);
    }

    fn set_member(&mut self, member: Element<'_>) {
        if self.is_new(member) {
            self.add(&[member], None);
        }
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        if !score.is_nan() && self.is_new(member) {
            self.add(&[member], None);
            self.put_score(score);
        }
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        if self.is_new(field) {
            self.add(&[field, value], expire_at_ms);
        }
    }

    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        self.tell_entry(|builder| builder.stream_entry(id, fields));
    }

    fn stream_counters(&mut self, counters: &StreamCounters) {
        self.tell(|builder| builder.stream_counters(counters));
    }

    fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.tell(|builder| builder.stream_group(name, last_id, entries_read));
    }

    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        self.tell(|builder| builder.stream_pending(id, delivery_ms, count));
    }

    fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        self.tell(|builder| builder.stream_consumer(name, seen_ms, active_ms));
    }

    fn stream_consumer_pending(&mut self, id: StreamId) {
        self.tell(|builder| builder.stream_consumer_pending(id));
    }

    fn stream_nacked(&mut self, id: StreamId) {
        self.tell(|builder| builder.stream_nacked(id));
    }

    fn stream_idempotence(&mut self, retention: &Retention) {
        self.tell(|builder| builder.stream_idempotence(retention));
    }

    fn stream_producer(&mut self, name: &[u8]) {
        self.tell(|builder| builder.stream_producer(name));
    }

    fn stream_produced(&mut self, idempotent_id: &[u8], id: StreamId) {
        self.tell(|builder| builder.stream_produced(idempotent_id, id));
    }

    fn stream_idempotence_counts(&mut self, counts: &IdempotenceCounts) {
        self.tell(|builder| builder.stream_idempotence_counts(counts));
    }

    fn array(&mut self, insert_index: Option<u64>) {
        self.tell(|builder| builder.array(insert_index));
    }

    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        self.tell_entry(|builder| builder.array_item(index, item));
    }
}
