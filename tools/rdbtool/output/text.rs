//! Without a flag: a listing for people, one line per key with the beginning of its value, safe for a terminal.

use super::members::Members;
use super::sink::Sink;
use super::{Format, stream};
use crate::library::Library;
use ironkeep::cli::escape::{Escaped, Preview, Quoted};
use ironkeep::cli::utc::Utc;
use ironkeep::rdb::{KeyHeader, StreamCounters, Visitor};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{Element, Module};
use std::fmt::Write as _;
use std::io::{self, Write as _};

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
    gathered: stream::Gathered,
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
            gathered: stream::Gathered::default(),
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
        self.members.sort();
        for (member, score) in self.members.iter().take(SHOWN as usize) {
            let comma = if self.preview.is_empty() { "" } else { ", " };
            let _ = write!(self.preview, "{comma}{}: {score}", Preview { bytes: member, limit: WIDTH });
        }
        self.elements = self.members.len() as u64;
        self.members.clear();
    }
}

impl Format for Listing {
    fn open(&mut self) {}

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.line(format_args!("# {}: {}", Escaped(name), Escaped(value)));
    }

    fn module_aux(&mut self, module: &str, raw: &[u8]) {
        self.line(format_args!("# of module {}: {} bytes", Escaped(module.as_bytes()), raw.len()));
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
            "list" => "items",
            "set" | "zset" => "members",
            "hash" => "fields",
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

    fn end_key(&mut self) {
        if self.members.len() > 0 {
            self.show_members();
        }
        let more = if self.elements > SHOWN { ", ..." } else { "" };
        let count = match self.noun {
            "" => String::new(),
            noun => format!(" ({} {noun})", self.elements),
        };
        let _ = writeln!(self.sink.buffer(), "{}: {}{more}{count}{}", self.head, self.preview, self.tail);
        self.sink.spill();
    }

    fn abandon(&mut self) -> io::Result<()> {
        self.sink.finish()
    }

    fn close(&mut self) -> io::Result<()> {
        self.sink.finish()
    }

    fn check(&mut self) -> io::Result<()> {
        self.sink.check()
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
        self.members.push(score, |bytes| member.write_to(bytes));
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

    stream::gather_stream!();

    fn end(&mut self) {
        if let Some(value) = self.gathered.take() {
            let _ = write!(self.preview, "{}", stream::Summary(&value));
        }
    }

    fn module(&mut self, value: &Module) {
        let _ = write!(self.preview, "module {}, {} bytes", value.name(), value.raw.len());
    }
}
