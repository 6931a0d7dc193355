//! Values: by type, as `object` reads them.

use std::io::Read;

use super::module;
use super::packed::{self, Layout};
use super::stream;
use super::trace::{Content, Trace};
use crate::rdb::error::Error;
use crate::rdb::kind::Kind;
use crate::rdb::object;
use crate::rdb::template;

/// Types whose layout is known here, whether or not the library decodes them.
pub(super) fn is_walked(kind: Kind) -> bool {
    !matches!(kind, Kind::ModulePreGa | Kind::ValkeyPathHash | Kind::Gcra)
}

/// Passes over a value that is not wanted.
pub(super) fn pass<R: Read>(trace: &mut Trace<'_, R>, kind: Kind) -> Result<(), Error> {
    if kind.row().supported {
        return object::skip(&mut trace.input, kind);
    }
    // Of a type that the library passes over by name only, the pieces are made and dropped.
    trace.hold();
    let walked = walk(trace, kind);
    trace.release(false);
    walked
}

/// Walks a value.
pub(super) fn walk<R: Read>(trace: &mut Trace<'_, R>, kind: Kind) -> Result<(), Error> {
    match kind {
        Kind::String => trace.string("value"),
        Kind::List => trace.each("items", |trace| trace.strings(&["item"])),
        Kind::Set => trace.each("members", |trace| trace.strings(&["member"])),
        Kind::Hash => trace.each("fields", |trace| trace.strings(&["field", "value"])),
        Kind::Zset => trace.each("members", |trace| {
            trace.strings(&["member"])?;
            text_score(trace)
        }),
        Kind::Zset2 => trace.each("members", |trace| {
            trace.strings(&["member"])?;
            trace.double("score")
        }),
        Kind::HashZipmap => pack(trace, Layout::Zipmap, &[]),
        Kind::SetIntset => pack(trace, Layout::Intset, &[]),
        Kind::ListZiplist => pack(trace, Layout::Ziplist, &["item"]),
        Kind::ZsetZiplist => pack(trace, Layout::Ziplist, &["member", "score"]),
        Kind::HashZiplist => pack(trace, Layout::Ziplist, &["field", "value"]),
        Kind::HashListpack => pack(trace, Layout::Listpack, &["field", "value"]),
        Kind::ZsetListpack => pack(trace, Layout::Listpack, &["member", "score"]),
        Kind::SetListpack => pack(trace, Layout::Listpack, &["member"]),
        Kind::ListQuicklist => trace.each("nodes", |trace| pack(trace, Layout::Ziplist, &["item"])),
        Kind::ListQuicklist2 => trace.each("nodes", quicklist_node),
        Kind::HashMetadata | Kind::HashMetadataPreGa | Kind::HashListpackEx | Kind::HashListpackExPreGa => {
            expiring_hash(trace, kind)
        }
        Kind::ValkeyHash2 => trace.each("fields", |trace| {
            trace.strings(&["field", "value"])?;
            trace.fixed::<8>("expires at", |bytes| match i64::from_le_bytes(bytes) {
                -1 => "-1: never".to_owned(),
                ms => format!("{ms} (Unix ms, 8 bytes LE)"),
            })
        }),
        Kind::StreamListpacks
        | Kind::StreamListpacks2
        | Kind::StreamListpacks3
        | Kind::StreamListpacks4
        | Kind::StreamListpacks5 => stream::walk(trace, kind),
        Kind::Module2 => {
            trace.length_as("module id", |id| {
                format!("{} (encoding version {})", module(id).name(), module(id).encoding_version())
            })?;
            module_opcodes(trace)
        }
        Kind::Array => array(trace),
        Kind::HashTemplateListpack | Kind::HashTemplateArray => {
            let count = names(trace)?;
            templated(trace, kind, count)
        }
        Kind::HashTemplateListpackRef => templated(trace, kind, 0),
        Kind::HashTemplateArrayRef => {
            let offset = trace.input.offset();
            let id = trace.length("template id")?;
            let fields = template::find(&trace.input, id, offset)?;
            templated(trace, kind, fields.len())
        }
        Kind::ModulePreGa | Kind::ValkeyPathHash | Kind::Gcra => Err(object::unsupported(&trace.input, kind)),
    }
}

/// A string with a packed value in it; `names` are what its entries are called, in turn.
pub(super) fn pack<R: Read>(trace: &mut Trace<'_, R>, layout: Layout, names: &[&str]) -> Result<(), Error> {
    let what = layout.name();
    let content = trace.content(what)?;
    packed::walk(trace, content, layout, &mut |index, _| match names {
        [] => String::new(),
        _ => names[index % names.len()].to_owned(),
    })
}

fn text_score<R: Read>(trace: &mut Trace<'_, R>) -> Result<(), Error> {
    trace.span(
        "score",
        |input| input.text_double(),
        |score, bytes| match bytes.first() {
            Some(253..) => format!("{score} (one byte stands for it)"),
            _ => format!("{score} (decimal text, its length in front)"),
        },
    )?;
    Ok(())
}

