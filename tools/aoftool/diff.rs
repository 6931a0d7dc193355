//! `aoftool diff`: the data that two logs end in, compared key by key and element by element.
//!
//! Both are replayed into engines of the server: as a whole where they are short, else in parts that hold the same keys.
//! What is compared is the data: database, key, type, elements, expiry; not how it came about, nor encodings.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeep::cli::escape::Preview;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::locate::{self, Located, Request};
use ironkeep::cli::utc::Utc;
use ironkeep::disk::Disk;
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;

use crate::parted::{self, Limit};
use crate::report;
use crate::shared::replayed;
use crate::value::{Asker, Element, Value};

/// Characters of a name or a value that are shown to people.
const SHOWN: usize = 60;

/// Compare the data that two logs end in; an RDB may stand for either
///
/// Exits with 0 where it is the same and with 1 where it is not.
#[derive(clap::Args)]
pub struct Arguments {
    /// A log file, a manifest, a folder that holds either, an RDB, or `-`
    #[arg(value_name = "OLD")]
    first: PathBuf,
    /// What it is compared with
    #[arg(value_name = "NEW")]
    second: PathBuf,
    /// List at most so many keys that differ; all are counted
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    show: u64,
    /// List at most so many elements of each key; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    elements: usize,
    /// Take keys that differ only in when they expire for the same
    #[arg(long)]
    ignore_expiry: bool,
    /// How many databases the logs may use, as the directive of servers
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    databases: u32,
    #[command(flatten)]
    limit: Limit,
    /// The differences as one JSON object (schema aoftool.diff/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    if arguments.first == arguments.second && arguments.first == Path::new("-") {
        return Err(Failure::error(Exit::Usage, "standard input can be read once: name a file for one of the two"));
    }
    let locate = |path: &Path| locate::locate(disk, Request { path: Some(path), dir: None });
    let (old, new) = (locate(&arguments.first)?, locate(&arguments.second)?);
    let databases = arguments.databases as usize; // at most 65536
    let mut found = Found { arguments, differences: Vec::new(), only_old: 0, only_new: 0, changed: 0, same: 0 };
    let survey = |index| report::survey(&**disk, [&old, &new][index]);
    let parts = parted::divide(disk, &[&old.log, &new.log], (arguments.limit, databases), &survey)?;
    match parts.as_deref() {
        Some([old, new]) => {
            for part in 0..old.len() {
                found.compare(old.replay(disk, part, databases)?, new.replay(disk, part, databases)?);
            }
            found.differences.sort_by(|first, second| (first.db, &first.key).cmp(&(second.db, &second.key)));
        }
        _ => {
            let load = |located: &Located| replayed::engine_of(disk, &located.log, databases);
            found.compare(load(&old)?, load(&new)?);
        }
    }
    let mut out = Vec::new();
    match arguments.json {
        true => found.write_json(&old.name, &new.name, &mut out),
        false => found.write_text(&mut out)?,
    }
    report::print(&out)?;
    Ok(if found.is_same() { Exit::Fine } else { Exit::Findings })
}

/// A key that the logs do not agree on.
struct Difference {
    db: usize,
    key: Vec<u8>,
    /// Type and expiry on each side where the key is there.
    sides: [Option<(String, Option<i64>)>; 2],
    /// As many as are listed.
    elements: Vec<Change>,
    element_count: u64,
}

/// An element that is not the same: its name, and its content on each side where it is there.
struct Change {
    name: Vec<u8>,
    sides: [Option<Vec<Vec<u8>>>; 2],
}

struct Found<'a> {
    arguments: &'a Arguments,
    differences: Vec<Difference>,
    only_old: u64,
    only_new: u64,
    changed: u64,
    same: u64,
}

