//! `rdbtool merge`: the keys of several RDBs in one.
//!
//! A first pass over the inputs finds the keys that come more than once, a second copies: values byte for byte where
//! the version of the result knows their type, decoded and written anew where it does not. Values that are to be united
//! wait in a temporary file, sorted by key, and come last; no more than two of them are in memory at a time.

mod beside;
mod conflict;
mod pool;
mod union;

use crate::Place;
use crate::filter::say;
use crate::opened;
use crate::part::{Marks, Part};
use crate::passes::Passes;
use anyhow::Context;
use beside::Beside;
use clap::ValueEnum;
use conflict::{Census, Hasher, Verdict};
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::plural::plural;
use ironkeep::cli::target::{SealedTarget, Target};
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::rdb::{CopyError, Event, Header, Lineage, Version};
use ironkeep::value::Limits;
use pool::Pool;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many keys are named in an error.
const NAMED: usize = 20;

/// What to do with a key that several inputs hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnConflict {
    /// Write nothing, and name the keys
    Fail,
    /// Keep the first input's
    First,
    /// Keep the last input's
    Last,
    /// Keep the one that expires last; one that never does expires last of all
    NewestExpiry,
    /// Unite collections of the same type element by element; the later input wins within
    Union,
}

/// Write one RDB with the keys of several
///
/// The version is the lowest that holds all of them as they stand. Remarks are those of the first input; function
/// libraries and module data come once each, and what differs is decided as keys are (first, last) or an error.
#[derive(clap::Args)]
pub struct Arguments {
    /// RDB files (plain, gzip or zstd); `-` is standard input
    #[arg(required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// The RDB file to write, or `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// What to do with a key that several inputs hold
    #[arg(long, value_name = "POLICY", default_value = "fail")]
    on_conflict: OnConflict,
    /// The RDB version to write: 6 to 15, or valkey-80. Without it, the lowest that holds all inputs as they stand
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<Version>,
    /// Do not verify the checksums of the inputs
    #[arg(long)]
    no_verify: bool,
    /// The report as one JSON object (schema rdbtool.merge/1); on standard error where the RDB goes to standard output
    #[arg(long)]
    json: bool,
}

fn version(name: &str) -> Result<Version, String> {
    Version::named(name).ok_or_else(|| "there are 6 to 15, and valkey-80".to_owned())
}

/// What the inputs need.
#[derive(Default)]
struct Needs {
    redis: Option<u32>,
    has_valkey: bool,
    /// Something that only Valkey has.
    valkey_only: bool,
}

impl Needs {
    fn add(&mut self, header: Header) {
        match header.lineage {
            Lineage::Redis => self.redis = self.redis.max(Some(header.version)),
            Lineage::Valkey => self.has_valkey = true,
        }
    }

