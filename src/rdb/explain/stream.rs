//! Streams: nodes with their entries, counters, groups and consumers, as `object/stream` reads them.

use std::io::Read;

use super::packed::{self, Layout};
use super::trace::{Content, Trace};
use crate::rdb::error::Error;
use crate::rdb::kind::Kind;
use crate::value::Element;
use crate::value::stream::StreamId;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

pub(super) fn walk<R: Read>(trace: &mut Trace<'_, R>, kind: Kind) -> Result<(), Error> {
    let has_counters = kind != Kind::StreamListpacks;
    trace.each("nodes", node)?;
    trace.length("entries")?;
    id(trace, "last id")?;
    if has_counters {
        id(trace, "first id")?;
        id(trace, "greatest deleted id")?;
        trace.length("entries ever added")?;
    }
    trace.each("groups", |trace| group(trace, kind, has_counters))?;
    if matches!(kind, Kind::StreamListpacks4 | Kind::StreamListpacks5) {
        producers(trace)?;
    }
    Ok(())
}

/// An id as two lengths.
fn id<R: Read>(trace: &mut Trace<'_, R>, what: &str) -> Result<(), Error> {
    trace.length(&format!("{what}, ms"))?;
    trace.length(&format!("{what}, sequence")).map(drop)
}

/// An id as it is sorted: 16 bytes, big endian.
fn raw_id<R: Read>(trace: &mut Trace<'_, R>, what: &str) -> Result<(), Error> {
    trace.fixed::<16>(what, |bytes| format!("{} (16 bytes BE)", StreamId::from_bytes(bytes)))
}

fn node<R: Read>(trace: &mut Trace<'_, R>) -> Result<(), Error> {
    let meaning = |bytes: &[u8]| match bytes.try_into() {
        Ok(id) => format!("{} (16 bytes BE)", StreamId::from_bytes(id)),
        Err(_) => "not 16 bytes long".to_owned(),
    };
    let master = trace.text_as("master id", meaning)?;
    let master = <[u8; 16]>::try_from(master).map(StreamId::from_bytes);
    let master = master.map_err(|_| trace.input.damaged("the id of a stream node is not 16 bytes long"))?;
    let content: Content = trace.content(&format!("listpack of node {master}"))?;
    let mut names = EntryNames::new(master);
    packed::walk(trace, content, Layout::Listpack, &mut |_, element| names.next(element))
}

/// Names the elements of a node one by one; see `value::stream::node` for the layout.
struct EntryNames {
    master: StreamId,
    next: Next,
    /// Fields that the head names.
    shared: i64,
    flags: i64,
    ms: i64,
}

#[derive(Clone, Copy)]
enum Next {
    Count,
    Deleted,
    FieldCount,
    SharedField(i64),
    Flags,
    Ms,
    Sequence,
    OwnFieldCount,
    OwnField(i64),
    OwnValue(i64),
    Value(i64),
    Length,
}

impl EntryNames {
    fn new(master: StreamId) -> EntryNames {
        EntryNames { master, next: Next::Count, shared: 0, flags: 0, ms: 0 }
    }

    /// The name of the next element.
    fn next(&mut self, element: Element<'_>) -> String {
        let number = element.as_i64().unwrap_or(0);
        let (name, next) = match self.next {
            Next::Count => ("head: living entries".to_owned(), Next::Deleted),
            Next::Deleted => ("head: deleted entries".to_owned(), Next::FieldCount),
            Next::FieldCount => {
                self.shared = number;
                ("head: fields".to_owned(), Next::SharedField(number))
            }
            Next::SharedField(1..) => ("head: field".to_owned(), self.after_shared()),
            Next::SharedField(_) => ("head: end".to_owned(), Next::Flags),
            Next::Flags => {
                self.flags = number;
                (format!("entry: flags{}", flag_names(number)), Next::Ms)
            }
            Next::Ms => {
                self.ms = number;
                ("entry: ms above the master id's".to_owned(), Next::Sequence)
            }
            Next::Sequence => {
                let ms = self.master.ms.wrapping_add_signed(self.ms);
                let id = StreamId { ms, seq: self.master.seq.wrapping_add_signed(number) };
                let is_same = self.flags & SAME_FIELDS != 0;
                let next = if is_same { after_value(self.shared) } else { Next::OwnFieldCount };
                (format!("entry: sequence above the master id's, giving {id}"), next)
            }
            Next::OwnFieldCount => {
                ("entry: fields".to_owned(), if number > 0 { Next::OwnField(number) } else { Next::Length })
            }
            Next::OwnField(left) => ("entry: field".to_owned(), Next::OwnValue(left)),
            Next::OwnValue(left) => {
                ("entry: value".to_owned(), if left > 1 { Next::OwnField(left - 1) } else { Next::Length })
            }
            Next::Value(left) => ("entry: value".to_owned(), after_value(left - 1)),
            Next::Length => ("entry: number of its elements".to_owned(), Next::Flags),
        };
        self.next = next;
        name
    }

    fn after_shared(&self) -> Next {
        match self.next {
            Next::SharedField(left) => Next::SharedField(left - 1),
            other => other,
        }
    }
}

fn after_value(left: i64) -> Next {
    if left > 0 { Next::Value(left) } else { Next::Length }
}

fn flag_names(flags: i64) -> &'static str {
    match (flags & DELETED != 0, flags & SAME_FIELDS != 0) {
        (false, false) => "",
        (true, false) => " (deleted)",
        (false, true) => " (fields of the head)",
        (true, true) => " (deleted, fields of the head)",
    }
}

fn group<R: Read>(trace: &mut Trace<'_, R>, kind: Kind, has_counters: bool) -> Result<(), Error> {
    trace.strings(&["group"])?;
    id(trace, "last delivered id")?;
    if has_counters {
        trace.length_as("entries read", |read| match read {
            u64::MAX => "unknown".to_owned(),
            read => read.to_string(),
        })?;
    }
    trace.each("pending entries", |trace| {
        raw_id(trace, "pending id")?;
        trace.ms("delivered at")?;
        trace.length("deliveries").map(drop)
    })?;
    trace.each("consumers", |trace| {
        trace.strings(&["consumer"])?;
        trace.ms("seen at")?;
        if !matches!(kind, Kind::StreamListpacks | Kind::StreamListpacks2) {
            trace.fixed::<8>("active at", |bytes| match i64::from_le_bytes(bytes) {
                -1 => "-1: never".to_owned(),
                ms => format!("{ms} (Unix ms, 8 bytes LE)"),
            })?;
        }
        trace.each("its pending ids", |trace| raw_id(trace, "pending id"))
    })?;
    if kind == Kind::StreamListpacks5 {
        trace.each("refused entries", |trace| raw_id(trace, "refused id"))?;
    }
    Ok(())
}

/// What Redis 8.6 keeps against adding an entry twice.
fn producers<R: Read>(trace: &mut Trace<'_, R>) -> Result<(), Error> {
    trace.lengths(&["seconds that ids are kept", "most ids of a producer"])?;
    trace.each("producers", |trace| {
        trace.strings(&["producer"])?;
        trace.each("its ids", |trace| {
            trace.strings(&["id"])?;
            id(trace, "entry")
        })
    })?;
    trace.lengths(&["ids ever added", "duplicates refused"])
}
