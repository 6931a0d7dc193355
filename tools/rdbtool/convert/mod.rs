//! `rdbtool convert`: the same data as another version of the format, or as a command log; and a log as an RDB.
//!
//! The input is read twice. The first pass ([`survey`]) finds what not every version can hold, so that nothing is
//! written where something would be lost unasked, and counts the keys of each database, which stand before them in the
//! file. The second one writes. What cannot be read twice is spooled to a temporary file; a log is replayed by the
//! server's own engine, which needs memory for its data, and spooled as an RDB.
//!
//! What is not carried over: keys without elements, which servers skip, are counted and left out; sizes of slots are
//! hints of the writer and are left out; `aof-base` and `aof-preamble` say what the file is to a log and are renewed.

mod report;
mod source;
mod survey;

use crate::Place;
use crate::opened::{self, FileReader};
use crate::shared::log_folder;
use ironkeep::aof::naming::BaseFormat;
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::target::Target;
use ironkeep::disk::{Disk, RealDisk};
use ironkeep::rdb::{Event, KeyMeta, Losses, ObjectRef, Version, Weight, WriteError, WriteOptions, Writer};
use ironkeep::value::Limits;
use report::Report;
use source::Source;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use survey::Survey;

/// Write the data as another RDB version or as a command log
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The RDB file to write, or `-` for standard output; with `--to aof`, the folder of the log
    #[arg(long, short, value_name = "FILE", required_unless_present = "to_log", conflicts_with = "to_log")]
    output: Option<PathBuf>,
    /// The RDB version to write: 6 to 15, or valkey-80; `aof` for a command log. Without it, the lowest from 11 on that
    /// holds all of the data
    #[arg(long, value_name = "VERSION", value_parser = to)]
    to: Option<To>,
    /// Write a command log into this new folder: a base, an empty increment, a manifest. Servers from Redis 7.0 on
    /// load it as their appendonlydir
    #[arg(long, value_name = "DIR")]
    to_log: Option<PathBuf>,
    /// Drop what the version cannot hold, and report it by kind, instead of writing nothing
    #[arg(long)]
    lossy: bool,
    /// Write strings as they are, not compressed
    #[arg(long)]
    no_compress: bool,
    /// Write zeros in place of the checksum
    #[arg(long)]
    no_checksum: bool,
    /// How many databases a log that is replayed may use, as the directive of servers
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    databases: u32,
    /// Replace the output if it is there
    #[arg(long)]
    force: bool,
    /// The report as one JSON object (schema rdbtool.convert/1); on standard error where the RDB goes to standard output
    #[arg(long)]
    json: bool,
}

/// What `--to` names.
#[derive(Clone, Copy)]
enum To {
    Version(Version),
    Log,
}

fn to(name: &str) -> Result<To, String> {
    match name {
        "aof" => Ok(To::Log),
        _ => Version::named(name)
            .map(To::Version)
            .ok_or_else(|| "6 to 15, valkey-80, or aof for a command log".to_owned()),
    }
}

/// What is written.
enum Output<'a> {
    Rdb(&'a Path),
    Log(&'a Path),
}

impl Arguments {
    fn output(&self) -> Output<'_> {
        match (&self.to_log, &self.output, self.to) {
            (Some(folder), ..) | (None, Some(folder), Some(To::Log)) => Output::Log(folder),
            (None, Some(path), _) => Output::Rdb(path),
            (None, None, _) => unreachable!("clap demands one of them"),
        }
    }

    fn write_options(&self) -> WriteOptions {
        WriteOptions { checksum: !self.no_checksum, compress: !self.no_compress }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let options = arguments.place.options();
    let databases = arguments.databases as usize; // at most 65536
    let source = Source::find(&disk, &arguments.place, databases)?;
    let (source, survey) = survey::take(source, options, |source| source.as_log(&disk, databases))?;
    let version = choose(&survey, arguments.to, source.name())?;
    if !arguments.lossy {
        refuse_losses(&survey, version, source.name())?;
    }
    let mut report = Report::new(&survey, version, &source);
    let mut reader = source.reader(options)?;
    let (lossy, options) = (arguments.lossy, arguments.write_options());
    let mut conversion = Conversion { survey: &survey, report: &mut report, is_base: false };
    match arguments.output() {
        Output::Rdb(path) => {
            source.refuse_as_output(&disk, path)?;
            let target = Target::create(&disk, path, arguments.force)?;
            let name = target.name().to_owned();
            let writer = Writer::new(target, version, options).map_err(|error| failed(&name, error))?;
            let target = conversion.write(&mut reader, source.name(), writer.lossy(lossy), &name)?;
            target.commit()?;
            report.wrote(&name);
        }
        Output::Log(folder) => {
            conversion.is_base = true;
            let manifest = log_folder::write(&disk, folder, BaseFormat::Rdb, |draft, name| {
                let writer = Writer::new(draft, version, options).map_err(|error| failed(name, error))?;
                conversion.write(&mut reader, source.name(), writer.lossy(lossy), name).map(drop)
            })?;
            report.wrote(&manifest);
        }
    }
    report.print(arguments.json, arguments.output.as_deref() == Some(Path::new("-")))?;
    Ok(Exit::Fine)
}

/// The version asked for, or the lowest from 11 on that holds everything; for a file of Valkey that 11 does not hold,
/// Valkey's own first, since no Valkey loads Redis' 12.
fn choose(survey: &Survey, to: Option<To>, name: &str) -> anyhow::Result<Version> {
    if let Some(To::Version(version)) = to {
        return Ok(version);
    }
    let is_valkey = survey.header.lineage == ironkeep::rdb::Lineage::Valkey;
    let own = is_valkey.then_some([Version::Rdb11, Version::Valkey80]).into_iter().flatten();
    let all = Version::ALL.into_iter().filter(|version| *version >= Version::Rdb11);
    own.chain(all).find(|version| survey.lacking(*version).next().is_none()).ok_or_else(|| {
        let kinds: Vec<&str> = survey.found.keys().map(|feature| feature.row().name).collect();
        let message = format!(
            "no version holds all of this together ({}): choose one with --to, and --lossy to drop the rest",
            kinds.join(", ")
        );
        Failure::error(Exit::Unsupported, message).context(name.to_owned())
    })
}

/// An error that names the first of each kind that would be lost.
fn refuse_losses(survey: &Survey, version: Version, name: &str) -> anyhow::Result<()> {
    let mut sentences = survey.lacking(version).map(|(feature, found)| {
        let (row, holders) = (feature.row(), feature.holders());
        let what = match &found.first {
            Some(key) => format!("offset {}: db {} key {} {}", key.offset, key.db, Quoted(&key.key), row.phrase),
            None => format!("the file {}", row.phrase),
        };
        let more = if found.count > 1 { format!(" (one of {})", found.count) } else { String::new() };
        format!("{what}{more}, which RDB version {version} cannot hold: it takes {holders}")
    });
    let Some(first) = sentences.next() else { return Ok(()) };
    for sentence in sentences {
        writeln!(io::stderr(), "{name}: {sentence}")?;
    }
    let message = format!("{first}. Nothing was written; --lossy drops what does not fit");
    Err(Failure::error(Exit::Unsupported, message).context(name.to_owned()))
}

/// An error of the output; a feature that a version lacks is unsupported.
fn failed(name: &str, error: WriteError) -> anyhow::Error {
    match error {
        WriteError::Io(error) => anyhow::Error::from(error).context(name.to_owned()),
        other => Failure::error(Exit::Unsupported, other).context(name.to_owned()),
    }
}

/// The second pass.
struct Conversion<'a> {
    survey: &'a Survey,
    report: &'a mut Report,
    /// Whether the file becomes the base of a log.
    is_base: bool,
}

