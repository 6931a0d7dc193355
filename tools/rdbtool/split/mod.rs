//! `rdbtool split`: one RDB shared out to several, values copied byte for byte.
//!
//! Each part is a whole RDB: what stands beside the keys, function libraries too, is in every one, and its databases
//! say truly how many keys they hold. All parts appear together at the end, or none (but what --force has replaced when
//! a rename fails stays replaced). However many parts there are, no more than [`MOST_OPEN`] files are open at a time:
//! there is one pass over the input for each such batch.
//!
//! | by | name of a part |
//! |---|---|
//! | slots | `slots-0-5460` |
//! | nodes | `node-` and the node's id |
//! | db | `db-0` |
//! | prefix | `prefix-` and the prefix; bytes that are not safe in a file name as `%2f` |
//! | hash | `hash-0`: CRC-64 of the key (CRC-64/REDIS) modulo the number of parts |
//! | size | `part-00001` |
//!
//! Keys that no part is for (a slot that nobody has, no separator) go to `rest`.

mod nodes;
mod rule;

use crate::Place;
use crate::filter::say;
use crate::opened::{self, FileReader};
use crate::part::Part;
use crate::passes::Passes;
use crate::slots::Slots;
use anyhow::Context;
use clap::ValueEnum;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::input::Source;
use ironkeep::cli::json::Object;
use ironkeep::cli::plural::plural;
use ironkeep::cli::target::{SealedTarget, Target};
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::engine::params::kind::parse_memory;
use ironkeep::rdb::{CopyError, Error, Event, Version};
use rule::{Found, Rule, Sharer};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Parts that are written at a time.
const MOST_OPEN: usize = 64;
/// A description of nodes that is longer is none.
const MOST_NODES_BYTES: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Cluster slots: --slots RANGES for each part, or --parts N equal ranges
    Slots,
    /// The masters of a cluster: --nodes FILE
    Nodes,
    /// Databases
    Db,
    /// What stands before the separator in the key
    Prefix,
    /// A hash of the key: --parts N
    Hash,
    /// As many keys as fit: --size BYTES
    Size,
}

/// Share the keys of an RDB out to several, each a whole RDB with the function libraries and all else beside the keys
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// What decides which part a key goes to
    #[arg(long)]
    by: By,
    /// With --by slots: the slots of a part, such as 0-5460,7000; once for each part
    #[arg(long, value_name = "RANGES", conflicts_with = "parts")]
    slots: Vec<Slots>,
    /// With --by slots or hash: how many parts
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=16384))]
    parts: Option<u64>,
    /// With --by nodes: a nodes.conf, or what CLUSTER NODES said
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// With --by prefix: what ends a prefix
    #[arg(long, value_name = "TEXT", default_value = ":")]
    separator: String,
    /// With --by prefix: how many words the prefix has
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    depth: u16,
    /// With --by size: the most bytes of keys and values in a part; what stands beside the keys comes on top
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    size: Option<u64>,
    /// The folder to write the parts to, NAME.rdb each; made if it is not there
    #[arg(long, value_name = "DIR", required_unless_present = "output", conflicts_with = "output")]
    output_dir: Option<PathBuf>,
    /// Where to write the parts, with {} for the name of the part: backup/{}.rdb
    #[arg(long, value_name = "PATTERN")]
    output: Option<String>,
    /// Replace outputs that are there
    #[arg(long)]
    force: bool,
    /// More parts than this are not written
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    max_parts: usize,
    /// The report as one JSON object (schema rdbtool.split/1)
    #[arg(long)]
    json: bool,
}