impl Found<'_> {
    fn is_same(&self) -> bool {
        self.only_old + self.only_new + self.changed == 0
    }

    fn compare(&mut self, mut old: Engine, mut new: Engine) {
        // What has expired by now was there when the log ended.
        (old.clock, new.clock) = (Clock::fixed(0), Clock::fixed(0));
        let (mut old, mut new) = (Asker::new(&mut old), Asker::new(&mut new));
        for db in 0..old.databases() {
            let mut keys = [old.keys(db), new.keys(db)].concat();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let mut sides = [old.value(db, &key), new.value(db, &key)];
                if self.arguments.ignore_expiry {
                    sides.iter_mut().flatten().for_each(|value| value.expire_at_ms = None);
                }
                self.take(db, key, sides);
            }
        }
    }

    fn take(&mut self, db: usize, key: Vec<u8>, sides: [Option<Value>; 2]) {
        let count = match &sides {
            [old, new] if old == new => &mut self.same,
            [Some(_), None] => &mut self.only_old,
            [None, _] => &mut self.only_new,
            [Some(_), Some(_)] => &mut self.changed,
        };
        *count += 1;
        let differ = self.only_old + self.only_new + self.changed;
        if sides[0] == sides[1] || differ > self.arguments.show {
            return;
        }
        let mut elements = match &sides {
            [Some(old), Some(new)] if old.type_name == new.type_name => changes(&old.elements, &new.elements),
            _ => Vec::new(),
        };
        let element_count = elements.len() as u64; // usize has at most 64 bits
        elements.truncate(self.arguments.elements);
        let sides = sides.map(|side| side.map(|value| (value.type_name, value.expire_at_ms)));
        self.differences.push(Difference { db, key, sides, elements, element_count });
    }

    fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        for difference in &self.differences {
            difference.write_text(out)?;
        }
        let differ = self.only_old + self.only_new + self.changed;
        let hidden = differ - self.differences.len() as u64; // usize has at most 64 bits
        if hidden > 0 {
            writeln!(out, "and {} that differ", report::plural(hidden, "other key"))?;
        }
        let Self { only_old, only_new, changed, same, .. } = self;
        writeln!(out, "{only_old} only in OLD, {only_new} only in NEW, {changed} changed, {same} the same")
    }

    fn write_json(&self, old: &str, new: &str, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.str("schema", "aoftool.diff/1").str("old", old).str("new", new);
        object.u64("only_old", self.only_old).u64("only_new", self.only_new);
        object.u64("changed", self.changed).u64("same", self.same);
        object.array("differences", &self.differences, |out, difference| difference.write_json(out));
        object.close();
        out.push(b'\n');
    }
}

/// The elements that are not the same, by name. Those of a set have no content, and are there or not.
fn changes(old: &[Element], new: &[Element]) -> Vec<Change> {
    let mut all: BTreeMap<&[u8], [Option<&Element>; 2]> = BTreeMap::new();
    for (side, elements) in [old, new].into_iter().enumerate() {
        for element in elements {
            all.entry(&element.name).or_default()[side] = Some(element);
        }
    }
    let content = |side: Option<&Element>| side.map(|element| element.content.clone());
    let differs = all.into_iter().filter(|(_, [old, new])| old != new);
    differs.map(|(name, sides)| Change { name: name.to_vec(), sides: sides.map(content) }).collect()
}

impl Difference {
    fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        write!(out, "db {} key {}: ", self.db, shown(&self.key))?;
        match &self.sides {
            [Some((kind, _)), None] => return writeln!(out, "only in OLD ({kind})"),
            [None, Some((kind, _))] => return writeln!(out, "only in NEW ({kind})"),
            [Some((old, _)), Some((new, _))] if old != new => return writeln!(out, "{old}, in NEW {new}"),
            [Some((kind, old)), Some((_, new))] if old != new => {
                let time = |at: &Option<i64>| at.map_or_else(|| "never".to_owned(), |at| Utc(at).to_string());
                writeln!(out, "{kind}, expires {}, in NEW {}", time(old), time(new))?;
            }
            [Some((kind, _)), _] => writeln!(out, "{kind}")?,
            [None, None] => unreachable!("a key is there on one side at least"),
        }
        for Change { name, sides } in &self.elements {
            let [old, new] = sides.each_ref().map(|side| side.as_ref().map(|content| content_words(name, content)));
            if let Some(old) = old {
                writeln!(out, "  - {old}")?;
            }
            if let Some(new) = new {
                writeln!(out, "  + {new}")?;
            }
        }
        let hidden = self.element_count - self.elements.len() as u64; // usize has at most 64 bits
        if hidden > 0 {
            writeln!(out, "  and {}", report::plural(hidden, "other element"))?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.u64("db", self.db as u64).bytes("key", &self.key); // usize has at most 64 bits
        for (name, side) in ["old", "new"].into_iter().zip(&self.sides) {
            if let Some((type_name, expire_at_ms)) = side {
                let mut inner = Object::open(object.member(name.as_bytes()));
                inner.str("type", type_name);
                if let Some(at) = expire_at_ms {
                    inner.i64("expire_at_ms", *at);
                }
                inner.close();
            }
        }
        object.u64("element_count", self.element_count);
        object.array("elements", &self.elements, |out, change| {
            let mut inner = Object::open(out);
            inner.bytes("name", &change.name);
            for (name, content) in ["old", "new"].into_iter().zip(&change.sides) {
                if let Some(content) = content {
                    inner.array(name, content, |out, part| json::write_bytes(out, part));
                }
            }
            inner.close();
        });
        object.close();
    }
}

fn shown(bytes: &[u8]) -> String {
    Preview { bytes, limit: SHOWN }.to_string()
}

fn content_words(name: &[u8], content: &[Vec<u8>]) -> String {
    let name = (!name.is_empty()).then(|| shown(name));
    name.into_iter().chain(content.iter().map(|part| shown(part))).collect::<Vec<_>>().join(" ")
}
