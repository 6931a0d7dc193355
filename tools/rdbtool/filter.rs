//! `rdbtool filter`: an RDB with some of the keys of another, their values copied byte for byte.
//!
//! Two passes: the first finds the keys and counts them, the second copies. Values are not decoded, so that what a
//! server would make of them stays as it was, damage inside a value included; the checksum of the input is verified.

use crate::Place;
use crate::opened::{self, FileReader};
use crate::part::{Counts, Marks, Part};
use crate::passes::Passes;
use crate::selection::Selection;
use anyhow::Context;
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::Object;
use ironkeep::cli::plural::plural;
use ironkeep::cli::target::{SealedTarget, Target};
use ironkeep::cli::utc::Utc;
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::rdb::{CopyError, Error, Event, Version};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Write an RDB with the keys that are selected, their values copied byte for byte
///
/// Remarks, function libraries and module data are kept; remarks that would not be true of the result (its place in the
/// replication stream, keys per slot) are left out. Exits 1 if no key was selected.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The RDB file to write, or `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// Keep the keys that are not selected
    #[arg(long)]
    invert: bool,
    /// Leave out the function libraries
    #[arg(long)]
    no_functions: bool,
    /// The report as one JSON object (schema rdbtool.filter/1); on standard error where the RDB goes to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    selection: Selection,
}

/// What the first pass found.
#[derive(Default)]
struct Found {
    kept: Marks,
    counts: Counts,
    keys: u64,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let passes = Passes::open(&arguments.place)?;
    passes.refuse_as_output(&arguments.output)?;
    let found = find(&mut passes.begin()?, arguments).map_err(|error| opened::failure(passes.name(), &error))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let target = Target::create(&disk, &arguments.output, arguments.force)?;
    let (version, sealed) = write(&passes, &found, target, arguments)?;
    passes.same_still()?;
    let report = report(arguments, passes.name(), &found, version, &sealed);
    sealed.commit()?;
    say(&report, arguments.json && arguments.output != Path::new("-"))?;
    Ok(if found.counts.keys() == 0 { Exit::Findings } else { Exit::Fine })
}

fn find(reader: &mut FileReader, arguments: &Arguments) -> Result<Found, Error> {
    let (now, selection) = (Utc::now(), &arguments.selection);
    let mut found = Found::default();
    let mut selected = 0;
    loop {
        match reader.next()? {
            Event::Key(header) => {
                let mut is_selected = selection.limit.is_none_or(|limit| selected < limit);
                is_selected = is_selected && selection.wants(&header, now);
                if is_selected && selection.needs_size() {
                    reader.skip()?;
                    is_selected = selection.wants_size(reader.offset() - header.offset);
                }
                selected += u64::from(is_selected);
                let is_kept = is_selected != arguments.invert;
                found.kept.push(is_kept);
                found.keys += 1;
                if is_kept {
                    found.counts.add(&header);
                }
            }
            Event::End { .. } => return Ok(found),
            _ => {}
        }
    }
}

fn write(
    passes: &Passes,
    found: &Found,
    target: Target,
    arguments: &Arguments,
) -> anyhow::Result<(Version, SealedTarget)> {
    let mut reader = passes.begin()?;
    let version = Version::nearest(reader.header());
    let is_whole = found.counts.keys() == found.keys;
    let mut part = Part::new(target, version, found.counts.clone(), is_whole)?;
    let mut index = 0;
    let mut copy = || -> Result<(), CopyError> {
        loop {
            match reader.next()? {
                Event::Key(header) => {
                    if found.kept.get(index) {
                        part.copy(&mut reader, &header)?;
                    }
                    index += 1;
                }
                Event::Function { .. } if arguments.no_functions => {}
                Event::End { .. } => return Ok(()),
                event => part.beside(&event)?,
            }
        }
    };
    copy().map_err(|error| part.failure(passes.name(), error))?;
    Ok((version, part.seal()?))
}

fn report(arguments: &Arguments, input: &str, found: &Found, version: Version, sealed: &SealedTarget) -> Vec<u8> {
    let (kept, databases) = (found.counts.keys(), found.counts.databases());
    let mut out = Vec::new();
    if arguments.json {
        let mut report = Object::open(&mut out);
        report.str("schema", "rdbtool.filter/1").str("file", input).str("output", sealed.name());
        report.str("header", &version.header().to_string());
        report.u64("keys", found.keys).u64("kept", kept).u64("databases", databases as u64); // widening
        if let Some(bytes) = sealed.len() {
            report.u64("bytes", bytes);
        }
        report.close();
        out.push(b'\n');
    } else {
        let bytes = sealed.len().map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
        let (all, databases) = (plural(found.keys, "key"), plural(databases as u64, "database")); // widening
        let text = format!("{}: {kept} of {all} in {databases}{bytes}\n", sealed.name());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// A report goes to standard output where it is for machines and nothing else goes there.
pub fn say(report: &[u8], to_stdout: bool) -> anyhow::Result<()> {
    if to_stdout {
        io::stdout().write_all(report).and_then(|()| io::stdout().flush()).context("standard output")
    } else {
        io::stderr().write_all(report).context("standard error")
    }
}
