//! Without a flag: a listing for people, one line per key with the beginning of its value, safe for a terminal.

use super::Format;
use super::members::Members;
use crate::library::Library;
use crate::opened::FileReader;
use ironkeep::cli::escape::{Escaped, Preview, Quoted};
use ironkeep::cli::format::Sink;
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use ironkeep::rdb::{self, KeyHeader, StreamCounters, Visitor};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{ArrayItem, Element, Module};
use std::fmt::Write as _;
use std::io::Write as _;

/// Elements of a collection that are shown.
const SHOWN: u64 = 4;
/// Bytes of a value or element that are shown.
const WIDTH: usize = 48;

/// The listing.
pub struct Listing {
    sink: Sink,
    /// What the line begins and ends with: type and place, then expiry and the like.
    head: String,
    tail: String,
    preview: String,
    /// What the elements are called, in the plural; empty for values without elements.
    noun: &'static str,
    elements: u64,
    members: Members,
    /// Of a stream.
    groups: Option<u64>,
}

impl Listing {
    pub fn new(sink: Sink) -> Listing {
        Listing {
            sink,
            head: String::new(),
            tail: String::new(),
            preview: String::new(),
            noun: "",
            elements: 0,
            members: Members::default(),
            groups: None,
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // A Vec takes everything.
        let _ = writeln!(self.sink.buffer(), "{text}");
        self.sink.spill();
    }

    /// Counts an element and says whether it is to be shown, after the comma it needs.
    fn counted(&mut self) -> bool {
        self.elements += 1;
        if self.elements > SHOWN {
            return false;
        }
        if self.elements > 1 {
            self.preview.push_str(", ");
        }
        true
    }

    fn show(&mut self, element: Element<'_>) {
        element.with(|bytes| {
            let _ = write!(self.preview, "{}", Preview { bytes, limit: WIDTH }); // a String takes everything
        });
    }

    fn show_members(&mut self) {
        self.elements = self.members.len();
        let (preview, mut shown) = (&mut self.preview, 0);
        let drained = self.members.drain(|member, score| {
            if shown < SHOWN {
                let comma = if preview.is_empty() { "" } else { ", " };
                let _ = write!(preview, "{comma}{}: {score}", Preview { bytes: member, limit: WIDTH });
            }
            shown += 1;
        });
        self.sink.note(drained);
    }
}

impl Format for Listing {
    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.line(format_args!("# {}: {}", Escaped(name), Escaped(value)));
    }

    fn module_aux(&mut self, id: u64, raw: &[u8]) {
        let module = Module { id, raw: Default::default() };
        self.line(format_args!("# of module {}: {} bytes", Escaped(module.name().as_bytes()), raw.len()));
    }

    fn function(&mut self, code: &[u8]) {
        let library = Library::of(code);
        let [name, engine] = [library.name, library.engine].map(|part| part.unwrap_or(b"?"));
        let (name, engine) = (Quoted(name), Escaped(engine));
        self.line(format_args!("# function library {name} ({engine}), {} bytes of code", code.len()));
    }

    fn begin_key(&mut self, key: &KeyHeader) {
        let (type_name, encoding) = (key.kind.type_name(), key.kind.encoding());
        self.noun = match type_name {
            "list" | "array" => "item",
            "set" | "zset" => "member",
            "hash" => "field",
            _ => "",
        };
        self.elements = 0;
        self.preview.clear();
        self.head.clear();
        self.tail.clear();
        let shown = if type_name == encoding { "" } else { encoding };
        let space = if shown.is_empty() { "" } else { " " };
        let _ = write!(self.head, "db{} {} {type_name}{space}{shown}", key.db, Quoted(&key.key));
        if let Some(at_ms) = key.expire_at_ms {
            let _ = write!(self.tail, ", expires {}", Utc(at_ms));
        }
        if let Some(seconds) = key.idle_seconds {
            let _ = write!(self.tail, ", idle {seconds} s");
        }
        if let Some(frequency) = key.frequency {
            let _ = write!(self.tail, ", frequency {frequency}");
        }
    }

    fn take(&mut self, reader: &mut FileReader) -> Result<(), rdb::Error> {
        reader.value(self)
    }

    fn end_key(&mut self, _end_offset: u64) {
        if self.members.len() > 0 {
            self.show_members();
        }
        if let Some(groups) = self.groups.take() {
            let _ = write!(self.preview, ", {}", plural(groups, "group"));
        }
        let more = if self.elements > SHOWN { ", ..." } else { "" };
        let count = match self.noun {
            "" => String::new(),
            noun => format!(" ({})", plural(self.elements, noun)),
        };
        let _ = writeln!(self.sink.buffer(), "{}: {}{more}{count}{}", self.head, self.preview, self.tail);
        self.sink.spill();
    }
}

impl Visitor for Listing {
    fn string(&mut self, value: Element<'_>) {
        self.show(value);
    }

    fn list_item(&mut self, item: Element<'_>) {
        if self.counted() {
            self.show(item);
        }
    }

    fn set_member(&mut self, member: Element<'_>) {
        if self.counted() {
            self.show(member);
        }
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        let taken = self.members.push(member, score);
        self.sink.note(taken);
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        if self.counted() {
            self.show(field);
            self.preview.push_str(": ");
            self.show(value);
            if let Some(at_ms) = expire_at_ms {
                let _ = write!(self.preview, " (expires {})", Utc(at_ms));
            }
        }
    }

    fn stream_counters(&mut self, counters: &StreamCounters) {
        let _ = write!(self.preview, "{}, last id {}", plural(counters.len, "entry"), counters.last_id);
        self.groups = Some(0);
    }

    fn stream_group(&mut self, _name: &[u8], _last_id: StreamId, _entries_read: Option<u64>) {
        self.groups = self.groups.map(|groups| groups + 1);
    }

    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        if !self.counted() {
            return;
        }
        let _ = write!(self.preview, "{index}: ");
        match item {
            ArrayItem::String(text) | ArrayItem::SmallString(text) => self.show(text),
            ArrayItem::Int(number) => drop(write!(self.preview, "{number}")),
            ArrayItem::Double(number) => drop(write!(self.preview, "{number}")),
        }
    }

    fn module(&mut self, value: &Module) {
        let _ = write!(self.preview, "module {}, {} bytes", value.name(), value.raw.len());
    }
}