fn bytes(text: &str) -> Result<u64, String> {
    let size = parse_memory(text.as_bytes()).filter(|bytes| *bytes > 0);
    size.ok_or_else(|| "a size is a number above 0 and a unit: b, k, kb, m, mb, g, gb".to_owned())
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let rule = rule(arguments)?;
    let passes = Passes::open(&arguments.place)?;
    let sharer = learn(&mut passes.begin()?, Sharer::new(rule), arguments.max_parts)
        .map_err(|error| opened::failure(passes.name(), &error))?;
    let found = sharer.parts();
    if found.len() > arguments.max_parts {
        let message = format!("these are more than {} parts: say --max-parts, or split otherwise", arguments.max_parts);
        return Err(Failure::error(Exit::Usage, message));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let folder = Folder::prepare(&disk, arguments)?;
    let mut sealed = Vec::new();
    for first in (0..found.len()).step_by(MOST_OPEN) {
        let batch = first..(first + MOST_OPEN).min(found.len());
        let targets = folder.targets(&found[batch.clone()], &passes, arguments.force)?;
        sealed.extend(write(&passes, &sharer, batch, targets)?);
    }
    passes.same_still()?;
    let report = report(arguments.json, passes.name(), found, &sealed);
    folder.publish(found, sealed)?;
    say(&report, arguments.json)?;
    Ok(if found.iter().all(|part| part.counts.keys() == 0) { Exit::Findings } else { Exit::Fine })
}

fn rule(arguments: &Arguments) -> anyhow::Result<Rule> {
    let lacks = |what: &str| Failure::error(Exit::Usage, format!("--by {} needs {what}", name_of(arguments.by)));
    Ok(match arguments.by {
        By::Slots if !arguments.slots.is_empty() => Rule::Slots(arguments.slots.clone()),
        By::Slots => Rule::Slots(rule::equal_slots(arguments.parts.ok_or_else(|| lacks("--slots or --parts"))?)),
        By::Nodes => Rule::Nodes(read_nodes(arguments.nodes.as_deref().ok_or_else(|| lacks("--nodes"))?)?),
        By::Db => Rule::Db,
        By::Prefix if arguments.separator.is_empty() => return Err(lacks("a --separator that is not empty")),
        By::Prefix => {
            Rule::Prefix { separator: arguments.separator.clone().into_bytes(), depth: arguments.depth.into() }
        }
        By::Hash => Rule::Hash(arguments.parts.ok_or_else(|| lacks("--parts"))?),
        By::Size => Rule::Size(arguments.size.ok_or_else(|| lacks("--size"))?),
    })
}

fn name_of(by: By) -> String {
    by.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn read_nodes(path: &Path) -> anyhow::Result<Vec<nodes::Node>> {
    let name = Source::File(path.to_owned()).to_string();
    let content = RealDisk.read_small(path, MOST_NODES_BYTES).with_context(|| name.clone())?;
    let text = String::from_utf8_lossy(&content);
    let nodes = nodes::parse(&text).map_err(|line| {
        let message = format!("line {line} is none of CLUSTER NODES: give what that said, or a nodes.conf");
        Failure::error(Exit::Unreadable, message).context(name.clone())
    })?;
    if nodes.is_empty() {
        return Err(Failure::error(Exit::Unreadable, "no node in it has slots").context(name));
    }
    Ok(nodes)
}

/// The first pass; it ends early where there are more than `most` parts.
fn learn(reader: &mut FileReader, mut sharer: Sharer, most: usize) -> Result<Sharer, Error> {
    let mut ordinal = 0;
    loop {
        match reader.next()? {
            Event::Key(header) => {
                reader.skip()?;
                sharer.learn(&header, ordinal, reader.offset() - header.offset);
                ordinal += 1;
                if sharer.parts().len() > most {
                    return Ok(sharer);
                }
            }
            Event::End { .. } => return Ok(sharer),
            _ => {}
        }
    }
}

/// One pass that writes the parts of a batch.
fn write(
    passes: &Passes,
    sharer: &Sharer,
    batch: Range<usize>,
    targets: Vec<Target>,
) -> anyhow::Result<Vec<SealedTarget>> {
    let mut reader = passes.begin()?;
    let version = Version::nearest(reader.header());
    let is_whole = sharer.parts().len() == 1;
    let mut parts = Vec::new();
    for (target, found) in targets.into_iter().zip(&sharer.parts()[batch.clone()]) {
        parts.push(Part::new(target, version, found.counts.clone(), is_whole)?);
    }
    let mut ordinal = 0;
    loop {
        let event = reader.next().map_err(|error| opened::failure(passes.name(), &error))?;
        match event {
            Event::Key(header) => {
                let part = sharer.part_of(&header, ordinal).filter(|part| batch.contains(part));
                if let Some(part) = part.and_then(|part| parts.get_mut(part - batch.start)) {
                    part.copy(&mut reader, &header).map_err(|error| part.failure(passes.name(), error))?;
                }
                ordinal += 1;
            }
            Event::End { .. } => break,
            event => {
                for part in &mut parts {
                    part.beside(&event).map_err(|error| part.failure(passes.name(), CopyError::Write(error)))?;
                }
            }
        }
    }
    parts.into_iter().map(Part::seal).collect()
}

/// Where the parts go.
struct Folder {
    disk: Arc<dyn Disk>,
    pattern: String,
}

impl Folder {
    fn prepare(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Folder> {
        let pattern = match (&arguments.output_dir, &arguments.output) {
            (Some(dir), _) => {
                let name = || Source::File(dir.clone()).to_string();
                if !disk.exists(dir) {
                    disk.create_dir(dir).with_context(name)?;
                }
                let dir = dir.to_str().ok_or_else(|| Failure::error(Exit::Usage, "the folder's name is no UTF-8"))?;
                format!("{dir}/{{}}.rdb")
            }
            (_, pattern) => pattern.clone().unwrap_or_default(),
        };
        if !pattern.contains("{}") {
            return Err(Failure::error(Exit::Usage, "--output needs {} where the name of the part is to stand"));
        }
        Ok(Folder { disk: Arc::clone(disk), pattern })
    }

    fn path_of(&self, part: &Found) -> PathBuf {
        // The last place, so that braces in the name of a folder stay.
        let (before, after) = self.pattern.rsplit_once("{}").unwrap_or((&self.pattern, ""));
        PathBuf::from(format!("{before}{}{after}", part.label))
    }

    fn targets(&self, parts: &[Found], passes: &Passes, force: bool) -> anyhow::Result<Vec<Target>> {
        let target = |part: &Found| {
            let path = self.path_of(part);
            passes.refuse_as_output(&path)?;
            Target::create(&self.disk, &path, force)
        };
        parts.iter().map(target).collect()
    }

    /// Gives all parts their names. Where one cannot have its own, those that were not there before are taken back.
    fn publish(&self, parts: &[Found], sealed: Vec<SealedTarget>) -> anyhow::Result<()> {
        let mut fresh = Vec::new();
        for (part, sealed) in parts.iter().zip(sealed) {
            let path = self.path_of(part);
            let is_fresh = !self.disk.exists(&path);
            if let Err(error) = sealed.commit() {
                // The error that is told is the one that matters.
                fresh.iter().for_each(|path: &PathBuf| _ = self.disk.remove(path));
                return Err(error);
            }
            if is_fresh {
                fresh.push(path);
            }
        }
        Ok(())
    }
}

fn report(json: bool, input: &str, parts: &[Found], sealed: &[SealedTarget]) -> Vec<u8> {
    let mut out = Vec::new();
    let all: Vec<(&Found, &SealedTarget)> = parts.iter().zip(sealed).collect();
    let keys: u64 = parts.iter().map(|part| part.counts.keys()).sum();
    if json {
        let mut report = Object::open(&mut out);
        report.str("schema", "rdbtool.split/1").str("file", input).u64("keys", keys);
        report.array("parts", &all, |out, (part, sealed)| {
            let mut object = Object::open(out);
            object.str("name", &part.label).str("file", sealed.name()).u64("keys", part.counts.keys());
            object.u64("databases", part.counts.databases() as u64).u64("bytes", sealed.len().unwrap_or(0)); // widening
            object.close();
        });
        report.close();
        out.push(b'\n');
        return out;
    }
    for (part, sealed) in &all {
        let (keys, bytes) = (part.counts.keys(), sealed.len().unwrap_or(0));
        let (keys, databases) = (plural(keys, "key"), plural(part.counts.databases() as u64, "database")); // widening
        let line = format!("{}: {keys} in {databases}, {bytes} bytes\n", sealed.name());
        out.extend_from_slice(line.as_bytes());
    }
    out.extend_from_slice(
        format!("{} of {input}, {}\n", plural(parts.len() as u64, "part"), plural(keys, "key")).as_bytes(),
    );
    out
}
