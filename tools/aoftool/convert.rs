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
//! memory that a server takes for the data, but that for commands goes by parts where the log is long; an RDB alone becomes
//! commands without a replay. What is rewritten waits in a temporary file. A torn tail is left out and told; damage before
//! it stops everything.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::naming::BaseFormat;
use ironkeep::aof::{Log, Report};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::locate::Located;
use ironkeep::disk::Disk;
use ironkeep::engine::Engine;
use ironkeep::persist::save::Image;
use ironkeep::rdb::{Version, WriteOptions};

use crate::compact::{self, Compact, Spooled};
use crate::joined::{self, Destination, Shape};
use crate::parted::{self, Limit};
use crate::report;
use crate::shared::replayed::{self, SPOOL_NAME};

/// Write a log as an RDB, an RDB as a log, a single file as a folder or the other way round, or the fewest commands
///
/// A replay to an RDB needs the memory of a server with this data; --rewrite to commands that of a part of it (see
/// --part-size), and copies of records need little.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    #[command(flatten)]
    destination: Destination,
    /// The shape of the result. Without it the name tells: NAME.rdb, NAME.aof
    #[arg(long, value_enum)]
    to: Option<Shape>,
    /// Write the data anew, not the records that led to it: the fewest commands, or an RDB
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "commands")]
    rewrite: Option<Rewrite>,
    /// The version of an RDB that is written: 6 to 15, or valkey-80. Without it, the lowest from 11 on that holds the data
    #[arg(long, value_name = "VERSION", value_parser = version)]
    rdb_version: Option<Version>,
    /// How many databases a log that is replayed may use, as the directive of servers
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    databases: u32,
    #[command(flatten)]
    limit: Limit,
    /// The report as one JSON object (schema aoftool.convert/1); on standard error where the output is standard output
    #[arg(long)]
    json: bool,
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
    let destination = &arguments.destination;
    let shape = destination.shape(arguments.to)?;
    if shape == Shape::Rdb && arguments.rewrite == Some(Rewrite::Commands) {
        return Err(Failure::error(Exit::Usage, "an RDB holds no commands: leave out --rewrite"));
    }
    let located = arguments.place.locate(disk)?;
    let log = &located.log;
    destination.refuse_input(&**disk, shape, log)?;
    let mut content = Content::of(disk, &located, arguments, shape)?;
    let base_format = content.base_format();
    let bytes = destination.fill(disk, (shape, base_format), &mut |out| content.write(disk, log, out))?;
    let keys = content.keys();
    let more = keys.map_or(String::new(), |keys| format!(", {}", report::plural(keys, "key")));
    let schema = (arguments.json, "aoftool.convert/1");
    destination.tell(schema, (&located.name, bytes, &more), &|object| {
        if let Some(keys) = keys {
            object.u64("keys", keys);
        }
    })?;
    // The process ends: to free the data key by key would only take time.
    std::mem::forget(content);
    Ok(Exit::Fine)
}

/// What the result is made of.
enum Content {
    /// The records as they stand.
    Spans(Report),
    Commands(Spooled),
    Rdb(Box<Engine>, Option<Version>),
}

impl Content {
    fn of(disk: &Arc<dyn Disk>, located: &Located, arguments: &Arguments, to: Shape) -> anyhow::Result<Self> {
        let log = &located.log;
        let survey = || report::survey(&**disk, located);
        let begins_rdb = log.manifest.is_none() && log.files[0].has_rdb;
        let surveyed = if begins_rdb { Some(survey()?) } else { None };
        let is_rdb = surveyed.as_ref().is_some_and(|survey| joined::base_format(survey) == BaseFormat::Rdb);
        let usage = |message: &str| Err(Failure::error(Exit::Usage, message).context(located.name.clone()));
        // A replay stops at what a survey stops at, which says more of it.
        let replay = || {
            let engine = replayed::engine_of(disk, log, arguments.databases as usize); // at most 65536
            engine.map_err(|error| survey().err().unwrap_or(error))
        };
        match (to, arguments.rewrite) {
            (Shape::Rdb, _) if is_rdb => usage("is an RDB already: `rdbtool convert` changes its version"),
            (Shape::Rdb, _) | (_, Some(Rewrite::Rdb)) => Ok(Self::Rdb(Box::new(replay()?), arguments.rdb_version)),
            (_, Some(Rewrite::Commands)) if is_rdb => {
                let mut reader = compact::rdb_reader(&**disk, &log.files[0])?;
                Ok(Self::Commands(Compact::of(&mut reader, &located.name)?))
            }
            (_, Some(Rewrite::Commands)) => {
                let databases = arguments.databases as usize; // at most 65536
                let mut compact = Compact::new(&located.name);
                match parted::divide(disk, &[log], (arguments.limit, databases), &|_| survey())?.as_deref() {
                    Some([parts]) => {
                        for part in 0..parts.len() {
                            compact.take_engine(&mut parts.replay(disk, part, databases)?)?;
                        }
                    }
                    _ => compact.take_engine(&mut replay()?)?,
                }
                Ok(Self::Commands(compact.finish()?))
            }
            (Shape::Dir, None) if log.manifest.is_some() => {
                usage("is a multi-part log already: --rewrite makes its base anew")
            }
            (Shape::File | Shape::Dir, None) => {
                let survey = surveyed.map_or_else(survey, Ok)?;
                if to == Shape::File && log.files[0].is_wrapped && survey.files.iter().any(|file| file.records > 0) {
                    return usage("has a base in an envelope, behind which no record can stand: add --rewrite");
                }
                Ok(Self::Spans(survey))
            }
        }
    }

    fn base_format(&self) -> BaseFormat {
        match self {
            Self::Rdb(..) => BaseFormat::Rdb,
            Self::Spans(survey) => joined::base_format(survey),
            Self::Commands(_) => BaseFormat::Resp,
        }
    }

    /// The number of keys, where they were seen.
    fn keys(&self) -> Option<u64> {
        match self {
            Self::Spans(_) => None,
            Self::Commands(spooled) => Some(spooled.keys),
            Self::Rdb(engine, _) => Some(engine.keyspace.len() as u64), // usize has at most 64 bits
        }
    }

    fn write(&mut self, disk: &Arc<dyn Disk>, log: &Log, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Spans(survey) => joined::copy(&**disk, log, survey, out),
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
