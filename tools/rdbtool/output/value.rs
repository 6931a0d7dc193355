//! The JSON of one value, element by element. `record` says what it looks like.

use super::members::Members;
use ironkeep::cli::format::Spool;
use ironkeep::cli::format::sink::{Sink, write_json};
use ironkeep::cli::json::{self, Object};
use ironkeep::rdb::KeyHeader;
use ironkeep::value::{ArrayItem, Element, Module};
use std::io::Write;

/// The brackets of a value.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Shape {
    /// String, stream, module: one piece.
    #[default]
    Whole,
    Array,
    Object,
    Scored,
    /// An array of Redis 8.8.
    Indexed,
}

impl Shape {
    fn of(type_name: &str) -> Shape {
        match type_name {
            "list" | "set" => Shape::Array,
            "hash" => Shape::Object,
            "zset" => Shape::Scored,
            "array" => Shape::Indexed,
            _ => Shape::Whole,
        }
    }
}

/// A value on its way. What must wait for the end of the value is held back: the members of a sorted set, and the
/// expiries of fields, which stand behind the value.
#[derive(Default)]
pub struct Values {
    shape: Shape,
    elements: u64,
    members: Members,
    field_expiries: Spool,
}

impl Values {
    pub fn begin<W: Write>(&mut self, sink: &mut Sink<W>, key: &KeyHeader) {
        self.shape = Shape::of(key.kind.type_name());
        self.elements = 0;
        match self.shape {
            Shape::Whole | Shape::Indexed => {}
            Shape::Array | Shape::Scored => sink.buffer().push(b'['),
            Shape::Object => sink.buffer().push(b'{'),
        }
    }

    /// Counts the element that comes, and separates it from the one before.
    #[inline]
    fn separate<W: Write>(&mut self, sink: &mut Sink<W>) {
        if self.elements > 0 {
            sink.buffer().push(b',');
        }
        self.elements += 1;
    }

    pub fn string<W: Write>(&mut self, sink: &mut Sink<W>, value: Element<'_>) {
        self.elements = 1;
        sink.json(value);
    }

    #[inline]
    pub fn item<W: Write>(&mut self, sink: &mut Sink<W>, item: Element<'_>) {
        self.separate(sink);
        sink.json(item);
        sink.spill();
    }

    #[inline]
    pub fn member<W: Write>(&mut self, sink: &mut Sink<W>, member: Element<'_>, score: f64) {
        self.elements += 1;
        if let Err(error) = self.members.push(member, score) {
            sink.fail(error);
        }
    }

    #[inline]
    pub fn field<W: Write>(&mut self, sink: &mut Sink<W>, field: Element<'_>, value: Element<'_>, at: Option<i64>) {
        if let Some(at_ms) = at {
            self.hold_expiry(sink, field, at_ms);
        }
        self.separate(sink);
        sink.json(field);
        sink.buffer().push(b':');
        sink.json(value);
        sink.spill();
    }

    fn hold_expiry<W: Write>(&mut self, sink: &mut Sink<W>, field: Element<'_>, at_ms: i64) {
        let is_first = self.field_expiries.is_empty();
        let held = self.field_expiries.buffer();
        if !is_first {
            held.push(b',');
        }
        write_json(held, field);
        held.push(b':');
        json::write_i64(held, at_ms);
        let spilled = self.field_expiries.spill();
        sink.note(spilled);
    }

    pub fn array<W: Write>(&mut self, sink: &mut Sink<W>, insert_index: Option<u64>) {
        let buffer = sink.buffer();
        buffer.extend_from_slice(b"{\"insert_index\":");
        match insert_index {
            Some(index) => json::write_u64(buffer, index),
            None => buffer.extend_from_slice(b"null"),
        }
        buffer.extend_from_slice(b",\"items\":[");
    }

    /// Writes `[index, form, value]`: in which of its four forms a server holds an item is a part of the value.
    pub fn array_item<W: Write>(&mut self, sink: &mut Sink<W>, index: u64, item: ArrayItem<'_>) {
        self.separate(sink);
        let buffer = sink.buffer();
        buffer.push(b'[');
        json::write_u64(buffer, index);
        buffer.extend_from_slice(match item {
            ArrayItem::String(_) => b",\"string\",",
            ArrayItem::Int(_) => b",\"int\",",
            ArrayItem::Double(_) => b",\"double\",",
            ArrayItem::SmallString(_) => b",\"small\",",
        });
        match item {
            ArrayItem::String(text) | ArrayItem::SmallString(text) => sink.json(text),
            ArrayItem::Int(number) => json::write_i64(buffer, number),
            ArrayItem::Double(number) => json::write_f64(buffer, number),
        }
        sink.buffer().push(b']');
        sink.spill();
    }

    pub fn module<W: Write>(&mut self, sink: &mut Sink<W>, value: &Module) {
        self.elements = 1;
        write_module(sink.buffer(), value, &value.raw);
    }

    /// Writes what was held back, and closes the value.
    pub fn end<W: Write>(&mut self, sink: &mut Sink<W>) {
        match self.shape {
            Shape::Whole => {}
            Shape::Array => sink.buffer().push(b']'),
            Shape::Object => sink.buffer().push(b'}'),
            Shape::Indexed => sink.buffer().extend_from_slice(b"]}"),
            Shape::Scored => {
                self.write_members(sink);
                sink.buffer().push(b']');
            }
        }
    }

    fn write_members<W: Write>(&mut self, sink: &mut Sink<W>) {
        let mut is_first = true;
        let drained = self.members.drain(|member, score| {
            sink.buffer().extend_from_slice(if is_first { b"[" } else { b",[" });
            is_first = false;
            sink.json(Element::Bytes(member));
            let buffer = sink.buffer();
            buffer.push(b',');
            json::write_f64(buffer, score);
            buffer.push(b']');
            sink.spill();
        });
        sink.note(drained);
    }

    /// Whether fields of this value expire; then [`Values::write_field_expiries`] is to be called.
    pub fn has_field_expiries(&self) -> bool {
        !self.field_expiries.is_empty()
    }

    /// Writes the object of field and expiry.
    pub fn write_field_expiries<W: Write>(&mut self, sink: &mut Sink<W>) {
        sink.buffer().push(b'{');
        self.field_expiries.pour(sink);
        sink.buffer().push(b'}');
    }

    /// Counts the elements of a value in one piece.
    pub fn count(&mut self, elements: u64) {
        self.elements = elements;
    }

    /// Elements of the value in progress.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Drops what was held back of a value that will not end.
    pub fn abandon(&mut self) {
        self.members.clear();
        self.field_expiries.clear();
    }
}

/// Writes `{"module", "version", "raw"}`: the id of a module is nine characters and the version of its encoding.
pub fn write_module(out: &mut Vec<u8>, module: &Module, raw: &[u8]) {
    let mut object = Object::open(out);
    object.str("module", &module.name()).u64("version", u64::from(module.encoding_version()));
    json::write_base64(object.member(b"raw"), raw);
    object.close();
}
