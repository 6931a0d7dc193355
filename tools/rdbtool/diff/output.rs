//! The differences, for people and as JSON.

use super::details::Change;
use super::element::Part;
use super::index::{Counts, Name, What};
use anyhow::Context;
use ironkeep::cli::escape::{Preview, Quoted};
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::plural::plural;
use ironkeep::value::stream::StreamId;
use std::fmt::Write as _;
use std::io::Write;

/// Bytes of a value that the text shows.
const SHOWN: usize = 60;
const STDOUT: &str = "standard output";

/// Something that the files do not agree on, and its type in each.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub name: Name,
    pub types: [Option<String>; 2],
}

impl Difference {
    /// Whether it is in both files with the same type, so that elements differ.
    pub fn is_change(&self) -> bool {
        self.types[0] == self.types[1]
    }

    fn what(&self) -> &'static str {
        match &self.types {
            [None, _] => "added",
            [_, None] => "removed",
            _ => "changed",
        }
    }
}

/// How much differs.
#[derive(Debug, Default)]
pub struct Summary {
    pub counts: [Counts; 2],
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// Differences that are counted and not listed.
    pub hidden: u64,
}

impl Summary {
    pub fn count(&mut self, difference: &Difference) {
        match difference.what() {
            "added" => self.added += 1,
            "removed" => self.removed += 1,
            _ => self.changed += 1,
        }
    }

    pub fn is_same(&self) -> bool {
        self.added + self.removed + self.changed == 0
    }
}

/// Takes differences one by one.
pub trait Report {
    fn begin(&mut self, difference: &Difference) -> anyhow::Result<()>;
    /// An element of the difference that was begun.
    fn change(&mut self, change: &Change) -> anyhow::Result<()>;
    fn end(&mut self, difference: &Difference) -> anyhow::Result<()>;
    fn finish(&mut self, summary: &Summary) -> anyhow::Result<()>;
}

/// Elements by what became of them.
#[derive(Default)]
struct Tally {
    added: u64,
    removed: u64,
    changed: u64,
}

impl Tally {
    fn count(&mut self, change: &Change) -> &'static str {
        match change.contents {
            [None, _] => {
                self.added += 1;
                "added"
            }
            [_, None] => {
                self.removed += 1;
                "removed"
            }
            _ => {
                self.changed += 1;
                "changed"
            }
        }
    }

    fn total(&self) -> u64 {
        self.added + self.removed + self.changed
    }
}

