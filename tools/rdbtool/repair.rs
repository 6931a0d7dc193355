//! `rdbtool repair`: a new file with every key that can be kept, and a list of what could not.
//!
//! The input is never written to. What is kept is copied byte for byte, in the same version (`rdb::check::repair`).

use crate::Place;
use crate::opened;
use anyhow::Context;
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::plural::plural;
use ironkeep::cli::target::{self, Target};
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::engine::functions::Functions;
use ironkeep::rdb::check::{Keep, Lost, Mended, Resumed, Wishes, repair};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Write a new file with every key that can be kept, and tell by key what is lost
///
/// Goes on behind damage, drops keys that come twice and function libraries that do not load, and makes counts, end
/// marker and checksum right. The version stays. Exit code 1 where anything was lost or had to be made right.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The RDB file to write, or `-` for standard output; never the input itself
    #[arg(long, short, value_name = "FILE", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// Write nothing, tell what would be lost
    #[arg(long, conflicts_with = "output")]
    dry_run: bool,
    /// Keep the whole elements of a collection that is damaged further on or holds an element twice
    #[arg(long)]
    salvage: bool,
    /// Which value of a key that comes twice stays
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    duplicates: Which,
    /// The report as one JSON object (schema rdbtool.repair/1); on standard error where the RDB goes to standard output
    #[arg(long, alias = "ndjson")]
    json: bool,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum Which {
    /// The one that stands first in the file
    #[default]
    First,
    /// The one that stands last
    Last,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let (name, mut input, fault) = opened::seekable_part(&arguments.place)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut target = match &arguments.output {
        Some(path) => {
            refuse_input(&disk, &arguments.place, path)?;
            Some(Target::create(&disk, path, arguments.force)?)
        }
        None => None,
    };
    let duplicates = match arguments.duplicates {
        Which::First => Keep::First,
        Which::Last => Keep::Last,
    };
    let wishes = Wishes { duplicates, salvage: arguments.salvage };
    let mut functions = Functions::default();
    let mut load = |code: &[u8]| functions.load(code, false).map(|_| ()).map_err(|error| error.to_string());
    let mut output = target.as_mut().map(|target| Noted { target, failure: None });
    let mended = repair(&mut input, wishes, &mut load, output.as_mut().map(|output| output as &mut dyn Write));
    if let Some(Noted { target, failure: Some(error) }) = output {
        return Err(error).context(target.name().to_owned());
    }
    let mut mended = mended.map_err(|error| opened::failure(&name, &error))?;
    if let Some(fault) = fault {
        mended.fixed.push(format!("the packing was damaged, and what came out before that was read: {fault}"));
    }
    drop(input); // the progress bar ends before the report
    let written = target.as_ref().map(|target| target.name().to_owned());
    if let Some(target) = target {
        target.commit()?;
    }
    let mut out = Vec::new();
    let told = Told { name: &name, written: written.as_deref(), mended: &mended };
    if arguments.json {
        told.write_json(&mut out);
    } else {
        told.write_text(&mut out)?;
    }
    if arguments.output.as_deref() == Some(Path::new("-")) {
        io::stderr().write_all(&out).context("standard error")?;
    } else {
        io::stdout().write_all(&out).and_then(|()| io::stdout().flush()).context("standard output")?;
    }
    Ok(if mended.was_healthy() { Exit::Fine } else { Exit::Findings })
}

/// The input stays as it is, under whatever names it has.
fn refuse_input(disk: &Arc<dyn Disk>, place: &Place, output: &Path) -> anyhow::Result<()> {
    let (source, _) = opened::source_of(place)?;
    source.map_or(Ok(()), |input| target::refuse_input(disk.as_ref(), &input, output))
}

/// The output; keeps the error of a write, so that it is told as the output's and not as one of reading.
struct Noted<'a> {
    target: &'a mut Target,
    failure: Option<io::Error>,
}

impl Noted<'_> {
    fn keep<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| {
            let kind = error.kind();
            self.failure.get_or_insert(error);
            kind.into()
        })
    }
}

impl Write for Noted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.target.write(bytes);
        self.keep(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.target.flush();
        self.keep(outcome)
    }
}

