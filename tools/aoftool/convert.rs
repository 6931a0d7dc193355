//! `aoftool convert`: the same log in another shape, the data it leads to as an RDB, an RDB as a log.
//!
//! ```text
//! --to    without --rewrite                          --rewrite=commands           --rewrite=rdb
//! rdb     the data, replayed                         -                            -
//! file    every record, as it stands                 the fewest commands          an RDB in front, nothing else
//! dir     a single file as the base, as it stands    a base of the fewest         a base that is an RDB
//!                                                    commands
//! ```
//!
//! Records that are kept are copied byte for byte; where files are joined the seals are written anew. A replay takes the
//! memory that a server takes for the data; an RDB alone becomes commands without one, in memory that does not grow. What
//! is rewritten waits in a temporary file. A torn tail is left out and told; damage before it stops everything.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::naming::BaseFormat;
use ironkeep::aof::{self, Log, Report};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::{Located, show};
use ironkeep::cli::target::{self, Target};
use ironkeep::disk::Disk;
use ironkeep::engine::Engine;
use ironkeep::persist::save::Image;
use ironkeep::rdb::{Version, WriteOptions};
use ironkeep::resp::encode_request;

use crate::compact::{self, Spooled};
use crate::remade::{self, Marks};
use crate::report;
use crate::selection::{self, Choice, Copy, Only, Sink};
use crate::shared::log_folder;
use crate::shared::replayed::{self, SPOOL_NAME};

/// Write a log as an RDB, an RDB as a log, a single file as a folder or the other way round, or the fewest commands
///
/// A replay needs the memory of a server with this data; RDB to commands, and copies of records, need little.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// What to write: a file, `-` for standard output, or with `--to dir` the new folder, which servers from Redis 7.0
    /// on load as their appendonlydir
    #[arg(long, short, value_name = "PATH")]
    output: PathBuf,
    /// The shape of the result. Without it the name tells: NAME.rdb, NAME.aof
    #[arg(long, value_enum)]
    to: Option<To>,
    /// Write the data anew, not the records that led to it: the fewest commands, or an RDB
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "commands")]
    rewrite: Option<Rewrite>,
    /// The version of an RDB that is written: 6 to 15, or valkey-80. Without it, the lowest from 11 on that holds the data
    #[arg(long, value_name = "VERSION", value_parser = version)]
    rdb_version: Option<Version>,
    /// How many databases a log that is replayed may use, as the directive of servers
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    databases: u32,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// Read and replay everything, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The report as one JSON object (schema aoftool.convert/1); on standard error where the output is standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// The data, for any server and for rdbtool
    Rdb,
    /// A log that is one file, as before Redis 7.0
    File,
    /// A multi-part log: base, increment, manifest
    Dir,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Rewrite {
    Commands,
    Rdb,
}

fn version(text: &str) -> Result<Version, String> {
    Version::named(text).ok_or_else(|| "there are 6 to 15, and valkey-80".to_owned())
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let to = arguments.shape()?;
    let located = arguments.place.locate(disk)?;
    let log = &located.log;
    let is_beside = to != To::Dir && arguments.output != Path::new("-");
    if is_beside {
        let paths = log.files.iter().map(|file| &file.path).chain(log.manifest.iter().map(|(path, _)| path));
        paths.into_iter().try_for_each(|path| target::refuse_input(&**disk, path, &arguments.output))?;
    }
    let survey = report::survey(&**disk, &located)?;
    let mut content = Content::of(disk, &located, &survey, arguments, to)?;
    let written = match (arguments.dry_run, to) {
        (true, _) => {
            let mut counted = Counted { inner: io::sink(), bytes: 0 };
            content.write(disk, log, &survey, &mut counted)?;
            counted.bytes
        }
        (false, To::Dir) => {
            let mut bytes = 0;
            log_folder::write(disk, &arguments.output, content.base_format(&survey), |draft, _| {
                let mut out = Counted { inner: io::BufWriter::with_capacity(1 << 16, draft), bytes: 0 };
                content.write(disk, log, &survey, &mut out)?;
                bytes = out.bytes;
                Ok(out.inner.flush()?)
            })?;
            bytes
        }
        (false, To::Rdb | To::File) => {
            let target = Target::create(disk, &arguments.output, arguments.force)?;
            let mut out = Counted { inner: io::BufWriter::with_capacity(1 << 16, target), bytes: 0 };
            content.write(disk, log, &survey, &mut out)?;
            let bytes = out.bytes;
            out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.commit()?;
            bytes
        }
    };
    tell(arguments, &located, &content, written)?;
    Ok(Exit::Fine)
}