fn quicklist_node<R: Read>(trace: &mut Trace<'_, R>) -> Result<(), Error> {
    let name = |container: u64| match container {
        1 => "1: plain, one item".to_owned(),
        2 => "2: packed".to_owned(),
        other => other.to_string(),
    };
    match trace.length_as("container", name)? {
        1 => trace.string("item"),
        2 => pack(trace, Layout::Listpack, &["item"]),
        _ => Err(trace.input.damaged("a list node is neither plain nor packed")),
    }
}

fn expiring_hash<R: Read>(trace: &mut Trace<'_, R>, kind: Kind) -> Result<(), Error> {
    if matches!(kind, Kind::HashMetadata | Kind::HashListpackEx) {
        trace.ms("smallest expiry of a field")?;
    }
    if matches!(kind, Kind::HashListpackEx | Kind::HashListpackExPreGa) {
        return pack(trace, Layout::Listpack, &["field", "value", "expires at (Unix ms, 0: never)"]);
    }
    trace.each("fields", |trace| {
        let is_relative = kind == Kind::HashMetadata;
        trace.length_as("expiry", |length| match length {
            0 => "0: never".to_owned(),
            above if is_relative => format!("{} ms above the smallest", above - 1),
            ms => format!("{ms} Unix ms"),
        })?;
        trace.strings(&["field", "value"])
    })
}

/// The opcodes of a module's value, or of data that it stores beside the keys.
pub(super) fn module_opcodes<R: Read>(trace: &mut Trace<'_, R>) -> Result<(), Error> {
    loop {
        let name = |opcode: u64| match opcode {
            0 => "0 EOF".to_owned(),
            1 => "1 SINT".to_owned(),
            2 => "2 UINT".to_owned(),
            3 => "3 FLOAT".to_owned(),
            4 => "4 DOUBLE".to_owned(),
            5 => "5 STRING".to_owned(),
            other => other.to_string(),
        };
        match trace.length_as("module opcode", name)? {
            0 => return Ok(()),
            1 => _ = trace.length_as("integer", |bits| bits.cast_signed().to_string())?,
            2 => _ = trace.length("integer")?,
            3 => trace.fixed::<4>("float", |bytes| format!("{} (4 bytes LE)", f32::from_le_bytes(bytes)))?,
            4 => trace.double("double")?,
            5 => trace.string("string")?,
            _ => return Err(trace.input.damaged("a module value holds something of no known kind")),
        }
    }
}

/// The array of Redis 8.8: sparse, each element tagged with how it is held.
fn array<R: Read>(trace: &mut Trace<'_, R>) -> Result<(), Error> {
    let count = trace.length("number of elements")?;
    if trace.length("has an insert index")? != 0 {
        trace.length("insert index")?;
    }
    trace.depth += 1;
    for _ in 0..count {
        trace.length("index")?;
        let name = |tag: u64| match tag {
            0 => "0: string".to_owned(),
            1 => "1: integer".to_owned(),
            2 => "2: double".to_owned(),
            3 => "3: small string".to_owned(),
            other => other.to_string(),
        };
        match trace.length_as("tag", name)? {
            0 | 3 => trace.string("element")?,
            1 => trace.fixed::<8>("element", |bytes| format!("{} (8 bytes LE)", i64::from_le_bytes(bytes)))?,
            2 => trace.double("element")?,
            _ => return Err(trace.input.damaged("an array element has a tag that does not exist")),
        }
    }
    trace.depth -= 1;
    Ok(())
}

/// The field names of a hash template in a DUMP payload, in a listpack or one by one; how many they are.
fn names<R: Read>(trace: &mut Trace<'_, R>) -> Result<usize, Error> {
    let mut count = 0;
    if trace.length("form of the field names")? == 0 {
        let content = trace.content(Layout::Listpack.name())?;
        packed::walk(trace, content, Layout::Listpack, &mut |_, _| {
            count += 1;
            "field".to_owned()
        })?;
    } else {
        trace.each("fields", |trace| {
            count += 1;
            trace.strings(&["field"])
        })?;
    }
    Ok(count)
}

/// The values of a template's fields: in a listpack behind the template's id, or one by one.
fn templated<R: Read>(trace: &mut Trace<'_, R>, kind: Kind, count: usize) -> Result<(), Error> {
    if matches!(kind, Kind::HashTemplateListpack | Kind::HashTemplateListpackRef) {
        let content = trace.content(Layout::Listpack.name())?;
        let name = |index: usize| if index == 0 { "template id" } else { "value" };
        return packed::walk(trace, content, Layout::Listpack, &mut |index, _| name(index).to_owned());
    }
    (0..count).try_for_each(|_| trace.strings(&["value"]))
}

impl Content {
    /// The bytes and where they lie: in the file, or nowhere.
    pub(super) fn bytes(&self) -> (&[u8], Option<u64>) {
        match self {
            Content::Int => (&[], None),
            Content::Plain { offset, bytes } => (bytes, Some(*offset)),
            Content::Unpacked(bytes) => (bytes, None),
        }
    }
}
