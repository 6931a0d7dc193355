//! `rdbtool dump`: everything in the file, in the format of the user's choice; the formats are in `output`.

use crate::Place;
use crate::opened::{self, FileReader};
use crate::output::{
    Commands, Csv, Format, JsonArray, JsonLines, Keys, Lines, Listing, Records, Sink, Spool, Style, Template,
};
use crate::selection::Selection;
use anyhow::Context;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::progress::Progress;
use ironkeep::cli::utc::Utc;
use ironkeep::rdb::{CopyError, Error, Event, Header, KeyHeader, Options, Reader, Version};
use std::io::{self, IsTerminal, Read, Write};

/// Print all keys with their values, and what else the file holds
///
/// Without a format: a listing for people, with the beginning of each value. --json and --ndjson are read back by
/// `rdbtool build`. Exits 1 if the file has keys and none of them is selected.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: FormatChoice,
    /// With --resp: DEL each key first, so that nothing is added to what is there; libraries are replaced
    #[arg(long, visible_alias = "replace", requires = "resp")]
    del: bool,
    /// With --restore: without REPLACE, so that keys that are there make their command fail
    #[arg(long, requires = "restore")]
    no_replace: bool,
    /// With --restore and --resp: the RDB version that payloads say: 6 to 15, valkey-80; by default the lowest that knows the
    /// value's type
    #[arg(long, value_name = "VERSION", value_parser = version)]
    restore_version: Option<Version>,
    /// With --keys: end each key with a NUL instead of a newline
    #[arg(long, short = '0', requires = "keys")]
    null: bool,
    #[command(flatten)]
    selection: Selection,
}

/// One format at most.
#[derive(clap::Args)]
#[group(multiple = false)]
struct FormatChoice {
    /// One JSON array with an object per key
    #[arg(long)]
    json: bool,
    /// A JSON object per line
    #[arg(long)]
    ndjson: bool,
    /// A row per key, with a header row and the value as JSON in a cell
    #[arg(long)]
    csv: bool,
    /// The commands that rebuild the data, in the protocol of the servers. What no command can say is counted on
    /// standard error: data and metadata of modules, producers of streams, pending entries without a consumer or
    /// whose entry is gone; --restore says the pending entries and the producers. Consumers count as seen when the
    /// commands run
    #[arg(long, alias = "protocol")]
    resp: bool,
    /// A RESTORE command for each key, in the protocol of the servers. Metadata of modules has no command and is counted
    /// on standard error
    #[arg(long)]
    restore: bool,
    /// The names of the keys, one per line
    #[arg(long)]
    keys: bool,
    /// A line per key: {db} {key} {key_json} {type} {encoding} {elements} {bytes} {offset} {expire_at_ms} {expire_at}
    /// {ttl} {idle_seconds} {frequency}, with \t \n \r \0 \\ and {{ }}
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Template>,
}

fn version(text: &str) -> Result<Version, String> {
    Version::named(text).ok_or_else(|| "there are 6 to 15, and valkey-80".to_owned())
}