impl Arguments {
    fn shape(&self) -> anyhow::Result<To> {
        let name = self.output.as_os_str().as_encoded_bytes();
        let to = match self.to {
            Some(to) => to,
            None if name.ends_with(b".rdb") => To::Rdb,
            None if name.ends_with(b".aof") => To::File,
            None => {
                let message = "say what it is to be: --to rdb, --to file or --to dir";
                return Err(Failure::error(Exit::Usage, message).context(show(&self.output)));
            }
        };
        if to == To::Rdb && self.rewrite == Some(Rewrite::Commands) {
            return Err(Failure::error(Exit::Usage, "an RDB holds no commands: leave out --rewrite"));
        }
        if to == To::Dir && self.output == Path::new("-") {
            return Err(Failure::error(Exit::Usage, "a folder can't go to standard output: name a new folder"));
        }
        Ok(to)
    }
}

/// What the result is made of.
enum Content {
    /// The records as they stand.
    Spans,
    Commands(Spooled),
    Rdb(Box<Engine>, Option<Version>),
}

impl Content {
    fn of(
        disk: &Arc<dyn Disk>,
        located: &Located,
        survey: &Report,
        arguments: &Arguments,
        to: To,
    ) -> anyhow::Result<Self> {
        let log = &located.log;
        let is_rdb = is_rdb_alone(log, survey);
        let usage = |message: &str| Err(Failure::error(Exit::Usage, message).context(located.name.clone()));
        let replay = || replayed::engine_of(disk, log, arguments.databases as usize); // at most 65536
        match (to, arguments.rewrite) {
            (To::Rdb, _) if is_rdb => usage("is an RDB already: `rdbtool convert` changes its version"),
            (To::Rdb, _) | (_, Some(Rewrite::Rdb)) => Ok(Self::Rdb(Box::new(replay()?), arguments.rdb_version)),
            (_, Some(Rewrite::Commands)) if is_rdb => {
                let mut reader = compact::rdb_reader(&**disk, &log.files[0])?;
                Ok(Self::Commands(compact::commands_of(&mut reader, &located.name)?))
            }
            (_, Some(Rewrite::Commands)) => {
                let mut engine = replay()?;
                // No newer than the data needs, or it would say what no server has said.
                let version = engine.keyspace.rdb_version_needed();
                let rdb = replayed::spooled_rdb(&mut engine, version)?;
                Ok(Self::Commands(compact::commands_of(&mut compact::reader_of(Box::new(rdb))?, &located.name)?))
            }
            (To::Dir, None) if log.manifest.is_some() => {
                usage("is a multi-part log already: --rewrite makes its base anew")
            }
            (To::File, None) if log.files[0].is_wrapped && survey.files.iter().any(|file| file.records > 0) => {
                usage("has a base in an envelope, behind which no record can stand: add --rewrite")
            }
            (To::File | To::Dir, None) => Ok(Self::Spans),
        }
    }

    fn base_format(&self, survey: &Report) -> BaseFormat {
        match self {
            Self::Rdb(..) => BaseFormat::Rdb,
            Self::Spans if survey.files.iter().all(|file| file.rdb.is_some() && file.records == 0) => BaseFormat::Rdb,
            Self::Spans | Self::Commands(_) => BaseFormat::Resp,
        }
    }

    /// The number of keys, where they were seen.
    fn keys(&self) -> Option<u64> {
        match self {
            Self::Spans => None,
            Self::Commands(spooled) => Some(spooled.keys),
            Self::Rdb(engine, _) => Some(engine.keyspace.len() as u64), // usize has at most 64 bits
        }
    }

