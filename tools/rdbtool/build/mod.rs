//! `rdbtool build`: an RDB out of JSON, NDJSON or commands; the exact inverse of `dump --json`, `--ndjson`, `--resp` and
//! `--restore`.
//!
//! The input is read twice: once to find all that is wrong with it, the lowest version that holds it and how many keys
//! each database has, then to write. So nothing is written, to a pipe neither, before all of it is known to be right,
//! and records may change the database as often as they like. JSON is read record by record; what cannot be read twice
//! is kept in a temporary file in between. Keys without elements, which servers skip, are counted and left out.

mod array;
mod commands;
mod json;
mod plan;
mod record;
mod stream;

use crate::filter;
use anyhow::Context;
use commands::Executed;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::input::{Input, Magic, Source};
use ironkeep::cli::target::{self, Target};
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::rdb::{KeyMeta, ObjectRef, Version, WriteError, WriteOptions, Writer};
use ironkeep::value::{Limits, Module};
use json::{Fault, Parser};
use plan::Plan;
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::SpooledTempFile;

/// Bytes of standard input that stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// Write an RDB out of what `dump` wrote: JSON, NDJSON or commands
///
/// Keys keep their values, expiries and access times. Values are written in the newest encoding that the version knows;
/// the encodings that the input names are not looked at.
#[derive(clap::Args)]
pub struct Arguments {
    /// The JSON array, the JSON records or the commands; `-` for standard input
    input: PathBuf,
    /// The RDB file to write, or `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// What the input is
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = From::Auto)]
    from: From,
    /// The RDB version to write: 6 to 15, or valkey-80. Without it, the lowest from 11 on that holds all of the data
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<Version>,
    /// Drop what the version cannot hold, and count it, instead of writing nothing
    #[arg(long)]
    lossy: bool,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// Write strings as they are, not compressed
    #[arg(long)]
    no_compress: bool,
    /// The report as one JSON object (schema rdbtool.build/1); on standard error where the RDB goes to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum From {
    /// One array of records
    Json,
    /// One record after the other
    Ndjson,
    /// Commands in the protocol of the servers
    Resp,
    /// What the first byte says
    Auto,
}

fn version(text: &str) -> Result<Version, String> {
    Version::named(text).ok_or_else(|| "there are 6 to 15, and valkey-80".to_owned())
}