/// What is reported.
struct Told<'a> {
    name: &'a str,
    /// The new file, where there is one.
    written: Option<&'a str>,
    mended: &'a Mended,
}

impl Told<'_> {
    fn bytes_lost(&self) -> u64 {
        self.mended.lost.iter().map(|lost| lost.span.end - lost.span.start).sum()
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mended = self.mended;
        let mut report = Object::open(out);
        report.str("schema", "rdbtool.repair/1").str("file", self.name);
        if let Some(written) = self.written {
            report.str("output", written);
        }
        if let Some(header) = mended.header {
            report.str("header", &header.to_string());
        }
        report.bool("was_healthy", mended.was_healthy()).u64("keys", mended.keys);
        report.u64("keys_db_uncertain", mended.keys_db_uncertain).u64("counts_changed", mended.counts_changed);
        report.u64("lost_count", mended.lost.len() as u64).u64("lost_bytes", self.bytes_lost()); // usize fits
        report.u64("log_bytes", mended.log_bytes);
        report.array("lost", &mended.lost, write_lost);
        report.array("fixed", &mended.fixed, |out, what| json::write_str(out, what));
        report.close();
        out.push(b'\n');
    }

    fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let mended = self.mended;
        for lost in &mended.lost {
            write_line(out, lost)?;
        }
        for what in &mended.fixed {
            writeln!(out, "made right: {what}")?;
        }
        if mended.counts_changed > 0 {
            writeln!(out, "made right: {} of keys", plural(mended.counts_changed, "count"))?;
        }
        if mended.keys_db_uncertain > 0 {
            let keys = plural(mended.keys_db_uncertain, "key");
            writeln!(out, "{keys} behind damage: in the database before it, or in one whose choice was lost")?;
        }
        if mended.log_bytes > 0 {
            writeln!(out, "{} bytes of a command log behind the end are kept as they are", mended.log_bytes)?;
        }
        let Mended { keys, lost, .. } = mended;
        let verb = if self.written.is_some() { "kept" } else { "would be kept" };
        let keys = plural(*keys, "key");
        write!(out, "{}: {keys} {verb}, {} lost ({} bytes)", self.name, lost.len(), self.bytes_lost())?;
        match self.written {
            Some(written) => writeln!(out, "; written to {written}"),
            None => writeln!(out, "; nothing was written"),
        }
    }
}

fn write_lost(out: &mut Vec<u8>, lost: &Lost) {
    let mut object = Object::open(out);
    if let Some(db) = lost.db {
        object.u64("db", db);
        if lost.db_uncertain {
            object.bool("db_uncertain", true);
        }
    }
    if let Some(key) = &lost.key {
        object.bytes("key", key);
    }
    object.u64("offset", lost.span.start).u64("bytes", lost.span.end - lost.span.start).str("what", &lost.what);
    if let Some(resumed) = lost.resumed {
        object.str("resumed_by", resumed.name());
    }
    if let Some(count) = lost.salvaged {
        object.u64("elements_kept", count);
    }
    object.close();
}

fn write_line(out: &mut Vec<u8>, lost: &Lost) -> io::Result<()> {
    let Lost { span, db, key, what, resumed, salvaged, .. } = lost;
    match (key, salvaged) {
        (Some(key), None) => write!(out, "lost: key {} in db {}", Quoted(key), db.unwrap_or(0))?,
        (Some(key), Some(count)) => {
            write!(
                out,
                "lost: part of key {} in db {}, {} kept",
                Quoted(key),
                db.unwrap_or(0),
                plural(*count, "element")
            )?;
        }
        (None, _) => write!(out, "lost: what no key can be told of")?,
    }
    write!(out, ", offset {}, {} bytes: {}", span.start, span.end - span.start, Escaped(what.as_bytes()))?;
    match resumed {
        Some(Resumed::ByScan | Resumed::Inside) => writeln!(out, " (other keys may have stood in these bytes)"),
        Some(Resumed::Nowhere) => writeln!(out, " (nothing behind it can be read)"),
        _ => writeln!(out),
    }
}