impl Arguments {
    fn format(&self) -> Box<dyn Format> {
        let output: Box<dyn Write> = Box::new(io::stdout().lock());
        let sink = Sink::new(output);
        let on_terminal = io::stdout().is_terminal();
        let choice = &self.format;
        if choice.json {
            Box::new(Records::<JsonArray>::new(sink))
        } else if choice.ndjson {
            Box::new(Records::<JsonLines>::new(sink))
        } else if choice.csv {
            Box::new(Csv::new(sink))
        } else if choice.resp || choice.restore {
            let version = self.restore_version;
            Box::new(Commands::new(
                sink,
                Style { restore: choice.restore, del: self.del, keep: self.no_replace, version },
            ))
        } else if choice.keys {
            Box::new(Keys::new(sink, self.null, on_terminal))
        } else if let Some(template) = &choice.format {
            Box::new(Lines::new(sink, template.clone(), on_terminal, Utc::now().0))
        } else {
            Box::new(Listing::new(sink))
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let input = opened::open(&arguments.place)?;
    let name = input.name.clone();
    let mut reader =
        opened::reader(input, arguments.place.options()).map_err(|error| opened::failure(&name, &error))?;
    let mut format = arguments.format();
    format.open();
    let mut walk =
        Walk { selection: &arguments.selection, now: Utc::now(), passed: 0, taken: 0, held: Spool::default() };
    match walk.file(&mut reader, format.as_mut()).with_context(|| name.clone())? {
        Ok(()) => {
            format.close().context("standard output")?;
            for remark in format.remarks() {
                writeln!(io::stderr(), "{name}: {remark}")?;
            }
            let is_no_match = walk.passed > 0 && walk.taken == 0 && arguments.selection.limit != Some(0);
            Ok(if is_no_match { Exit::Findings } else { Exit::Fine })
        }
        Err(damage) => {
            // What is whole comes out before the reason why no more does.
            format.abandon().context("standard output")?;
            Err(opened::failure(&name, &damage))
        }
    }
}

/// A way through the file.
struct Walk<'a> {
    selection: &'a Selection,
    now: Utc,
    /// Keys that came by.
    passed: u64,
    /// Keys that were taken.
    taken: u64,
    /// A value whose size decides whether it is wanted.
    held: Spool,
}

impl Walk<'_> {
    /// The outer error is the output's, the inner one the file's.
    fn file(&mut self, reader: &mut FileReader, format: &mut dyn Format) -> anyhow::Result<Result<(), Error>> {
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(damage) => return Ok(Err(damage)),
            };
            match event {
                Event::Aux { name, value } => format.aux(&name, &value),
                Event::ModuleAux { id, raw, .. } => format.module_aux(id, &raw),
                Event::Function { code } => format.function(&code),
                Event::Key(key) => {
                    let outcome = self.key(reader, format, &key)?;
                    if outcome.is_err() {
                        return Ok(outcome);
                    }
                }
                Event::SlotImport { job, ranges } => format.slot_import(&job, &ranges),
                Event::Foreign { name, value } => format.foreign(name, value),
                Event::End { .. } => return Ok(Ok(())),
                refused @ (Event::FunctionPreGa { .. } | Event::Update { .. }) => {
                    let what = refused.refusal().unwrap_or_default();
                    return Err(Failure::error(Exit::Unsupported, format!("the file has {what}")));
                }
                // Hints of the writer that say nothing of the data, and names that the reader gives to the fields.
                Event::SelectDb(_) | Event::ResizeDb { .. } | Event::SlotInfo { .. } | Event::HashTemplate { .. } => {}
            }
            format.check().context("standard output")?;
            if let Some(failure) = format.failure() {
                return Err(failure);
            }
        }
    }

    fn key(
        &mut self,
        reader: &mut FileReader,
        format: &mut dyn Format,
        key: &KeyHeader,
    ) -> anyhow::Result<Result<(), Error>> {
        self.passed += 1;
        let is_full = self.selection.limit.is_some_and(|limit| self.taken >= limit);
        if is_full || !self.selection.wants(key, self.now) {
            return Ok(reader.skip());
        }
        if !self.selection.needs_size() {
            self.taken += 1;
            format.begin_key(key);
            return Ok(format.take(reader).inspect(|()| format.end_key(reader.offset())));
        }
        self.held.clear();
        match reader.copy_value(&mut self.held) {
            Ok(()) => {}
            Err(CopyError::Read(damage)) => return Ok(Err(damage)),
            Err(CopyError::Write(error)) => return Err(error.into()),
        }
        let end = reader.offset();
        if !self.selection.wants_size(end - key.offset) {
            return Ok(Ok(()));
        }
        self.taken += 1;
        format.begin_key(key);
        let outcome = value_alone(reader.header(), key, &mut self.held).map(|mut value| format.take(&mut value))?;
        Ok(outcome.inspect(|()| format.end_key(end)))
    }
}

/// A reader that stands before the value that was held back.
fn value_alone(header: Header, key: &KeyHeader, held: &mut Spool) -> anyhow::Result<FileReader> {
    let mut file = header.to_string().into_bytes();
    // The type and a key without a name.
    file.extend_from_slice(&[key.kind.number(), 0]);
    let file: Box<dyn Read> = Box::new(io::Cursor::new(file).chain(held.take_reader()?));
    let mut reader = Reader::new(Progress::hidden(file), Options { verify: false })?;
    reader.next()?;
    Ok(reader)
}