    /// The lowest version that holds all as it stands; where families meet that have none, the lowest that can say it.
    fn version(&self) -> Version {
        let shared = u32::from(Version::Rdb11.number());
        match (self.has_valkey, self.redis) {
            (true, None) => Version::Valkey80,
            (true, Some(redis)) if self.valkey_only && redis <= shared => Version::Valkey80,
            (true, Some(redis)) => Version::of(redis.max(shared)).unwrap_or(Version::Rdb11),
            (false, redis) => redis.and_then(Version::of).unwrap_or(Version::Rdb6),
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut inputs = Vec::new();
    if arguments.files.iter().filter(|file| **file == Path::new("-")).count() > 1 {
        return Err(Failure::error(
            Exit::Usage,
            "standard input can be only one of the inputs: name files for the others",
        ));
    }
    for file in &arguments.files {
        let place = Place { file: Some(file.clone()), dir: None, no_verify: arguments.no_verify };
        let input = Passes::open(&place)?;
        input.refuse_as_output(&arguments.output)?;
        inputs.push(input);
    }
    let (needs, census, beside) = survey(&inputs, arguments.on_conflict)?;
    let keys = census.counts.keys();
    let (hasher, verdict) = census.decide(arguments.on_conflict).context("sorting the keys")?;
    if verdict.undecided_count > 0 || !beside.undecided.is_empty() {
        return Err(undecided(&inputs, &verdict, &beside)?);
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let target = Target::create(&disk, &arguments.output, arguments.force)?;
    let version = arguments.to.unwrap_or_else(|| needs.version());
    let sealed =
        write(&inputs, &beside, &hasher, &verdict, Part::new(target, version, verdict.counts.clone(), false)?)?;
    inputs.iter().try_for_each(Passes::same_still)?;
    let report = report(arguments, keys, &verdict, version, &sealed);
    sealed.commit()?;
    say(&report, arguments.json && arguments.output != Path::new("-"))?;
    Ok(Exit::Fine)
}

/// The first pass over all inputs.
fn survey(inputs: &[Passes], policy: OnConflict) -> anyhow::Result<(Needs, Census, Beside)> {
    let (mut needs, mut census, mut beside) = (Needs::default(), Census::new(), Beside::default());
    for (index, input) in inputs.iter().enumerate() {
        let mut reader = input.begin()?;
        needs.add(reader.header());
        census.next_input();
        let mut is_behind = false;
        loop {
            match reader.next().map_err(|error| opened::failure(input.name(), &error))? {
                Event::Key(header) => {
                    is_behind = true;
                    needs.valkey_only |= header.kind.row().lineage == Some(Lineage::Valkey);
                    census.add(&header).context("sorting the keys")?;
                }
                Event::End { .. } => break,
                event => {
                    if let Some(what) = event.refusal() {
                        let message = format!("the file has {what}");
                        return Err(Failure::error(Exit::Unsupported, message).context(input.name().to_owned()));
                    }
                    needs.valkey_only |= matches!(event, Event::SlotImport { .. });
                    beside.take(event, index, is_behind, policy);
                }
            }
        }
    }
    Ok((needs, census, beside))
}

/// The second pass.
fn write(
    inputs: &[Passes],
    beside: &Beside,
    hasher: &Hasher,
    verdict: &Verdict,
    mut part: Part,
) -> anyhow::Result<SealedTarget> {
    let mut pool = Pool::new();
    let write_error = |part: &Part, error| part.failure("", CopyError::Write(error));
    for event in beside.before() {
        part.beside(event).map_err(|error| write_error(&part, error))?;
    }
    for (index, input) in inputs.iter().enumerate() {
        let mut reader = input.begin()?;
        let mut ordinal = 0;
        loop {
            let event = reader.next().map_err(|error| opened::failure(input.name(), &error))?;
            let header = match event {
                Event::Key(header) => header,
                Event::End { .. } => break,
                _ => continue,
            };
            if verdict.united[index].get(ordinal) {
                let value = reader.object(&Limits::default());
                if let Some(value) = value.map_err(|error| opened::failure(input.name(), &error))? {
                    pool.add(hasher.of(&header), index, header, &value)?;
                }
            } else if !verdict.dropped[index].get(ordinal) {
                part.copy(&mut reader, &header).map_err(|error| part.failure(input.name(), error))?;
            }
            ordinal += 1;
        }
    }
    let united = pool.empty(|header, value| part.write(header, value).map_err(|error| write_error(&part, error)))?;
    if !united.is_empty() {
        return Err(refusal(
            &united,
            united.len() as u64,
            "are in several inputs, and differ in a type that has no union",
        )); // usize fits
    }
    for event in beside.behind() {
        part.beside(event).map_err(|error| write_error(&part, error))?;
    }
    part.seal()
}

/// The error for conflicts that the policy does not decide; the keys are named by reading the inputs once more.
fn undecided(inputs: &[Passes], verdict: &Verdict, beside: &Beside) -> anyhow::Result<anyhow::Error> {
    let mut names: Vec<String> = beside.undecided.clone();
    for (input, marks) in inputs.iter().zip(&verdict.undecided) {
        name_keys(input, marks, &mut names)?;
    }
    let count = verdict.undecided_count + beside.undecided.len() as u64; // usize fits
    Ok(refusal(&names, count, "are in several inputs, and differ in type or must not be there twice"))
}

fn name_keys(input: &Passes, marks: &Marks, names: &mut Vec<String>) -> anyhow::Result<()> {
    let mut reader = input.begin()?;
    let mut ordinal = 0;
    while names.len() < NAMED {
        match reader.next().map_err(|error| opened::failure(input.name(), &error))? {
            Event::Key(header) => {
                let name = format!("db {} {} ({})", header.db, Quoted(&header.key), header.kind.type_name());
                if marks.get(ordinal) && !names.contains(&name) {
                    names.push(name);
                }
                ordinal += 1;
            }
            Event::End { .. } => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

fn refusal(names: &[String], count: u64, what: &str) -> anyhow::Error {
    let shown = names[..names.len().min(NAMED)].join(", ");
    let more = if count > NAMED as u64 { ", ..." } else { "" };
    let message = format!(
        "{count} keys or libraries {what}: {shown}{more}; nothing was written: say by --on-conflict first, last, \
         newest-expiry or union which is meant, or filter an input"
    );
    Failure::error(Exit::Findings, message)
}

fn report(arguments: &Arguments, keys: u64, verdict: &Verdict, version: Version, sealed: &SealedTarget) -> Vec<u8> {
    let (kept, conflicts) = (verdict.counts.keys(), verdict.conflicts);
    let mut out = Vec::new();
    if arguments.json {
        let mut report = Object::open(&mut out);
        report.str("schema", "rdbtool.merge/1").str("output", sealed.name());
        report.str("header", &version.header().to_string()).u64("inputs", arguments.files.len() as u64); // usize fits
        report.u64("keys_read", keys).u64("keys", kept).u64("conflicts", conflicts);
        if let Some(bytes) = sealed.len() {
            report.u64("bytes", bytes);
        }
        report.close();
        out.push(b'\n');
    } else {
        let (name, header) = (sealed.name(), version.header());
        let inputs = plural(arguments.files.len() as u64, "input"); // usize fits
        let kept = plural(kept, "key");
        let text = format!("{name}: {header}, {kept} of {keys} in {inputs}, {conflicts} in several\n");
        out.extend_from_slice(text.as_bytes());
    }
    out
}