fn id_text(bytes: &[u8]) -> Option<String> {
    Some(StreamId::from_bytes(bytes.try_into().ok()?).to_string())
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn score(content: &[Vec<u8>]) -> f64 {
    content.first().and_then(|bits| number(bits)).map_or(f64::NAN, f64::from_bits)
}

/// Differences as lines: `-` only in the first, `+` only in the second, `~` in both.
pub struct Text<'a, W> {
    out: W,
    names: [&'a str; 2],
    most: u64,
    lines: String,
    tally: Tally,
}

impl<'a, W: Write> Text<'a, W> {
    /// Lists `most` elements of a key.
    pub fn new(out: W, names: [&'a str; 2], most: u64) -> Self {
        Text { out, names, most, lines: String::new(), tally: Tally::default() }
    }

    fn headline(&self, difference: &Difference) -> String {
        let name = Quoted(&difference.name.name);
        let subject = match difference.name.what {
            What::Key => format!("db {} {name}", difference.name.db),
            What::Function => format!("function library {name}"),
            What::ModuleAux => format!("module data {name}"),
        };
        let of_type = |name: &Option<String>| match name.as_deref() {
            None | Some("") => String::new(),
            Some(name) => format!(" ({name})"),
        };
        match &difference.types {
            [None, new] => format!("+ {subject}{}", of_type(new)),
            [old, None] => format!("- {subject}{}", of_type(old)),
            [Some(old), Some(new)] if old != new => format!("~ {subject}: was a {old}, is a {new}"),
            [old, _] => {
                let Tally { added, removed, changed } = self.tally;
                let counts = [(added, "added"), (removed, "removed"), (changed, "changed")];
                let counts: Vec<String> = counts
                    .iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(count, what)| format!("{count} {what}"))
                    .collect();
                format!("~ {subject}{}: {}", of_type(old), counts.join(", "))
            }
        }
    }
}

/// An element's name for people.
fn identity_text(change: &Change) -> String {
    let name = change.part.name();
    let mut parts = change.identity.iter().map(Vec::as_slice);
    match (change.part, parts.next(), parts.next()) {
        (Part::Item | Part::Slot, Some(place), _) => format!("{name} {}", number(place).unwrap_or_default()),
        (Part::Entry, Some(id), _) => format!("{name} {}", id_text(id).unwrap_or_default()),
        (Part::Pending | Part::Owner, Some(group), Some(id)) => {
            format!("group {} {name} {}", Quoted(group), id_text(id).unwrap_or_default())
        }
        (Part::Consumer, Some(group), Some(consumer)) => format!("group {} {name} {}", Quoted(group), Quoted(consumer)),
        (Part::Produced, Some(producer), Some(id)) => format!("producer {} {name} {}", Quoted(producer), Quoted(id)),
        (Part::Counter, Some(counter), _) => String::from_utf8_lossy(counter).into_owned(),
        (_, Some(one), _) => format!("{name} {}", Quoted(one)),
        _ => name.to_owned(),
    }
}

/// What an element holds, for people.
fn content_text(part: Part, content: &[Vec<u8>]) -> String {
    let shown = |bytes: &[u8]| Preview { bytes, limit: SHOWN }.to_string();
    let plain = |at: usize| content.get(at).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    match part {
        Part::Member | Part::Producer => String::new(),
        Part::Score => format!("{}", score(content)),
        Part::Expiry | Part::Counter | Part::Produced => plain(0),
        Part::Field => {
            let expiry = plain(1);
            let value = content.first().map(|value| shown(value)).unwrap_or_default();
            if expiry.is_empty() { value } else { format!("{value} expiring at {expiry}") }
        }
        Part::Slot => format!("{} ({})", content.first().map(|text| shown(text)).unwrap_or_default(), plain(1)),
        Part::Entry => {
            let fields: Vec<String> = content.iter().map(|text| shown(text)).collect();
            fields.join(" ")
        }
        Part::Group => format!("last id {}, entries read {}", plain(0), plain(1)),
        Part::Consumer => format!("seen at {}, active at {}", plain(0), plain(1)),
        Part::Pending => format!("delivered at {}, {} times", plain(0), plain(1)),
        Part::Value | Part::Item | Part::Owner | Part::Metadata | Part::Module | Part::Code => {
            content.last().map(|text| shown(text)).unwrap_or_default()
        }
    }
}

impl<W: Write> Report for Text<'_, W> {
    fn begin(&mut self, _difference: &Difference) -> anyhow::Result<()> {
        self.lines.clear();
        self.tally = Tally::default();
        Ok(())
    }

    fn change(&mut self, change: &Change) -> anyhow::Result<()> {
        let what = self.tally.count(change);
        if self.tally.total() > self.most {
            return Ok(());
        }
        let name = identity_text(change);
        let texts = change.contents.each_ref().map(|content| content.as_ref().map(|it| content_text(change.part, it)));
        let sign = match what {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        write!(self.lines, "    {sign} {name}")?;
        match texts {
            [Some(old), Some(new)] => write!(self.lines, ": {old} -> {new}")?,
            [Some(one), None] | [None, Some(one)] if !one.is_empty() => write!(self.lines, ": {one}")?,
            _ => {}
        }
        self.lines.push('\n');
        Ok(())
    }

    fn end(&mut self, difference: &Difference) -> anyhow::Result<()> {
        let hidden = self.tally.total().saturating_sub(self.most);
        if hidden > 0 {
            writeln!(self.lines, "    and {hidden} more: --elements {} lists them", self.tally.total())?;
        }
        writeln!(self.out, "{}", self.headline(difference)).context(STDOUT)?;
        self.out.write_all(self.lines.as_bytes()).context(STDOUT)
    }

    fn finish(&mut self, summary: &Summary) -> anyhow::Result<()> {
        let Summary { added, removed, changed, hidden, .. } = summary;
        for (name, counts) in self.names.iter().zip(&summary.counts) {
            let Counts { keys, functions, empty, repeated } = counts;
            let mut line = format!("{name}: {}, {}", plural(*keys, "key"), plural(*functions, "function library"));
            if *empty > 0 {
                write!(line, "; left out: {} without elements, which servers skip", plural(*empty, "key"))?;
            }
            if *repeated > 0 {
                write!(
                    line,
                    "; {} again, of which the last counts (servers refuse the file)",
                    plural(*repeated, "key")
                )?;
            }
            writeln!(self.out, "{line}").context(STDOUT)?;
        }
        let listed = if *hidden > 0 { format!(" ({hidden} of them not listed)") } else { String::new() };
        match summary.is_same() {
            true => writeln!(self.out, "no difference"),
            false => writeln!(self.out, "{added} added, {removed} removed, {changed} changed{listed}"),
        }
        .and_then(|()| self.out.flush())
        .context(STDOUT)
    }
}

/// Differences as one object.
pub struct Json<W> {
    out: W,
    most: u64,
    buffer: Vec<u8>,
    tally: Tally,
    is_first: bool,
}

impl<W: Write> Json<W> {
    /// Lists `most` elements of a key.
    pub fn new(out: W, names: [&str; 2], most: u64) -> Self {
        let mut buffer = Vec::new();
        let mut report = Object::open(&mut buffer);
        report.str("schema", "rdbtool.diff/1").str("old", names[0]).str("new", names[1]);
        report.member(b"differences").push(b'[');
        Json { out, most, buffer, tally: Tally::default(), is_first: true }
    }

    fn spill(&mut self) -> anyhow::Result<()> {
        self.out.write_all(&self.buffer).context(STDOUT)?;
        self.buffer.clear();
        Ok(())
    }
}

fn write_id(out: &mut Vec<u8>, bytes: &[u8]) {
    json::write_str(out, &id_text(bytes).unwrap_or_default());
}

fn identity_json(object: &mut Object<'_>, change: &Change) {
    let mut parts = change.identity.iter().map(Vec::as_slice);
    match (change.part, parts.next(), parts.next()) {
        (Part::Item | Part::Slot, Some(place), _) => {
            object.u64("index", number(place).unwrap_or_default());
        }
        (Part::Entry, Some(id), _) => write_id(object.member(b"id"), id),
        (Part::Pending | Part::Owner, Some(group), Some(id)) => {
            write_id(object.bytes("group", group).member(b"id"), id)
        }
        (Part::Consumer, Some(group), Some(consumer)) => {
            object.bytes("group", group).bytes("name", consumer);
        }
        (Part::Produced, Some(producer), Some(id)) => {
            object.bytes("producer", producer).bytes("name", id);
        }
        (_, Some(name), _) => {
            object.bytes("name", name);
        }
        _ => {}
    }
}

fn content_json(out: &mut Vec<u8>, part: Part, content: &[Vec<u8>]) {
    match part {
        Part::Score => json::write_f64(out, score(content)),
        Part::Field => {
            let expiry = content.get(1).filter(|text| !text.is_empty());
            let value = content.first().map(Vec::as_slice).unwrap_or_default();
            let mut object = Object::open(out);
            object.bytes("value", value);
            if let Some(at_ms) = expiry {
                object.member(b"expire_at_ms").extend_from_slice(at_ms);
            }
            object.close();
        }
        Part::Expiry => out.extend_from_slice(content.first().map(Vec::as_slice).unwrap_or(b"null")),
        Part::Entry | Part::Group | Part::Consumer | Part::Pending | Part::Slot => {
            json::write_array(out, content, |out, text| json::write_bytes(out, text));
        }
        Part::Member | Part::Producer => out.extend_from_slice(b"true"),
        _ => json::write_bytes(out, content.last().map(Vec::as_slice).unwrap_or_default()),
    }
}

impl<W: Write> Report for Json<W> {
    fn begin(&mut self, difference: &Difference) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.buffer.push(b',');
        }
        self.tally = Tally::default();
        let mut object = Object::open(&mut self.buffer);
        object.str("difference", difference.what());
        match difference.name.what {
            What::Key => object.u64("db", difference.name.db).bytes("key", &difference.name.name),
            What::Function => object.bytes("function", &difference.name.name),
            What::ModuleAux => object.bytes("module_aux", &difference.name.name),
        };
        for (name, type_name) in ["old_type", "new_type"].into_iter().zip(&difference.types) {
            if let Some(type_name) = type_name.as_deref().filter(|name| !name.is_empty()) {
                object.str(name, type_name);
            }
        }
        object.member(b"elements").push(b'[');
        Ok(())
    }

    fn change(&mut self, change: &Change) -> anyhow::Result<()> {
        let what = self.tally.count(change);
        if self.tally.total() > self.most {
            return Ok(());
        }
        if self.tally.total() > 1 {
            self.buffer.push(b',');
        }
        let mut object = Object::open(&mut self.buffer);
        object.str("difference", what).str("part", change.part.name());
        identity_json(&mut object, change);
        for (name, content) in ["old", "new"].into_iter().zip(&change.contents) {
            if let Some(content) = content {
                content_json(object.member(name.as_bytes()), change.part, content);
            }
        }
        object.close();
        self.spill()
    }

    fn end(&mut self, _difference: &Difference) -> anyhow::Result<()> {
        let Tally { added, removed, changed } = self.tally;
        let tail =
            format!("],\"elements_added\":{added},\"elements_removed\":{removed},\"elements_changed\":{changed}}}");
        self.buffer.extend_from_slice(tail.as_bytes());
        self.spill()
    }

    fn finish(&mut self, summary: &Summary) -> anyhow::Result<()> {
        let mut rest = Vec::new();
        let mut object = Object::open(&mut rest);
        object.bool("same", summary.is_same()).u64("added", summary.added).u64("removed", summary.removed);
        object.u64("changed", summary.changed).u64("not_listed", summary.hidden);
        for (name, counts) in ["old_counts", "new_counts"].into_iter().zip(&summary.counts) {
            let mut side = Object::open(object.member(name.as_bytes()));
            side.u64("keys", counts.keys).u64("functions", counts.functions);
            side.u64("empty_keys", counts.empty).u64("repeated_keys", counts.repeated);
            side.close();
        }
        object.close();
        self.buffer.extend_from_slice(b"],");
        self.buffer.extend_from_slice(&rest[1..]);
        self.buffer.push(b'\n');
        self.spill()?;
        self.out.flush().context(STDOUT)
    }
}