impl Conversion<'_> {
    fn write<W: Write>(
        &mut self,
        reader: &mut FileReader,
        from: &str,
        mut writer: Writer<W>,
        to: &str,
    ) -> anyhow::Result<W> {
        if self.is_base {
            writer.aux(b"aof-base", b"1").map_err(|error| failed(to, error))?;
        }
        let mut databases = self.survey.databases.iter();
        let mut is_selected = false;
        loop {
            let event = reader.next().map_err(|error| opened::failure(from, &error))?;
            let opens_db = matches!(event, Event::SelectDb(_)) || (matches!(event, Event::Key(_)) && !is_selected);
            if opens_db && let Some(database) = databases.next() {
                let (keys, expires) = database.kept(writer.version());
                writer.select_db(database.db, keys, expires).map_err(|error| failed(to, error))?;
                is_selected = true;
            }
            match event {
                Event::Key(header) => {
                    let object = reader.object(&Limits::default()).map_err(|error| opened::failure(from, &error))?;
                    match object {
                        None => self.report.empty += 1,
                        Some(object) => {
                            let written = writer.key(&KeyMeta::of(&header), ObjectRef::Object(&object));
                            written.map_err(|error| failed(to, error))?;
                            self.report.keys += 1;
                        }
                    }
                }
                Event::End { .. } => break,
                other => self.beside(other, &mut writer).map_err(|error| failed(to, error))?,
            }
        }
        self.lost(writer.losses());
        self.report.bytes = writer.written();
        writer.finish().map_err(|error| failed(to, error))
    }

    /// What is no key.
    fn beside<W: Write>(&mut self, event: Event, writer: &mut Writer<W>) -> Result<(), WriteError> {
        match event {
            Event::Aux { name, .. } if matches!(&name[..], b"aof-base" | b"aof-preamble" | b"slot-info") => Ok(()),
            Event::Aux { name, value } => writer.aux(&name, &value),
            Event::Function { code } => writer.function(&code),
            Event::ModuleAux { id, raw, .. } => writer.module_aux(id, &raw),
            Event::SlotImport { job, ranges } => writer.slot_import(&job, &ranges),
            Event::Foreign { .. } => {
                self.report.foreign += 1;
                Ok(())
            }
            // Said anew in front of the keys, or hints; no wildcard, so that what is new is decided on.
            Event::SelectDb(_) | Event::ResizeDb { .. } | Event::SlotInfo { .. } | Event::HashTemplate { .. } => Ok(()),
            refused @ (Event::FunctionPreGa { .. } | Event::Update { .. }) => {
                refused.refusal().map_or(Ok(()), |what| Err(WriteError::Refused(what)))
            }
            Event::Key(_) | Event::End { .. } => Ok(()),
        }
    }

    fn lost(&mut self, losses: &Losses) {
        let keys = losses.iter().filter(|(feature, _)| feature.row().weight == Weight::Key);
        self.report.keys -= keys.map(|(_, loss)| loss.count).sum::<u64>();
        self.report.losses = losses.clone();
    }
}