/// One thing that a file holds.
pub enum Record<'a> {
    Aux { name: &'a [u8], value: &'a [u8] },
    ModuleAux(&'a Module),
    Function(&'a [u8]),
    SlotImport { job: &'a [u8], ranges: &'a [(u64, u64)] },
    Foreign,
    Key { db: u64, header: KeyMeta<'a>, value: ObjectRef<'a> },
}

/// Takes records; an error ends the reading.
type Each<'a> = &'a mut dyn FnMut(Record<'_>) -> anyhow::Result<()>;

/// Where records come from, as often as they are asked for.
enum Records {
    Json { name: String, source: Source, kept: Kept },
    Executed { name: String, engine: Box<Executed> },
}

/// How JSON is read a second time.
enum Kept {
    /// The file is opened again.
    File,
    /// The first reading is to fill a copy.
    NotYet(Option<Box<dyn Read>>),
    Copy(SpooledTempFile),
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    target::refuse_input(&RealDisk, &arguments.input, &arguments.output)?;
    let mut records = Records::open(arguments)?;
    let plan = Plan::of(&mut records, arguments.to, arguments.lossy)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let target = Target::create(&disk, &arguments.output, arguments.force)?;
    let name = target.name().to_owned();
    let options = WriteOptions { checksum: true, compress: !arguments.no_compress };
    let failed = |error: WriteError| anyhow::Error::from(error).context(name.clone());
    let mut writer = Writer::new(target, plan.version, options).map_err(failed)?.lossy(arguments.lossy);
    let mut db = None;
    records.each(&mut |record| plan.write(&mut writer, &mut db, record).with_context(|| name.clone()))?;
    writer.finish().map_err(failed)?.commit()?;
    let mut report = Vec::new();
    if arguments.json {
        plan.write_json(records.name(), &name, &mut report);
    } else {
        plan.tell(&name, &mut report)?;
    }
    filter::say(&report, arguments.json && arguments.output != Path::new("-"))?;
    Ok(Exit::Fine)
}

impl Records {
    fn open(arguments: &Arguments) -> anyhow::Result<Records> {
        let source = Source::of(&arguments.input);
        let opened = source.open(&RealDisk)?;
        let name = opened.name.clone();
        let refused = |message: &str| Err(Failure::error(Exit::Unreadable, message).context(name.clone()));
        let is_resp = match arguments.from {
            From::Auto => opened.magic == Magic::Commands,
            chosen => chosen == From::Resp,
        };
        match opened.magic {
            Magic::Rdb => return refused("this is an RDB already: convert and filter read it"),
            Magic::Manifest => return refused("this is the manifest of a command log: convert reads it"),
            Magic::Commands if !is_resp => return refused("these are commands: leave --from away, or say resp"),
            Magic::Commands | Magic::Empty | Magic::Unknown => {}
        }
        if is_resp {
            let engine = Box::new(Executed::of(opened.reader).with_context(|| name.clone())?);
            return Ok(Records::Executed { name, engine });
        }
        let Input { len, mut reader, .. } = opened;
        let mut head = Vec::new();
        if arguments.from != From::Auto {
            check_start(&mut reader, &mut head, arguments.from).with_context(|| name.clone())?;
        }
        let reader: Box<dyn Read> = Box::new(Cursor::new(head).chain(reader));
        let kept = if len.is_some() { Kept::File } else { Kept::NotYet(Some(reader)) };
        Ok(Records::Json { name, source, kept })
    }

    /// For messages.
    pub fn name(&self) -> &str {
        match self {
            Records::Json { name, .. } | Records::Executed { name, .. } => name,
        }
    }

    /// Hands every record to `each`.
    pub fn each(&mut self, each: Each<'_>) -> anyhow::Result<()> {
        let (name, source, kept) = match self {
            Records::Executed { name, engine } => return engine.each(each).with_context(|| name.clone()),
            Records::Json { name, source, kept } => (name, source, kept),
        };
        match kept {
            Kept::File => read_json(source.open(&RealDisk)?.reader, name, each),
            Kept::NotYet(first) => {
                let reader = first.take().unwrap_or_else(|| Box::new(io::empty()));
                let mut copy = SpooledTempFile::new(IN_MEMORY);
                read_json(Tee { reader, copy: &mut copy }, name, each)?;
                *kept = Kept::Copy(copy);
                Ok(())
            }
            Kept::Copy(copy) => {
                copy.rewind().with_context(|| name.clone())?;
                read_json(copy, name, each)
            }
        }
    }
}

/// Whether JSON begins as the user says it does. What was read for that is in `head`.
fn check_start(reader: &mut dyn Read, head: &mut Vec<u8>, from: From) -> anyhow::Result<()> {
    let mut byte = [0];
    while reader.read(&mut byte)? == 1 {
        head.push(byte[0]);
        if !byte[0].is_ascii_whitespace() {
            break;
        }
    }
    let (wanted, what) = if from == From::Json { (b'[', "an array of records") } else { (b'{', "a record") };
    match head.last() {
        Some(&first) if first == wanted || first.is_ascii_whitespace() => Ok(()),
        None if from == From::Ndjson => Ok(()),
        _ => {
            Err(Failure::error(Exit::Unreadable, format!("line 1: expected {what}: leave --from away to have it told")))
        }
    }
}

/// Copies what is read.
struct Tee<'a> {
    reader: Box<dyn Read>,
    copy: &'a mut SpooledTempFile,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.copy.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Reads an array of records, or one record after the other, to the end of the input.
fn read_json<R: Read>(reader: R, name: &str, each: Each<'_>) -> anyhow::Result<()> {
    let mut parser = Parser::new(reader);
    let mut number = 0;
    let outcome = read_records(&mut parser, &mut number, each);
    let fault = match outcome {
        Ok(outcome) => return outcome.with_context(|| format!("record {number}")).with_context(|| name.to_owned()),
        Err(Fault::Io(error)) => return Err(error).with_context(|| name.to_owned()),
        Err(fault) => fault,
    };
    let message = if number == 0 { fault.to_string() } else { format!("record {number}, {fault}") };
    Err(Failure::error(Exit::Unreadable, message).context(name.to_owned()))
}

/// The outer error is the JSON's, the inner one that of whoever takes the records.
fn read_records<R: Read>(
    parser: &mut Parser<R>,
    number: &mut u64,
    each: Each<'_>,
) -> Result<anyhow::Result<()>, Fault> {
    let limits = Limits::default();
    let is_array = match parser.peek()? {
        Some(b'[') => true,
        Some(b'{') => false,
        None => return Err(parser.unexpected("records, or an empty array")),
        _ => return Err(parser.unexpected("an array of records, or a record")),
    };
    if is_array {
        parser.begin_array("an array of records")?;
    }
    loop {
        let more = if is_array { parser.next_item(*number == 0)? } else { parser.peek()?.is_some() };
        if !more {
            break;
        }
        *number += 1;
        if let Err(error) = record::read(parser, &limits, each)? {
            return Ok(Err(error));
        }
    }
    match parser.peek()? {
        None => Ok(Ok(())),
        Some(_) => Err(parser.unexpected("the end of the input behind the array")),
    }
}