    fn write(&mut self, disk: &Arc<dyn Disk>, log: &Log, survey: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Spans => copy_spans(&**disk, log, survey, out),
            Self::Commands(spooled) => io::copy(&mut spooled.file, out).context(SPOOL_NAME).map(drop),
            Self::Rdb(engine, version) => {
                let version = version.unwrap_or(engine.rdb_version(engine.keyspace.rdb_version_needed()));
                let options = WriteOptions { checksum: true, compress: true };
                let image = Image::take(engine, false);
                image.write_as(version, options, out, Path::new("the output")).map_err(unfit)
            }
        }
    }
}

/// A version that cannot hold the data is unsupported.
fn unfit(error: ironkeep::persist::PersistError) -> anyhow::Error {
    use ironkeep::persist::PersistError;
    use ironkeep::rdb::WriteError;
    match error {
        PersistError::Write { source: WriteError::Io(source), .. } => source.into(),
        PersistError::Write { source, .. } => Failure::error(Exit::Unsupported, source),
        other => other.into(),
    }
}

fn is_rdb_alone(log: &Log, survey: &Report) -> bool {
    log.manifest.is_none() && survey.files.iter().all(|file| file.rdb.is_some() && file.records == 0)
}

/// All files behind each other, each up to its last whole unit. One file is copied as it is; where several are joined, the
/// marks of each are written anew, and each begins in database 0, as it does for a server.
fn copy_spans(disk: &dyn Disk, log: &Log, survey: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let joined = log.files.len() > 1;
    let first = survey.files.first().and_then(|found| found.rdb.as_ref()).map_or(0, |rdb| rdb.len);
    if let (false, [file]) = (joined, &log.files[..]) {
        let whole = if file.is_wrapped { file.len } else { survey.files[0].whole_until.max(first) };
        return remade::copy_range(disk, file, 0, whole, out).with_context(|| report::name(file));
    }
    if let Some(file) = log.files.first() {
        let len = if file.is_wrapped { file.len } else { first };
        remade::copy_range(disk, file, 0, len, out).with_context(|| report::name(file))?;
    }
    let choice = Choice { names: &[], only: &Only::default(), spared: 0 };
    let marks = Marks::of(survey.files.iter().any(|found| found.seals.has_marks()));
    let mut copy = Copy::new(marks, out);
    for (index, (file, found)) in log.files.iter().zip(&survey.files).enumerate() {
        if index > 0 && found.records > 0 {
            let mut select = Vec::new();
            encode_request(&mut select, &["SELECT", "0"]);
            copy.keep(&select)?;
        }
        let whole = aof::LogFile { len: found.whole_until, ..file.clone() };
        let start = found.rdb.as_ref().map_or(0, |rdb| rdb.len);
        selection::pass(disk, &whole, start, choice, &mut copy).with_context(|| report::name(file))?;
    }
    Ok(())
}

/// Counts what passes.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.bytes += count as u64; // usize fits
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn tell(arguments: &Arguments, located: &Located, content: &Content, bytes: u64) -> anyhow::Result<()> {
    let mut out = Vec::new();
    let output =
        if arguments.output == Path::new("-") { "standard output".to_owned() } else { show(&arguments.output) };
    if arguments.json {
        let mut object = Object::open(&mut out);
        object.str("schema", "aoftool.convert/1").str("log", &located.name).str("output", &output);
        object.bool("dry_run", arguments.dry_run).u64("bytes", bytes);
        if let Some(keys) = content.keys() {
            object.u64("keys", keys);
        }
        object.close();
        out.push(b'\n');
    } else {
        let verb = if arguments.dry_run { "would write" } else { "wrote" };
        let keys = content.keys().map_or(String::new(), |keys| format!(", {}", report::plural(keys, "key")));
        writeln!(out, "{verb} {output}: {}{keys}", report::plural(bytes, "byte"))?;
    }
    if arguments.output == Path::new("-") {
        return Ok(io::stderr().write_all(&out)?);
    }
    report::print(&out)
}
